//! What is asked of other systems, and how far it has come.

use async_graphql::{Context, ID, InputObject, Object, Result};
use crosstie_domain::{
    Money,
    access::{Permission, Sensitivity},
    integration::{EffectRecord, EffectSafety, EffectStatus, Intent, IntentKind},
};
use crosstie_store::{
    Condition,
    integration::{self, EffectColumn},
};

use super::{
    ConnectedSystem,
    corrections::{Correction, corrections},
};
use crate::{
    access::{app, financial, sensitivity},
    edge::Item,
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    listing::{Node, listed, order_fields},
};

/// An effect.
#[derive(Clone)]
pub(crate) struct Effect(pub(crate) Item<EffectRecord>);

impl From<Item<EffectRecord>> for Effect {
    fn from(item: Item<EffectRecord>) -> Self {
        Self(item)
    }
}

impl Node for Effect {
    type Record = EffectRecord;
    const NAME: &'static str = "Effect";
    const PERMISSION: Permission = Permission::IntegrationRead;
}

/// Something that the hub asks of another system: an order, an invoice, values of a record. It happens once for its key.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Effect {
    #[graphql(flatten)]
    async fn record(&self) -> &EffectRecord {
        &self.0
    }

    /// Identifies the effect.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The record that it is for.
    async fn record_id(&self) -> ID {
        self.0.record_id.clone().into()
    }

    /// Whether it was sent and its outcome is not known. The hub finds out before it sends again, or a person must.
    async fn outcome_unknown(&self) -> bool {
        self.0.outcome_unknown()
    }

    /// What makes it happen once; null while its connection is not configured.
    async fn safety(&self, ctx: &Context<'_>) -> Result<Option<EffectSafety>> {
        Ok(app(ctx)?.effect_safety(&self.0))
    }

    /// Who buys or pays; null where nothing is sold.
    async fn customer(&self) -> Option<&str> {
        self.0.payload.as_ref()?.customer().map(|customer| customer.name.as_str())
    }

    /// The customer's e-mail address for invoices.
    async fn customer_email(&self) -> Option<&str> {
        self.0.payload.as_ref()?.customer()?.email.as_deref()
    }

    /// Title of the statement of work; null where nothing is sold.
    async fn title(&self) -> Option<&str> {
        self.0.payload.as_ref()?.title()
    }

    /// What was delivered, of an invoice.
    async fn description(&self) -> Option<&str> {
        match self.0.payload.as_ref()? {
            Intent::IssueInvoice(invoice) => Some(&invoice.description),
            Intent::PlaceOrder(_) | Intent::UpdateRecord(_) => None,
        }
    }

    /// The customer's purchase order number, of an order.
    async fn po_number(&self) -> Option<&str> {
        match self.0.payload.as_ref()? {
            Intent::PlaceOrder(order) => order.po_number.as_deref(),
            Intent::IssueInvoice(_) | Intent::UpdateRecord(_) => None,
        }
    }

    /// The names of the fields that it sets, where it sets values of a record.
    async fn fields(&self) -> Vec<&str> {
        match &self.0.payload {
            Some(Intent::UpdateRecord(update)) => update.changes.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// What it comes to, taxes excluded; null where nothing is sold.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn amount(&self, ctx: &Context<'_>) -> Result<Option<Money>> {
        financial(ctx, self.0.payload.as_ref().and_then(Intent::amount))
    }

    /// All that is asked, as JSON; null of effects that were done long ago. It may hold prices.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn payload(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let text = self.0.payload.as_ref().and_then(|payload| serde_json::to_string(payload).ok());
        financial(ctx, text)
    }

    /// What persons corrected of it, or found out about it, the first first.
    async fn corrections(&self, ctx: &Context<'_>) -> Result<Option<Vec<Correction>>> {
        corrections(ctx, &self.0, |effect| effect.id.to_string()).await.map(Some)
    }

    /// The system that is asked.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |effect| Some(effect.connection_id)).await
    }
}

impl Choice for EffectStatus {
    const FILTER: &'static str = "EffectStatusFilter";
}

impl Choice for IntentKind {
    const FILTER: &'static str = "IntentKindFilter";
}

/// Which effects. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct EffectFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The key under which it happens once.
    key: Option<TextFilter>,
    /// The connection that is asked.
    connection_id: Option<IdFilter>,
    /// What is asked.
    intent: Option<ChoiceFilter<IntentKind>>,
    /// The record that it is for.
    record_id: Option<IdFilter>,
    /// How far it has come.
    status: Option<ChoiceFilter<EffectStatus>>,
    /// Why it waits.
    error_code: Option<TextFilter>,
    /// When it was asked for.
    created_at: Option<DateTimeFilter>,
    /// When it is tried next.
    next_attempt_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<EffectFilter>>,
    /// At least one of these holds.
    or: Option<Vec<EffectFilter>>,
    /// This does not hold.
    not: Option<Box<EffectFilter>>,
}

impl Filter for EffectFilter {
    type Column = EffectColumn;

    fn own(&self, conditions: &mut Vec<Condition<EffectColumn>>) -> Result<(), ApiError> {
        self.id.compare(EffectColumn::Id, conditions)?;
        self.key.compare(EffectColumn::Key, conditions)?;
        self.connection_id.compare(EffectColumn::Connection, conditions)?;
        self.intent.compare(EffectColumn::Intent, conditions)?;
        self.record_id.compare(EffectColumn::Record, conditions)?;
        self.status.compare(EffectColumn::Status, conditions)?;
        self.error_code.compare(EffectColumn::Code, conditions)?;
        self.created_at.compare(EffectColumn::CreatedAt, conditions)?;
        self.next_attempt_at.compare(EffectColumn::NextAttemptAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What effects are ordered by.
    EffectOrderField as "EffectOrder" of EffectColumn;
    /// The identifier; effects that were asked for later have larger ones.
    Id text,
    /// How far it has come, by the letters of the status.
    Status text,
    /// When it was asked for.
    CreatedAt number,
    /// When it is tried next.
    NextAttemptAt number,
}

listed! {
    EffectQueries of Effect filtered by EffectFilter, ordered by EffectOrderField;
    "What is asked of other systems." effects from integration::effects;
    "One effect; null when there is none that you may see." effect from integration::effects_by_ids;
}
