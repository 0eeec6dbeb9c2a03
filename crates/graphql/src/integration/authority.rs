//! Who has the say over which field.

use async_graphql::{Context, Enum, Object, Result, SimpleObject};
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::{
        Arm, Entity,
        authority::{Authority, FieldRule, OnConflict},
    },
};

use crate::access::{access, app, requires, sensitivity};

/// Who has the say over a field. New values may appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum AuthorityPolicy {
    /// Systems of one arm alone.
    Authoritative,
    /// The first arm of an order that says anything.
    Preferred,
    /// Every system alike.
    Shared,
    /// The hub computes it from other fields.
    Derived,
    /// The hub alone keeps it.
    Local,
}

/// What becomes of a field that two systems with the same say changed without knowing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum ConflictPolicy {
    /// The later change wins.
    Newest,
    /// The agreed value stays until a person decides.
    Held,
}

/// The rule of a field that systems share.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct FieldAuthority {
    /// The kind of record.
    entity: Entity,
    /// The field, as systems speak of it; `custom.*` stands for every custom field that has no rule of its own.
    field: String,
    /// Who has the say.
    policy: AuthorityPolicy,
    /// The arms that have a say, the first one in front; empty when the policy names none.
    arms: Vec<Arm>,
    /// What becomes of a conflict. Money is always held.
    on_conflict: ConflictPolicy,
}

impl From<&FieldRule> for FieldAuthority {
    fn from(rule: &FieldRule) -> Self {
        let (policy, arms) = match &rule.authority {
            Authority::Authoritative { arm } => (AuthorityPolicy::Authoritative, vec![*arm]),
            Authority::Preferred { order } => (AuthorityPolicy::Preferred, order.clone()),
            Authority::Shared => (AuthorityPolicy::Shared, Vec::new()),
            Authority::Derived => (AuthorityPolicy::Derived, Vec::new()),
            Authority::Local => (AuthorityPolicy::Local, Vec::new()),
        };
        let on_conflict = match rule.on_conflict {
            OnConflict::Newest => ConflictPolicy::Newest,
            OnConflict::Held => ConflictPolicy::Held,
        };
        Self { entity: rule.entity, field: rule.field.clone().into_owned(), policy, arms, on_conflict }
    }
}

/// Queries for the rules of authority.
#[derive(Default)]
pub(crate) struct AuthorityQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl AuthorityQueries {
    /// Who has the say over each field that systems share, as it is configured.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn field_authorities(&self, ctx: &Context<'_>) -> Result<Option<Vec<FieldAuthority>>> {
        access(ctx, Permission::IntegrationRead)?;
        Ok(Some(app(ctx)?.rules().all().iter().map(FieldAuthority::from).collect()))
    }
}
