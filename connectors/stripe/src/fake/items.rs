//! What is billed: products, tax rates, and the items of invoices with what they come to.

use crosstie_sdk::HttpResponse;
use serde_json::{Value, json};

use super::{
    request::{Asked, found, invalid, missing, refuse},
    store::{Store, find},
};

impl Store {
    pub(super) fn update_product(&mut self, asked: &Asked, id: &str) -> HttpResponse {
        let Some(product) = find(&mut self.products, id) else { return missing("product", id) };
        set_active(product, asked);
        if let Some(code) = asked.text("tax_code") {
            product["tax_code"] = json!(code);
        }
        found(product)
    }

    pub(super) fn create_tax_rate(&mut self, asked: &Asked) -> HttpResponse {
        let percentage = asked.text("percentage").and_then(hundredths);
        let (Some(_), Some(name)) = (percentage, asked.text("display_name")) else {
            return invalid("percentage", "Give display_name and percentage.");
        };
        let rate = json!({
            "id": asked.text("id").map(str::to_owned).unwrap_or_else(|| self.new_id("txr")),
            "object": "tax_rate",
            "active": true,
            "created": asked.now,
            "display_name": name,
            "inclusive": asked.text("inclusive") == Some("true"),
            "livemode": false,
            "percentage": asked.text("percentage"),
        });
        self.tax_rates.push(rate.clone());
        found(&rate)
    }

    pub(super) fn update_tax_rate(&mut self, asked: &Asked, id: &str) -> HttpResponse {
        let Some(rate) = find(&mut self.tax_rates, id) else { return missing("tax rate", id) };
        set_active(rate, asked);
        found(rate)
    }

    pub(super) fn add_item(&mut self, asked: &Asked) -> HttpResponse {
        let product = asked.text("price_data[product]").map(str::to_owned);
        if let Some(refusal) = product.as_deref().and_then(|id| unusable(&self.products, "price_data[product]", id)) {
            return refusal;
        }
        let rates: Vec<&str> = (0..5).filter_map(|place| asked.text(&format!("tax_rates[{place}]"))).collect();
        for (place, id) in rates.iter().enumerate() {
            if let Some(refusal) = unusable(&self.tax_rates, &format!("tax_rates[{place}]"), id) {
                return refusal;
            }
        }
        let rates: Vec<Value> =
            self.tax_rates.iter().filter(|rate| rates.iter().any(|id| rate["id"] == *id)).cloned().collect();
        let of_price = product.is_some();
        let given = |plain: &str, price: &str| if of_price { price.to_owned() } else { plain.to_owned() };
        let amount = asked.number(&given("amount", "price_data[unit_amount]"));
        let currency = asked.text(&given("currency", "price_data[currency]"));
        let (Some(amount), Some(currency)) = (amount, currency) else {
            return invalid("amount", "Give amount and currency.");
        };
        let (item, line, price) = (self.new_id("ii"), self.new_id("il"), self.new_id("price"));
        // Stripe makes a price, and where none is named a product, for every amount.
        let product = product.unwrap_or_else(|| self.new_id("prod"));
        let id = asked.text("invoice").unwrap_or_default();
        let Some(invoice) = find(&mut self.invoices, id) else {
            let why = format!("No such invoice: '{id}'");
            return refuse(400, "invalid_request_error", Some("resource_missing"), Some("invoice"), &why);
        };
        if invoice["status"] != "draft" {
            let (code, why) = (Some("invoice_not_editable"), "The invoice can no longer be changed.");
            return refuse(400, "invalid_request_error", code, Some("invoice"), why);
        }
        if Some(invoice["customer"].as_str().unwrap_or_default()) != asked.text("customer") {
            return invalid("customer", "The invoice is of another customer.");
        }
        let taxes: Vec<i64> = rates.iter().map(|rate| tax(amount, rate)).collect();
        invoice["currency"] = json!(currency);
        let amounts = taxes.iter().zip(&rates);
        let amounts = amounts.map(|(tax, rate)| json!({ "amount": tax, "inclusive": false, "tax_rate": rate["id"] }));
        if let Some(lines) = invoice["lines"]["data"].as_array_mut() {
            lines.push(json!({
                "id": line,
                "object": "line_item",
                "amount": amount,
                "currency": currency,
                "description": asked.text("description"),
                "invoice_item": item,
                "price": {
                    "id": price, "object": "price", "currency": currency, "product": product, "unit_amount": amount,
                    "tax_behavior": asked.text("price_data[tax_behavior]").unwrap_or("unspecified"),
                },
                "tax_amounts": amounts.collect::<Vec<_>>(),
                "tax_rates": rates,
                "type": "invoiceitem",
            }));
        }
        add_up(invoice);
        found(&json!({
            "id": item,
            "object": "invoiceitem",
            "amount": amount,
            "currency": currency,
            "customer": asked.text("customer"),
            "description": asked.text("description"),
            "invoice": id,
        }))
    }

    pub(super) fn delete_item(&mut self, id: &str) -> HttpResponse {
        let of_draft = |invoice: &&mut Value| invoice["status"] == "draft";
        for invoice in self.invoices.iter_mut().filter(of_draft) {
            let Some(lines) = invoice["lines"]["data"].as_array_mut() else { continue };
            if let Some(place) = lines.iter().position(|line| line["invoice_item"] == id) {
                lines.remove(place);
                add_up(invoice);
                return found(&json!({ "id": id, "object": "invoiceitem", "deleted": true }));
            }
        }
        missing("invoiceitem", id)
    }
}

/// What an invoice comes to by its lines; no tax where nothing is taxed.
fn add_up(invoice: &mut Value) {
    let lines = invoice["lines"]["data"].as_array().cloned().unwrap_or_default();
    let subtotal: i64 = lines.iter().filter_map(|line| line["amount"].as_i64()).sum();
    let taxes: Vec<Value> =
        lines.iter().flat_map(|line| line["tax_amounts"].as_array().cloned().unwrap_or_default()).collect();
    let tax: i64 = taxes.iter().filter_map(|tax| tax["amount"].as_i64()).sum();
    invoice["subtotal"] = json!(subtotal);
    invoice["tax"] = json!(Some(tax).filter(|_| !taxes.is_empty()));
    for name in ["total", "amount_due", "amount_remaining"] {
        invoice[name] = json!(subtotal + tax);
    }
}

fn set_active(record: &mut Value, asked: &Asked) {
    if let Some(active) = asked.text("active") {
        record["active"] = json!(active == "true");
    }
}

/// Why a record cannot be billed by, if it cannot.
fn unusable(records: &[Value], param: &str, id: &str) -> Option<HttpResponse> {
    match records.iter().find(|record| record["id"] == id) {
        None => {
            let (code, why) = (Some("resource_missing"), format!("No such object: '{id}'"));
            Some(refuse(400, "invalid_request_error", code, Some(param), &why))
        }
        Some(record) if record["active"] == false => Some(invalid(param, &format!("{id} is inactive."))),
        Some(_) => None,
    }
}

/// The tax on an amount, half a unit rounded up.
fn tax(amount: i64, rate: &Value) -> i64 {
    let percentage = rate["percentage"].as_str().and_then(hundredths).unwrap_or_default();
    (amount * percentage + 5_000).div_euclid(10_000)
}

/// A percentage of up to two decimals, in hundredths of a percent.
fn hundredths(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part = format!("{part:0<2}");
    (part.len() == 2).then_some(())?;
    Some(whole.parse::<i64>().ok()? * 100 + part.parse::<i64>().ok()?)
}
