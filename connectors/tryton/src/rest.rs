//! Tryton's REST interface: search, read, create, change, press a button, delete.

use crosstie_sdk::{Answer, Call, Fault, Method, Net};
use serde_json::{Value, json};

use crate::{TrytonSettings, base64url, wire};

/// The interface of one connection, in the context of its company.
pub(crate) struct Rest<'a> {
    net: &'a Net,
    /// The settings of the connection.
    pub(crate) settings: TrytonSettings,
    context: String,
}

/// What to search for.
pub(crate) struct Search<'a> {
    /// The kind of record.
    pub(crate) model: &'a str,
    /// What to bring of each; dotted ones reach into records that are referred to.
    pub(crate) fields: &'a [&'a str],
    /// Which ones.
    pub(crate) domain: Value,
    /// In which order.
    pub(crate) order: Value,
    /// How many at most.
    pub(crate) size: u32,
}

impl<'a> Rest<'a> {
    /// The interface behind a connection.
    pub(crate) fn of(net: &'a Net) -> Result<Self, Fault> {
        let settings: TrytonSettings = net.settings().read().map_err(|error| Fault::Bug { why: error.to_string() })?;
        let mut context = json!({ "company": settings.company });
        if let Some(employee) = settings.employee {
            context["employee"] = employee.into();
        }
        Ok(Self { net, settings, context: base64url::encode(context.to_string().as_bytes()) })
    }

    /// The records that match.
    pub(crate) async fn search(&self, search: Search<'_>) -> Result<Vec<Value>, Fault> {
        let call = Call::get(format!("/rest/model/{}", search.model))
            .query("d", base64url::encode(search.domain.to_string().as_bytes()))
            .query("o", base64url::encode(search.order.to_string().as_bytes()))
            .query("s", search.size.to_string());
        self.send(call, search.fields).await?.json_or(explain)
    }

    /// One record.
    pub(crate) async fn read(&self, model: &str, id: i64, fields: &[&str]) -> Result<Value, Fault> {
        self.send(Call::get(format!("/rest/model/{model}/{id}")), fields).await?.json_or(explain)
    }

    /// Makes a record and returns its id.
    pub(crate) async fn create(&self, model: &str, record: &Value) -> Result<i64, Fault> {
        let call = Call::post(format!("/rest/model/{model}")).json(record);
        let made: wire::Id = self.send(call, &["id"]).await?.json_or(explain)?;
        Ok(made.id)
    }

    /// Changes a record and returns these fields of it as they are since.
    pub(crate) async fn write(&self, model: &str, id: i64, values: &Value, fields: &[&str]) -> Result<Value, Fault> {
        let call = Call::new(Method::Put, format!("/rest/model/{model}/{id}")).json(values);
        self.send(call, fields).await?.json_or(explain)
    }

    /// Presses a button of a record. A button that does not fit the record's state is refused.
    pub(crate) async fn press(&self, model: &str, id: i64, button: &str) -> Result<(), Fault> {
        let call = Call::post(format!("/rest/model/{model}/{id}/{button}")).json(&json!({}));
        done(&self.send(call, &["id"]).await?)
    }

    /// Deletes a record; one that is gone already counts as deleted.
    pub(crate) async fn delete(&self, model: &str, id: i64) -> Result<(), Fault> {
        match self.send(Call::new(Method::Delete, format!("/rest/model/{model}/{id}")), &[]).await {
            Ok(answer) => done(&answer),
            Err(Fault::Gone) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn send(&self, call: Call, fields: &[&str]) -> Result<Answer, Fault> {
        let call = call.bucket("rest").header("x-tryton-context", self.context.clone());
        let call = fields.iter().fold(call, |call, field| call.query("f", *field));
        self.net.send(call).await
    }
}

/// The number behind an id as the hub keeps it; nothing else can be an id at Tryton.
pub(crate) fn number(remote_id: &str) -> Result<i64, Fault> {
    remote_id.parse().ok().filter(|id| *id > 0).ok_or(Fault::Gone)
}

fn done(answer: &Answer) -> Result<(), Fault> {
    if answer.is_success() { Ok(()) } else { Err(explain(answer)) }
}

/// A refusal in Tryton's words. 423 says that someone else changed the record in the meantime.
fn explain(answer: &Answer) -> Fault {
    if answer.status() == 423 {
        return Fault::Stale;
    }
    let message = match answer.json::<wire::Refusal>() {
        Ok(refusal) => format!("{} {}", refusal.message, refusal.description).trim().to_owned(),
        Err(_) => format!("Tryton answered {}", answer.status()),
    };
    Fault::rejected("", message)
}
