//! What another mapping would change, from the rows as they once came.

use std::collections::BTreeMap;

use crosstie_domain::{
    Refusal, UserErrorCode,
    access::RowScope,
    custom::CustomFieldDefinition,
    ids::ConnectionId,
    integration::{AssertedField, Entity, ParkedRowRecord},
};
use crosstie_store::{
    Condition, Direction, Keys, Operand, Operator, PageRequest, Span,
    integration::{KeptEvidence, ParkedColumn, kept_evidence, parked_rows},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Mapped, Proposed, Vendors,
    custom::{UnaskedField, note_unasked},
    outbound::{OutboundLine, Outgoing},
    remap::usable,
};
use crate::{App, AppError, Decision};

/// Rows that one look maps at most.
const ROWS: usize = 2_000;
/// Rows that are read at once.
const AT_ONCE: i64 = 200;
/// Waiting rows that are read at once.
const PARKED_AT_ONCE: u32 = 100;
/// Differences, and lines, that one look shows at most.
pub(super) const SHOWN: usize = 100;

/// A mapping to look at.
#[derive(Debug, Clone)]
pub struct PreviewMapping {
    /// The connection.
    pub connection_id: ConnectionId,
    /// What would be merged into the configured settings; what is in force when it is left out.
    pub document: Option<Value>,
    /// Only this kind of record.
    pub entity: Option<Entity>,
    /// Where an earlier look ended.
    pub after: Option<String>,
}

/// What a mapping would change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MappingPreview {
    /// Rows that were looked at.
    pub rows_seen: i32,
    /// Rows that would say something else.
    pub rows_changed: i32,
    /// Rows that could not be mapped any more.
    pub rows_parked: i32,
    /// Rows that wait and could be mapped.
    pub rows_unparked: i32,
    /// Rows of which nothing is kept that could be mapped.
    pub rows_skipped: i32,
    /// Custom fields of which rows do not tell, since they were read before the property was asked for: only reading
    /// them again brings it.
    pub unasked: Vec<UnaskedField>,
    /// The rows that would become something else, in the order of the vendor's ids.
    pub differences: Vec<RowDifference>,
    /// Lines that are to be billed and were looked at.
    pub lines_seen: i32,
    /// Lines that would go out with something else than now.
    pub lines_changed: i32,
    /// Lines that would be refused.
    pub lines_refused: i32,
    /// The lines, in the order of their milestones and then of what waits to be sent.
    pub lines: Vec<OutboundLine>,
    /// Where the next look goes on; none when everything was looked at.
    pub end: Option<String>,
}

/// What would become of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOutcome {
    /// It would say something else.
    Changes,
    /// It could not be mapped any more.
    Parks,
    /// It waits and could be mapped.
    Unparks,
}

/// A row that would become something else.
#[derive(Debug, Clone, PartialEq)]
pub struct RowDifference {
    /// The kind of record.
    pub entity: Entity,
    /// Its id at the vendor.
    pub remote_id: String,
    /// The record in the hub; none while the row waits.
    pub record_id: Option<String>,
    /// What would become of it.
    pub outcome: RowOutcome,
    /// Why it could not be mapped, in words.
    pub why: Option<String>,
    /// What it would say otherwise.
    pub fields: Vec<FieldDifference>,
}

/// A field that would be another one.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldDifference {
    /// The name of the field.
    pub name: String,
    /// What it says now; null when it says nothing.
    pub old: Value,
    /// What it would say.
    pub new: Value,
}

/// A place among all that a mapping decides of at a connection: the records of one kind after the other, then rows that
/// wait, then milestones that are still to be billed, then what waits to be sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Place {
    Records(Entity, String),
    Parked(Option<Keys>),
    Milestones(String),
    Effects(Option<Keys>),
}

impl App {
    /// Says what a mapping would change, without asking the vendor and without changing anything.
    ///
    /// # Errors
    /// [`AppError`] when no decision could be made; a refusal is a decision.
    pub async fn preview_mapping(&self, input: PreviewMapping) -> Result<Decision<MappingPreview>, AppError> {
        let PreviewMapping { connection_id, document, entity, after } = input;
        let is_proposed = document.is_some();
        let document = match document {
            Some(document) => document,
            None => match self.connection_mapping(connection_id).await? {
                Some(mapping) => mapping.document,
                None => return Ok(Err(vec![super::no_connection()])),
            },
        };
        let settings = match self.check_mapping(connection_id, Proposed { field: super::PROPOSED, document: &document })
        {
            Ok(settings) => settings,
            Err(refusals) => return Ok(Err(refusals)),
        };
        let place = after.as_deref().map(read_place);
        if place.as_ref().is_some_and(Option::is_none) {
            let message = "This is no place that an earlier look ended at.";
            return Ok(Err(vec![Refusal::new("after", UserErrorCode::Invalid, message)]));
        }
        let Some(vendors) = self.vendors() else { return Ok(Err(vec![super::no_connection()])) };
        let all = vendors.settings(connection_id).map(|vendor| vendor.entities).unwrap_or_default();
        let entities: Vec<Entity> = all.into_iter().filter(|one| entity.is_none_or(|entity| entity == *one)).collect();
        // A look at history alone has nothing to do with what is sent.
        let outgoing = if is_proposed { self.outgoing(&*vendors, connection_id, entity).await? } else { None };
        let first = match (entities.first(), &outgoing) {
            (Some(first), _) => Place::Records(*first, String::new()),
            (None, Some(_)) => Place::Milestones(String::new()),
            (None, None) => return Ok(Ok(MappingPreview::default())),
        };
        let told = vendors.custom_fields(connection_id, &settings);
        let found = MappingPreview::default();
        let mut look = Look { app: self, connection_id, settings, told, vendors: &*vendors, outgoing, found };
        let mut place = place.flatten().unwrap_or(first);
        loop {
            let next = match &place {
                Place::Records(entity, after) => look.records(&entities, *entity, after).await?,
                Place::Parked(after) => {
                    let next = look.parked(&entities, after).await?;
                    next.or_else(|| look.outgoing.as_ref().map(|_| Place::Milestones(String::new())))
                }
                Place::Milestones(after) => look.milestones(after).await?,
                Place::Effects(after) => look.effects(after.clone()).await?,
            };
            let Some(next) = next else { return Ok(Ok(look.found)) };
            place = next;
            let found = &look.found;
            let seen = usize::try_from(found.rows_seen + found.lines_seen).unwrap_or(usize::MAX);
            if seen >= ROWS || found.differences.len().max(found.lines.len()) >= SHOWN {
                look.found.end = serde_json::to_string(&place).ok().map(hex::encode);
                return Ok(Ok(look.found));
            }
        }
    }
}

fn read_place(text: &str) -> Option<Place> {
    serde_json::from_slice(&hex::decode(text).ok()?).ok()
}

/// A look at what a mapping would change.
pub(super) struct Look<'a> {
    pub(super) app: &'a App,
    pub(super) connection_id: ConnectionId,
    pub(super) settings: Value,
    /// The custom fields that the settings name.
    told: Vec<CustomFieldDefinition>,
    pub(super) vendors: &'a dyn Vendors,
    /// What is compared with of lines that are billed; none when those are not looked at.
    pub(super) outgoing: Option<Outgoing>,
    pub(super) found: MappingPreview,
}

impl Look<'_> {
    /// Looks at records of one kind; where it goes on.
    async fn records(&mut self, entities: &[Entity], entity: Entity, after: &str) -> Result<Option<Place>, AppError> {
        let kept = kept_evidence(self.app.store(), (self.connection_id, entity), Some(after), AT_ONCE).await?;
        let full = i64::try_from(kept.len()).unwrap_or(0) >= AT_ONCE;
        let last_of_page = kept.last().map(|evidence| evidence.identity.remote_id.clone());
        let mapper = self.vendors.mapper(self.connection_id, entity, &self.settings);
        for evidence in kept {
            self.found.rows_seen += 1;
            match (&mapper, usable(&evidence)) {
                (Some(mapper), Some((fields, raw))) => self.compare(&evidence, fields, mapper(raw)),
                _ => self.found.rows_skipped += 1,
            }
            if self.found.differences.len() >= SHOWN {
                return Ok(Some(Place::Records(entity, evidence.identity.remote_id)));
            }
        }
        if let (true, Some(last)) = (full, last_of_page) {
            return Ok(Some(Place::Records(entity, last)));
        }
        let next = entities.iter().skip_while(|one| **one != entity).nth(1);
        Ok(Some(next.map_or(Place::Parked(None), |entity| Place::Records(*entity, String::new()))))
    }

    fn compare(&mut self, evidence: &KeptEvidence, before: &BTreeMap<String, AssertedField>, mapped: Mapped) {
        let (outcome, why, fields) = match mapped {
            Mapped::Good { fields: mut now, claim, .. } => {
                note_unasked(&mut self.found.unasked, (evidence.identity.entity, &self.told), &now);
                // Lineage keeps what the claim says.
                let claim = serde_json::to_value(&*claim).unwrap_or_default();
                for (name, field) in &mut now {
                    if let Some(value) = claim.get(name).filter(|value| !value.is_null()) {
                        field.value = value.clone();
                    }
                }
                let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
                let value = |fields: &BTreeMap<String, AssertedField>, name: &String| {
                    fields.get(name).map_or(Value::Null, |field| field.value.clone())
                };
                let fields = names.map(|name| FieldDifference {
                    name: name.clone(),
                    old: value(before, name),
                    new: value(&now, name),
                });
                let fields: Vec<_> = fields.filter(|field| field.old != field.new).collect();
                if fields.is_empty() {
                    return;
                }
                self.found.rows_changed += 1;
                (RowOutcome::Changes, None, fields)
            }
            Mapped::Bad { code, why } => {
                self.found.rows_parked += 1;
                (RowOutcome::Parks, Some(format!("{code}: {why}")), Vec::new())
            }
        };
        self.found.differences.push(RowDifference {
            entity: evidence.identity.entity,
            remote_id: evidence.identity.remote_id.clone(),
            record_id: Some(evidence.identity.record_id.clone()),
            outcome,
            why,
            fields,
        });
    }

    /// Looks at rows that wait; where it goes on.
    async fn parked(&mut self, entities: &[Entity], after: &Option<Keys>) -> Result<Option<Place>, AppError> {
        let ours = Operand::Text(self.connection_id.to_string());
        let request = PageRequest {
            condition: Condition::Is(ParkedColumn::Connection, Operator::Eq, ours),
            order: vec![(ParkedColumn::Id, Direction::Ascending)],
            span: Span::First(PARKED_AT_ONCE, after.clone()),
        };
        let rows = parked_rows(self.app.store(), &RowScope::All, &request).await?.rows;
        let Some((_, last)) = rows.last() else { return Ok(None) };
        let next = Place::Parked(Some(last.clone()));
        for (row, _) in rows.iter().filter(|(row, _)| entities.contains(&row.entity)) {
            self.found.rows_seen += 1;
            self.look_at_parked(row);
        }
        Ok(Some(next))
    }

    fn look_at_parked(&mut self, row: &ParkedRowRecord) {
        let raw: Value = serde_json::from_str(&row.raw).unwrap_or(Value::Null);
        let mapper = self.vendors.mapper(self.connection_id, row.entity, &self.settings);
        let (false, Some(mapper)) = (raw.is_null(), mapper) else {
            self.found.rows_skipped += 1;
            return;
        };
        let Mapped::Good { fields, .. } = mapper(raw) else { return };
        self.found.rows_unparked += 1;
        let fields = fields.into_iter().filter(|(_, field)| !field.value.is_null());
        self.found.differences.push(RowDifference {
            entity: row.entity,
            remote_id: row.remote_id.clone(),
            record_id: None,
            outcome: RowOutcome::Unparks,
            why: None,
            fields: fields.map(|(name, field)| FieldDifference { name, old: Value::Null, new: field.value }).collect(),
        });
    }
}
