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
    integration::{Fields, conflicts_by_ids, connections_by_ids},
};
use serde_json::Value;

use super::{custom, page::Page, push};
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

/// What the systems behind the voices of records are for.
#[derive(Debug, Clone, Default)]
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
    pub(super) fn decide(&self, page: &mut Page<'_>, spoken: Spoken<'_>) -> Values {
        let Some(shown) = spoken.shown else { return spoken.said };
        let origin = page.origin;
        if !page.is_shared(&spoken) {
            let rules = self.rules();
            let has_a_say = |field: &str| rules.of(spoken.entity, field)?.authority.rank(origin.arms);
            let withdrawn = custom::unsaid(shown, &spoken.custom);
            let said = spoken.said.into_iter().filter(|(field, _)| has_a_say(field).is_some());
            return said.chain(withdrawn).collect();
        }
        if !origin.mode.decides() {
            // It is not heard before it has a say: what it says then must count as new. Lineage keeps what it says now.
            return Values::new();
        }
        let mut fields = page.take_fields(self.rules(), &spoken, shown);
        let ranks = page.ranks();
        let mut decided = custom::withdraw(page, self.rules(), &spoken, &mut fields);
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
                (Verdict::Held(reason), None) => {
                    let conflict = opened(subject, state, (page.tx.new_id(), reason, page.now));
                    page.save_conflict(conflict);
                }
                (verdict, Some(held)) => {
                    let next = page.conflict(held.conflict).and_then(|conflict| match verdict {
                        Verdict::Converged => Some(closed(conflict, ConflictStatus::Converged, state, page.now)),
                        _ => heard_again(conflict, state),
                    });
                    if let Some(next) = next {
                        page.save_conflict(next);
                    }
                }
                (_, None) => {}
            }
        }
        let record = (spoken.entity, spoken.record_id);
        let wanted = push::wanted(page.tx, record, &mut fields, (push::Which::Configured, page.pushes(), &ranks));
        page.request(wanted);
        page.save_fields(spoken.entity, spoken.record_id, fields);
        decided
    }
}

/// Names the speaker of values that were shown before anybody else spoke and that it repeats: it alone can have said them.
pub(super) fn name_the_only_speaker(fields: &mut Fields, rules: &FieldRules, ranks: &Ranks, spoken: &Spoken<'_>) {
    for (field, value) in &spoken.said {
        let (Some(rule), Some(state)) = (rules.of(spoken.entity, field), fields.get_mut(&**field)) else { continue };
        let repeats = state.by.is_none() && !value.is_null() && *value == state.base;
        if repeats && ranks.rank(rule, &spoken.speaker).is_some() {
            state.by = Some(spoken.speaker.clone());
        }
    }
}

/// What a system once said, by the names of shared fields.
pub(crate) struct Once<'a> {
    pub(crate) assertion: &'a Assertion,
    pub(crate) values: Values,
}

/// The fields of a record as the systems that know it left them, before any of them disagreed. What was agreed on before
/// anything was said is agreed on since now.
pub(crate) fn first_voices(
    rules: &FieldRules,
    ranks: &Ranks,
    (entity, shown): (Entity, &Values),
    (said, now): (Vec<Once<'_>>, Instant),
) -> Fields {
    let since = said.iter().map(|once| once.assertion.observed_at).max().unwrap_or(now);
    let mut fields = Fields::new();
    let shared = shared_fields(entity).filter(|field| *field != EVERY_CUSTOM_FIELD).map(str::to_owned);
    let custom = shown.keys().filter(|field| custom_name(field).is_some()).map(ToString::to_string);
    for field in shared.chain(custom) {
        let base = shown.get(field.as_str()).cloned().unwrap_or(Value::Null);
        fields.insert(field, FieldState::agreed(base, since));
    }
    for Once { assertion, values } in said {
        let speaker = Speaker { connection: assertion.connection_id, remote_id: assertion.remote_id.clone() };
        for (field, value) in values {
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
    fields
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
    subject: (Entity, &str, &str),
    state: &mut FieldState,
    reason: HeldReason,
) -> Result<(), AppError> {
    Ok(tx.save_conflict(&opened(subject, state, (tx.new_id(), reason, tx.now()))).await?)
}

fn opened(
    (entity, record_id, field): (Entity, &str, &str),
    state: &mut FieldState,
    (id, reason, now): (ConflictId, HeldReason, Instant),
) -> ConflictRecord {
    state.hold(id, reason);
    ConflictRecord {
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
        opened_at: now,
        closed_at: None,
    }
}

/// An open conflict with what the systems say by now; none when it is what they said before.
fn heard_again(conflict: &ConflictRecord, state: &FieldState) -> Option<ConflictRecord> {
    let voices = voices(state);
    let same = conflict.voices.iter().map(|voice| (&voice.speaker, &voice.value));
    if same.eq(voices.iter().map(|voice| (&voice.speaker, &voice.value))) {
        return None;
    }
    Some(ConflictRecord { voices, version: conflict.version + 1, ..conflict.clone() })
}

/// Ends a conflict that nobody had to decide.
pub(crate) async fn close(tx: &Tx, id: ConflictId, status: ConflictStatus, state: &FieldState) -> Result<(), AppError> {
    let Some(conflict) = conflicts_by_ids(tx, &RowScope::All, &[id]).await?.pop() else { return Ok(()) };
    Ok(tx.save_conflict(&closed(&conflict, status, state, tx.now())).await?)
}

pub(super) fn closed(
    conflict: &ConflictRecord,
    status: ConflictStatus,
    state: &FieldState,
    now: Instant,
) -> ConflictRecord {
    let version = conflict.version + 1;
    ConflictRecord { voices: voices(state), version, status, closed_at: Some(now), ..conflict.clone() }
}
