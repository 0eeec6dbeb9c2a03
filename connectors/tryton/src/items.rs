//! What item codes stand for in Tryton: product, revenue account and taxes of lines.

use std::collections::{BTreeMap, btree_map::Entry};

use crosstie_sdk::{
    Fault, ItemMapping, Settings, WriteRequest,
    domain::{ItemCode, integration::Intent},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    TrytonSettings,
    rest::{Rest, Search},
    wire::{self, ItemAccount, ItemProduct, ItemTax},
};

/// The longest code or name that is looked for, in characters.
const LONGEST: usize = 200;

/// What a line goes out with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemSettings {
    /// The product; that of the connection when missing.
    product: Option<Reference>,
    /// The revenue account of invoice lines; the product's when missing.
    account: Option<Reference>,
    /// The taxes; those of the connection when missing.
    taxes: Option<Vec<Reference>>,
}

/// A record in Tryton, by its id or by what people there call it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "an id or a text was expected")]
enum Reference {
    Id(i64),
    Text(String),
}

/// A line's product, account and taxes as they are in Tryton.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Item {
    /// The product.
    pub(crate) product: Option<i64>,
    /// The product's unit; none where the connection's own product is sold.
    pub(crate) unit: Option<i64>,
    /// The revenue account.
    pub(crate) account: Option<i64>,
    /// The taxes.
    pub(crate) taxes: Vec<i64>,
    /// Whether an item code or the default said so; else the settings of the connection alone.
    pub(crate) is_mapped: bool,
}

/// What the lines of a request stand for, by their codes.
pub(crate) type Items = BTreeMap<Option<ItemCode>, Item>;

impl std::fmt::Display for Reference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(formatter, "{id}"),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

impl ItemSettings {
    /// What can be told of an entry without asking Tryton.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let fits = |reference: &Reference| match reference {
            Reference::Id(id) => *id > 0,
            Reference::Text(text) => (1..=LONGEST).contains(&text.chars().count()) && !text.contains('\0'),
        };
        let one = [("product", &self.product), ("account", &self.account)];
        let one = one.into_iter().filter_map(|(key, reference)| Some((key, reference.as_ref()?)));
        let taxes = self.taxes.iter().flatten().map(|tax| ("taxes", tax));
        for (key, reference) in one.chain(taxes) {
            if !fits(reference) {
                return Err((key, format!("an id is more than 0, and a text has 1 to {LONGEST} characters")));
            }
        }
        let taxes = self.taxes.as_deref().unwrap_or_default();
        if taxes.iter().enumerate().any(|(place, tax)| taxes[..place].contains(tax)) {
            return Err(("taxes", "a tax is named twice".to_owned()));
        }
        Ok(())
    }
}

/// What a line with this item code goes out with, by the names of the settings.
pub(crate) fn codes(settings: &Settings, code: Option<&ItemCode>) -> Result<BTreeMap<String, String>, Fault> {
    let own: TrytonSettings = settings.read().map_err(|error| Fault::Bug { why: error.to_string() })?;
    let found = ItemMapping::entry(own.items.as_ref(), code)?;
    let entry = found.as_ref().map(|found| found.entry);
    let product = entry.and_then(|entry| entry.product.as_ref()).map(ToString::to_string);
    let account = entry.and_then(|entry| entry.account.as_ref()).map(ToString::to_string);
    let taxes = entry.and_then(|entry| entry.taxes.as_ref()).map(|taxes| listed(taxes));
    let pairs = [
        // The account of the connection is one among several that the product's category may overrule.
        ("product", product.or_else(|| own.product.map(|id| id.to_string()))),
        ("account", account),
        ("taxes", taxes.or_else(|| Some(listed(&own.taxes)).filter(|taxes| !taxes.is_empty()))),
    ];
    Ok(pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn listed<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What the lines of a request stand for, looked up in Tryton once for each code.
pub(crate) async fn of(rest: &Rest<'_>, request: &WriteRequest) -> Result<Items, Fault> {
    let mut items = Items::new();
    for (_, code) in request.intent.lines() {
        if let Entry::Vacant(place) = items.entry(code.cloned()) {
            place.insert(resolve(rest, code, &request.intent).await?);
        }
    }
    Ok(items)
}

async fn resolve(rest: &Rest<'_>, code: Option<&ItemCode>, intent: &Intent) -> Result<Item, Fault> {
    let own = &rest.settings;
    let mut item = Item { product: own.product, taxes: own.taxes.clone(), ..Item::default() };
    let Some(found) = ItemMapping::entry(own.items.as_ref(), code)? else { return Ok(item) };
    item.is_mapped = true;
    let at = |key: &str| format!("{}.{key}", found.path);
    if let Some(wanted) = &found.entry.product {
        let product = product(rest, wanted, &at("product")).await?;
        (item.product, item.unit) = (Some(product.id), product.default_uom);
        item.account = product.template.and_then(|template| template.account_category?.account_revenue);
    }
    // Orders name no accounts.
    if let (Some(wanted), Intent::IssueInvoice(_)) = (&found.entry.account, intent) {
        item.account = Some(account(rest, wanted, &at("account")).await?);
    }
    if let Some(wanted) = &found.entry.taxes {
        item.taxes.clear();
        for (place, wanted) in wanted.iter().enumerate() {
            item.taxes.push(tax(rest, wanted, &at(&format!("taxes.{place}"))).await?);
        }
    }
    Ok(item)
}

async fn product(rest: &Rest<'_>, wanted: &Reference, path: &str) -> Result<ItemProduct, Fault> {
    let fields = &["active", "salable", "default_uom", "template.account_category.account_revenue"];
    let look = Look { model: "product.product", called: "product", name: "code", fields, of_company: false };
    let product: ItemProduct = wire::read(find(rest, look, (wanted, path)).await?)?;
    if product.active == Some(false) {
        return Err(Fault::rejected(path, format!("the product {wanted} is not active in Tryton")));
    }
    if product.salable == Some(false) {
        return Err(Fault::rejected(path, format!("the product {wanted} is not sold in Tryton")));
    }
    // Tryton would take the draft and then not post it.
    if product.template.as_ref().is_none_or(|template| template.account_category.is_none()) {
        return Err(Fault::rejected(path, format!("the product {wanted} has no account category in Tryton")));
    }
    Ok(product)
}

async fn account(rest: &Rest<'_>, wanted: &Reference, path: &str) -> Result<i64, Fault> {
    let fields = &["active", "closed", "company", "type.revenue"];
    let look = Look { model: "account.account", called: "account", name: "code", fields, of_company: true };
    let account: ItemAccount = wire::read(find(rest, look, (wanted, path)).await?)?;
    let refused = |why: &str| Err(Fault::rejected(path, format!("the account {wanted} {why}")));
    match account {
        ItemAccount { company: Some(company), .. } if company != rest.settings.company => {
            refused("is of another company in Tryton")
        }
        ItemAccount { active: Some(false), .. } => refused("is not active in Tryton"),
        ItemAccount { closed: Some(true), .. } => refused("is closed in Tryton"),
        ItemAccount { kind: Some(kind), .. } if kind.revenue == Some(false) => refused("is none for revenue in Tryton"),
        _ => Ok(account.id),
    }
}

async fn tax(rest: &Rest<'_>, wanted: &Reference, path: &str) -> Result<i64, Fault> {
    let fields = &["active", "company"];
    let look = Look { model: "account.tax", called: "tax", name: "name", fields, of_company: true };
    let tax: ItemTax = wire::read(find(rest, look, (wanted, path)).await?)?;
    if tax.company.is_some_and(|company| company != rest.settings.company) {
        return Err(Fault::rejected(path, format!("the tax {wanted} is of another company in Tryton")));
    }
    if tax.active == Some(false) {
        return Err(Fault::rejected(path, format!("the tax {wanted} is not active in Tryton")));
    }
    Ok(tax.id)
}

/// How a kind of record is looked for.
struct Look {
    model: &'static str,
    /// What people call it.
    called: &'static str,
    /// The field by which people name it.
    name: &'static str,
    fields: &'static [&'static str],
    of_company: bool,
}

/// The record that is meant, also one that is not in use any more.
async fn find(rest: &Rest<'_>, look: Look, (wanted, path): (&Reference, &str)) -> Result<Value, Fault> {
    let Look { model, called, name, fields, of_company } = look;
    let missing = || Fault::rejected(path, format!("Tryton has no {called} {wanted}"));
    let text = match wanted {
        Reference::Id(id) => {
            let found = rest.read(model, *id, fields).await;
            return found.map_err(|fault| if fault == Fault::Gone { missing() } else { fault });
        }
        Reference::Text(text) => text,
    };
    let mut domain = vec![json!([name, "=", text]), json!(["active", "in", [true, false]])];
    if of_company {
        domain.push(json!(["company", "=", rest.settings.company]));
    }
    let search = Search { model, fields, domain: Value::Array(domain), order: json!([["id", "ASC"]]), size: 100 };
    let mut found = rest.search(search).await?;
    // One that is in use is meant before others of its name that are not.
    let in_use = |record: &Value| record["active"] != false;
    if found.iter().any(in_use) {
        found.retain(in_use);
    }
    match found.len() {
        0 => Err(missing()),
        1 => Ok(found.remove(0)),
        several => {
            let why = format!(
                "Tryton has {several} records of the kind {called} that are called {wanted}: name one by its id"
            );
            Err(Fault::rejected(path, why))
        }
    }
}

/// What an entry may hold, as a JSON schema.
pub(crate) fn schema() -> Value {
    let reference = |description: &str| json!({ "description": description, "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string" }] });
    let entry = json!({
        "description": "What a line goes out with.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "product": reference("The product, by its id or its code; that of the connection when missing."),
            "account": reference("The revenue account, by its id or its code; the product's when missing."),
            "taxes": {
                "description": "The taxes; those of the connection when missing.",
                "type": "array",
                "items": reference("A tax, by its id or its name."),
            },
        },
    });
    ItemMapping::<ItemSettings>::schema(&entry)
}
