//! What lines that are to be billed would go out with by another mapping, without asking the vendor.

use std::collections::BTreeMap;

use crosstie_domain::{
    ItemCode,
    access::RowScope,
    ids::{ConnectionId, MilestoneId},
    integration::{EffectStatus, Entity, IntentKind},
};
use crosstie_store::{
    Condition, Direction, Keys, Operand, Operator, PageRequest, Span,
    delivery::open_milestones,
    integration::{EffectColumn, effects},
};
use serde_json::Value;

use super::{
    Vendors,
    preview::{Look, Place, SHOWN},
};
use crate::{App, AppError};

/// Effects that are read at once.
const EFFECTS_AT_ONCE: u32 = 5;

/// What a line goes out with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outbound {
    /// These, by the names of the settings.
    Codes(BTreeMap<String, String>),
    /// It does not go out.
    Refused {
        /// A stable code.
        code: String,
        /// Why, in words.
        why: String,
    },
}

/// A line that is to be billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundLine {
    /// Its milestone.
    pub milestone_id: MilestoneId,
    /// The order or invoice that waits to be sent, or was refused; none while nobody has asked for it.
    pub effect_key: Option<String>,
    /// Its item code.
    pub item_code: Option<ItemCode>,
    /// What it goes out with by the mapping in force.
    pub now: Outbound,
    /// What it would go out with.
    pub then: Outbound,
}

/// What lines are compared with.
pub(super) struct Outgoing {
    /// The settings in force.
    now: Value,
    /// What is looked at.
    kinds: Vec<IntentKind>,
}

impl App {
    /// What is looked at of the lines that a connection bills; none when it bills nothing, or other records alone are
    /// asked for.
    pub(super) async fn outgoing(
        &self,
        vendors: &dyn Vendors,
        connection: ConnectionId,
        entity: Option<Entity>,
    ) -> Result<Option<Outgoing>, AppError> {
        let kinds = [(IntentKind::PlaceOrder, Entity::ServiceOrder), (IntentKind::IssueInvoice, Entity::Invoice)];
        let wanted = kinds.into_iter().filter(|(kind, of)| {
            entity.is_none_or(|entity| entity == *of) && vendors.safety(connection, *kind, *of).is_some()
        });
        let kinds: Vec<IntentKind> = wanted.map(|(kind, _)| kind).collect();
        let now = self.connection_mapping(connection).await?.and_then(|mapping| mapping.effective);
        Ok(now.filter(|_| !kinds.is_empty()).map(|now| Outgoing { now, kinds }))
    }
}

impl Look<'_> {
    /// Looks at milestones that nobody has asked an invoice for; where it goes on.
    pub(super) async fn milestones(&mut self, after: &str) -> Result<Option<Place>, AppError> {
        let invoices = self.outgoing.as_ref().is_some_and(|out| out.kinds.contains(&IntentKind::IssueInvoice));
        let room = SHOWN.saturating_sub(self.found.lines.len());
        let room = if invoices { i64::try_from(room).unwrap_or(0) } else { 0 };
        let found = open_milestones(self.app.store(), self.connection_id, (after, room)).await?;
        let is_full = invoices && i64::try_from(found.len()).is_ok_and(|count| count == room);
        let last = found.last().map(|milestone| milestone.id.to_string());
        for milestone in found {
            self.line(IntentKind::IssueInvoice, (milestone.id, None), milestone.item_code);
        }
        let next = last.filter(|_| is_full).map(Place::Milestones);
        Ok(Some(next.unwrap_or(Place::Effects(None))))
    }

    /// Looks at what waits to be sent, or was refused; where it goes on.
    pub(super) async fn effects(&mut self, after: Option<Keys>) -> Result<Option<Place>, AppError> {
        let kinds = self.outgoing.as_ref().map(|out| out.kinds.clone()).unwrap_or_default();
        let is = |column, text: String| Condition::Is(column, Operator::Eq, Operand::Text(text));
        let open = EffectStatus::ALL.into_iter().filter(|(status, _)| *status != EffectStatus::Done);
        let request = PageRequest {
            condition: Condition::All(vec![
                is(EffectColumn::Connection, self.connection_id.to_string()),
                Condition::Any(kinds.iter().map(|kind| is(EffectColumn::Intent, kind.as_str().to_owned())).collect()),
                Condition::Any(open.map(|(_, text)| is(EffectColumn::Status, text.to_owned())).collect()),
            ]),
            order: vec![(EffectColumn::Id, Direction::Ascending)],
            span: Span::First(EFFECTS_AT_ONCE, after),
        };
        let rows = effects(self.app.store(), &RowScope::All, &request).await?.rows;
        let next = rows.last().map(|(_, keys)| Place::Effects(Some(keys.clone())));
        for (effect, _) in rows {
            for (milestone, code) in effect.payload.iter().flat_map(|intent| intent.lines()) {
                self.line(effect.intent, (milestone, Some(effect.key.clone())), code.cloned());
            }
        }
        Ok(next)
    }

    fn line(
        &mut self,
        kind: IntentKind,
        (milestone_id, effect_key): (MilestoneId, Option<String>),
        item_code: Option<ItemCode>,
    ) {
        let Some(outgoing) = &self.outgoing else { return };
        let by = |settings| self.vendors.outbound(self.connection_id, settings, (kind, item_code.as_ref()));
        let (Some(now), Some(then)) = (by(&outgoing.now), by(&self.settings)) else { return };
        self.found.lines_seen += 1;
        self.found.lines_changed += i32::from(now != then);
        self.found.lines_refused += i32::from(matches!(then, Outbound::Refused { .. }));
        self.found.lines.push(OutboundLine { milestone_id, effect_key, item_code, now, then });
    }
}
