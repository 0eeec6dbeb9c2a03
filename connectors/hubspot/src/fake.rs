//! HubSpot's stand-in.

mod merging;
mod search;
mod telling;

use std::collections::{BTreeMap, VecDeque};

use crosstie_sdk::{
    FakeVendor, HttpRequest, HttpResponse, Method, Secret,
    domain::{CivilDate, Instant},
};
use serde_json::{Map, Value, json};

use self::search::{compare, filter_groups, sort_of};
use crate::{mapping::instant, wire::id_text};

/// A stand-in for a HubSpot account: deals, companies, their associations, search, and webhooks.
///
/// It starts empty. Object ids and event ids count up from the time of their making in milliseconds, so that an
/// account that is started again does not use an id twice. Every write queues one signed webhook delivery.
pub struct HubspotFake {
    webhook_url: Option<String>,
    client_secret: Secret,
    portal: u64,
    deals: BTreeMap<i64, Object>,
    companies: BTreeMap<i64, Object>,
    /// What was merged, and into what.
    merged: BTreeMap<i64, i64>,
    last_object_id: i64,
    last_event_id: i64,
    deliveries: Vec<HttpRequest>,
    faults: VecDeque<Trouble>,
    page_limit: usize,
    searches: usize,
    requests: usize,
}

/// One deal or company.
struct Object {
    properties: BTreeMap<String, Option<String>>,
    created_at: Instant,
    updated_at: Instant,
    archived: bool,
    /// Of a deal: the companies by id, with the types of the association.
    companies: BTreeMap<i64, Vec<i64>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Deal,
    Company,
}

/// What goes wrong with a request.
enum Trouble {
    Instead(HttpResponse),
    LoseAnswer,
    None,
}

/// What is refused, and the property that it is about.
struct Refusal {
    status: u16,
    category: &'static str,
    message: String,
    property: Option<&'static str>,
}

type Outcome = Result<HttpResponse, Refusal>;

const MAX_SEARCH_PAGE: usize = 200;
const MAX_SEARCH_ROWS: usize = 10_000;
const PRIMARY: i64 = 5;
const UNLABELED: i64 = 341;

impl HubspotFake {
    /// An empty account. Webhooks go to the address, when there is one, signed with the app's client secret;
    /// `portal` is the number of the account.
    pub fn new(webhook_url: Option<String>, client_secret: Secret, portal: u64) -> Self {
        Self {
            webhook_url,
            client_secret,
            portal,
            deals: BTreeMap::new(),
            companies: BTreeMap::new(),
            merged: BTreeMap::new(),
            last_object_id: 0,
            last_event_id: 0,
            deliveries: Vec::new(),
            faults: VecDeque::new(),
            page_limit: MAX_SEARCH_PAGE,
            searches: 0,
            requests: 0,
        }
    }

    /// Lets no search give more rows at once than this, whatever it asks for.
    pub fn set_page_limit(&mut self, rows: usize) {
        self.page_limit = rows.max(1);
    }

    /// Answers the next request with this and does nothing else. Several wait in line.
    pub fn fail_next(&mut self, answer: HttpResponse) {
        self.faults.push_back(Trouble::Instead(answer));
    }

    /// Does what a coming request asks and then loses the answer: the caller sees status 502. It waits in line with
    /// [`HubspotFake::fail_next`].
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

    /// How many searches were answered.
    pub fn searches(&self) -> usize {
        self.searches
    }

    fn answer(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        self.route(request, now).unwrap_or_else(|Refusal { status, category, message, property }| {
            let correlation = "00000000-0000-4000-8000-000000000000";
            let mut body =
                json!({ "status": "error", "message": message, "correlationId": correlation, "category": category });
            if let Some(property) = property {
                let context = json!({ "propertyName": [property] });
                body["errors"] = json!([{ "message": message, "code": "INVALID_VALUE", "context": context }]);
            }
            HttpResponse::json(status, &body)
        })
    }

    fn route(&mut self, request: &HttpRequest, now: Instant) -> Outcome {
        let segments: Vec<&str> = request.path().trim_matches('/').split('/').collect();
        if request.method == Method::Post && segments == ["oauth", "v1", "token"] {
            return token(request);
        }
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if token.is_none_or(|token| token.trim().is_empty()) {
            return Err(refusal(401, "INVALID_AUTHENTICATION", "Authentication credentials not found."));
        }
        match (request.method, segments.as_slice()) {
            (Method::Get, ["crm", "v3", "objects", kind]) => self.list(Kind::of(kind)?, request),
            (Method::Post, ["crm", "v3", "objects", kind]) => self.create(Kind::of(kind)?, request, now),
            (Method::Post, ["crm", "v3", "objects", kind, "search"]) => self.search(Kind::of(kind)?, request),
            (Method::Post, ["crm", "v3", "objects", kind, "merge"]) => self.merge(Kind::of(kind)?, request, now),
            (Method::Get, ["crm", "v3", "objects", kind, id]) => self.one(Kind::of(kind)?, id, request),
            (Method::Patch, ["crm", "v3", "objects", kind, id]) => self.update(Kind::of(kind)?, id, request, now),
            (Method::Delete, ["crm", "v3", "objects", kind, id]) => self.archive(Kind::of(kind)?, id, now),
            (Method::Post, ["crm", "v4", "associations", "deals", "companies", "batch", "read"]) => {
                self.associations(request, now)
            }
            _ => Err(not_found("No such resource.")),
        }
    }

    fn list(&self, kind: Kind, request: &HttpRequest) -> Outcome {
        let limit = number(request, "limit")?.unwrap_or(10);
        if !(1..=100).contains(&limit) {
            return Err(invalid("limit must be between 1 and 100"));
        }
        let limit = usize::try_from(limit).unwrap_or(100);
        let after = number(request, "after")?.unwrap_or(0);
        let names = property_names(request);
        let mut live = self.objects(kind).iter().filter(|(id, object)| !object.archived && **id > after);
        let rows: Vec<(i64, Value)> =
            live.by_ref().take(limit).map(|(id, object)| (*id, object.row(*id, &names))).collect();
        let last_id = rows.last().map(|(id, _)| *id);
        let mut answer = json!({ "results": rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>() });
        if let (Some(last_id), true) = (last_id, live.next().is_some()) {
            answer["paging"] = json!({ "next": { "after": last_id.to_string() } });
        }
        Ok(HttpResponse::json(200, &answer))
    }

    fn one(&self, kind: Kind, id: &str, request: &HttpRequest) -> Outcome {
        let merged = id.parse().ok().and_then(|id| self.merged.get(&id));
        let (id, object) = match merged {
            Some(into) => self.find(kind, &into.to_string())?,
            None => self.find(kind, id)?,
        };
        let mut row = object.row(id, &property_names(request));
        let asks_companies = request.query().iter().any(|(name, value)| {
            name == "associations" && value.split(',').any(|kind| kind.eq_ignore_ascii_case("companies"))
        });
        if asks_companies && !object.companies.is_empty() {
            let links = object.companies.iter().flat_map(|(company, types)| {
                types.iter().map(move |kind| {
                    let name = if *kind == PRIMARY { "deal_to_company" } else { "deal_to_company_unlabeled" };
                    json!({ "id": company.to_string(), "type": name })
                })
            });
            row["associations"] = json!({ "companies": { "results": links.collect::<Vec<_>>() } });
        }
        Ok(HttpResponse::json(200, &row))
    }

    fn search(&mut self, kind: Kind, request: &HttpRequest) -> Outcome {
        self.searches += 1;
        let body = body_of(request)?;
        let limit = match body.get("limit") {
            None => 10,
            Some(limit) => limit.as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
        };
        if !(1..=MAX_SEARCH_PAGE).contains(&limit) {
            return Err(invalid("limit must be between 1 and 200"));
        }
        let limit = limit.min(self.page_limit);
        let after = body.get("after").and_then(id_text).filter(|after| !after.is_empty());
        let after = after.map_or(Ok(0), |after| after.parse::<usize>()).map_err(|_| invalid("after is no offset"))?;
        if after + limit > MAX_SEARCH_ROWS {
            return Err(invalid("a search gives no more than 10000 rows"));
        }
        let sort = sort_of(&body)?;
        let groups = filter_groups(&body)?;
        let mut found: Vec<(i64, &Object)> = Vec::new();
        for (id, object) in self.objects(kind).iter().filter(|(_, object)| !object.archived) {
            if groups.is_empty() || groups.iter().any(|group| group.iter().all(|filter| filter.matches(object))) {
                found.push((*id, object));
            }
        }
        // Rows that the sort leaves equal come in an order that nobody may rely on: here, the newest first.
        found.reverse();
        if let Some((property, descending)) = &sort {
            found.sort_by(|(_, left), (_, right)| {
                let order = compare(left.get(property), right.get(property));
                if *descending { order.reverse() } else { order }
            });
        }
        let names: Vec<String> = array(&body, "properties").iter().filter_map(id_text).collect();
        let total = found.len();
        let rows: Vec<Value> =
            found.iter().skip(after).take(limit).map(|(id, object)| object.row(*id, &names)).collect();
        let mut answer = json!({ "total": total, "results": rows });
        if after + limit < total {
            answer["paging"] = json!({ "next": { "after": (after + limit).to_string() } });
        }
        Ok(HttpResponse::json(200, &answer))
    }

    fn create(&mut self, kind: Kind, request: &HttpRequest, now: Instant) -> Outcome {
        let body = body_of(request)?;
        let given = given_properties(&body)?;
        let companies = self.given_companies(kind, &body)?;
        let now = whole_ms(now);
        let id = next(&mut self.last_object_id, now);
        let mut object =
            Object { properties: BTreeMap::new(), created_at: now, updated_at: now, archived: false, companies };
        object.properties.extend(given);
        object.properties.insert("hs_object_id".to_owned(), Some(id.to_string()));
        object.properties.insert("createdate".to_owned(), Some(iso(now)));
        object.touch(now);
        let row = object.row(id, &object.names());
        self.objects_mut(kind).insert(id, object);
        self.announce(kind, "creation", id, &[], now);
        Ok(HttpResponse::json(201, &row))
    }

    fn update(&mut self, kind: Kind, id: &str, request: &HttpRequest, now: Instant) -> Outcome {
        let (id, _) = self.find(kind, id)?;
        let given = given_properties(&body_of(request)?)?;
        check_types(&given)?;
        let now = whole_ms(now);
        let object = self.objects_mut(kind).get_mut(&id).ok_or_else(|| not_found("Object not found."))?;
        object.properties.extend(given.clone());
        object.touch(now);
        let row = object.row(id, &object.names());
        let changes: Vec<(String, Option<String>)> = given.into_iter().collect();
        self.announce(kind, "propertyChange", id, &changes, now);
        Ok(HttpResponse::json(200, &row))
    }

    fn archive(&mut self, kind: Kind, id: &str, now: Instant) -> Outcome {
        let (id, _) = self.find(kind, id)?;
        let now = whole_ms(now);
        if let Some(object) = self.objects_mut(kind).get_mut(&id) {
            object.archived = true;
            object.touch(now);
        }
        for deal in self.deals.values_mut().filter(|_| kind == Kind::Company) {
            deal.companies.remove(&id);
        }
        self.announce(kind, "deletion", id, &[], now);
        Ok(HttpResponse::empty(204))
    }

    fn associations(&self, request: &HttpRequest, now: Instant) -> Outcome {
        let body = body_of(request)?;
        let inputs = array(&body, "inputs");
        if inputs.is_empty() || inputs.len() > 1_000 {
            return Err(invalid("inputs must hold between 1 and 1000 ids"));
        }
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in inputs {
            let id = input.get("id").and_then(id_text).ok_or_else(|| invalid("an input has no id"))?;
            let companies = id.parse().ok().and_then(|id: i64| self.deals.get(&id)).map(|deal| &deal.companies);
            match companies.filter(|companies| !companies.is_empty()) {
                Some(companies) => {
                    let to = companies.iter().map(|(company, types)| {
                        let types = types.iter().map(|kind| {
                            let label = (*kind == PRIMARY).then_some("Primary");
                            json!({ "category": "HUBSPOT_DEFINED", "typeId": kind, "label": label })
                        });
                        json!({ "toObjectId": company, "associationTypes": types.collect::<Vec<_>>() })
                    });
                    results.push(json!({ "from": { "id": id }, "to": to.collect::<Vec<_>>() }));
                }
                None => errors.push(json!({
                    "status": "error",
                    "category": "OBJECT_NOT_FOUND",
                    "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                    "message": format!("No company is associated with deal {id}."),
                    "context": { "fromObjectId": [id], "fromObjectType": ["deal"], "toObjectType": ["company"] },
                })),
            }
        }
        let at = iso(now);
        let mut answer = json!({ "status": "COMPLETE", "results": results, "startedAt": at, "completedAt": at });
        if errors.is_empty() {
            return Ok(HttpResponse::json(200, &answer));
        }
        answer["numErrors"] = json!(errors.len());
        answer["errors"] = json!(errors);
        Ok(HttpResponse::json(207, &answer))
    }

    /// The companies that a new deal is associated with.
    fn given_companies(&self, kind: Kind, body: &Value) -> Result<BTreeMap<i64, Vec<i64>>, Refusal> {
        let mut companies = BTreeMap::new();
        for association in array(body, "associations").iter().filter(|_| kind == Kind::Deal) {
            let id = association.pointer("/to/id").and_then(id_text).unwrap_or_default();
            let types = array(association, "types").iter();
            let mut types: Vec<i64> =
                types.filter_map(|kind| kind.get("associationTypeId").and_then(Value::as_i64)).collect();
            if types.is_empty() || types.iter().any(|kind| ![PRIMARY, UNLABELED].contains(kind)) {
                return Err(invalid("a deal is associated with a company by type 5 or 341"));
            }
            let (company, _) = self.find(Kind::Company, &id).map_err(|_| invalid("the company does not exist"))?;
            types.push(UNLABELED);
            types.sort_unstable();
            types.dedup();
            companies.insert(company, types);
        }
        Ok(companies)
    }

    fn objects(&self, kind: Kind) -> &BTreeMap<i64, Object> {
        match kind {
            Kind::Deal => &self.deals,
            Kind::Company => &self.companies,
        }
    }

    fn objects_mut(&mut self, kind: Kind) -> &mut BTreeMap<i64, Object> {
        match kind {
            Kind::Deal => &mut self.deals,
            Kind::Company => &mut self.companies,
        }
    }

    fn find(&self, kind: Kind, id: &str) -> Result<(i64, &Object), Refusal> {
        let id = id.parse().map_err(|_| not_found("Object not found. Ids are numbers."))?;
        let object = self.objects(kind).get(&id).filter(|object| !object.archived);
        object.map(|object| (id, object)).ok_or_else(|| not_found("Object not found."))
    }
}

impl FakeVendor for HubspotFake {
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

    fn take_deliveries(&mut self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.deliveries)
    }
}

impl Kind {
    fn of(segment: &str) -> Result<Self, Refusal> {
        match segment {
            "deals" | "0-3" => Ok(Self::Deal),
            "companies" | "0-2" => Ok(Self::Company),
            _ => Err(invalid("Unable to infer object type.")),
        }
    }
}

impl Object {
    fn get(&self, property: &str) -> Option<&str> {
        self.properties.get(property)?.as_deref()
    }

    fn names(&self) -> Vec<String> {
        self.properties.keys().cloned().collect()
    }

    fn touch(&mut self, now: Instant) {
        self.updated_at = now;
        self.properties.insert("hs_lastmodifieddate".to_owned(), Some(iso(now)));
    }

    /// The row as an answer holds it; a property that was asked for and is not set is null.
    fn row(&self, id: i64, names: &[String]) -> Value {
        let always = ["createdate", "hs_lastmodifieddate", "hs_object_id"];
        let names = always.into_iter().chain(names.iter().map(String::as_str));
        let properties: Map<String, Value> = names.map(|name| (name.to_owned(), json!(self.get(name)))).collect();
        json!({
            "id": id.to_string(),
            "properties": properties,
            "createdAt": iso(self.created_at),
            "updatedAt": iso(self.updated_at),
            "archived": self.archived,
        })
    }
}

fn given_properties(body: &Value) -> Result<BTreeMap<String, Option<String>>, Refusal> {
    let given = body.get("properties").and_then(Value::as_object);
    let given = given.ok_or_else(|| invalid("properties are missing"))?;
    let read_only = ["hs_object_id", "hs_lastmodifieddate", "createdate"];
    let mut properties = BTreeMap::new();
    for (name, value) in given {
        let value = match value {
            _ if read_only.contains(&name.as_str()) => return Err(invalid(&format!("{name} is read only"))),
            Value::Null => None,
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            _ => return Err(invalid(&format!("{name} must be a string"))),
        };
        properties.insert(name.clone(), value);
    }
    Ok(properties)
}

/// Refuses values that do not fit the type of their property.
fn check_types(given: &BTreeMap<String, Option<String>>) -> Result<(), Refusal> {
    for (name, fits) in TYPED {
        if let Some(Some(value)) = given.get(name)
            && !fits(value)
        {
            let unfit = invalid(&format!("Property values were not valid: {value} is no value of {name}"));
            return Err(Refusal { property: Some(name), ..unfit });
        }
    }
    Ok(())
}

/// A property that is more than a text, and whether a value fits it.
type Typed = (&'static str, fn(&str) -> bool);

const TYPED: [Typed; 2] = [("amount", is_number), ("closedate", is_moment)];

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).replacen('.', "", 1);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_moment(text: &str) -> bool {
    instant(text).is_some() || text.parse::<CivilDate>().is_ok()
}

fn token(request: &HttpRequest) -> Outcome {
    let form = request.form();
    let value = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    if value("grant_type") != "refresh_token" || value("refresh_token").is_empty() {
        return Err(refusal(400, "BAD_REFRESH_TOKEN", "missing or unknown refresh token"));
    }
    Ok(HttpResponse::json(
        200,
        &json!({
            "access_token": "fake-access-token",
            "refresh_token": value("refresh_token"),
            "token_type": "bearer",
            "expires_in": 1_800,
        }),
    ))
}

fn body_of(request: &HttpRequest) -> Result<Value, Refusal> {
    serde_json::from_slice(&request.body).map_err(|_| invalid("Invalid input JSON."))
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(request: &HttpRequest, name: &str) -> Result<Option<i64>, Refusal> {
    let value = request.query().into_iter().find(|(key, value)| key == name && !value.is_empty());
    value.map(|(_, value)| value.parse().map_err(|_| invalid(&format!("{name} is no number")))).transpose()
}

fn property_names(request: &HttpRequest) -> Vec<String> {
    let lists = request.query().into_iter().filter(|(name, _)| name == "properties");
    lists.flat_map(|(_, list)| list.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn invalid(message: &str) -> Refusal {
    refusal(400, "VALIDATION_ERROR", message)
}

fn not_found(message: &str) -> Refusal {
    refusal(404, "OBJECT_NOT_FOUND", message)
}

fn refusal(status: u16, category: &'static str, message: &str) -> Refusal {
    Refusal { status, category, message: message.to_owned(), property: None }
}

/// The next id: the time in milliseconds, or one more than the last.
fn next(last: &mut i64, now: Instant) -> i64 {
    *last = epoch_ms(now).max(*last + 1);
    *last
}

fn epoch_ms(at: Instant) -> i64 {
    at.micros().div_euclid(1_000)
}

fn whole_ms(at: Instant) -> Instant {
    Instant::from_micros(epoch_ms(at) * 1_000).unwrap_or(at)
}

fn iso(at: Instant) -> String {
    at.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
