//! Values that are set in a party that exists. Tryton's REST interface knows no conditional write, so the party is read
//! before; the write itself is one call, which changes the party and its e-mail address together.

use crosstie_sdk::{Comparison, Fault, FieldChange, FieldError, Net, Written, domain::integration::UpdateRecord};
use serde_json::{Map, Value, json};

use crate::{
    Tryton, account, mapping,
    rest::{Rest, number},
    wire::{self, ContactMechanism, Contacts, Stamp},
};

/// The fields of an account that can be set.
pub(crate) const FIELDS: &[&str] = &["billing_email", "name"];

/// How often a party is looked at again when another transaction of Tryton got in between.
const ROUNDS: u32 = 5;

/// Sets what differs; a party that has the values already is left alone.
pub(crate) async fn apply(net: &Net, update: &UpdateRecord) -> Result<Written, Fault> {
    let rest = Rest::of(net)?;
    for _ in 0..ROUNDS {
        let compared = Comparison::read(&Tryton, net, update).await?;
        if let Some(done) = compared.done() {
            return Ok(done);
        }
        let party = number(&update.remote_id)?;
        let values = values(&rest, party, &compared.left).await?;
        match rest.write(account::MODEL, party, &values, &["create_date", "write_date"]).await {
            Ok(raw) => return Ok(Written::updated(mapping::key(wire::read::<Stamp>(raw)?))),
            Err(Fault::Stale) => {}
            Err(fault) => return Err(named(fault, &compared.left)),
        }
    }
    Err(Fault::Transient { why: "other transactions keep getting in between".to_owned() })
}

/// The party, when it has the values.
pub(crate) async fn find(net: &Net, update: &UpdateRecord) -> Result<Option<Written>, Fault> {
    Ok(Comparison::read(&Tryton, net, update).await?.done())
}

/// The party's values in Tryton's terms.
async fn values(rest: &Rest<'_>, party: i64, changes: &[FieldChange]) -> Result<Value, Fault> {
    let mut values = Map::new();
    for change in changes {
        if change.field == "name" {
            values.insert("name".to_owned(), change.required::<String>()?.into());
        } else {
            let contacts = rest.read(account::MODEL, party, &["contact_mechanisms.type"]).await?;
            let contacts: Contacts = wire::read(contacts)?;
            values.insert("contact_mechanisms".to_owned(), email(&contacts.contact_mechanisms, change.value()?)?);
        }
    }
    Ok(Value::Object(values))
}

/// What makes this the party's e-mail address. The first active one counts as such; it is put out of use rather than
/// deleted, since others may refer to it.
fn email(contacts: &[ContactMechanism], wanted: Option<String>) -> Result<Value, Fault> {
    let emails: Vec<i64> =
        contacts.iter().filter(|contact| contact.kind == "email").map(|contact| contact.id).collect();
    match (emails.as_slice(), wanted) {
        ([], Some(wanted)) => Ok(json!([["create", [{ "type": "email", "value": wanted }]]])),
        ([first, ..], Some(wanted)) => Ok(json!([["write", [first], { "value": wanted }]])),
        ([], None) => Ok(json!([])),
        ([only], None) => Ok(json!([["write", [only], { "active": false }]])),
        ([_, _, ..], None) => Err(Fault::rejected("email", "the party has other e-mail addresses, which would count")),
    }
}

/// Tryton names fields in its sentences only: the refusal is given the fields that were sent.
fn named(fault: Fault, changes: &[FieldChange]) -> Fault {
    let Fault::Rejected { errors } = fault else { return fault };
    let sent = || changes.iter().map(|change| if change.field == "name" { "name" } else { "email" });
    let name = |error: FieldError| match error.field.as_str() {
        "" => FieldError { field: sent().collect::<Vec<_>>().join(", "), ..error },
        _ => error,
    };
    Fault::Rejected { errors: errors.into_iter().map(name).collect() }
}
