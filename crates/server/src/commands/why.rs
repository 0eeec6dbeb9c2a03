//! `why`: who said so.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Args;
use crosstie_app::{Values, shown_values};
use crosstie_domain::{
    access::RowScope,
    billing::ServiceOrderRecord,
    ids::{ConnectionId, CorrectionId, InvoiceId},
    integration::{
        ConnectionRecord, CorrectionRecord, Entity,
        authority::{Authority, FieldRule, Speaker},
        erasure::{ErasedBy, marks_in},
        provenance::{Evidence, OverruledBecause, Provenance, ProvenanceDecision, shared_field, shared_fields},
    },
    pipeline::{AccountRecord, OpportunityRecord},
};
use crosstie_store::{
    Store,
    billing::{invoices_by_ids, service_orders_by_ids},
    integration::{assertion_history, connections_by_ids, corrections_by_ids, erased_by, fields_of},
    pipeline::{accounts_by_ids, opportunities_by_ids},
};

use super::{CommandError, ConfigArgs, word};
use crate::hub::open;

/// How far back what was said of the record is looked through.
const HISTORY: u32 = 10_000;

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The record, such as `acc_01h4…`
    record: String,
    /// The field, such as `billingEmail`
    field: String,
}

pub(super) async fn run(args: &WhyArgs) -> Result<ExitCode, CommandError> {
    let (app, _) = open(&args.config.load()?).await?;
    let store = app.store();
    let (entity, mut shown) = shown(store, &args.record).await?;
    let Some(field) = shared_field(entity, &args.field) else {
        let known: Vec<_> = shared_fields(entity).collect();
        return Err(format!("systems share these fields of it: {}", known.join(", ")).into());
    };
    let record = [args.record.clone()];
    let fields = fields_of(store, &RowScope::All, &record).await?.pop().map(|(_, fields)| fields);
    let history = assertion_history(store, &RowScope::All, &record, HISTORY).await?;
    let state = fields.as_ref().and_then(|fields| fields.get(&*field));
    let heard = state.into_iter().flat_map(|state| state.voices.keys()).map(|speaker| speaker.connection);
    let mut ids: Vec<ConnectionId> = history.iter().map(|said| said.connection_id).chain(heard).collect();
    ids.sort_unstable();
    ids.dedup();
    let connections = connections_by_ids(store, &RowScope::All, &ids).await?;
    let connections: BTreeMap<_, _> = connections.into_iter().map(|known| (known.id, known)).collect();
    let rule = app.rules().of(entity, &field).ok_or("the field has no rule")?;
    let rank = |speaker: &Speaker| {
        let live = connections.get(&speaker.connection).filter(|connection| connection.enabled);
        live.and_then(|connection| rule.authority.rank(&connection.arms))
    };
    let value = shown.remove(&field).unwrap_or_default();
    let found = Provenance::of((&field, rule), value, state, &history, &rank);
    let said = history.iter().flat_map(|said| said.fields.values()).map(|field| field.value.to_string());
    let texts: Vec<String> = said.chain([found.value.to_string()]).collect();
    let mut hashes: Vec<String> = texts.iter().flat_map(|text| marks_in(text)).map(str::to_owned).collect();
    hashes.sort_unstable();
    hashes.dedup();
    let erased = erased_by(store, &hashes).await?;
    for line in lines(&args.record, (&field, rule), &found, (&connections, &erased)) {
        println!("{line}");
    }
    let said = found.source.iter().chain(found.overruled.iter().map(|(said, _)| said));
    let corrected: Vec<CorrectionId> = said.filter_map(|said| said.said_in?.correction_id).collect();
    for correction in corrections_by_ids(store, &RowScope::All, &corrected).await? {
        let CorrectionRecord { id, actor, reason, corrected_at, .. } = correction;
        println!("corrected: {id} by {actor} at {corrected_at}: {}", reason.as_deref().unwrap_or("no reason given"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a record shows, and what kind of record it is.
async fn shown(store: &Store, id: &str) -> Result<(Entity, Values), CommandError> {
    let all = &RowScope::All;
    if let Ok(id) = id.parse() {
        let found: Option<AccountRecord> = accounts_by_ids(store, all, &[id]).await?.pop();
        return Ok((Entity::Account, shown_values::account(&found.ok_or("no such account")?)));
    }
    if let Ok(id) = id.parse() {
        let found: Option<OpportunityRecord> = opportunities_by_ids(store, all, &[id]).await?.pop();
        return Ok((Entity::Opportunity, shown_values::opportunity(&found.ok_or("no such opportunity")?)));
    }
    if let Ok(id) = id.parse() {
        let found: Option<ServiceOrderRecord> = service_orders_by_ids(store, all, &[id]).await?.pop();
        return Ok((Entity::ServiceOrder, shown_values::service_order(&found.ok_or("no such service order")?)));
    }
    let id: InvoiceId =
        id.parse().map_err(|_| "not an identifier of an account, an opportunity, a service order or an invoice")?;
    let found = invoices_by_ids(store, all, &[id]).await?.pop();
    Ok((Entity::Invoice, shown_values::invoice(&found.ok_or("no such invoice")?)))
}

fn lines(
    record: &str,
    (field, rule): (&str, &FieldRule),
    found: &Provenance<'_>,
    (connections, erased): (&BTreeMap<ConnectionId, ConnectionRecord>, &[ErasedBy]),
) -> Vec<String> {
    let name = |evidence: &Evidence<'_>| {
        let known = connections.get(&evidence.speaker.connection);
        known.map_or_else(|| evidence.speaker.connection.to_string(), |connection| connection.name.clone())
    };
    let mut lines = vec![format!("{record} {field}: {}", found.value), format!("rule: {}", told(rule))];
    match (&found.source, found.decision) {
        (Some(source), _) => {
            lines.push(format!("said by {}", name(source)));
            lines.extend(evidence(source));
            lines.extend(gone(source, erased));
        }
        (None, ProvenanceDecision::Person) => lines.push("decided by a person".to_owned()),
        (None, _) if rule.authority == Authority::Local => lines.push("decided by the hub".to_owned()),
        (None, _) => lines.push("no system spoke of it".to_owned()),
    }
    if let Some(since) = found.since {
        lines.push(format!("shown since {since}"));
    }
    if let Some(held) = &found.held {
        lines.push(format!("held: {} {}", held.conflict, word(&held.reason)));
    }
    for (overruled, because) in &found.overruled {
        lines.push(format!("overruled: {} says {} ({})", name(overruled), overruled.value, reason(*because)));
        lines.extend(evidence(overruled));
        lines.extend(gone(overruled, erased));
    }
    lines
}

fn told(rule: &FieldRule) -> String {
    let arms = match &rule.authority {
        Authority::Authoritative { arm } => vec![word(arm)],
        Authority::Preferred { order } => order.iter().map(word).collect(),
        Authority::Shared | Authority::Derived | Authority::Local => Vec::new(),
    };
    let policy = match &rule.authority {
        Authority::Authoritative { .. } => "authoritative",
        Authority::Preferred { .. } => "preferred",
        Authority::Shared => "shared",
        Authority::Derived => "derived",
        Authority::Local => "local",
    };
    format!("{} {}, conflicts {}", policy, arms.join(" then "), word(&rule.on_conflict))
}

fn reason(because: OverruledBecause) -> &'static str {
    match because {
        OverruledBecause::NoAuthority => "it has no say over the field",
        OverruledBecause::AnotherFollowed => "another one is followed",
        OverruledBecause::Held => "held until a person decides",
        OverruledBecause::Person => "a person decided otherwise",
    }
}

/// When and by whom what it said was erased.
fn gone(evidence: &Evidence<'_>, erased: &[ErasedBy]) -> Option<String> {
    let text = evidence.value.to_string();
    let by = erased.iter().find(|by| marks_in(&text).contains(&by.hash.as_str()))?;
    Some(format!("  erased on {} by {}", by.at, by.by))
}

fn evidence(evidence: &Evidence<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(said_in) = evidence.said_in {
        let path = evidence.said.map_or("-", |said| said.source_path.as_str());
        let version = said_in.remote_version.as_deref().unwrap_or("-");
        lines.push(format!("  first at {}, last heard at {}", said_in.observed_at, evidence.heard_at));
        lines.push(format!("  record {} at version {version}, field {path}", evidence.speaker.remote_id));
        let by = match (said_in.run_id, said_in.inbound_event_id) {
            (Some(run), _) => format!("run {run}"),
            (_, Some(event)) => format!("inbound event {event}"),
            (None, None) => "a write of the hub, or a mapping anew".to_owned(),
        };
        let by = said_in.correction_id.map_or(by, |correction| format!("a person's correction {correction}"));
        lines.push(format!("  {} by {by}, mapping {}", said_in.id, said_in.mapping_version));
    } else {
        lines.push(format!("  record {}, written there by the hub", evidence.speaker.remote_id));
    }
    if let Some(problem) = evidence.said.and_then(|said| said.problem.as_ref()) {
        lines.push(format!("  it could not be read: {problem}"));
    }
    lines
}
