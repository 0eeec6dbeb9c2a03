//! A stand-in for Tryton: as much of its REST interface as the connector uses, and Tryton's manners where they
//! matter (`write_date` empty until the first change, buttons that fit one state only, unique party codes).

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
};

use crosstie_sdk::{
    FakeVendor, HttpRequest, HttpResponse, Method,
    domain::{CivilDate, Currency, Instant, Money},
};
use serde_json::{Map, Value, json};

use crate::{
    base64url,
    wire::{Date, DateTime, Decimal},
};

type Record = Map<String, Value>;

/// A Tryton database with one company (id 1), one product (id 1), US dollars and euros.
#[derive(Debug, Clone)]
pub struct TrytonFake {
    models: BTreeMap<String, BTreeMap<i64, Record>>,
    lost_answers: u32,
    refusals: VecDeque<HttpResponse>,
}

/// Where a field refers to, by the record that has it.
const REFERENCES: &[(&str, &str, &str)] = &[
    ("sale.opportunity", "currency", "currency.currency"),
    ("account.invoice", "currency", "currency.currency"),
    ("account.invoice", "lines", "account.invoice.line"),
    ("account.invoice", "lines_to_pay", "account.move.line"),
    ("sale.sale", "currency", "currency.currency"),
    ("sale.sale", "lines", "sale.line"),
    ("party.party", "addresses", "party.address"),
    ("party.party", "contact_mechanisms", "party.contact_mechanism"),
    ("product.product", "template", "product.template"),
    ("product.template", "account_category", "product.category"),
    ("account.account", "type", "account.account.type"),
];

/// Model, button, the state that it fits, the state that it leads to.
const BUTTONS: &[(&str, &str, &str, &str)] = &[
    ("sale.sale", "quote", "draft", "quotation"),
    ("sale.sale", "confirm", "quotation", "confirmed"),
    ("sale.sale", "process", "confirmed", "processing"),
    ("sale.sale", "cancel", "draft", "cancelled"),
    ("account.invoice", "post", "draft", "posted"),
    ("account.invoice", "cancel", "draft", "cancelled"),
    ("sale.opportunity", "opportunity", "lead", "opportunity"),
    ("sale.opportunity", "convert", "opportunity", "converted"),
    ("sale.opportunity", "lost", "lead", "lost"),
];

impl Default for TrytonFake {
    fn default() -> Self {
        Self::new()
    }
}

impl TrytonFake {
    /// A database without customers.
    pub fn new() -> Self {
        let mut fake = Self { models: BTreeMap::new(), lost_answers: 0, refusals: VecDeque::new() };
        fake.put("company.company", json!({ "rec_name": "Example Services" }));
        fake.put("currency.currency", json!({ "code": "USD" }));
        fake.put("currency.currency", json!({ "code": "EUR" }));
        fake.put("product.category", json!({ "account_revenue": 20 }));
        fake.put("product.template", json!({ "account_category": 1 }));
        fake.put("product.product", json!({ "template": 1, "default_uom": 4 }));
        fake.put("account.journal", json!({ "type": "revenue" }));
        let defaults = json!({ "default_account_receivable": 10, "default_category_account_revenue": 20 });
        fake.put("account.configuration", defaults);
        fake
    }

    /// Makes a record as a user of Tryton would, and returns its id.
    pub fn add(&mut self, model: &str, values: Value, now: Instant) -> i64 {
        self.create(model, values, now).unwrap_or_default()
    }

    /// Changes a record as a user of Tryton would.
    pub fn change(&mut self, model: &str, id: i64, values: Value, now: Instant) {
        let Value::Object(mut values) = values else { return };
        if self.record(model, id).is_none() {
            return;
        }
        for (name, value) in &mut values {
            if let Some(target) = target(model, name).filter(|_| is_commands(value)) {
                let mut ids = self.record(model, id).map_or(Value::Null, |record| field(record, name).clone());
                for command in value.as_array().into_iter().flatten() {
                    self.obey(command, (target, field_of_parent(model), id), &mut ids);
                }
                *value = ids;
            }
        }
        if let Some(record) = self.record_mut(model, id) {
            record.extend(values);
            record.insert("write_date".to_owned(), json!(DateTime::of(now)));
        }
    }

    /// Lets so many of the next writes take effect and then fail with 500.
    pub fn lose_answers(&mut self, count: u32) {
        self.lost_answers = count;
    }

    /// Answers the next write with this and does nothing else. Several wait in line.
    pub fn refuse_next_write(&mut self, answer: HttpResponse) {
        self.refusals.push_back(answer);
    }

    /// All records of a model by id.
    pub fn records(&self, model: &str) -> Vec<Value> {
        let records = self.models.get(model).into_iter().flat_map(BTreeMap::values);
        records.cloned().map(Value::Object).collect()
    }

    fn put(&mut self, model: &str, values: Value) -> i64 {
        let records = self.models.entry(model.to_owned()).or_default();
        let id = records.keys().next_back().map_or(1, |last| last + 1);
        let mut record = match values {
            Value::Object(record) => record,
            _ => Record::new(),
        };
        record.insert("id".to_owned(), id.into());
        record.insert("__name__".to_owned(), model.into());
        records.insert(id, record);
        id
    }

    /// Makes or changes rows that belong to a record: `["create", [row, …]]` or `["write", [id, …], values]`.
    fn obey(&mut self, command: &Value, (target, parent, id): (&str, &str, i64), ids: &mut Value) {
        let rows = command[1].as_array().cloned().unwrap_or_default();
        match command[0].as_str() {
            Some("create") => {
                let mut all = ids.as_array().cloned().unwrap_or_default();
                for mut row in rows {
                    row[parent] = id.into();
                    all.push(self.put(target, row).into());
                }
                *ids = Value::Array(all);
            }
            Some("write") => {
                for row in rows.iter().filter_map(Value::as_i64) {
                    if let (Some(record), Some(values)) = (self.record_mut(target, row), command[2].as_object()) {
                        record.extend(values.clone());
                    }
                }
            }
            _ => {}
        }
    }

    fn record(&self, model: &str, id: i64) -> Option<&Record> {
        self.models.get(model)?.get(&id)
    }

    fn record_mut(&mut self, model: &str, id: i64) -> Option<&mut Record> {
        self.models.get_mut(model)?.get_mut(&id)
    }

    fn create(&mut self, model: &str, values: Value, now: Instant) -> Result<i64, HttpResponse> {
        let Value::Object(mut record) = values else { return Err(refusal("Unable to read JSON request")) };
        let taken =
            |records: &BTreeMap<i64, Record>| records.values().any(|other| other.get("code") == record.get("code"));
        let has_code = record.get("code").is_some_and(|code| !code.is_null());
        if model == "party.party" && has_code && self.models.get(model).is_some_and(taken) {
            return Err(refusal("The code on party must be unique."));
        }
        let nested: Vec<_> = record
            .iter()
            .filter_map(|(field, value)| Some((field.clone(), target(model, field)?, created_with(value)?)))
            .collect();
        let (untaxed, tax) = totals(&self.models, &record, &nested);
        if model == "party.party" {
            record.entry("contact_mechanisms").or_insert_with(|| json!([]));
        }
        let stamp = json!(DateTime::of(now));
        record.insert("create_date".to_owned(), stamp.clone());
        // Some models write again while they are made.
        let changed_at_once = matches!(model, "party.party" | "account.invoice");
        record.insert("write_date".to_owned(), if changed_at_once { stamp } else { Value::Null });
        if matches!(model, "sale.opportunity" | "sale.sale" | "account.invoice") {
            let first = if model == "sale.opportunity" { "lead" } else { "draft" };
            record.entry("state").or_insert_with(|| first.into());
            record.entry("company").or_insert_with(|| 1.into());
        }
        if matches!(model, "sale.sale" | "account.invoice") {
            let untaxed = json!(Decimal { decimal: untaxed.decimal() });
            record.entry("untaxed_amount").or_insert(untaxed);
        }
        if model == "account.invoice" {
            let total = untaxed.plus(tax).unwrap_or(untaxed);
            record.insert("tax_amount".to_owned(), json!(Decimal { decimal: tax.decimal() }));
            record.insert("total_amount".to_owned(), json!(Decimal { decimal: total.decimal() }));
            record.insert("amount_to_pay".to_owned(), json!(Decimal { decimal: "0".to_owned() }));
            record.insert("lines_to_pay".to_owned(), json!([]));
        }
        let id = self.put(model, Value::Object(record));
        if model == "sale.opportunity" {
            self.change_silently(model, id, "number", json!(id.to_string()));
        }
        for (field, target, rows) in nested {
            let parent = field_of_parent(model);
            let ids = rows.into_iter().map(|mut row| {
                row[parent] = id.into();
                if let Some(taxes) = added(&row["taxes"]) {
                    row["taxes"] = json!(taxes);
                }
                if target == "account.invoice.line" {
                    row["amount"] = row["unit_price"].clone();
                }
                self.put(target, row)
            });
            let ids: Vec<i64> = ids.collect();
            self.change_silently(model, id, &field, json!(ids));
        }
        Ok(id)
    }

    fn change_silently(&mut self, model: &str, id: i64, field: &str, value: Value) {
        if let Some(record) = self.record_mut(model, id) {
            record.insert(field.to_owned(), value);
        }
    }

    fn press(&mut self, model: &str, id: i64, button: &str, now: Instant) -> Result<(), HttpResponse> {
        let state = match self.record(model, id) {
            Some(record) => record.get("state").cloned().unwrap_or_default(),
            None => return Err(HttpResponse::empty(404)),
        };
        let mut known = BUTTONS.iter().filter(|(of, name, ..)| *of == model && *name == button).peekable();
        if known.peek().is_none() {
            return Err(HttpResponse::empty(403));
        }
        let Some((.., to)) = known.find(|(_, _, from, _)| state == *from) else {
            return Err(refusal(&format!("You can not call \"{button}\" on \"{id}\".")));
        };
        let mut values = json!({ "state": to });
        if *to == "posted" {
            let today = i32::try_from(now.micros().div_euclid(86_400_000_000)).ok().and_then(CivilDate::from_days);
            let today = json!(today.map(Date::of));
            let due = self.put("account.move.line", json!({ "maturity_date": today }));
            values["number"] = id.to_string().into();
            values["invoice_date"] = today;
            values["lines_to_pay"] = json!([due]);
            values["amount_to_pay"] =
                self.record(model, id).map_or(Value::Null, |record| record["total_amount"].clone());
        }
        self.change(model, id, values, now);
        Ok(())
    }

    fn delete(&mut self, model: &str, id: i64) -> HttpResponse {
        match self.record(model, id) {
            None => HttpResponse::empty(404),
            Some(record) if record.get("state").is_some_and(|state| state != "draft" && state != "cancelled") => {
                refusal("To delete it you must cancel it.")
            }
            Some(_) => {
                self.models.entry(model.to_owned()).or_default().remove(&id);
                // Its lines go with it.
                if let Some(lines) = target(model, "lines").and_then(|lines| self.models.get_mut(lines)) {
                    lines.retain(|_, line| line.get(field_of_parent(model)).and_then(Value::as_i64) != Some(id));
                }
                HttpResponse::empty(204)
            }
        }
    }

    fn search(&self, model: &str, query: &[(String, String)]) -> Option<HttpResponse> {
        let given = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let json_of = |name: &str| match given(name) {
            Some(text) => serde_json::from_slice(&base64url::decode(text)?).ok(),
            None => Some(json!([])),
        };
        let (domain, order): (Value, Value) = (json_of("d")?, json_of("o")?);
        let size = given("s").and_then(|size| size.parse().ok()).unwrap_or(usize::MAX);
        let records = self.models.get(model).into_iter().flat_map(BTreeMap::values);
        let asks_for_all = domain.to_string().contains("\"active\"");
        let shown = |record: &&Record| asks_for_all || record.get("active") != Some(&json!(false));
        let mut found: Vec<&Record> = records.filter(shown).filter(|record| holds(&domain, record)).collect();
        let columns: Vec<&str> = order.as_array()?.iter().filter_map(|part| part[0].as_str()).collect();
        found.sort_by(|a, b| {
            let differ = columns.iter().map(|column| compare(field(a, column), field(b, column)));
            differ.fold(Ordering::Equal, Ordering::then)
        });
        let rows: Vec<Value> = found.into_iter().take(size).map(|record| self.show(model, record, query)).collect();
        Some(HttpResponse::json(200, &rows))
    }

    /// The fields of a record that were asked for; dotted ones replace an id by the record behind it.
    fn show(&self, model: &str, record: &Record, query: &[(String, String)]) -> Value {
        let fields: Vec<&str> = query.iter().filter(|(key, _)| key == "f").map(|(_, value)| value.as_str()).collect();
        self.shape(model, record, &fields)
    }

    fn shape(&self, model: &str, record: &Record, fields: &[&str]) -> Value {
        let mut shown = json!({ "id": record["id"], "__name__": model });
        for path in fields {
            let name = path.split('.').next().unwrap_or_default();
            let nested: Vec<&str> =
                fields.iter().filter_map(|other| other.strip_prefix(name)?.strip_prefix('.')).collect();
            let into = |id: &Value| {
                let target = target(model, name)?;
                let behind = self.record(target, id.as_i64()?).filter(|behind| is_active(behind))?;
                Some(self.shape(target, behind, &nested))
            };
            shown[name] = match self.held(model, record, name) {
                Value::Array(ids) if !nested.is_empty() => ids.iter().filter_map(into).collect(),
                id if !nested.is_empty() => into(&id).unwrap_or_default(),
                plain => plain,
            };
        }
        shown
    }

    /// The value of a field. E-mail and web address of a party are those of its first contact of that kind.
    fn held(&self, model: &str, record: &Record, name: &str) -> Value {
        match record.get("contact_mechanisms") {
            Some(Value::Array(ids)) if model == "party.party" && matches!(name, "email" | "website") => {
                let contacts = ids.iter().filter_map(|id| self.record("party.contact_mechanism", id.as_i64()?));
                let mut of_kind = contacts.filter(|contact| is_active(contact) && field(contact, "type") == name);
                of_kind.next().map_or_else(|| field(record, name), |contact| field(contact, "value")).clone()
            }
            _ => field(record, name).clone(),
        }
    }

    fn one(&self, model: &str, id: i64, query: &[(String, String)]) -> HttpResponse {
        match self.record(model, id) {
            Some(record) => HttpResponse::json(200, &self.show(model, record, query)),
            None => HttpResponse::empty(404),
        }
    }
}

impl FakeVendor for TrytonFake {
    fn settings(&self) -> Value {
        json!({ "company": 1 })
    }

    fn respond(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        if !request.header("authorization").is_some_and(|value| value.starts_with("Bearer ")) {
            return HttpResponse::empty(401);
        }
        let path = request.path().to_owned();
        let Some((_, rest)) = path.split_once("/rest/model/") else { return HttpResponse::empty(404) };
        let parts: Vec<&str> = rest.split('/').collect();
        let query = request.query();
        let id = parts.get(1).and_then(|part| part.parse::<i64>().ok());
        let writes = request.method != Method::Get;
        if let Some(refusal) = self.refusals.pop_front_if(|_| writes) {
            return refusal;
        }
        let answer = match (request.method, parts.as_slice(), id) {
            (Method::Get, [model], None) => {
                return self.search(model, &query).unwrap_or_else(|| HttpResponse::empty(500));
            }
            (Method::Get, [model, _], Some(id)) => return self.one(model, id, &query),
            (Method::Post, [model], None) => match self.create(model, request.json(), now) {
                Ok(id) => self.one(model, id, &query),
                Err(refusal) => refusal,
            },
            (Method::Post, [model, _, button], Some(id)) => match self.press(model, id, button, now) {
                Ok(()) => self.one(model, id, &query),
                Err(refusal) => refusal,
            },
            (Method::Put, [model, _], Some(id)) => {
                self.change(model, id, request.json(), now);
                self.one(model, id, &query)
            }
            (Method::Delete, [model, _], Some(id)) => return self.delete(model, id),
            _ => return HttpResponse::empty(405),
        };
        if self.lost_answers > 0 {
            self.lost_answers -= 1;
            return HttpResponse::empty(500);
        }
        answer
    }
}

fn refusal(message: &str) -> HttpResponse {
    HttpResponse::json(400, &json!({ "status": 400, "message": message, "description": "" }))
}

fn target(model: &str, field: &str) -> Option<&'static str> {
    REFERENCES.iter().find(|(of, name, _)| *of == model && *name == field).map(|(.., target)| *target)
}

fn field_of_parent(model: &str) -> &'static str {
    match model {
        "party.party" => "party",
        "sale.sale" => "sale",
        _ => "invoice",
    }
}

/// Whether a value says what to do with the rows that belong to a record.
fn is_commands(value: &Value) -> bool {
    value.as_array().is_some_and(|commands| commands.iter().all(Value::is_array))
}

/// A record that was put out of use is not shown among those of another.
fn is_active(record: &Record) -> bool {
    record.get("active").is_none_or(|active| active != false)
}

/// The rows of `[["create", [row, …]]]`.
fn created_with(value: &Value) -> Option<Vec<Value>> {
    match value.as_array()?.first()?.as_array()?.as_slice() {
        [command, Value::Array(rows)] if command == "create" => Some(rows.clone()),
        _ => None,
    }
}

/// The ids of `[["add", [id, …]]]`.
fn added(value: &Value) -> Option<Vec<i64>> {
    match value.as_array()?.first()?.as_array()?.as_slice() {
        [command, Value::Array(ids)] if command == "add" => Some(ids.iter().filter_map(Value::as_i64).collect()),
        _ => None,
    }
}

/// What the lines of a document come to without taxes, and the taxes, each rounded for itself.
fn totals(
    models: &BTreeMap<String, BTreeMap<i64, Record>>,
    record: &Record,
    nested: &[(String, &'static str, Vec<Value>)],
) -> (Money, Money) {
    let currency = record.get("currency").and_then(Value::as_i64);
    let currency = currency.and_then(|id| models.get("currency.currency")?.get(&id)?.get("code")?.as_str());
    let currency: Currency = currency.and_then(|code| code.parse().ok()).unwrap_or(Currency::USD);
    let rows = nested.iter().filter(|(field, ..)| field == "lines").flat_map(|(.., rows)| rows);
    let (mut untaxed, mut tax) = (Money::zero(currency), Money::zero(currency));
    for row in rows {
        let Some(price) = row["unit_price"]["decimal"].as_str().and_then(|text| Money::parse(text, currency).ok())
        else {
            continue;
        };
        untaxed = untaxed.plus(price).unwrap_or(untaxed);
        for id in added(&row["taxes"]).unwrap_or_default() {
            let rate = models.get("account.tax").and_then(|taxes| taxes.get(&id)?.get("rate")?["decimal"].as_str());
            let part = (price.minor * rate.and_then(ten_thousandths).unwrap_or_default() + 5_000).div_euclid(10_000);
            tax = tax.plus(Money::new(part, currency)).unwrap_or(tax);
        }
    }
    (untaxed, tax)
}

/// A rate such as `0.19`, with four decimals at most, in ten thousandths.
fn ten_thousandths(rate: &str) -> Option<i64> {
    let (whole, part) = rate.split_once('.').unwrap_or((rate, ""));
    let part = format!("{part:0<4}");
    Some(whole.parse::<i64>().ok()? * 10_000 + part.get(..4)?.parse::<i64>().ok()?)
}

fn field<'a>(record: &'a Record, name: &str) -> &'a Value {
    record.get(name).unwrap_or(&Value::Null)
}

/// Whether a record satisfies a domain: `[clause, …]` all of them, `["OR", clause, …]` one of them,
/// `[field, operator, value]`.
fn holds(domain: &Value, record: &Record) -> bool {
    let Some(parts) = domain.as_array() else { return false };
    match parts.as_slice() {
        [Value::String(word), rest @ ..] if word == "OR" => rest.iter().any(|part| holds(part, record)),
        [Value::String(name), Value::String(operator), value] => {
            let held = field(record, name);
            if operator == "=" {
                return held == value;
            }
            if operator == "in" {
                // What was never set is in use.
                let held = if held.is_null() && name == "active" { &Value::Bool(true) } else { held };
                return value.as_array().is_some_and(|values| values.contains(held));
            }
            let order = compare(held, value);
            let fits = match operator.as_str() {
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                _ => false,
            };
            fits && !held.is_null()
        }
        all => all.iter().all(|part| holds(part, record)),
    }
}

/// Numbers by size, moments by time, empty last.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| -> (bool, i64) {
        let moment = || serde_json::from_value::<DateTime>(value.clone()).ok()?.instant().ok();
        (value.is_null(), value.as_i64().or_else(|| moment().map(Instant::micros)).unwrap_or_default())
    };
    rank(a).cmp(&rank(b))
}
