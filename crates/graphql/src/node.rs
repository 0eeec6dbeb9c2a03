//! Objects by their identifiers alone.

use std::collections::BTreeMap;

use async_graphql::{Context, ID, Interface, Object, Result, SimpleObject};
use crosstie_domain::{
    Id,
    access::{Role, Sensitivity},
    ids::kind,
    integration::Entity,
};
use crosstie_store::{billing, contracts, delivery, integration, pipeline};

use crate::{
    access::{Access, READ_OF_TYPE, access, asker, requires, sensitivity, store_failed},
    billing::{Invoice, ServiceOrder},
    contracts::Sow,
    delivery::Milestone,
    edge::level,
    error::ApiError,
    integration::{
        Alert, Conflict, ConnectedSystem, Effect, Exchange, InboundEvent, InboundRefusal, ParkedRow, SyncRun,
        WebhookDelivery, WebhookSubscription,
    },
    listing::Node as _,
    pipeline::{Account, Opportunity},
};

/// Identifiers in one request for nodes, at most.
const MOST_NODES: usize = 100;

/// An object with an identifier that is its own in the whole hub.
#[derive(Clone, Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Identifies the object in the hub."))]
pub(crate) enum Node {
    /// An account.
    Account(Account),
    /// An opportunity.
    Opportunity(Opportunity),
    /// A statement of work.
    Sow(Sow),
    /// A milestone.
    Milestone(Milestone),
    /// A service order.
    ServiceOrder(ServiceOrder),
    /// An invoice.
    Invoice(Invoice),
    /// A connected system.
    ConnectedSystem(ConnectedSystem),
    /// A synchronization run.
    SyncRun(SyncRun),
    /// An inbound event.
    InboundEvent(InboundEvent),
    /// A refused webhook.
    InboundRefusal(InboundRefusal),
    /// A parked row.
    ParkedRow(ParkedRow),
    /// An alert.
    Alert(Alert),
    /// A conflict between systems.
    Conflict(Conflict),
    /// Something that is asked of another system.
    Effect(Effect),
    /// An exchange with another system.
    Exchange(Exchange),
    /// A subscription of another system.
    WebhookSubscription(WebhookSubscription),
    /// A delivery to a subscribed system.
    WebhookDelivery(WebhookDelivery),
}

/// The types that have nodes, by the prefix of their identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NodeType {
    /// An account.
    Account,
    /// An opportunity.
    Opportunity,
    /// A statement of work.
    Sow,
    /// A milestone.
    Milestone,
    /// A service order.
    ServiceOrder,
    /// An invoice.
    Invoice,
    /// A connected system.
    ConnectedSystem,
    /// A synchronization run.
    SyncRun,
    /// An inbound event.
    InboundEvent,
    /// A refused webhook.
    InboundRefusal,
    /// A parked row.
    ParkedRow,
    /// An alert.
    Alert,
    /// A conflict between systems.
    Conflict,
    /// Something that is asked of another system.
    Effect,
    /// An exchange with another system.
    Exchange,
    /// A subscription of another system.
    WebhookSubscription,
    /// A delivery to a subscribed system.
    WebhookDelivery,
}

impl From<Entity> for NodeType {
    fn from(entity: Entity) -> Self {
        match entity {
            Entity::Account => Self::Account,
            Entity::Opportunity => Self::Opportunity,
            Entity::Sow => Self::Sow,
            Entity::Milestone => Self::Milestone,
            Entity::ServiceOrder => Self::ServiceOrder,
            Entity::Invoice => Self::Invoice,
            Entity::Alert => Self::Alert,
        }
    }
}

impl NodeType {
    fn of(id: &str) -> Option<Self> {
        let (prefix, _) = id.split_once('_')?;
        let types = [
            (Id::<kind::Account>::PREFIX, Self::Account),
            (Id::<kind::Opportunity>::PREFIX, Self::Opportunity),
            (Id::<kind::Sow>::PREFIX, Self::Sow),
            (Id::<kind::Milestone>::PREFIX, Self::Milestone),
            (Id::<kind::ServiceOrder>::PREFIX, Self::ServiceOrder),
            (Id::<kind::Invoice>::PREFIX, Self::Invoice),
            (Id::<kind::Connection>::PREFIX, Self::ConnectedSystem),
            (Id::<kind::SyncRun>::PREFIX, Self::SyncRun),
            (Id::<kind::InboundEvent>::PREFIX, Self::InboundEvent),
            (Id::<kind::InboundRefusal>::PREFIX, Self::InboundRefusal),
            (Id::<kind::Parked>::PREFIX, Self::ParkedRow),
            (Id::<kind::Alert>::PREFIX, Self::Alert),
            (Id::<kind::Conflict>::PREFIX, Self::Conflict),
            (Id::<kind::Outbox>::PREFIX, Self::Effect),
            (Id::<kind::Exchange>::PREFIX, Self::Exchange),
            (Id::<kind::WebhookSubscription>::PREFIX, Self::WebhookSubscription),
            (Id::<kind::WebhookDelivery>::PREFIX, Self::WebhookDelivery),
        ];
        types.into_iter().find(|(known, _)| *known == prefix).map(|(_, node_type)| node_type)
    }

    /// What one needs to see nodes of this type.
    pub(crate) fn permission(self) -> crosstie_domain::access::Permission {
        match self {
            Self::Account => Account::PERMISSION,
            Self::Opportunity => Opportunity::PERMISSION,
            Self::Sow => Sow::PERMISSION,
            Self::Milestone => Milestone::PERMISSION,
            Self::ServiceOrder => ServiceOrder::PERMISSION,
            Self::Invoice => Invoice::PERMISSION,
            Self::ConnectedSystem => ConnectedSystem::PERMISSION,
            Self::SyncRun => SyncRun::PERMISSION,
            Self::InboundEvent => InboundEvent::PERMISSION,
            Self::InboundRefusal => InboundRefusal::PERMISSION,
            Self::ParkedRow => ParkedRow::PERMISSION,
            Self::Alert => Alert::PERMISSION,
            Self::Conflict => Conflict::PERMISSION,
            Self::Effect => Effect::PERMISSION,
            Self::Exchange => Exchange::PERMISSION,
            Self::WebhookSubscription => WebhookSubscription::PERMISSION,
            Self::WebhookDelivery => WebhookDelivery::PERMISSION,
        }
    }
}

/// The nodes of one type with these identifiers that the asker may see, as siblings, by their identifiers. Of a type
/// that the asker may not see there are none.
async fn load(ctx: &Context<'_>, node_type: NodeType, ids: &[&str]) -> Result<Vec<(String, Node)>> {
    if !asker(ctx)?.may(node_type.permission()) {
        return Ok(Vec::new());
    }
    load_for(access(ctx, node_type.permission())?, node_type, ids).await.map_err(store_failed)
}

/// The same where the permission was asked for before.
pub(crate) async fn load_for(
    found: Access<'_>,
    node_type: NodeType,
    ids: &[&str],
) -> Result<Vec<(String, Node)>, crosstie_store::StoreError> {
    macro_rules! of_type {
        ($object:ident from $by_ids:path) => {
            of_type!($object from $by_ids, shown by found.rows)
        };
        ($object:ident from $by_ids:path, shown by $scope:expr) => {{
            let ids: Vec<_> = ids.iter().filter_map(|id| id.parse().ok()).collect();
            let records = $by_ids(found.store, $scope, &ids).await?;
            level(records).map(|item| (item.id.to_string(), Node::$object($object(item)))).collect()
        }};
    }
    Ok(match node_type {
        NodeType::Account => of_type!(Account from pipeline::accounts_by_ids),
        NodeType::Opportunity => of_type!(Opportunity from pipeline::opportunities_by_ids),
        NodeType::Sow => of_type!(Sow from contracts::sows_by_ids),
        NodeType::Milestone => of_type!(Milestone from delivery::milestones_by_ids),
        NodeType::ServiceOrder => of_type!(ServiceOrder from billing::service_orders_by_ids),
        NodeType::Invoice => of_type!(Invoice from billing::invoices_by_ids),
        NodeType::ConnectedSystem => of_type!(ConnectedSystem from integration::connections_by_ids),
        NodeType::SyncRun => of_type!(SyncRun from integration::sync_runs_by_ids),
        NodeType::InboundEvent => of_type!(InboundEvent from integration::inbound_events_by_ids),
        NodeType::InboundRefusal => of_type!(InboundRefusal from integration::inbound_refusals_by_ids),
        NodeType::ParkedRow => of_type!(ParkedRow from integration::parked_rows_by_ids),
        NodeType::Alert => of_type!(Alert from integration::alerts_by_ids),
        NodeType::Conflict => of_type!(Conflict from integration::conflicts_by_ids),
        NodeType::Effect => of_type!(Effect from integration::effects_by_ids),
        NodeType::Exchange => of_type!(Exchange from integration::exchanges_by_ids),
        NodeType::WebhookSubscription => {
            of_type!(WebhookSubscription from integration::webhook_subscriptions_by_ids, shown by found.auth)
        }
        NodeType::WebhookDelivery => {
            of_type!(WebhookDelivery from integration::webhook_deliveries_by_ids, shown by found.auth)
        }
    })
}

/// The object of this identifier, when there is one that the asker may see.
pub(crate) async fn find(ctx: &Context<'_>, id: &str) -> Result<Option<Node>> {
    let Some(node_type) = NodeType::of(id) else { return Ok(None) };
    Ok(load(ctx, node_type, &[id]).await?.into_iter().next().map(|(_, node)| node))
}

/// Queries for objects by their identifiers alone, and for the asker.
#[derive(Default)]
pub(crate) struct NodeQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl NodeQueries {
    /// One object by its identifier; null when there is none that you may see.
    #[graphql(directive = requires::apply(READ_OF_TYPE.to_owned()))]
    async fn node(&self, ctx: &Context<'_>, #[graphql(desc = "Its identifier.")] id: ID) -> Result<Option<Node>> {
        asker(ctx)?;
        find(ctx, &id).await
    }

    /// Objects by their identifiers, in the order of these; null for each that there is not, or that you may not see.
    #[graphql(directive = requires::apply(READ_OF_TYPE.to_owned()))]
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Their identifiers, at most 100.")] ids: Vec<ID>,
    ) -> Result<Option<Vec<Option<Node>>>> {
        asker(ctx)?;
        if ids.len() > MOST_NODES {
            let message = format!("`ids` takes at most {MOST_NODES} identifiers.");
            return Err(ApiError::BadInput { argument: "ids".to_owned(), message }.into_graphql());
        }
        let mut by_type: BTreeMap<NodeType, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
        for (place, id) in ids.iter().enumerate() {
            if let Some(node_type) = NodeType::of(id) {
                by_type.entry(node_type).or_default().entry(id.as_str()).or_default().push(place);
            }
        }
        let mut nodes: Vec<Option<Node>> = ids.iter().map(|_| None).collect();
        for (node_type, places) in by_type {
            let wanted: Vec<&str> = places.keys().copied().collect();
            for (id, node) in load(ctx, node_type, &wanted).await? {
                let places = places.get(id.as_str()).map_or(&[][..], Vec::as_slice);
                for place in places {
                    nodes[*place] = Some(node.clone());
                }
            }
        }
        Ok(Some(nodes))
    }

    /// Who asks, and what he or she may do.
    #[graphql(directive = requires::apply("authenticated".to_owned()))]
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Option<Viewer>> {
        let auth = asker(ctx)?;
        Ok(Some(Viewer {
            principal: auth.principal.to_string(),
            roles: auth.roles.clone(),
            permissions: auth.permissions.iter().map(|permission| permission.as_str()).collect(),
        }))
    }
}

/// Who asks.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct Viewer {
    /// The identifier of the person or of the token.
    principal: String,
    /// What the principal does in the organization.
    roles: Vec<Role>,
    /// What the principal may do, as it is written in tokens.
    permissions: Vec<&'static str>,
}
