//! Deciding which records of other systems a record is: linking, merging, splitting, and undoing all of it.

use crosstie_domain::{
    Refusal, UserErrorCode,
    access::{AuthContext, RowScope},
    custom::custom_name,
    ids::{ConnectionId, IdentityEventId},
    integration::{
        ConflictStatus, Entity, IdentityEvent, IdentityEventKind, LinkState, Moved,
        authority::{FieldState, Heard, Speaker, Verdict},
    },
};
use crosstie_store::{
    Tx,
    integration::{Child, assertions_of, fields_of, identities_of, identity, identity_events_of},
};
use serde::Serialize;

use crate::{
    App, AppError, Decision,
    contracts::publish,
    idempotency::{Request, decided},
    ingest::{
        custom::forget_the_silent,
        fields::{Ranks, Values, close, first_voices, open},
        pipeline::Subject,
        push, values_of,
    },
};

/// A record of another system that is another record of the hub than it was taken for.
#[derive(Debug, Clone, Serialize)]
pub struct LinkRecord {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The id there.
    pub remote_id: String,
    /// The record that it is.
    pub record_id: String,
    /// Why.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// Two records that are one.
#[derive(Debug, Clone, Serialize)]
pub struct MergeRecords {
    /// The record that gives way.
    pub record_id: String,
    /// The record that stays.
    pub into_id: String,
    /// Why.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// A record that is not what it was taken for.
#[derive(Debug, Clone, Serialize)]
pub struct SplitRecord {
    /// What is to be taken apart.
    pub what: Split,
    /// Why.
    pub reason: Option<String>,
    /// The same key is the same request.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// What is to be taken apart.
#[derive(Debug, Clone, Serialize)]
pub enum Split {
    /// A record that was merged is to stand by itself again.
    Merged(String),
    /// A record of another system is to be a record of its own, whatever it was matched with.
    Remote {
        /// The record that it is linked to now.
        record_id: String,
        /// The connection.
        connection_id: ConnectionId,
        /// The id there.
        remote_id: String,
    },
}

/// The longest reason, in characters.
const LONGEST_REASON: usize = 2_000;

impl App {
    /// Links a record of another system to another record. Its former record, if nothing else is linked to it, is merged.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn link_record(
        &self,
        auth: &AuthContext,
        input: LinkRecord,
    ) -> Result<Decision<IdentityEvent>, AppError> {
        decided(|| self.try_link_record(auth, &input)).await
    }

    async fn try_link_record(
        &self,
        auth: &AuthContext,
        input: &LinkRecord,
    ) -> Result<Decision<IdentityEvent>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("linkRecord", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => return event_again(&tx, (&input.record_id, &earlier)).await,
            Ok(None) => {}
        }
        let Some(entity) = entity_of(&input.record_id) else { return Ok(refused("recordId", NO_RECORD)) };
        let Some(link) = identity(&tx, input.connection_id, entity, &input.remote_id).await? else {
            return Ok(refused("remoteId", "This system has no such record, as far as is known."));
        };
        if link.record_id == input.record_id {
            return Ok(refused("recordId", "It is linked to this record already."));
        }
        let others = identities_of(&tx, &RowScope::All, std::slice::from_ref(&link.record_id)).await?;
        let alone = others.iter().filter(|other| other.entity == entity).count() == 1;
        let speaker = Speaker { connection: input.connection_id, remote_id: input.remote_id.clone() };
        let (from, into) = (link.record_id.as_str(), input.record_id.as_str());
        let kind = if alone { IdentityEventKind::Merge } else { IdentityEventKind::Link };
        let plan = Plan { entity, kind, from, into, links: vec![speaker], reason: input.reason.as_deref() };
        let event = match self.unite(&tx, auth, plan).await? {
            Ok(event) => event,
            Err(refusals) => return Ok(Err(refusals)),
        };
        request.keep(&tx, auth, event.id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(event))
    }

    /// Makes one record of two. What belonged to the one that gives way belongs to the one that stays.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn merge_records(
        &self,
        auth: &AuthContext,
        input: MergeRecords,
    ) -> Result<Decision<IdentityEvent>, AppError> {
        decided(|| self.try_merge_records(auth, &input)).await
    }

    async fn try_merge_records(
        &self,
        auth: &AuthContext,
        input: &MergeRecords,
    ) -> Result<Decision<IdentityEvent>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("mergeRecords", input.idempotency_key.as_deref(), input);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => return event_again(&tx, (&input.into_id, &earlier)).await,
            Ok(None) => {}
        }
        let entities = (entity_of(&input.record_id), entity_of(&input.into_id));
        let (Some(entity), Some(other)) = entities else { return Ok(refused("recordId", NO_RECORD)) };
        if entity != other || input.record_id == input.into_id {
            return Ok(refused("intoId", "Two different records of one kind become one."));
        }
        let links = identities_of(&tx, &RowScope::All, std::slice::from_ref(&input.record_id)).await?;
        let links = links.into_iter().filter(|link| link.entity == entity);
        let links = links.map(|link| Speaker { connection: link.connection_id, remote_id: link.remote_id }).collect();
        let (from, into) = (input.record_id.as_str(), input.into_id.as_str());
        let kind = IdentityEventKind::Merge;
        let plan = Plan { entity, kind, from, into, links, reason: input.reason.as_deref() };
        let event = match self.unite(&tx, auth, plan).await? {
            Ok(event) => event,
            Err(refusals) => return Ok(Err(refusals)),
        };
        request.keep(&tx, auth, event.id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(event))
    }

    /// Takes apart what was linked or merged wrongly: what came through the other system goes with it, and nothing is
    /// lost. It is never matched again by itself.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn split_record(
        &self,
        auth: &AuthContext,
        input: SplitRecord,
    ) -> Result<Decision<IdentityEvent>, AppError> {
        decided(|| self.try_split_record(auth, &input)).await
    }

    async fn try_split_record(
        &self,
        auth: &AuthContext,
        input: &SplitRecord,
    ) -> Result<Decision<IdentityEvent>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("splitRecord", input.idempotency_key.as_deref(), input);
        let subject = match &input.what {
            Split::Merged(id) | Split::Remote { record_id: id, .. } => id,
        };
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => return event_again(&tx, (subject, &earlier)).await,
            Ok(None) => {}
        }
        let Some(entity) = entity_of(subject) else { return Ok(refused("recordId", NO_RECORD)) };
        let decision = match &input.what {
            Split::Merged(record) => self.unmerge(&tx, auth, (entity, record), input.reason.as_deref()).await?,
            Split::Remote { record_id, connection_id, remote_id } => {
                let speaker = Speaker { connection: *connection_id, remote_id: remote_id.clone() };
                self.take_out(&tx, auth, (entity, record_id, speaker), input.reason.as_deref()).await?
            }
        };
        let event = match decision {
            Ok(event) => event,
            Err(refusals) => return Ok(Err(refusals)),
        };
        request.keep(&tx, auth, event.id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(event))
    }

    /// Moves links, and what came through them, from one record to another.
    async fn unite(&self, tx: &Tx, auth: &AuthContext, plan: Plan<'_>) -> Result<Decision<IdentityEvent>, AppError> {
        let Plan { entity, kind, from, into, links, reason } = plan;
        if let Some(refusal) = check_reason(reason) {
            return Ok(Err(vec![refusal]));
        }
        lock_both(tx, from, into).await?;
        let subject = Subject::find(tx, &auth.rows, (entity, from)).await?;
        let other = Subject::find(tx, &auth.rows, (entity, into)).await?;
        let (Some(mut subject), Some(other)) = (subject, other) else { return Ok(refused("recordId", NO_RECORD)) };
        if subject.merged_into().is_some() || other.merged_into().is_some() {
            return Ok(refused("recordId", "It became one with another record before: use that one."));
        }
        let is_whole = kind == IdentityEventKind::Merge;
        let state = if is_whole { LinkState::Merged } else { LinkState::Linked };
        let through = match (is_whole, links.first()) {
            (true, _) => None,
            (false, Some(speaker)) => Some(children_through(tx, entity, from, speaker).await?),
            (false, None) => Some(Vec::new()),
        };
        for speaker in &links {
            tx.move_link(entity, speaker, (from, into), state).await?;
        }
        let children = tx.move_children(entity, (from, into), through.as_deref()).await?;
        self.revoice(tx, (entity, into)).await?;
        if is_whole {
            withdraw(tx, from).await?;
            subject.merge(into);
            subject.save(tx, tx.now()).await?;
        } else {
            self.revoice(tx, (entity, from)).await?;
        }
        let moved = Moved { links, children: names(&children) };
        self.note(tx, auth, Note { entity, kind, from, into, moved, reason, children }).await.map(Ok)
    }

    /// Makes a merged record stand by itself again.
    async fn unmerge(
        &self,
        tx: &Tx,
        auth: &AuthContext,
        (entity, record): (Entity, &str),
        reason: Option<&str>,
    ) -> Result<Decision<IdentityEvent>, AppError> {
        if let Some(refusal) = check_reason(reason) {
            return Ok(Err(vec![refusal]));
        }
        let Some(mut subject) = Subject::find(tx, &auth.rows, (entity, record)).await? else {
            return Ok(refused("recordId", NO_RECORD));
        };
        let Some(into) = subject.merged_into() else {
            return Ok(refused("recordId", "It stands by itself: there is nothing to take apart."));
        };
        lock_both(tx, record, &into).await?;
        let events = identity_events_of(tx, &RowScope::All, &[record.to_owned()]).await?;
        let merge = events.into_iter().find(|event| {
            event.kind == IdentityEventKind::Merge && event.record_id == record && event.undone_by.is_none()
        });
        let Some(merge) = merge else { return Ok(refused("recordId", "How it was merged is not known any more.")) };
        // What came since through a link goes with it; what was taken elsewhere since stays there.
        let mut own = merge.moved.children.clone();
        let mut links = Vec::new();
        for speaker in &merge.moved.links {
            let link = identity(tx, speaker.connection, entity, &speaker.remote_id).await?;
            if link.is_some_and(|link| link.record_id == into) {
                own.extend(children_through(tx, entity, &into, speaker).await?);
                tx.move_link(entity, speaker, (&into, record), LinkState::Split).await?;
                links.push(speaker.clone());
            }
        }
        own.sort();
        own.dedup();
        let children = tx.move_children(entity, (&into, record), Some(&own)).await?;
        subject.stand_alone();
        subject.save(tx, tx.now()).await?;
        self.revoice(tx, (entity, record)).await?;
        self.revoice(tx, (entity, &into)).await?;
        let moved = Moved { links, children: names(&children) };
        let kind = IdentityEventKind::Unmerge;
        let note = Note { entity, kind, from: &into, into: record, moved, reason, children };
        let event = self.note(tx, auth, note).await?;
        tx.undo_identity_event(merge.id, event.id).await?;
        Ok(Ok(event))
    }

    /// Makes a record of another system a record of its own.
    async fn take_out(
        &self,
        tx: &Tx,
        auth: &AuthContext,
        (entity, record, speaker): (Entity, &str, Speaker),
        reason: Option<&str>,
    ) -> Result<Decision<IdentityEvent>, AppError> {
        if let Some(refusal) = check_reason(reason) {
            return Ok(Err(vec![refusal]));
        }
        tx.lock_record(record).await?;
        let subject = Subject::find(tx, &auth.rows, (entity, record)).await?;
        let link = identity(tx, speaker.connection, entity, &speaker.remote_id).await?;
        let link = link.filter(|link| link.record_id == record);
        let (Some(subject), Some(_)) = (subject, link) else {
            return Ok(refused("remoteId", "This record of the system is not linked to the record."));
        };
        let others = identities_of(tx, &RowScope::All, &[record.to_owned()]).await?;
        let alone = others.iter().filter(|other| other.entity == entity).count() == 1;
        if alone {
            // It has a record of its own; whatever else it may have been, it is not.
            tx.set_link_state(entity, &speaker, LinkState::Split).await?;
            tx.forget_candidates(entity, &speaker).await?;
            let moved = Moved { links: vec![speaker], children: Vec::new() };
            let (kind, children) = (IdentityEventKind::Split, Vec::new());
            let note = Note { entity, kind, from: record, into: record, moved, reason, children };
            return self.note(tx, auth, note).await.map(Ok);
        }
        let mut own = subject.like_new(tx);
        let own_id = own.id();
        own.save(tx, tx.now()).await?;
        let through = children_through(tx, entity, record, &speaker).await?;
        tx.move_link(entity, &speaker, (record, &own_id), LinkState::Split).await?;
        let children = tx.move_children(entity, (record, &own_id), Some(&through)).await?;
        self.revoice(tx, (entity, &own_id)).await?;
        self.revoice(tx, (entity, record)).await?;
        let moved = Moved { links: vec![speaker], children: names(&children) };
        let kind = IdentityEventKind::Split;
        let note = Note { entity, kind, from: record, into: &own_id, moved, reason, children };
        self.note(tx, auth, note).await.map(Ok)
    }

    /// Shows what the systems that are linked now say, by the rules: what was heard from others is heard no more.
    async fn revoice(&self, tx: &Tx, (entity, record): (Entity, &str)) -> Result<(), AppError> {
        let Some(mut subject) = Subject::find(tx, &RowScope::All, (entity, record)).await? else { return Ok(()) };
        let ids = [record.to_owned()];
        let kept = fields_of(tx, &RowScope::All, &ids).await?.pop().map(|(_, fields)| fields).unwrap_or_default();
        let mut assertions = assertions_of(tx, &RowScope::All, &ids).await?;
        assertions.sort_by_key(|assertion| assertion.observed_at);
        let speakers: Vec<Speaker> = assertions
            .iter()
            .map(|said| Speaker { connection: said.connection_id, remote_id: said.remote_id.clone() })
            .collect();
        let shown = subject.values();
        let ranks = Ranks::of(tx, speakers.iter().map(|speaker| speaker.connection)).await?;
        let mut fields = first_voices(self.rules(), &ranks, (entity, &shown), (Vec::new(), tx.now()));
        // Custom fields that nobody shows now may have been spoken of.
        fields
            .extend(kept.iter().filter(|(field, _)| custom_name(field).is_some()).map(|(k, v)| (k.clone(), v.clone())));
        for (field, state) in &mut fields {
            let Some(rule) = self.rules().of(entity, field) else { continue };
            if let Some(before) = kept.get(field) {
                *state = before.clone();
            }
            let gone: Vec<Speaker> =
                state.voices.keys().filter(|speaker| !speakers.contains(speaker)).cloned().collect();
            let held = state.held.clone();
            for speaker in gone {
                let rank = |speaker: &Speaker| ranks.rank(rule, speaker);
                if custom_name(field).is_some() {
                    state.withdraw(&speaker, &rank);
                } else {
                    state.forget(&speaker, &rank);
                }
            }
            if state.voices.len() < 2
                && let Some(held) = held
            {
                state.held = None;
                close(tx, held.conflict, ConflictStatus::Withdrawn, state).await?;
            }
        }
        for assertion in &assertions {
            let speaker = Speaker { connection: assertion.connection_id, remote_id: assertion.remote_id.clone() };
            for (field, value) in values_of(tx, assertion).await? {
                let Some(rule) = self.rules().of(entity, &field) else { continue };
                let state = fields
                    .entry(field.to_string())
                    .or_insert_with(|| FieldState::agreed(serde_json::Value::Null, assertion.observed_at));
                if state.voices.contains_key(&speaker) {
                    continue;
                }
                let heard = Heard {
                    speaker: speaker.clone(),
                    value,
                    remote_version: assertion.remote_version.clone(),
                    at: assertion.observed_at,
                    assertion: Some(assertion.id),
                };
                if let Verdict::Held(reason) = state.hear(rule, &|speaker| ranks.rank(rule, speaker), heard) {
                    open(tx, (entity, record, &field), state, reason).await?;
                }
            }
        }
        // Of a system that stands alone everything is shown that it says.
        let alone = speakers.len() == 1;
        let mut decided = Values::new();
        let named = fields.keys().filter(|field| custom_name(field).is_some()).map(|field| field.clone().into());
        for field in subject.values().into_keys().chain(named) {
            let Some(state) = fields.get(&*field) else { continue };
            let value = match state.voices.values().next() {
                Some(voice) if alone => voice.value.clone(),
                // What was taken along from another record belongs to whoever speaks of it.
                None if custom_name(&field).is_some() => serde_json::Value::Null,
                _ => state.base.clone(),
            };
            decided.insert(field, value);
        }
        forget_the_silent(&mut fields);
        if subject.show(&decided) {
            subject.save(tx, tx.now()).await?;
            let system = AuthContext::system();
            let event = format!("{}_changed", entity.as_str());
            publish(tx, &system, entity, (record, subject.version()), &event).await?;
        }
        if speakers.len() > 1 {
            push::ask(tx, (entity, record), &mut fields, push::Which::Configured).await?;
            Ok(tx.save_fields(entity, record, &fields).await?)
        } else {
            Ok(tx.drop_fields(record).await?)
        }
    }

    /// Writes a decision down, and tells of what belongs elsewhere since.
    async fn note(&self, tx: &Tx, auth: &AuthContext, note: Note<'_>) -> Result<IdentityEvent, AppError> {
        let Note { entity, kind, from, into, moved, reason, children } = note;
        let id: IdentityEventId = tx.new_id();
        let event = IdentityEvent {
            id,
            entity,
            kind,
            record_id: from.to_owned(),
            other_id: into.to_owned(),
            moved,
            actor: auth.principal.to_string(),
            reason: reason.map(str::to_owned),
            happened_at: tx.now(),
            undone_by: None,
        };
        tx.save_identity_event(&event).await?;
        let word = match kind {
            IdentityEventKind::Link => "linked",
            IdentityEventKind::Merge => "merged",
            IdentityEventKind::Split => "split",
            IdentityEventKind::Unmerge => "unmerged",
        };
        for record in [from, into] {
            if let Some(subject) = Subject::find(tx, &RowScope::All, (entity, record)).await? {
                let event = format!("{}_{word}", entity.as_str());
                publish(tx, auth, entity, (record, subject.version()), &event).await?;
            }
        }
        for (child, id, version) in children {
            let event = format!("{}_moved", child.as_str());
            publish(tx, auth, child, (&id, version), &event).await?;
        }
        Ok(event)
    }
}

/// What is to become one.
struct Plan<'a> {
    entity: Entity,
    kind: IdentityEventKind,
    from: &'a str,
    into: &'a str,
    links: Vec<Speaker>,
    reason: Option<&'a str>,
}

/// What was decided.
struct Note<'a> {
    entity: Entity,
    kind: IdentityEventKind,
    from: &'a str,
    into: &'a str,
    moved: Moved,
    reason: Option<&'a str>,
    children: Vec<Child>,
}

const NO_RECORD: &str = "No such record, or none that you may see.";

fn refused<T>(field: &str, message: &str) -> Decision<T> {
    let code = if message == NO_RECORD { UserErrorCode::NotFound } else { UserErrorCode::Invalid };
    Err(vec![Refusal::new(field, code, message)])
}

fn check_reason(reason: Option<&str>) -> Option<Refusal> {
    let message = format!("A reason has at most {LONGEST_REASON} characters.");
    let too_long = reason.is_some_and(|reason| reason.chars().count() > LONGEST_REASON);
    too_long.then(|| Refusal::new("reason", UserErrorCode::TooLong, message))
}

/// The kind of record that can be linked and merged, by its identifier.
fn entity_of(id: &str) -> Option<Entity> {
    match id.split_once('_')?.0 {
        "acc" => Some(Entity::Account),
        "opp" => Some(Entity::Opportunity),
        _ => None,
    }
}

fn names(children: &[Child]) -> Vec<(Entity, String)> {
    children.iter().map(|(entity, id, _)| (*entity, id.clone())).collect()
}

/// Two decisions about the same records come one after the other, whichever is named first.
async fn lock_both(tx: &Tx, one: &str, other: &str) -> Result<(), AppError> {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    tx.lock_record(first).await?;
    Ok(tx.lock_record(second).await?)
}

/// The records that belong to an account because this customer of a system is it.
async fn children_through(
    tx: &Tx,
    entity: Entity,
    record: &str,
    speaker: &Speaker,
) -> Result<Vec<(Entity, String)>, AppError> {
    let (Entity::Account, Ok(account)) = (entity, record.parse()) else { return Ok(Vec::new()) };
    let through = tx.children_through(speaker.connection, account).await?;
    let ids: Vec<String> = through.iter().map(|(_, id)| id.clone()).collect();
    let said = assertions_of(tx, &RowScope::All, &ids).await?;
    let names_it = |id: &str| {
        said.iter().any(|said| {
            let customer = said.fields.get("account").or_else(|| said.fields.get("customer"));
            said.record_id == id
                && said.connection_id == speaker.connection
                && customer.is_some_and(|field| field.value == speaker.remote_id.as_str())
        })
    };
    Ok(through.into_iter().filter(|(_, id)| names_it(id)).collect())
}

/// Ends the conflicts of a record that gives way.
async fn withdraw(tx: &Tx, record: &str) -> Result<(), AppError> {
    let fields = fields_of(tx, &RowScope::All, &[record.to_owned()]).await?.pop();
    for state in fields.into_iter().flat_map(|(_, fields)| fields.into_values()) {
        if let Some(held) = &state.held {
            close(tx, held.conflict, ConflictStatus::Withdrawn, &state).await?;
        }
    }
    Ok(tx.drop_fields(record).await?)
}

/// The decision that an earlier request with the same key came to.
async fn event_again(tx: &Tx, (record, event): (&str, &str)) -> Result<Decision<IdentityEvent>, AppError> {
    let events = identity_events_of(tx, &RowScope::All, &[record.to_owned()]).await?;
    let found = events.into_iter().find(|known| known.id.to_string() == event);
    Ok(found.ok_or_else(|| vec![Refusal::new("recordId", UserErrorCode::NotFound, NO_RECORD)]))
}
