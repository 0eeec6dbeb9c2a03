//! What the hub and a connected system hold differently, and what switching the connection to two-way would do about it.

use std::collections::BTreeMap;

use crosstie_domain::{
    access::RowScope,
    ids::ConnectionId,
    integration::{
        Arm, Assertion,
        authority::{FieldRule, FieldState, Heard, Speaker, Verdict, Voice},
        differences::{Difference, DifferenceSummary, SwitchStep},
    },
};
use crosstie_store::{
    Condition, Direction, Operand, Operator, PageRequest, PageResult, Reads, Span, StoreError,
    integration::{
        DifferenceColumn, Fields, Pushes, assertions_of, connection_differences, connections_by_ids, fields_of,
        pushes_of,
    },
};
use serde_json::Value;

use crate::{App, AppError};

/// How many are looked at together for a summary.
const BATCH: u32 = 500;
/// How many a summary counts at most.
const MOST: usize = 10_000;

impl App {
    /// A page of differences, each with what a switch of its connection to two-way would do about it.
    ///
    /// # Errors
    /// As the database.
    pub async fn differences(
        &self,
        db: &impl Reads,
        scope: &RowScope,
        request: &PageRequest<DifferenceColumn>,
    ) -> Result<PageResult<Difference>, AppError> {
        let mut page = connection_differences(db, scope, request).await?;
        self.foresee(db, scope, page.rows.iter_mut().map(|(difference, _)| difference).collect()).await?;
        Ok(page)
    }

    /// The differences of a connection in short: how many of which, and what they come to. The first 10,000 are counted.
    ///
    /// # Errors
    /// As the database.
    pub async fn difference_summary(
        &self,
        db: &impl Reads,
        scope: &RowScope,
        connection: ConnectionId,
    ) -> Result<DifferenceSummary, AppError> {
        let (mut summary, mut after, mut seen) = (DifferenceSummary::default(), None, 0);
        while seen < MOST {
            let ours = Operand::Text(connection.to_string());
            let request = PageRequest {
                condition: Condition::Is(DifferenceColumn::Connection, Operator::Eq, ours),
                order: vec![(DifferenceColumn::Kind, Direction::Ascending)],
                span: Span::First(BATCH, after.take()),
            };
            let page = self.differences(db, scope, &request).await?;
            seen += page.rows.len();
            for (difference, _) in &page.rows {
                summary.add(difference);
            }
            after = page.rows.last().map(|(_, keys)| keys.clone()).filter(|_| page.has_next);
            if after.is_none() {
                summary.is_whole = true;
                break;
            }
        }
        Ok(summary)
    }

    /// Works out what a switch would do about fields that several systems share: the rules of authority are asked as if
    /// the system spoke again after it.
    async fn foresee(
        &self,
        db: &impl Reads,
        scope: &RowScope,
        differences: Vec<&mut Difference>,
    ) -> Result<(), StoreError> {
        let open: Vec<_> = differences.into_iter().filter(|difference| difference.step.is_none()).collect();
        let mut records: Vec<String> = open.iter().filter_map(|difference| difference.record_id.clone()).collect();
        records.sort();
        records.dedup();
        let fields: BTreeMap<String, Fields> = fields_of(db, scope, &records).await?.into_iter().collect();
        let assertions = assertions_of(db, scope, &records).await?;
        let ids = open.iter().map(|difference| difference.connection_id);
        let mut ids: Vec<ConnectionId> = ids.chain(assertions.iter().map(|said| said.connection_id)).collect();
        ids.sort_unstable();
        ids.dedup();
        let connections = connections_by_ids(db, &RowScope::All, &ids).await?;
        let pushes: BTreeMap<ConnectionId, Pushes> = pushes_of(db, &RowScope::All, &ids).await?.into_iter().collect();
        for difference in open {
            let (Some(record_id), Some(field)) = (&difference.record_id, difference.field.as_deref()) else { continue };
            let Some(rule) = self.rules().of(difference.entity, field) else { continue };
            let own = difference.connection_id;
            // The system has a say after the switch, whatever it has now.
            let has_a_say = |id: ConnectionId| {
                let live = connections.iter().find(|one| one.id == id && (id == own || one.mode.decides()));
                live.filter(|one| one.enabled).map(|one| one.arms.as_slice())
            };
            let speaker = Speaker { connection: own, remote_id: difference.remote_id.clone().unwrap_or_default() };
            let of_record = || assertions.iter().filter(|said| said.record_id == *record_id);
            let known = fields.get(record_id).and_then(|fields| fields.get(field)).cloned();
            let Some(state) = known.or_else(|| first_state(difference, of_record(), &speaker)) else { continue };
            let name = format!("{}.{field}", difference.entity.as_str());
            let is_pushed = pushes.get(&own).is_some_and(|pushes| pushes.pushed.contains(&name));
            let said = of_record().find(|said| said.connection_id == own && said.remote_id == speaker.remote_id);
            let there = difference.there.clone().map_or(Value::Null, Value::String);
            let heard = Heard {
                value: there,
                remote_version: said.and_then(|said| said.remote_version.clone()),
                at: said.map_or(state.since, |said| said.observed_at),
                assertion: said.map(|said| said.id),
                speaker,
            };
            difference.step = Some(step(rule, state, &has_a_say, heard, is_pushed));
        }
        Ok(())
    }
}

/// A field as the other systems left it, where nothing is kept of it yet.
fn first_state<'a>(
    difference: &Difference,
    assertions: impl Iterator<Item = &'a Assertion>,
    own: &Speaker,
) -> Option<FieldState> {
    let field = difference.field.as_deref().unwrap_or_default();
    let base = difference.here.clone().map_or(Value::Null, Value::String);
    let mut voices = BTreeMap::new();
    let mut since = None;
    for said in assertions {
        since = since.max(Some(said.observed_at));
        let speaker = Speaker { connection: said.connection_id, remote_id: said.remote_id.clone() };
        let Some(value) = said.fields.get(field).map(|field| field.value.clone()).filter(|_| speaker != *own) else {
            continue;
        };
        let voice = Voice {
            settled: Some(value.clone()),
            value,
            observed_at: said.observed_at,
            assertion: Some(said.id),
            pushed: None,
            asked: None,
        };
        voices.insert(speaker, voice);
    }
    since.map(|since| FieldState { voices, ..FieldState::agreed(base, since) })
}

/// What happens when a system that has a say speaks of a field.
fn step<'a>(
    rule: &FieldRule,
    mut state: FieldState,
    has_a_say: &dyn Fn(ConnectionId) -> Option<&'a [Arm]>,
    heard: Heard,
    is_pushed: bool,
) -> SwitchStep {
    let rank = |speaker: &Speaker| has_a_say(speaker.connection).and_then(|arms| rule.authority.rank(arms));
    if state.held.is_some() {
        return SwitchStep::Hold;
    }
    let speaker = heard.speaker.clone();
    let is_asked = state.voices.get(&speaker).is_some_and(|voice| voice.asked.as_ref() == Some(&state.base));
    match state.hear(rule, &rank, heard) {
        Verdict::Followed => SwitchStep::Follow,
        Verdict::Held(_) => SwitchStep::Hold,
        Verdict::Stays | Verdict::Converged if is_asked => SwitchStep::Push,
        Verdict::Stays | Verdict::Converged if is_pushed && state.to_push(&speaker).is_some() => SwitchStep::Push,
        Verdict::Stays | Verdict::Converged => SwitchStep::Nothing,
    }
}
