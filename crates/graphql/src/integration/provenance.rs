//! Why a field has the value that it has.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_graphql::{Context, ID, Object, Result};
use crosstie_domain::{
    Instant,
    access::{Permission, RowScope, Sensitivity},
    ids::{ConnectionId, CorrectionId},
    integration::{
        Assertion, ConnectionRecord, CorrectionRecord, Entity,
        authority::Speaker,
        erasure::{ErasedBy, marks_in},
        provenance::{
            Evidence, OverruledBecause, Provenance as Found, ProvenanceDecision, shared_field, shared_fields,
        },
    },
};
use crosstie_store::{
    Store, StoreError,
    integration::{Fields, assertion_history, connections_by_ids, corrections_by_ids, erased_by, fields_of},
};
use serde_json::Value;

use super::{Conflict, ConnectedSystem, FieldAuthority, corrections::Correction};
use crate::{
    access::{access, app, financial, sensitivity},
    edge::{Item, level},
    error::ApiError,
    node,
};

/// How far back what was said of a record is looked through.
const HISTORY: u32 = 200;

/// What systems said of one record.
struct Lineage {
    fields: Option<Fields>,
    history: Vec<Assertion>,
    /// By the hashes in marks.
    erased: Arc<BTreeMap<String, ErasedBy>>,
    connections: Arc<BTreeMap<ConnectionId, ConnectionRecord>>,
    corrections: Arc<BTreeMap<CorrectionId, CorrectionRecord>>,
}

async fn load(store: &Store, rows: &RowScope, ids: Vec<String>) -> Result<Vec<(String, Lineage)>, StoreError> {
    let mut fields: BTreeMap<String, Fields> = fields_of(store, rows, &ids).await?.into_iter().collect();
    let mut histories: BTreeMap<String, Vec<Assertion>> = BTreeMap::new();
    for assertion in assertion_history(store, rows, &ids, HISTORY).await? {
        histories.entry(assertion.record_id.clone()).or_default().push(assertion);
    }
    let spoke = histories.values().flatten().map(|assertion| assertion.connection_id);
    let voices = fields.values().flat_map(BTreeMap::values).flat_map(|state| state.voices.keys());
    let mut connections: Vec<_> = spoke.chain(voices.map(|speaker| speaker.connection)).collect();
    connections.sort_unstable();
    connections.dedup();
    // Whoever sees a value may know which system it came from.
    let connections = connections_by_ids(store, &RowScope::All, &connections).await?;
    let connections = Arc::new(connections.into_iter().map(|connection| (connection.id, connection)).collect());
    let said = histories.values().flatten().flat_map(|assertion| assertion.fields.values());
    let said = said.map(|field| field.value.to_string());
    let states = fields.values().flat_map(BTreeMap::values);
    let agreed = states.flat_map(|state| state.voices.values().map(|voice| &voice.value).chain([&state.base]));
    let texts: Vec<String> = said.chain(agreed.map(Value::to_string)).collect();
    let mut hashes: Vec<String> = texts.iter().flat_map(|text| marks_in(text)).map(str::to_owned).collect();
    hashes.sort_unstable();
    hashes.dedup();
    let erased = erased_by(store, &hashes).await?;
    let erased = Arc::new(erased.into_iter().map(|by| (by.hash.clone(), by)).collect());
    let corrected = histories.values().flatten().filter_map(|assertion| assertion.correction_id);
    let corrected: BTreeSet<CorrectionId> = corrected.collect();
    let corrections = corrections_by_ids(store, rows, &corrected.into_iter().collect::<Vec<_>>()).await?;
    let corrections = Arc::new(corrections.into_iter().map(|correction| (correction.id, correction)).collect());
    let lineages = ids.into_iter().map(|id| {
        let (fields, history) = (fields.remove(&id), histories.remove(&id).unwrap_or_default());
        let (erased, connections, corrections) =
            (Arc::clone(&erased), Arc::clone(&connections), Arc::clone(&corrections));
        (id, Lineage { fields, history, erased, connections, corrections })
    });
    Ok(lineages.collect())
}

/// Why a field of a record has its value. Its siblings' lineage is loaded with it.
///
/// # Errors
/// `FORBIDDEN`; `BAD_USER_INPUT` for a field that systems do not share.
pub(crate) async fn provenance<R>(
    ctx: &Context<'_>,
    permission: Permission,
    (entity, item): (Entity, &Item<R>),
    (id, value): (impl Fn(&R) -> String, impl Fn(&str) -> Value),
    name: &str,
) -> Result<Option<Provenance>> {
    let found = access(ctx, permission)?;
    let Some(field) = shared_field(entity, name) else {
        let known: Vec<&str> = shared_fields(entity).collect();
        let message = format!("Systems share these fields of it: {}.", known.join(", "));
        return Err(ApiError::BadInput { argument: "field".to_owned(), message }.into_graphql());
    };
    let lineage = item.one("lineage", |record| Some(id(record)), |ids| load(found.store, found.rows, ids)).await?;
    let Some(lineage): Option<Item<Lineage>> = lineage else { return Ok(None) };
    let value = value(&field);
    Ok(Some(Provenance { entity, field, value, lineage }))
}

/// Why a field has the value that it has.
pub(crate) struct Provenance {
    entity: Entity,
    field: Cow<'static, str>,
    value: Value,
    lineage: Item<Lineage>,
}

impl Provenance {
    fn found<'a>(&'a self, ctx: &'a Context<'_>) -> Result<Found<'a>> {
        let rule = app(ctx)?.rules().of(self.entity, &self.field);
        let rule = rule.ok_or_else(|| ApiError::Internal.into_graphql())?;
        let connections = &self.lineage.connections;
        let rank = |speaker: &Speaker| {
            let live = connections.get(&speaker.connection).filter(|connection| connection.enabled);
            live.and_then(|connection| rule.authority.rank(&connection.arms))
        };
        let state = self.lineage.fields.as_ref().and_then(|fields| fields.get(&*self.field));
        Ok(Found::of((&self.field, rule), self.value.clone(), state, &self.lineage.history, &rank))
    }

    /// When and by whom what stood in a value was erased.
    fn erased(&self, value: &Value) -> Option<ErasedBy> {
        let text = value.to_string();
        marks_in(&text).into_iter().find_map(|hash| self.lineage.erased.get(hash).cloned())
    }

    fn told(&self, evidence: &Evidence<'_>, because: Option<OverruledBecause>) -> ProvenanceSource {
        let connection = self.lineage.connections.get(&evidence.speaker.connection).cloned();
        let said_in = evidence.said_in.cloned();
        let corrected = said_in.as_ref().and_then(|assertion| assertion.correction_id);
        let correction = corrected.and_then(|id| self.lineage.corrections.get(&id).cloned());
        ProvenanceSource {
            is_financial: is_financial(self.entity, &self.field),
            connection: connection.and_then(|connection| level(vec![connection]).next()),
            remote_id: evidence.speaker.remote_id.clone(),
            value: evidence.value.clone(),
            source_path: evidence.said.map(|said| said.source_path.clone()),
            problem: evidence.said.and_then(|said| said.problem.clone()),
            erased: self.erased(&evidence.value),
            said_in,
            correction,
            heard_at: evidence.heard_at,
            because,
        }
    }
}

fn is_financial(entity: Entity, field: &str) -> bool {
    matches!((entity, field), (Entity::Invoice, "total" | "amount_paid") | (Entity::ServiceOrder, "total"))
}

fn shown(ctx: &Context<'_>, is_financial: bool, value: &Value) -> Result<Option<String>> {
    let text = (!value.is_null()).then(|| value.to_string());
    if is_financial { financial(ctx, text) } else { Ok(text) }
}

/// Why a field has the value that it has: who said it, when, by what evidence, and what was overruled.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Provenance {
    /// The field, as systems speak of it.
    async fn field(&self) -> &str {
        &self.field
    }

    /// The value that is shown, as JSON; null when there is none. Amounts of invoices and orders are financial.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn value(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        shown(ctx, is_financial(self.entity, &self.field), &self.value)
    }

    /// How it came to be.
    async fn decision(&self, ctx: &Context<'_>) -> Result<Option<ProvenanceDecision>> {
        Ok(Some(self.found(ctx)?.decision))
    }

    /// Since when it is shown, where several systems know the record.
    async fn since(&self, ctx: &Context<'_>) -> Result<Option<Instant>> {
        Ok(self.found(ctx)?.since)
    }

    /// Who has the say over the field.
    async fn authority(&self, ctx: &Context<'_>) -> Result<Option<FieldAuthority>> {
        Ok(app(ctx)?.rules().of(self.entity, &self.field).map(FieldAuthority::from))
    }

    /// Who said it; null when a person or the hub decided.
    async fn source(&self, ctx: &Context<'_>) -> Result<Option<ProvenanceSource>> {
        Ok(self.found(ctx)?.source.map(|source| self.told(&source, None)))
    }

    /// What else is said, and why it is not shown.
    async fn overruled(&self, ctx: &Context<'_>) -> Result<Option<Vec<ProvenanceSource>>> {
        let overruled = self.found(ctx)?.overruled;
        Ok(Some(overruled.iter().map(|(evidence, because)| self.told(evidence, Some(*because))).collect()))
    }

    /// The open conflict about it, when you may see conflicts.
    async fn conflict(&self, ctx: &Context<'_>) -> Result<Option<Conflict>> {
        let Some(held) = self.found(ctx)?.held else { return Ok(None) };
        match node::find(ctx, &held.conflict.to_string()).await? {
            Some(node::Node::Conflict(conflict)) => Ok(Some(conflict)),
            _ => Ok(None),
        }
    }
}

/// One thing that a system said of a field.
pub(crate) struct ProvenanceSource {
    is_financial: bool,
    connection: Option<Item<ConnectionRecord>>,
    remote_id: String,
    value: Value,
    source_path: Option<String>,
    problem: Option<String>,
    said_in: Option<Assertion>,
    erased: Option<ErasedBy>,
    correction: Option<CorrectionRecord>,
    heard_at: Instant,
    because: Option<OverruledBecause>,
}

/// One thing that a system said of a field, with its evidence.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ProvenanceSource {
    /// The system.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        use crate::listing::Node as _;
        access(ctx, ConnectedSystem::PERMISSION)?;
        Ok(self.connection.clone().map(ConnectedSystem))
    }

    /// The record's id there.
    async fn remote_id(&self) -> &str {
        &self.remote_id
    }

    /// What it says, as JSON; null when it holds nothing. Amounts of invoices are financial.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn value(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        shown(ctx, self.is_financial, &self.value)
    }

    /// When it was first said, as far back as is known; null for what the hub itself wrote there.
    async fn said_at(&self) -> Option<Instant> {
        self.said_in.as_ref().map(|assertion| assertion.observed_at)
    }

    /// When it was last heard.
    async fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// The record's version there when it was first said.
    async fn remote_version(&self) -> Option<&str> {
        self.said_in.as_ref()?.remote_version.as_deref()
    }

    /// Where it stood in the sender's record.
    async fn source_path(&self) -> Option<&str> {
        self.source_path.as_deref()
    }

    /// Why it could not be read, when it could not. It may quote the value, so it is held as closely.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn problem(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        let problem = self.problem.as_deref();
        if self.is_financial { financial(ctx, problem) } else { Ok(problem) }
    }

    /// Version of the connector whose mapping read it.
    async fn mapping_version(&self) -> Option<&str> {
        self.said_in.as_ref().map(|assertion| assertion.mapping_version.as_str())
    }

    /// The run that read it; null when a webhook or a write did.
    async fn sync_run_id(&self) -> Option<ID> {
        self.said_in.as_ref()?.run_id.map(Into::into)
    }

    /// The inbound event that led to the reading.
    async fn inbound_event_id(&self) -> Option<ID> {
        self.said_in.as_ref()?.inbound_event_id.map(Into::into)
    }

    /// When what it said was erased, whole or in part; null when nothing was.
    async fn erased_at(&self) -> Option<Instant> {
        self.erased.as_ref().map(|erased| erased.at)
    }

    /// Who had it erased: a person or a program.
    async fn erased_by(&self) -> Option<&str> {
        self.erased.as_ref().map(|erased| erased.by.as_str())
    }

    /// What a person had corrected before it was taken in; null for what is as the system said it.
    async fn correction(&self) -> Option<Correction> {
        self.correction.clone().map(Correction)
    }

    /// Why it is not shown; null for what is.
    async fn overruled_because(&self) -> Option<OverruledBecause> {
        self.because
    }
}
