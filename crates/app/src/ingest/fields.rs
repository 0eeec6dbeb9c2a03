//! What becomes of the fields of a record when a system speaks of it: alone it is followed, among several the rules of
//! authority decide.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use crosstie_domain::{
    Instant,
    access::RowScope,
    custom::{EVERY_CUSTOM_FIELD, custom_name},
    ids::{AssertionId, ConflictId, ConnectionId},
    integration::{
        Arm, Assertion, ConflictRecord, ConflictStatus, ConflictVoice, Entity,
        authority::{FieldRule, FieldRules, FieldState, Heard, HeldReason, Speaker, Verdict, Voice},
        provenance::shared_fields,
    },
};
use crosstie_store::{
    Tx,
    integration::{Fields, assertions_of, conflicts_by_ids, connections_by_ids, fields_of, identities_of},
};
use serde_json::Value;

use super::{Origin, custom, push};
use crate::{App, AppError};

/// Values by the names of shared fields.
pub type Values = BTreeMap<Cow<'static, str>, Value>;

/// A record that a system speaks of.
pub(super) struct Spoken<'a> {
    pub(super) entity: Entity,
    pub(super) record_id: &'a str,
    /// What the record shows now, field by field; none for a new record.
    pub(super) shown: Option<&'a Values>,
    pub(super) speaker: Speaker,
    pub(super) remote_version: Option<&'a str>,
    /// When it was so, as well as can be told.
    pub(super) at: Instant,
    pub(super) assertion: AssertionId,
    /// What is said, field by field; a field that is not spoken of is missing.
    pub(super) said: Values,
    /// The custom fields that it speaks of, whether they have a value or not.
    pub(super) custom: BTreeSet<&'a str>,
}

/// What the systems behind the voices of a record are for.
pub(crate) struct Ranks(BTreeMap<ConnectionId, Vec<Arm>>);

impl Ranks {
    /// Of these connections, those that are configured now and not only observed; others have no say.
    pub(crate) async fn of(tx: &Tx, speakers: impl Iterator<Item = ConnectionId>) -> Result<Self, AppError> {
        let mut ids: Vec<ConnectionId> = speakers.collect();
        ids.sort_unstable();
        ids.dedup();
        let known = connections_by_ids(tx, &RowScope::All, &ids).await?;
        let live = known.into_iter().filter(|connection| connection.enabled && connection.mode.decides());
        Ok(Self(live.map(|connection| (connection.id, connection.arms)).collect()))
    }

    /// Whether a connection is configured now.
    pub(crate) fn knows(&self, connection: ConnectionId) -> bool {
        self.0.contains_key(&connection)
    }

    /// The place of a speaker in the order of those who have a say over a field.
    pub(crate) fn rank(&self, rule: &FieldRule, speaker: &Speaker) -> Option<usize> {
        self.0.get(&speaker.connection).and_then(|arms| rule.authority.rank(arms))
    }
}

impl App {
    /// Decides which of the values that a system says the record is to show.
    ///
    /// # Errors
    /// As the database.
    pub(super) async fn decide(&self, tx: &Tx, origin: Origin<'_>, spoken: Spoken<'_>) -> Result<Values, AppError> {
        let Some(shown) = spoken.shown else { return Ok(spoken.said) };
        let Some(mut fields) = shared(tx, self.rules(), &spoken, shown).await? else {
            let rules = self.rules();
            let has_a_say = |field: &str| rules.of(spoken.entity, field)?.authority.rank(origin.arms);
            let withdrawn = custom::unsaid(shown.keys(), &spoken.custom);
            let said = spoken.said.into_iter().filter(|(field, _)| has_a_say(field).is_some());
            return Ok(said.chain(withdrawn).collect());
        };
        if !origin.mode.decides() {
            // It is not heard before it has a say: what it says then must count as new. Lineage keeps what it says now.
            return Ok(Values::new());
        }
        let speakers = fields.values().flat_map(|state| state.voices.keys()).map(|speaker| speaker.connection);
        let ranks = Ranks::of(tx, speakers.chain([origin.connection])).await?;
        let mut decided = custom::withdraw(tx, self.rules(), &spoken, &ranks, &mut fields).await?;
        for (field, value) in spoken.said {
            let Some(rule) = self.rules().of(spoken.entity, &field) else { continue };
            let state = fields
                .entry(field.to_string())
                .or_insert_with(|| FieldState::agreed(shown.get(&field).cloned().unwrap_or(Value::Null), spoken.at));
            let held_before = state.held.clone();
            let heard = Heard {
                speaker: spoken.speaker.clone(),
                value,
                remote_version: spoken.remote_version.map(str::to_owned),
                at: spoken.at,
                assertion: Some(spoken.assertion),
            };
            let verdict = state.hear(rule, &|speaker| ranks.rank(rule, speaker), heard);
            if matches!(verdict, Verdict::Followed | Verdict::Converged) {
                decided.insert(field.clone(), state.base.clone());
            }
            let subject = (spoken.entity, spoken.record_id, &*field);
            match (verdict, held_before) {
                (Verdict::Held(reason), None) => open(tx, subject, state, reason).await?,
                (Verdict::Converged, Some(held)) => {
                    close(tx, held.conflict, ConflictStatus::Converged, state).await?;
                }
                (_, Some(held)) => hear_again(tx, held.conflict, state).await?,
                (_, None) => {}
            }
        }
        let record = (spoken.entity, spoken.record_id);
        push::ask(tx, record, &mut fields, push::Which::Configured).await?;
        tx.save_fields(spoken.entity, spoken.record_id, &fields).await?;
        Ok(decided)
    }
}

/// The shared fields of a record that other systems know, too; `None` when the speaker is the only one.
async fn shared(tx: &Tx, rules: &FieldRules, spoken: &Spoken<'_>, shown: &Values) -> Result<Option<Fields>, AppError> {
    let record = [spoken.record_id.to_owned()];
    if let Some((_, fields)) = fields_of(tx, &RowScope::All, &record).await?.pop() {
        return Ok(Some(fields));
    }
    let others = identities_of(tx, &RowScope::All, &record).await?;
    let is_other = |connection: ConnectionId, remote_id: &str| {
        connection != spoken.speaker.connection || remote_id != spoken.speaker.remote_id
    };
    if !others.iter().any(|link| link.entity == spoken.entity && is_other(link.connection_id, &link.remote_id)) {
        return Ok(None);
    }
    let mut assertions = assertions_of(tx, &RowScope::All, &record).await?;
    assertions.retain(|assertion| is_other(assertion.connection_id, &assertion.remote_id));
    first_voices(tx, rules, spoken.entity, (shown, &assertions)).await.map(Some)
}

/// The fields of a record as the systems that know it left them, before any of them disagreed.
pub(crate) async fn first_voices(
    tx: &Tx,
    rules: &FieldRules,
    entity: Entity,
    (shown, assertions): (&Values, &[Assertion]),
) -> Result<Fields, AppError> {
    let ranks = Ranks::of(tx, assertions.iter().map(|assertion| assertion.connection_id)).await?;
    let mut fields = Fields::new();
    let since = assertions.iter().map(|assertion| assertion.observed_at).max().unwrap_or(tx.now());
    let shared = shared_fields(entity).filter(|field| *field != EVERY_CUSTOM_FIELD).map(str::to_owned);
    let custom = shown.keys().filter(|field| custom_name(field).is_some()).map(ToString::to_string);
    for field in shared.chain(custom) {
        let base = shown.get(field.as_str()).cloned().unwrap_or(Value::Null);
        fields.insert(field, FieldState::agreed(base, since));
    }
    for assertion in assertions {
        let speaker = Speaker { connection: assertion.connection_id, remote_id: assertion.remote_id.clone() };
        for (field, value) in super::values_of(tx, assertion).await? {
            let state = match fields.get_mut(&*field) {
                Some(state) => state,
                None if custom_name(&field).is_some() => {
                    fields.entry(field.into_owned()).or_insert_with(|| FieldState::agreed(Value::Null, since))
                }
                None => continue,
            };
            let voice = Voice {
                settled: Some(value.clone()),
                value,
                observed_at: assertion.observed_at,
                assertion: Some(assertion.id),
                pushed: None,
                asked: None,
            };
            state.voices.insert(speaker.clone(), voice);
        }
    }
    for (field, state) in &mut fields {
        let Some(rule) = rules.of(entity, field) else { continue };
        let agree = state.voices.iter().filter(|(_, voice)| voice.value == state.base);
        let ranked = agree.filter_map(|(speaker, _)| Some((ranks.rank(rule, speaker)?, speaker.clone())));
        state.by = ranked.min().map(|(_, speaker)| speaker);
    }
    Ok(fields)
}

/// What each system says of a field, as a conflict shows it.
fn voices(state: &FieldState) -> Vec<ConflictVoice> {
    let said = state.voices.iter().map(|(speaker, voice)| ConflictVoice {
        speaker: speaker.clone(),
        value: voice.value.clone(),
        observed_at: voice.observed_at,
    });
    said.collect()
}

/// Opens a conflict: the field keeps its agreed value until a person decides.
pub(crate) async fn open(
    tx: &Tx,
    (entity, record_id, field): (Entity, &str, &str),
    state: &mut FieldState,
    reason: HeldReason,
) -> Result<(), AppError> {
    let id: ConflictId = tx.new_id();
    state.hold(id, reason);
    let conflict = ConflictRecord {
        id,
        entity,
        record_id: record_id.to_owned(),
        field: field.to_owned(),
        reason,
        status: ConflictStatus::Open,
        agreed: state.base.clone(),
        voices: voices(state),
        resolution: None,
        note: None,
        closed_by: None,
        version: 1,
        opened_at: tx.now(),
        closed_at: None,
    };
    Ok(tx.save_conflict(&conflict).await?)
}

/// Notes what the systems of an open conflict say by now.
async fn hear_again(tx: &Tx, id: ConflictId, state: &FieldState) -> Result<(), AppError> {
    let Some(conflict) = conflicts_by_ids(tx, &RowScope::All, &[id]).await?.pop() else { return Ok(()) };
    let voices = voices(state);
    let same = conflict.voices.iter().map(|voice| (&voice.speaker, &voice.value));
    if same.eq(voices.iter().map(|voice| (&voice.speaker, &voice.value))) {
        return Ok(());
    }
    let version = conflict.version + 1;
    Ok(tx.save_conflict(&ConflictRecord { voices, version, ..conflict }).await?)
}

/// Ends a conflict that nobody had to decide.
pub(crate) async fn close(tx: &Tx, id: ConflictId, status: ConflictStatus, state: &FieldState) -> Result<(), AppError> {
    let Some(conflict) = conflicts_by_ids(tx, &RowScope::All, &[id]).await?.pop() else { return Ok(()) };
    let (voices, version) = (voices(state), conflict.version + 1);
    let closed_at = Some(tx.now());
    Ok(tx.save_conflict(&ConflictRecord { voices, version, status, closed_at, ..conflict }).await?)
}
