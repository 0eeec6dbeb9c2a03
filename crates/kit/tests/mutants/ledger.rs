//! The connector of that vendor, sound or broken in one way.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crosstie_sdk::{
    AnyReader, Ask, AuthMode, Bag, Call, Connector, Deletes, Descriptor, Fault, Inbound, Malformed, More, Net, Nudge,
    Order, Page, RateBudget, ReadEntity, Reader, Row, RowKey, Settings, SettingsError, Unmappable, Verified, WhoAmI,
    WriteEntity, WriteRequest, WriteSafety, Writer, Written,
    domain::{
        Instant,
        integration::{Arm, Claim, Entity, IntentKind},
        pipeline::AccountClaim,
    },
    signature::{Encoding, Layout, Scheme, TimestampAt},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::vendor::{SIGNED, SIGNED_LAX};

/// One way of being broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    IdOfTwoWords,
    NothingCanBeCalled,
    DeclaresWhatItDoesNotRead,
    DeclaresWhatItDoesNotWrite,
    TakesAnySetting,
    LosesTheRowAtTheBorder,
    PlaceIsOnlyATime,
    KeepsThePlaceToItself,
    LeavesOutTheBeginning,
    LeavesOutTheEnd,
    OneVersionForAll,
    CountsRows,
    SaysOtherwiseByItsId,
    HidesWhatIsDeleted,
    ShowsWhatIsDeleted,
    MapsByHowOften,
    BeginsAnewAtAnUnknownPlace,
    RefusesMoreMembers,
    PageFallsWithItsRow,
    BelievesAnything,
    WhatIsNoPageIsEmpty,
    TriesARefusedCredentialAgain,
    HidesHowLongToWait,
    AnOutageIsTheEnd,
    AReadingMayHaveHappened,
    PointsAtAnotherRecord,
    DoesNotSignTheBody,
    KeyIsTheKindOfEvent,
    AnyBodyIsEmpty,
    MakesAnotherOne,
    LooksBeforeItMakes,
    FindsNothing,
}

struct Ledger {
    descriptor: &'static Descriptor,
    readers: Vec<&'static dyn AnyReader>,
    flaw: Option<Flaw>,
}

struct Accounts {
    flaw: Option<Flaw>,
    place: Mutex<Option<Place>>,
    mapped: AtomicUsize,
}

/// Where a window goes on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    at: i64,
    id: String,
    #[serde(default)]
    skip: usize,
}

/// The connector; broken, if a flaw is named.
pub(crate) fn connector(flaw: Option<Flaw>) -> &'static dyn Connector {
    let is = |other: Flaw| flaw == Some(other);
    let account = ReadEntity {
        entity: Entity::Account,
        remote: "account",
        order: Order::Keyset { granularity_ms: 1, overlap_seconds: 300 },
        deletes: Deletes::Tombstones,
        poll_seconds: 60,
    };
    let mut reads = vec![account];
    if is(Flaw::DeclaresWhatItDoesNotRead) {
        reads.push(ReadEntity { entity: Entity::Opportunity, remote: "deal", ..account });
    }
    let order = WriteEntity {
        intent: IntentKind::PlaceOrder,
        entity: Entity::ServiceOrder,
        remote: "order",
        fields: &[],
        safety: WriteSafety::UpsertBy { field: "id" },
    };
    let budget = if is(Flaw::NothingCanBeCalled) { 0 } else { 1_000 };
    let descriptor = Descriptor {
        id: if is(Flaw::IdOfTwoWords) { "The Ledger" } else { "ledger" },
        name: "Ledger",
        version: "1.0.0",
        arms: &[Arm::Crm],
        auth: &[AuthMode::Bearer],
        default_base_url: Some("https://ledger.example"),
        budgets: vec![RateBudget { bucket: "api", per_second: budget, burst: 1_000 }].leak(),
        reads: reads.leak(),
        writes: vec![order].leak(),
    };
    let reader = Accounts { flaw, place: Mutex::default(), mapped: AtomicUsize::new(0) };
    let reader: &'static Accounts = Box::leak(Box::new(reader));
    Box::leak(Box::new(Ledger { descriptor: Box::leak(Box::new(descriptor)), readers: vec![reader], flaw }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerSettings {
    #[expect(dead_code, reason = "it is only checked")]
    book: String,
}

#[async_trait::async_trait]
impl Connector for Ledger {
    fn descriptor(&self) -> &'static Descriptor {
        self.descriptor
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), SettingsError> {
        if self.flaw == Some(Flaw::TakesAnySetting) {
            return Ok(());
        }
        settings.read::<LedgerSettings>().map(|_| ())
    }

    async fn probe(&self, net: &Net) -> Result<WhoAmI, Fault> {
        let me: Value = net.send(Call::get("/me")).await?.json()?;
        Ok(WhoAmI { account: me["book"].to_string() })
    }

    fn readers(&self) -> &[&dyn AnyReader] {
        // A list of a shorter life is as good.
        &self.readers
    }

    fn writer(&self) -> Option<&dyn Writer> {
        if self.flaw == Some(Flaw::DeclaresWhatItDoesNotWrite) { None } else { Some(self) }
    }

    fn inbound(&self) -> Option<&dyn Inbound> {
        Some(self)
    }
}

fn written(id: &str) -> Written {
    Written { remote_id: id.to_owned(), remote_version: None, customer_remote_id: None, claim: None }
}

#[async_trait::async_trait]
impl Writer for Ledger {
    async fn apply(&self, net: &Net, request: &WriteRequest) -> Result<Written, Fault> {
        let key = request.key.as_str();
        let call = match self.flaw {
            Some(Flaw::MakesAnotherOne) => Call::post("/orders"),
            Some(Flaw::LooksBeforeItMakes) => {
                let found: Value = net.send(Call::get("/orders").query("key", key)).await?.json()?;
                if let Some(id) = found["rows"][0]["id"].as_str() {
                    return Ok(written(id));
                }
                Call::post("/orders").repeatable()
            }
            _ => Call::post(format!("/orders/{key}")).repeatable(),
        };
        let made: Value = net.send(call.json(&json!({ "key": key }))).await?.json()?;
        Ok(written(made["id"].as_str().unwrap_or_default()))
    }

    async fn find(&self, net: &Net, request: &WriteRequest) -> Result<Option<Written>, Fault> {
        let found: Value = net.send(Call::get("/orders").query("key", request.key.as_str())).await?.json()?;
        let id = found["rows"][0]["id"].as_str().filter(|_| self.flaw != Some(Flaw::FindsNothing));
        Ok(id.map(written))
    }
}

impl Accounts {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, more: &Value) -> Result<Option<Place>, Fault> {
        if self.is(Flaw::KeepsThePlaceToItself) && *more == "next" {
            return self.memory().clone().map(Some).ok_or(Fault::CursorGone);
        }
        match Place::deserialize(more) {
            Ok(place) => Ok(Some(place)),
            Err(_) if self.is(Flaw::BeginsAnewAtAnUnknownPlace) => Ok(None),
            Err(_) => Err(Fault::CursorGone),
        }
    }

    fn call(&self, ask: &Ask, place: Option<&Place>) -> Call {
        let ms = |at: Instant| at.micros() / 1_000;
        let late = i64::from(self.is(Flaw::LeavesOutTheBeginning));
        let early = i64::from(self.is(Flaw::LeavesOutTheEnd));
        let mut call = Call::get("/accounts").query("limit", ask.limit.to_string());
        call = call.query("until", (ms(ask.until) - early).to_string());
        if let Some(since) = ask.since {
            call = call.query("since", (ms(since) + late).to_string());
        }
        match place {
            Some(place) if self.is(Flaw::CountsRows) => call.query("skip", place.skip.to_string()),
            Some(place) => {
                let after_id = if self.is(Flaw::PlaceIsOnlyATime) { "~" } else { &place.id };
                call.query("after", place.at.to_string()).query("after_id", after_id)
            }
            None => call,
        }
    }

    fn row(&self, raw: Value) -> Result<Row<Value>, Fault> {
        let is_whole = raw["id"].is_string() && raw["changed"].is_i64() && raw["deleted"].is_boolean();
        if !is_whole {
            let why = "a member of another type".to_owned();
            return match self.flaw {
                Some(Flaw::PageFallsWithItsRow) => Err(Fault::Shape { path: "rows".to_owned(), why }),
                _ => Ok(Row::Bad { raw, why }),
            };
        }
        if self.is(Flaw::RefusesMoreMembers) && raw.as_object().is_some_and(|members| members.len() > 4) {
            return Ok(Row::Bad { raw, why: "a member that is not known".to_owned() });
        }
        Ok(Row::Ok { wire: raw.clone(), raw })
    }
}

#[async_trait::async_trait]
impl Reader for Accounts {
    type Wire = Value;

    fn entity(&self) -> Entity {
        Entity::Account
    }

    async fn page(&self, net: &Net, ask: &Ask) -> Result<Page<Value>, Fault> {
        let place = ask.more.as_ref().map(|more| self.place(more)).transpose()?.flatten();
        let mut answer = net.send(self.call(ask, place.as_ref())).await;
        if self.is(Flaw::TriesARefusedCredentialAgain) {
            for _ in 0..20 {
                if answer.as_ref().err() == Some(&Fault::NeedsReauth) {
                    answer = net.send(self.call(ask, place.as_ref())).await;
                }
            }
        }
        let answer = match (answer, self.flaw) {
            (Err(Fault::Throttled { .. }), Some(Flaw::HidesHowLongToWait)) => {
                return Err(Fault::Throttled { retry_after_ms: None });
            }
            (Err(Fault::Transient { .. }), Some(Flaw::AnOutageIsTheEnd)) => {
                return Ok(Page { rows: vec![], more: More::End });
            }
            (Err(Fault::Transient { why }), Some(Flaw::AReadingMayHaveHappened)) if why.contains("cut off") => {
                return Err(Fault::Unknown { why });
            }
            (answer, _) => answer?,
        };
        let body: Result<Value, Fault> = answer.json();
        let rows = match body.map(|mut body| body.get_mut("rows").map(Value::take)) {
            Ok(Some(Value::Array(rows))) => rows,
            _ if self.is(Flaw::WhatIsNoPageIsEmpty) => vec![],
            Ok(_) => return Err(Fault::Shape { path: "rows".to_owned(), why: "no list".to_owned() }),
            Err(fault) => return Err(fault),
        };
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let last = rows.iter().rev().find(|row| row["changed"].is_i64() && row["id"].is_string());
        let skip = place.map_or(0, |place| place.skip) + rows.len();
        let next = last.map(|row| {
            let id = row["id"].as_str().unwrap_or_default().to_owned();
            let late = i64::from(self.is(Flaw::LosesTheRowAtTheBorder)) * 1_500;
            Place { at: row["changed"].as_i64().unwrap_or(0) + late, id, skip }
        });
        let next = next.filter(|_| count >= ask.limit);
        self.memory().clone_from(&next);
        let more = match next {
            Some(_) if self.is(Flaw::KeepsThePlaceToItself) => More::At(json!("next")),
            Some(Place { at, id, skip }) => More::At(json!({ "at": at, "id": id, "skip": skip })),
            None => More::End,
        };
        let mut rows: Vec<Row<Value>> = rows.into_iter().map(|row| self.row(row)).collect::<Result<_, _>>()?;
        if self.is(Flaw::HidesWhatIsDeleted) {
            rows.retain(|row| !matches!(row, Row::Ok { wire, .. } if wire["deleted"] == true));
        }
        Ok(Page { rows, more })
    }

    async fn one(&self, net: &Net, remote_id: &str) -> Result<Row<Value>, Fault> {
        let mut raw: Value = net.send(Call::get(format!("/accounts/{remote_id}"))).await?.json()?;
        if self.is(Flaw::SaysOtherwiseByItsId)
            && let Some(name) = raw.pointer_mut("/owner/name")
        {
            *name = json!("somebody else");
        }
        self.row(raw)
    }

    fn key(&self, wire: &Value) -> RowKey {
        let version = if self.is(Flaw::OneVersionForAll) { json!("v1") } else { wire["changed"].clone() };
        let remote_id = wire["id"].as_str().unwrap_or_default().to_owned();
        RowKey { remote_id, version: Some(version.to_string()) }
    }

    fn is_gone(&self, wire: &Value) -> bool {
        wire["deleted"] == true && !self.is(Flaw::ShowsWhatIsDeleted)
    }

    fn map(&self, wire: &Value, _settings: &Settings, bag: &mut Bag) -> Result<Claim, Unmappable> {
        let name = &wire["owner"]["name"];
        let name = match name.as_str() {
            Some(name) => Ok(Some(name.to_owned())),
            None if self.is(Flaw::BelievesAnything) => Ok(Some(wire["owner"].to_string())),
            None => Err("no text"),
        };
        let mut name = bag.take("name", "owner.name", name);
        if self.is(Flaw::MapsByHowOften) {
            name = name.map(|name| format!("{name} {}", self.mapped.fetch_add(1, Ordering::SeqCst)));
        }
        Ok(Claim::Account(AccountClaim { name, ..AccountClaim::default() }))
    }
}

impl Inbound for Ledger {
    fn scheme(&self) -> Scheme {
        let lax = self.flaw == Some(Flaw::DoesNotSignTheBody);
        Scheme::HmacSha256 {
            header: "ledger-signature",
            layout: Layout::Pairs { key: "v1" },
            timestamp: TimestampAt::PairSeconds("t"),
            signed: if lax { SIGNED_LAX } else { SIGNED },
            encoding: Encoding::Hex,
            tolerance_ms: 300_000,
        }
    }

    fn split(&self, delivery: Verified<'_>) -> Result<Vec<Nudge>, Malformed> {
        let event: Value = match serde_json::from_slice(delivery.body()) {
            Ok(event) => event,
            Err(_) if self.flaw == Some(Flaw::AnyBodyIsEmpty) => return Ok(vec![]),
            Err(error) => return Err(Malformed(error.to_string())),
        };
        let text = |name: &str| event[name].as_str().map(str::to_owned).ok_or(Malformed(format!("no {name}")));
        let (key, event_type, mut account) = (text("event")?, text("kind")?, text("account")?);
        if self.flaw == Some(Flaw::PointsAtAnotherRecord) {
            account.push('x');
        }
        let by_kind = self.flaw == Some(Flaw::KeyIsTheKindOfEvent);
        let dedupe_key = if by_kind { event_type.clone() } else { key };
        let target = Some((Entity::Account, account));
        Ok(vec![Nudge { dedupe_key, event_type, target, occurred_at: None }])
    }
}
