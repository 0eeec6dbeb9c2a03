//! Values that are set in accounts.

use crosstie_sdk::{
    Call, Comparison, Fault, Method, Net, Reader, Row, WriteRequest, Writer, Written,
    domain::integration::{Intent, UpdateRecord},
};
use serde_json::{Map, Value};

use crate::{
    Template,
    accounts::{Accounts, LIST},
};

/// The fields of an account that can be set.
pub(crate) const FIELDS: &[&str] = &["name"];

/// Sets values.
pub(crate) struct TemplateWriter;

#[async_trait::async_trait]
impl Writer for TemplateWriter {
    async fn apply(&self, net: &Net, request: &WriteRequest) -> Result<Written, Fault> {
        let update = wanted(request)?;
        let compared = Comparison::read(&Template, net, update).await?;
        if let Some(done) = compared.done() {
            return Ok(done);
        }
        let mut values = Map::new();
        for change in &compared.left {
            // By the names of the vendor: here `name` is called so on both sides.
            values.insert(change.field.clone(), Value::String(change.required()?));
        }
        let call = Call::new(Method::Patch, format!("/v1/{LIST}/{}", update.remote_id)).json(&values);
        match Row::read_one(net.send(call.repeatable()).await?.json()?)? {
            Row::Ok { wire, .. } => Ok(Written::updated(Accounts.key(&wire))),
            Row::Gone { .. } => Err(Fault::Gone),
            Row::Bad { why, .. } => Err(Fault::Shape { path: "$".to_owned(), why }),
        }
    }

    async fn find(&self, net: &Net, request: &WriteRequest) -> Result<Option<Written>, Fault> {
        Ok(Comparison::read(&Template, net, wanted(request)?).await?.done())
    }
}

fn wanted(request: &WriteRequest) -> Result<&UpdateRecord, Fault> {
    match &request.intent {
        Intent::UpdateRecord(update) => Ok(update),
        Intent::PlaceOrder(_) | Intent::IssueInvoice(_) => Err(Fault::Unsupported),
    }
}
