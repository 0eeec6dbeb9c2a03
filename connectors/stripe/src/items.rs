//! What item codes stand for at Stripe: product and taxes of the line of an invoice.

use std::collections::BTreeMap;

use crosstie_sdk::{
    CustomFields, Fault, ItemMapping, Net, Settings, SettingsError,
    domain::{ItemCode, integration::Entity},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api,
    wire::{Line, Product, TaxRate},
    writer::pair,
};

/// The most tax rates that Stripe takes for one line.
const MOST_TAX_RATES: usize = 5;

/// What a connection to Stripe is configured with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StripeSettings {
    /// What item codes stand for.
    pub(crate) items: Option<ItemMapping<StripeItem>>,
    /// Whether Stripe works out the taxes of invoices, from the products' tax codes and the customer's address.
    #[serde(default)]
    pub(crate) automatic_tax: bool,
    /// Entries of customers' metadata that are read as fields of the customer's own.
    #[serde(default)]
    pub(crate) custom_fields: CustomFields,
}

/// What a line goes out with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StripeItem {
    /// The product that is billed.
    product: Option<String>,
    /// The tax code that the product must have.
    tax_code: Option<String>,
    /// Whether the price holds taxes.
    tax_behavior: Option<TaxBehavior>,
    /// The tax rates of the line.
    #[serde(default)]
    tax_rates: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TaxBehavior {
    Exclusive,
    Inclusive,
    Unspecified,
}

/// What one line goes out with, and where that is said.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    path: String,
    item: StripeItem,
}

impl StripeSettings {
    /// The settings of a connection, with everything that can be told of them without asking Stripe.
    pub(crate) fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let own: Self = settings.read()?;
        if let Some(items) = &own.items {
            items.check(|item| item.check(own.automatic_tax))?;
        }
        Ok(own)
    }
}

impl StripeItem {
    fn check(&self, automatic_tax: bool) -> Result<(), (&'static str, String)> {
        let ids = [("product", self.product.as_deref()), ("tax_code", self.tax_code.as_deref())];
        let rates = self.tax_rates.iter().map(|rate| ("tax_rates", Some(rate.as_str())));
        for (key, id) in ids.into_iter().chain(rates) {
            if id.is_some_and(|id| id.is_empty() || id.chars().any(|sign| sign.is_whitespace() || sign.is_control())) {
                return Err((key, "an id at Stripe has at least one character and no spaces".to_owned()));
            }
        }
        if self.product.is_none() && self.tax_code.is_some() {
            return Err(("tax_code", "at Stripe a tax code is the product's: name a `product`".to_owned()));
        }
        match self.tax_behavior {
            Some(TaxBehavior::Inclusive) => {
                let why = "amounts of the hub hold no taxes; `inclusive` would bill less than was decided";
                return Err(("tax_behavior", why.to_owned()));
            }
            Some(_) if self.product.is_none() => {
                return Err((
                    "tax_behavior",
                    "at Stripe this belongs to the price of a product: name a `product`".into(),
                ));
            }
            _ => {}
        }
        if automatic_tax && !self.tax_rates.is_empty() {
            let why = "with `automatic_tax` Stripe works out the taxes, and takes no rates";
            return Err(("tax_rates", why.to_owned()));
        }
        if self.tax_rates.len() > MOST_TAX_RATES {
            return Err(("tax_rates", format!("a line has at most {MOST_TAX_RATES} tax rates at Stripe")));
        }
        Ok(())
    }

    fn says_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a line with this item code goes out with; `None` when nothing but its text and amount.
pub(crate) fn chosen(settings: &Settings, code: Option<&ItemCode>) -> Result<Option<Chosen>, Fault> {
    let own: StripeSettings = settings.read().map_err(|error| Fault::Bug { why: error.to_string() })?;
    let found = ItemMapping::entry(own.items.as_ref(), code)?;
    let chosen = found.map(|found| Chosen { path: found.path, item: found.entry.clone() });
    Ok(chosen.filter(|chosen| !chosen.item.says_nothing()))
}

impl Chosen {
    /// The same by the names of the settings.
    pub(crate) fn codes(&self) -> BTreeMap<String, String> {
        let behavior = self.item.tax_behavior.map(|behavior| behavior.as_str().to_owned());
        let rates = Some(self.item.tax_rates.join(", ")).filter(|rates| !rates.is_empty());
        let pairs = [
            ("product", self.item.product.clone()),
            ("tax_code", self.item.tax_code.clone()),
            ("tax_behavior", behavior),
            ("tax_rates", rates),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Asks Stripe whether product and tax rates are there and in use.
    pub(crate) async fn check(&self, net: &Net) -> Result<(), Fault> {
        let at = |key: &str, why: String| Fault::rejected(format!("{}.{key}", self.path), why);
        if let Some(id) = &self.item.product {
            let product: Option<Product> = api::fetch(net, "products", id).await?;
            let product = product.filter(|product| !product.deleted);
            let product = product.ok_or_else(|| at("product", format!("Stripe has no product {id}")))?;
            if product.active == Some(false) {
                return Err(at("product", format!("the product {id} is archived at Stripe")));
            }
            let has = product.tax_code.as_ref().map(|code| code.id());
            if let Some(wanted) = self.item.tax_code.as_deref().filter(|wanted| has != Some(*wanted)) {
                let has = has.unwrap_or("none");
                return Err(at("tax_code", format!("the product {id} has the tax code {has} at Stripe, not {wanted}")));
            }
        }
        for (place, id) in self.item.tax_rates.iter().enumerate() {
            let key = format!("tax_rates.{place}");
            let rate: Option<TaxRate> = api::fetch(net, "tax_rates", id).await?;
            let rate = rate.ok_or_else(|| at(&key, format!("Stripe has no tax rate {id}")))?;
            if rate.active == Some(false) {
                return Err(at(&key, format!("the tax rate {id} is archived at Stripe")));
            }
            if rate.inclusive == Some(true) {
                let why = format!("the tax rate {id} is part of the price, and amounts of the hub hold no taxes");
                return Err(at(&key, why));
            }
        }
        Ok(())
    }

    /// What the item of an invoice is made with beside customer, invoice and description.
    pub(crate) fn form(&self, amount: i64, currency: &str) -> Vec<(String, String)> {
        let mut form = match &self.item.product {
            Some(product) => vec![
                pair("price_data[currency]", currency),
                pair("price_data[product]", product),
                pair("price_data[unit_amount]", &amount.to_string()),
            ],
            None => plain(amount, currency),
        };
        form.extend(self.item.tax_behavior.map(|behavior| pair("price_data[tax_behavior]", behavior.as_str())));
        let rates = self.item.tax_rates.iter().enumerate();
        form.extend(rates.map(|(place, rate)| pair(&format!("tax_rates[{place}]"), rate)));
        form
    }

    /// Whether a line has this product and these tax rates.
    pub(crate) fn is_on(&self, line: &Line) -> bool {
        let product = line.price.as_ref().and_then(|price| price.product.as_ref()).map(|product| product.id());
        let mut has: Vec<&str> = line.tax_rates.iter().flatten().map(|rate| rate.id.as_str()).collect();
        let mut wanted: Vec<&str> = self.item.tax_rates.iter().map(String::as_str).collect();
        has.sort_unstable();
        wanted.sort_unstable();
        has == wanted && self.item.product.as_deref().is_none_or(|wanted| product == Some(wanted))
    }

    /// Tells apart what a line may go out with, in 16 letters and digits: Stripe binds a key to what was sent under it.
    pub(crate) fn fingerprint(&self) -> String {
        let text = format!("{:?}", self.codes());
        // FNV-1a, which gives the same for the same text on every machine.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }
}

impl TaxBehavior {
    fn as_str(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Inclusive => "inclusive",
            Self::Unspecified => "unspecified",
        }
    }
}

/// The item of an invoice that has nothing but its amount.
pub(crate) fn plain(amount: i64, currency: &str) -> Vec<(String, String)> {
    vec![pair("amount", &amount.to_string()), pair("currency", currency)]
}

/// What the settings may hold, as a JSON schema.
pub(crate) fn schema() -> Value {
    let entry = json!({
        "description": "What a line goes out with.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "product": { "description": "Id of the product that is billed, such as prod_….", "type": "string" },
            "tax_code": {
                "description": "The tax code that the product must have, such as txcd_…; needs `product`.",
                "type": "string",
            },
            "tax_behavior": {
                "description": "What Stripe is told of the price; needs `product`.",
                "enum": ["exclusive", "unspecified"],
            },
            "tax_rates": {
                "description": "Ids of the tax rates of the line, such as txr_….",
                "type": "array",
                "maxItems": MOST_TAX_RATES,
                "items": { "type": "string" },
            },
        },
    });
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "items": ItemMapping::<StripeItem>::schema(&entry),
            "automatic_tax": {
                "description": "Whether Stripe works out the taxes of invoices; then entries name no `tax_rates`.",
                "type": "boolean",
            },
            "custom_fields": CustomFields::schema(&[Entity::Account]),
        },
    })
}
