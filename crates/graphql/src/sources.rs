//! Who said so: what each system claims of a record.

use async_graphql::{Context, Object, Result};
use crosstie_domain::{
    Instant,
    access::{Permission, Sensitivity},
    integration::{AssertedField, Assertion, Entity},
};
use crosstie_store::integration::assertions_of;

use crate::{
    access::{access, financial, sensitivity},
    edge::{Item, keyed},
    integration::ConnectedSystem,
};

/// What one system said of a record.
pub(crate) struct SourceClaim(Item<Assertion>);

/// What each system last said of a record, newest first. Its siblings' are loaded with it.
///
/// # Errors
/// `FORBIDDEN`.
pub(crate) async fn sources<R>(
    ctx: &Context<'_>,
    permission: Permission,
    item: &Item<R>,
    id: impl Fn(&R) -> String,
) -> Result<Vec<SourceClaim>> {
    let found = access(ctx, permission)?;
    let claims =
        item.many(
            ("sources", String::new()),
            |record| Some(id(record)),
            |ids| async move {
                Ok(keyed(assertions_of(found.store, found.rows, &ids).await?, |claim| claim.record_id.clone()))
            },
        );
    Ok(claims.await?.into_iter().map(SourceClaim).collect())
}

/// What one system last said of a record. It is kept as it was said, also where another system has authority.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl SourceClaim {
    /// The system that said so.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        ConnectedSystem::of(ctx, &self.0, |claim| Some(claim.connection_id)).await
    }

    /// The record's id at that system.
    async fn remote_id(&self) -> &str {
        &self.0.remote_id
    }

    /// The record's version at that system.
    async fn remote_version(&self) -> Option<&str> {
        self.0.remote_version.as_deref()
    }

    /// When it was observed.
    async fn observed_at(&self) -> Instant {
        self.0.observed_at
    }

    /// Version of the connector whose mapping read it.
    async fn mapping_version(&self) -> &str {
        &self.0.mapping_version
    }

    /// What was said, field by field.
    async fn fields(&self) -> Vec<SourceField<'_>> {
        let entity = self.0.entity;
        self.0.fields.iter().map(|(name, field)| SourceField { entity, name, field }).collect()
    }
}

/// What was said of one field.
pub(crate) struct SourceField<'a> {
    entity: Entity,
    name: &'a str,
    field: &'a AssertedField,
}

/// Fields of an invoice that tell nothing of money. Connectors name fields freely, so every other one is held back.
const INVOICE_FIELDS_WITHOUT_MONEY: [&str; 10] = [
    "invoice",
    "customer",
    "number",
    "status",
    "native_status",
    "issued_on",
    "due_on",
    "currency",
    "reference",
    "title",
];

/// Whether a field of a record tells of money that not everybody may see.
pub(crate) fn tells_of_money(entity: Entity, field: &str) -> bool {
    match entity {
        Entity::Invoice => !INVOICE_FIELDS_WITHOUT_MONEY.contains(&field),
        Entity::ServiceOrder => field == "total",
        _ => false,
    }
}

impl SourceField<'_> {
    fn is_financial(&self) -> bool {
        tells_of_money(self.entity, self.name)
    }
}

/// What a system said of one field.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl SourceField<'_> {
    /// The name of the field in the hub.
    async fn name(&self) -> &str {
        self.name
    }

    /// The value in the hub's terms, as JSON; null when it was said to be empty or could not be read. Amounts of
    /// invoices are financial.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn value(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let value = (!self.field.value.is_null()).then(|| self.field.value.to_string());
        if self.is_financial() { financial(ctx, value) } else { Ok(value) }
    }

    /// Where it stood in the sender's record.
    async fn source_path(&self) -> &str {
        &self.field.source_path
    }

    /// Whether it changed the record.
    async fn changed(&self) -> bool {
        self.field.changed
    }

    /// Why it could not be read, when it could not. It may quote the value, so it is held as closely.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn problem(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        let problem = self.field.problem.as_deref();
        if self.is_financial() { financial(ctx, problem) } else { Ok(problem) }
    }
}
