//! Writes orders and invoices; values of customers are set in `update.rs`.
//!
//! Stripe keeps idempotency keys for a day only, so every step first looks for what an earlier call left behind.

use std::collections::BTreeMap;

use crosstie_sdk::{
    Answer, Bag, Fault, Net, Settings, WriteRequest, Writer, Written,
    domain::{
        ItemCode,
        integration::{Claim, Customer as Buyer, EffectKey, Intent, IntentKind, IssueInvoice, PlaceOrder},
    },
};

use crate::{
    api,
    items::{self, Chosen, StripeSettings},
    listing::list,
    mapping, update,
    wire::{Customer, Invoice, List, Product},
};

pub(crate) struct StripeWriter;

#[async_trait::async_trait]
impl Writer for StripeWriter {
    async fn apply(&self, net: &Net, request: &WriteRequest) -> Result<Written, Fault> {
        match &request.intent {
            Intent::PlaceOrder(order) => {
                let customer = ensure_customer(net, request, &order.customer).await?;
                place_order(net, &request.key, order, customer).await
            }
            Intent::IssueInvoice(wanted) => issue_invoice(net, request, wanted).await,
            Intent::UpdateRecord(wanted) => update::apply(net, &request.key, wanted).await,
        }
    }

    fn line_codes(
        &self,
        settings: &Settings,
        kind: IntentKind,
        item_code: Option<&ItemCode>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        // An order is a product of its own here and has no lines.
        if kind != IntentKind::IssueInvoice {
            return Ok(BTreeMap::new());
        }
        Ok(items::chosen(settings, item_code)?.map(|chosen| chosen.codes()).unwrap_or_default())
    }

    async fn find(&self, net: &Net, request: &WriteRequest) -> Result<Option<Written>, Fault> {
        match &request.intent {
            Intent::PlaceOrder(order) => {
                let product = find_product(net, order).await?;
                Ok(product.map(|product| order_written(product, request.customer_remote_id.clone())))
            }
            Intent::IssueInvoice(wanted) => {
                let customer = match &request.customer_remote_id {
                    Some(id) => Some(id.clone()),
                    None => find_customer(net, &wanted.customer).await?,
                };
                let Some(customer) = customer else { return Ok(None) };
                let invoice = find_invoice(net, &customer, &request.key).await?;
                Ok(invoice.filter(|invoice| !is_draft(invoice)).map(|invoice| invoice_written(&invoice, customer)))
            }
            Intent::UpdateRecord(wanted) => update::find(net, wanted).await,
        }
    }
}

async fn ensure_customer(net: &Net, request: &WriteRequest, buyer: &Buyer) -> Result<String, Fault> {
    match known_customer(net, request, buyer).await? {
        Some(id) => Ok(id),
        None => make_customer(net, buyer).await,
    }
}

async fn known_customer(net: &Net, request: &WriteRequest, buyer: &Buyer) -> Result<Option<String>, Fault> {
    match &request.customer_remote_id {
        Some(id) => Ok(Some(id.clone())),
        None => find_customer(net, buyer).await,
    }
}

async fn make_customer(net: &Net, buyer: &Buyer) -> Result<String, Fault> {
    let account = buyer.account.to_string();
    let mut form = vec![pair("name", &buyer.name), pair("metadata[crosstie_account]", &account)];
    form.extend(buyer.email.as_ref().map(|email| pair("email", email)));
    let answer = api::post(net, "/v1/customers", &format!("customer:{account}"), &form).await?;
    if !answer.is_success() && api::error_of(&answer).kind.as_deref() == Some("idempotency_error") {
        // It was made a moment ago under another name, and the search does not know it yet.
        return Err(Fault::Transient { why: "the customer has just been made with other details".to_owned() });
    }
    Ok(answer.json_or::<Customer>(api::refusal)?.id)
}

/// The customer that was made for the account, by its metadata. The search lags by up to a minute, in which the
/// idempotency key still holds. The oldest counts, should there be several.
async fn find_customer(net: &Net, buyer: &Buyer) -> Result<Option<String>, Fault> {
    let query = format!("metadata['crosstie_account']:'{}'", buyer.account);
    let call = api::get("/v1/customers/search").query("query", query).query("limit", "100");
    let found: List<Customer> = match net.send(call).await {
        Ok(answer) => answer.json_or(api::refusal)?,
        Err(Fault::Gone) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let live = found
        .data
        .into_iter()
        .filter(|customer| !customer.deleted && is(&customer.metadata, "crosstie_account", &buyer.account.to_string()));
    Ok(live.min_by_key(|customer| (customer.created, customer.id.clone())).map(|customer| customer.id))
}

async fn place_order(net: &Net, key: &EffectKey, order: &PlaceOrder, customer: String) -> Result<Written, Fault> {
    if let Some(product) = find_product(net, order).await? {
        return Ok(order_written(product, Some(customer)));
    }
    let mut form = vec![
        pair("id", &order.order.to_string()),
        pair("name", &order.title),
        pair("metadata[crosstie_order]", &order.order.to_string()),
        pair("metadata[crosstie_sow]", &order.sow.to_string()),
        pair("metadata[total]", &order.total.to_string()),
    ];
    form.extend(order.po_number.as_ref().map(|number| pair("metadata[po_number]", number)));
    let answer = api::post(net, "/v1/products", key.as_str(), &form).await?;
    if !answer.is_success() && api::error_of(&answer).code.as_deref() == Some("resource_already_exists") {
        let product = find_product(net, order).await?.ok_or_else(|| api::refusal(&answer))?;
        return Ok(order_written(product, Some(customer)));
    }
    Ok(order_written(answer.json_or(api::refusal)?, Some(customer)))
}

/// The product that stands for the order. One with the order's id that says it is something else is refused.
async fn find_product(net: &Net, order: &PlaceOrder) -> Result<Option<Product>, Fault> {
    let Some(product) = api::fetch::<Product>(net, "products", &order.order.to_string()).await? else {
        return Ok(None);
    };
    let ours = is(&product.metadata, "crosstie_order", &order.order.to_string())
        && is(&product.metadata, "crosstie_sow", &order.sow.to_string())
        && is(&product.metadata, "total", &order.total.to_string());
    if ours { Ok(Some(product)) } else { Err(Fault::rejected("id", "another product has the id of this order")) }
}

/// What the line stands for at Stripe is looked at before anything is made, and not any more once it stands there.
async fn issue_invoice(net: &Net, request: &WriteRequest, wanted: &IssueInvoice) -> Result<Written, Fault> {
    let key = &request.key;
    let settings = net.settings();
    let chosen = items::chosen(&settings, wanted.item_code.as_ref())?;
    let (customer, is_checked) = match known_customer(net, request, &wanted.customer).await? {
        Some(customer) => (customer, false),
        None => {
            check(net, chosen.as_ref()).await?;
            (make_customer(net, &wanted.customer).await?, true)
        }
    };
    let found = find_invoice(net, &customer, key).await?;
    if let Some(invoice) = found.as_ref().filter(|invoice| !is_draft(invoice)) {
        return Ok(invoice_written(invoice, customer));
    }
    let lines = found.as_ref().and_then(|invoice| invoice.lines.as_ref());
    let has_lines = lines.is_some_and(|lines| !lines.data.is_empty());
    if !has_lines && !is_checked {
        check(net, chosen.as_ref()).await?;
    }
    let invoice = match found {
        Some(invoice) => invoice,
        None => draft(net, key, wanted, &customer).await?,
    };
    let amount = mapping::stripe_amount(wanted.amount)?;
    let currency = wanted.amount.currency.code().to_ascii_lowercase();
    match invoice.lines.as_ref() {
        Some(lines) if !lines.data.is_empty() => {
            // Somebody can have edited the draft: what was not decided is not issued.
            let as_decided = !lines.has_more && lines.data.len() == 1 && lines.data[0].amount == amount;
            if !as_decided || invoice.currency.as_deref() != Some(&currency) {
                return Err(Fault::rejected("lines", "the draft was changed at Stripe"));
            }
            if chosen.as_ref().is_some_and(|chosen| !chosen.is_on(&lines.data[0])) {
                let why = "the draft has another product or other tax rates than the settings name now: delete its line \
                           at Stripe, then send it again";
                return Err(Fault::rejected("lines", why));
            }
        }
        _ => {
            let (more, key) = match &chosen {
                None => (items::plain(amount, &currency), format!("{}:item", key.as_str())),
                Some(chosen) => {
                    let key = format!("{}:item:{}", key.as_str(), chosen.fingerprint());
                    (chosen.form(amount, &currency), key)
                }
            };
            let mut form = vec![
                pair("customer", &customer),
                pair("invoice", &invoice.id),
                pair("description", &wanted.description),
            ];
            form.extend(more);
            success(api::post(net, "/v1/invoiceitems", &key, &form).await?)?;
        }
    }
    let invoice = finalize(net, key, &invoice.id).await?;
    Ok(invoice_written(&invoice, customer))
}

/// Asks Stripe whether what a line stands for is there and in use.
async fn check(net: &Net, chosen: Option<&Chosen>) -> Result<(), Fault> {
    match chosen {
        Some(chosen) => chosen.check(net).await,
        None => Ok(()),
    }
}

/// The draft comes before its item: an item without an invoice would go onto whatever invoice comes next.
///
/// It is one that can be mailed, with a due date, unless Stripe says that it has no e-mail address of the customer;
/// what the hub knows of one does not count. Then it is one that a person has to see to: Stripe takes no due date for
/// it, and `auto_advance` keeps it from being charged. Another key is used, since Stripe binds keys to parameters.
async fn draft(net: &Net, key: &EffectKey, wanted: &IssueInvoice, customer: &str) -> Result<Invoice, Fault> {
    let common = [
        pair("customer", customer),
        pair("pending_invoice_items_behavior", "exclude"),
        pair("auto_advance", "false"),
        pair("description", &wanted.title),
        pair("metadata[crosstie_invoice]", &wanted.invoice.to_string()),
        pair("metadata[crosstie_order]", &wanted.order.to_string()),
        pair("metadata[crosstie_milestone]", &wanted.milestone.to_string()),
        pair("metadata[crosstie_effect]", key.as_str()),
    ];
    let settings: StripeSettings = net.settings().read().map_err(|error| Fault::Bug { why: error.to_string() })?;
    // Said only where it is wanted: Stripe's own settings decide elsewhere. Another key is used then, too.
    let taxed = settings.automatic_tax.then(|| pair("automatic_tax[enabled]", "true"));
    let as_taxed = if settings.automatic_tax { ":automatic-tax" } else { "" };
    let common = [&common[..], taxed.as_slice()].concat();
    let to_mail = [pair("collection_method", "send_invoice"), pair("days_until_due", "30")];
    let form = [&common[..], &to_mail].concat();
    let answer = api::post(net, "/v1/invoices", &format!("{}:draft{as_taxed}", key.as_str()), &form).await?;
    if !api::lacks_email(&answer) {
        return answer.json_or(api::refusal);
    }
    let form = [&common[..], &[pair("collection_method", "charge_automatically")]].concat();
    let key = format!("{}:draft-without-email{as_taxed}", key.as_str());
    api::post(net, "/v1/invoices", &key, &form).await?.json_or(api::refusal)
}

async fn finalize(net: &Net, key: &EffectKey, id: &str) -> Result<Invoice, Fault> {
    let path = api::object_path("invoices", id).ok_or(Fault::Gone)?;
    // Said once more, since from here on Stripe would charge by itself.
    let form = [pair("auto_advance", "false")];
    let answer = api::post(net, format!("{path}/finalize"), &format!("{}:finalize", key.as_str()), &form).await?;
    if answer.is_success() {
        return answer.json();
    }
    // Refused also when it is final already, for which Stripe documents no code: see how it stands.
    let now: Option<Invoice> = api::fetch(net, "invoices", id).await?;
    now.filter(|invoice| !is_draft(invoice)).ok_or_else(|| api::refusal(&answer))
}

/// The invoice that carries the key: a finished one before a draft, then the oldest.
async fn find_invoice(net: &Net, customer: &str, key: &EffectKey) -> Result<Option<Invoice>, Fault> {
    let mut best: Option<Invoice> = None;
    let mut after: Option<String> = None;
    loop {
        let call = api::get("/v1/invoices").query("customer", customer);
        let page: List<Invoice> = list(net, call, 100, after.as_deref()).await?;
        after = page.data.last().map(|invoice| invoice.id.clone());
        let ours = page.data.into_iter().filter(|invoice| is(&invoice.metadata, "crosstie_effect", key.as_str()));
        best = best.into_iter().chain(ours).min_by_key(|found| (is_draft(found), found.created, found.id.clone()));
        if !page.has_more || after.is_none() {
            return Ok(best);
        }
    }
}

fn order_written(product: Product, customer: Option<String>) -> Written {
    Written { remote_id: product.id, remote_version: None, customer_remote_id: customer, claim: None }
}

fn invoice_written(invoice: &Invoice, customer: String) -> Written {
    let claim = Some(Claim::Invoice(mapping::invoice(invoice, &mut Bag::default())));
    let remote_version = Some(mapping::invoice_version(invoice));
    Written { remote_id: invoice.id.clone(), remote_version, customer_remote_id: Some(customer), claim }
}

fn is_draft(invoice: &Invoice) -> bool {
    invoice.status.as_deref() == Some("draft")
}

fn is(metadata: &Option<BTreeMap<String, String>>, name: &str, value: &str) -> bool {
    metadata.as_ref().and_then(|metadata| metadata.get(name)).is_some_and(|found| found == value)
}

fn success(answer: Answer) -> Result<(), Fault> {
    if answer.is_success() { Ok(()) } else { Err(api::refusal(&answer)) }
}

pub(crate) fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
