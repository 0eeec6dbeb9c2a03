//! Values that are set in a customer that exists. Stripe knows no conditional write, so the customer is read before.

use crosstie_sdk::{
    Comparison, Fault, Net, Reader, Written,
    domain::integration::{EffectKey, UpdateRecord},
};

use crate::{Stripe, api, customer::Customers, wire::Customer, writer::pair};

/// The fields of an account that can be set.
pub(crate) const FIELDS: &[&str] = &["billing_email", "name"];

/// Sets what differs; a customer that has the values already is left alone.
pub(crate) async fn apply(net: &Net, key: &EffectKey, update: &UpdateRecord) -> Result<Written, Fault> {
    let compared = Comparison::read(&Stripe, net, update).await?;
    if let Some(done) = compared.done() {
        return Ok(done);
    }
    let mut form = Vec::new();
    // What is left can be less at another try, and Stripe binds a key to the parameters that came with it.
    let mut key = key.as_str().to_owned();
    for change in &compared.left {
        key.push(':');
        key.push_str(&change.field);
        form.push(match change.field.as_str() {
            "name" => pair("name", &change.required::<String>()?),
            // An empty text unsets it.
            _ => pair("email", &change.value::<String>()?.unwrap_or_default()),
        });
    }
    let path = api::object_path("customers", &update.remote_id).ok_or(Fault::Gone)?;
    let customer: Customer = api::post(net, path, &key, &form).await?.json_or(api::refusal)?;
    Ok(Written::updated(Customers.key(&customer)))
}

/// The customer, when it has the values.
pub(crate) async fn find(net: &Net, update: &UpdateRecord) -> Result<Option<Written>, Fault> {
    Ok(Comparison::read(&Stripe, net, update).await?.done())
}
