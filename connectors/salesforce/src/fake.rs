//! Salesforce's stand-in.

mod record;
mod signing_in;
mod soql;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crosstie_sdk::{FakeVendor, HttpRequest, HttpResponse, Method, domain::Instant};
use serde_json::{Value, json, value::RawValue};

use self::{
    record::{CURRENCY, Stored, given, standard},
    soql::Query,
};
use crate::API;

/// A stand-in for a Salesforce org: accounts and opportunities, queries over them, and its token endpoint.
///
/// It starts empty, with one currency. Ids count up from the time of their making in milliseconds, so that an org that
/// is started again does not use an id twice. Change times are whole seconds, as Salesforce's are.
pub struct SalesforceFake {
    records: BTreeMap<String, Stored>,
    /// The currencies of an org that has several; the first is the one that a record has unless it names another.
    currencies: Vec<String>,
    /// The customer's own fields.
    own_fields: BTreeSet<(Kind, String)>,
    last_id: i64,
    tokens: usize,
    faults: VecDeque<Trouble>,
    page_limit: usize,
    queries: usize,
    requests: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Account,
    Opportunity,
}

/// What goes wrong with a request.
enum Trouble {
    Instead(HttpResponse),
    LoseAnswer,
    None,
}

/// The code of an error.
type Wrong = &'static str;

/// What is refused, and the fields that it is about.
struct Refusal {
    status: u16,
    code: Wrong,
    message: String,
    fields: Vec<String>,
}

type Outcome = Result<HttpResponse, Refusal>;

/// The largest page of a query.
const MAX_PAGE: usize = 2_000;
/// How many calls the org has in 24 hours. They are counted and told, and none is refused.
const CALLS_A_DAY: usize = 15_000;

impl Default for SalesforceFake {
    fn default() -> Self {
        Self::new()
    }
}

impl SalesforceFake {
    /// An empty org.
    pub fn new() -> Self {
        Self {
            records: BTreeMap::new(),
            currencies: Vec::new(),
            own_fields: BTreeSet::new(),
            last_id: 0,
            tokens: 0,
            faults: VecDeque::new(),
            page_limit: MAX_PAGE,
            queries: 0,
            requests: 0,
        }
    }

    /// Gives the org several currencies; the first is the one that a record has unless it names another. From then on
    /// records have a field for theirs.
    pub fn set_currencies(&mut self, codes: &[&str]) {
        self.currencies = codes.iter().map(|code| (*code).to_owned()).collect();
    }

    /// Adds a field of the customer's own to `Account` or `Opportunity`, by its API name.
    pub fn add_field(&mut self, object: &str, field: &str) {
        if let Some(kind) = Kind::of(object) {
            self.own_fields.insert((kind, field.to_owned()));
        }
    }

    /// Merges an account into another, as a person does in Salesforce, whose REST API cannot: it goes into the recycle
    /// bin and names the other, which takes its opportunities over. Whether both were there.
    pub fn merge(&mut self, loser: &str, into: &str, now: Instant) -> bool {
        let is_account = |id| self.records.get(id).is_some_and(|row| row.kind == Kind::Account && !row.is_deleted);
        if loser == into || !is_account(loser) || !is_account(into) {
            return false;
        }
        for opportunity in self.records.values_mut() {
            if opportunity.fields.get("AccountId").and_then(Value::as_str) == Some(loser) {
                opportunity.fields.insert("AccountId".to_owned(), json!(into));
                opportunity.changed_at = whole_second(now);
            }
        }
        for (id, merged_into) in [(loser, Some(into)), (into, None)] {
            if let Some(account) = self.records.get_mut(id) {
                account.is_deleted = merged_into.is_some();
                account.merged_into = merged_into.map(str::to_owned);
                account.changed_at = whole_second(now);
            }
        }
        true
    }

    /// Takes a record out of the recycle bin. Whether it was there.
    pub fn undelete(&mut self, id: &str, now: Instant) -> bool {
        let Some(record) = self.records.get_mut(id).filter(|record| record.is_deleted) else { return false };
        record.is_deleted = false;
        record.merged_into = None;
        record.changed_at = whole_second(now);
        true
    }

    /// Empties the recycle bin: what was in it is in no answer any more.
    pub fn empty_recycle_bin(&mut self) {
        self.records.retain(|_, record| !record.is_deleted);
    }

    /// Lets no query give more rows at once than this, whatever it asks for.
    pub fn set_page_limit(&mut self, rows: usize) {
        self.page_limit = rows.max(1);
    }

    /// Answers the next request with this and does nothing else. Several wait in line.
    pub fn fail_next(&mut self, answer: HttpResponse) {
        self.faults.push_back(Trouble::Instead(answer));
    }

    /// Does what a coming request asks and then loses the answer: the caller sees status 502. It waits in line with
    /// [`SalesforceFake::fail_next`].
    pub fn lose_next_answer(&mut self) {
        self.faults.push_back(Trouble::LoseAnswer);
    }

    /// Answers so many coming requests as usual, before whatever waits in line next.
    pub fn pass(&mut self, requests: usize) {
        self.faults.extend(std::iter::repeat_with(|| Trouble::None).take(requests));
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// How many queries were answered.
    pub fn queries(&self) -> usize {
        self.queries
    }

    fn answer(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        let mut answer = self.route(request, now).unwrap_or_else(|Refusal { status, code, message, fields }| {
            let mut told = json!({ "message": message, "errorCode": code });
            if !fields.is_empty() {
                told["fields"] = json!(fields);
            }
            HttpResponse::json(status, &json!([told]))
        });
        let usage = format!("api-usage={}/{CALLS_A_DAY}", self.requests);
        answer.headers.push(("sforce-limit-info".to_owned(), usage));
        answer
    }

    fn route(&mut self, request: &HttpRequest, now: Instant) -> Outcome {
        if (request.method, request.path()) == (Method::Post, "/services/oauth2/token") {
            return Ok(self.token(request, now));
        }
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if token.is_none_or(|token| token.trim().is_empty()) {
            return Err(refusal(401, "INVALID_SESSION_ID", "Session expired or invalid"));
        }
        let absent = || refusal(404, "NOT_FOUND", "The requested resource does not exist");
        let below = request.path().strip_prefix(API).ok_or_else(absent)?;
        let segments: Vec<&str> = below.trim_matches('/').split('/').collect();
        let kind = |name: &str| Kind::of(name).ok_or_else(absent);
        match (request.method, segments.as_slice()) {
            (Method::Get, ["query"]) => self.query(request, false),
            (Method::Get, ["queryAll"]) => self.query(request, true),
            (Method::Post, ["sobjects", name]) => self.create(kind(name)?, request, now),
            (Method::Get, ["sobjects", name, id]) => self.one(kind(name)?, id, request),
            (Method::Patch, ["sobjects", name, id]) => self.update(kind(name)?, id, request, now),
            (Method::Delete, ["sobjects", name, id]) => self.delete(kind(name)?, id, now),
            _ => Err(absent()),
        }
    }

    fn query(&mut self, request: &HttpRequest, with_deleted: bool) -> Outcome {
        self.queries += 1;
        let malformed = |why: String| refusal(400, "MALFORMED_QUERY", &why);
        let query = request.query().into_iter().find(|(name, _)| name == "q");
        let (_, soql) = query.ok_or_else(|| malformed("A query string has to be specified".to_owned()))?;
        let query = Query::parse(&soql).map_err(malformed)?;
        if query.object.eq_ignore_ascii_case("Organization") {
            return organization(&query);
        }
        let unsupported = || {
            let why = format!("sObject type '{}' is not supported.", query.object);
            refusal(400, "INVALID_TYPE", &why)
        };
        let kind = Kind::of(&query.object).ok_or_else(unsupported)?;
        let fields = self.fields_asked(kind, &query.fields, &soql)?;
        let found = self.records.iter().filter(|(id, record)| {
            let is_shown = record.kind == kind && (with_deleted || !record.is_deleted);
            is_shown && query.condition.holds(record.changed_at, id)
        });
        let mut found: Vec<(&String, &Stored)> = found.collect();
        // Without an order, one that nobody may rely on: here, the newest first.
        found.reverse();
        if query.ordered {
            found.sort_by(|(one_id, one), (other_id, other)| {
                (one.changed_at, one_id).cmp(&(other.changed_at, other_id))
            });
        }
        found.truncate(query.limit.unwrap_or(usize::MAX));
        let total = found.len();
        let rows = found.into_iter().take(self.page_limit.min(MAX_PAGE));
        let rows: Vec<BTreeMap<String, Box<RawValue>>> = rows.map(|(id, record)| record.row(id, &fields)).collect();
        let mut answer = json!({ "totalSize": total, "done": rows.len() == total });
        if rows.len() < total {
            // It leads nowhere here: where a cursor ended, Salesforce says INVALID_QUERY_LOCATOR.
            answer["nextRecordsUrl"] = json!(format!("{API}/query/01g5e00000fakeAAAA-{}", rows.len()));
        }
        Ok(HttpResponse::json(200, &Page { told: answer, records: rows }))
    }

    /// The fields by their own names.
    fn fields_asked(&self, kind: Kind, asked: &[String], soql: &str) -> Result<Vec<String>, Refusal> {
        let mut fields: Vec<String> = Vec::new();
        for field in asked {
            let Some(name) = self.field(kind, field) else {
                let column = soql.find(field.as_str()).unwrap_or(0) + 1;
                let why = format!(
                    "\n{soql}\n^\nERROR at Row:1:Column:{column}\nNo such column '{field}' on entity '{}'. If you are \
                     attempting to use a custom field, be sure to append the '__c' after the custom field name.",
                    kind.name()
                );
                return Err(refusal(400, "INVALID_FIELD", &why));
            };
            if fields.contains(&name) {
                return Err(refusal(400, "MALFORMED_QUERY", &format!("duplicate field selected: {name}")));
            }
            fields.push(name);
        }
        Ok(fields)
    }

    fn field(&self, kind: Kind, field: &str) -> Option<String> {
        let several = (!self.currencies.is_empty()).then_some(&CURRENCY);
        let standard = standard(kind).iter().chain(several).map(|standard| standard.name);
        let known = standard.into_iter().find(|name| name.eq_ignore_ascii_case(field));
        known.map(str::to_owned).or_else(|| self.own_field(kind, field))
    }

    fn own_field(&self, kind: Kind, field: &str) -> Option<String> {
        let is_it = |(of, name): &&(Kind, String)| *of == kind && name.eq_ignore_ascii_case(field);
        self.own_fields.iter().find(is_it).map(|(_, name)| name.clone())
    }

    fn one(&self, kind: Kind, id: &str, request: &HttpRequest) -> Outcome {
        let record = self.find(kind, id)?;
        let asked = request.query().into_iter().find(|(name, _)| name == "fields");
        let asked = asked.map_or_else(|| "Id,Name".to_owned(), |(_, names)| names);
        let asked: Vec<String> = asked.split(',').map(|name| name.trim().to_owned()).collect();
        let fields = self.fields_asked(kind, &asked, "")?;
        Ok(HttpResponse::json(200, &record.row(id, &fields)))
    }

    fn create(&mut self, kind: Kind, request: &HttpRequest, now: Instant) -> Outcome {
        let given = given(kind, request, |name| self.own_field(kind, name), &self.currencies)?;
        let changed_at = whole_second(now);
        let mut record = Stored { kind, fields: BTreeMap::new(), changed_at, is_deleted: false, merged_into: None };
        if let Some(usual) = self.currencies.first() {
            record.fields.insert(CURRENCY.name.to_owned(), json!(usual));
        }
        if let Some(account) = given.get("AccountId").and_then(Value::as_str) {
            self.find(Kind::Account, account).map_err(|_| Refusal {
                fields: vec!["AccountId".to_owned()],
                ..refusal(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
            })?;
        }
        record.set(given)?;
        self.last_id = epoch_ms(now).max(self.last_id + 1);
        let id = id_of(kind, self.last_id);
        self.records.insert(id.clone(), record);
        Ok(HttpResponse::json(201, &json!({ "id": id, "success": true, "errors": [] })))
    }

    fn update(&mut self, kind: Kind, id: &str, request: &HttpRequest, now: Instant) -> Outcome {
        let unmodified_since = request.header("if-unmodified-since").map(http_moment);
        let changed_at = self.find(kind, id)?.changed_at;
        match unmodified_since {
            Some(None) => return Err(refusal(400, "INVALID_HEADER", "If-Unmodified-Since holds no date")),
            Some(Some(since)) if changed_at > since => {
                return Err(refusal(412, "PRECONDITION_FAILED", "The record was modified"));
            }
            Some(Some(_)) | None => {}
        }
        let given = given(kind, request, |name| self.own_field(kind, name), &self.currencies)?;
        let record = self.records.get_mut(id).ok_or_else(|| no_record(id))?;
        record.set(given)?;
        record.changed_at = whole_second(now);
        Ok(HttpResponse::empty(204))
    }

    /// Puts a record into the recycle bin, and with an account its opportunities.
    fn delete(&mut self, kind: Kind, id: &str, now: Instant) -> Outcome {
        self.find(kind, id)?;
        for (own_id, record) in &mut self.records {
            let is_below = record.fields.get("AccountId").and_then(Value::as_str) == Some(id);
            if (own_id == id || is_below) && !record.is_deleted {
                record.is_deleted = true;
                record.changed_at = whole_second(now);
            }
        }
        Ok(HttpResponse::empty(204))
    }

    fn find(&self, kind: Kind, id: &str) -> Result<&Stored, Refusal> {
        match self.records.get(id).filter(|record| record.kind == kind) {
            Some(record) if record.is_deleted => Err(refusal(404, "ENTITY_IS_DELETED", "entity is deleted")),
            Some(record) => Ok(record),
            None => Err(no_record(id)),
        }
    }
}

impl FakeVendor for SalesforceFake {
    fn settings(&self) -> Value {
        json!({ "currency": "EUR" })
    }

    fn respond(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        self.requests += 1;
        match self.faults.pop_front() {
            Some(Trouble::Instead(fault)) => fault,
            Some(Trouble::LoseAnswer) => {
                self.answer(request, now);
                HttpResponse::empty(502)
            }
            Some(Trouble::None) | None => self.answer(request, now),
        }
    }
}

/// A page of a query, beside its rows.
#[derive(serde::Serialize)]
struct Page {
    #[serde(flatten)]
    told: Value,
    records: Vec<BTreeMap<String, Box<RawValue>>>,
}

impl Kind {
    fn of(object: &str) -> Option<Self> {
        [Self::Account, Self::Opportunity].into_iter().find(|kind| kind.name().eq_ignore_ascii_case(object))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Account => "Account",
            Self::Opportunity => "Opportunity",
        }
    }

    /// What the ids of the kind begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Account => "001",
            Self::Opportunity => "006",
        }
    }
}

/// The one row that says whose org it is.
fn organization(query: &Query) -> Outcome {
    let row = json!({ "Name": "Acme Services", "IsSandbox": false });
    let mut record = json!({ "attributes": { "type": "Organization" } });
    for field in &query.fields {
        let unknown = || refusal(400, "INVALID_FIELD", &format!("No such column '{field}' on entity 'Organization'"));
        record[field] = row.get(field).cloned().ok_or_else(unknown)?;
    }
    Ok(HttpResponse::json(200, &json!({ "totalSize": 1, "done": true, "records": [record] })))
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An id in its long form: the kind, a number in base 62, and three characters by which the upper-case letters can be
/// told where case is lost.
fn id_of(kind: Kind, number: i64) -> String {
    let mut rest = usize::try_from(number).unwrap_or(0);
    let mut digits = [b'0'; 12];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % 62];
        rest /= 62;
    }
    let mut id = format!("{}{}", kind.prefix(), String::from_utf8_lossy(&digits));
    let upper = |part: &[u8]| {
        let bits = part.iter().enumerate().map(|(place, letter)| usize::from(letter.is_ascii_uppercase()) << place);
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bits.sum::<usize>()])
    };
    let told: String = id.as_bytes().chunks(5).map(upper).collect();
    id.push_str(&told);
    id
}

fn http_moment(text: &str) -> Option<Instant> {
    let (_, text) = text.split_once(", ")?;
    let mut parts = text.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? + 1;
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

fn no_record(id: &str) -> Refusal {
    refusal(404, "NOT_FOUND", &format!("Provided external ID field does not exist or is not accessible: {id}"))
}

fn refusal(status: u16, code: Wrong, message: &str) -> Refusal {
    Refusal { status, code, message: message.to_owned(), fields: Vec::new() }
}

fn epoch_ms(at: Instant) -> i64 {
    at.micros().div_euclid(1_000)
}

fn whole_second(at: Instant) -> Instant {
    crate::query::whole_second(at)
}
