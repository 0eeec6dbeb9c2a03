//! Accounts and opportunities.

use async_graphql::{Context, ID, InputObject, MergedObject, Object, Result};
use crosstie_app::shown_values;
use crosstie_domain::{
    access::{Permission, Sensitivity},
    integration::Entity,
    pipeline::{AccountRecord, OpportunityRecord, OpportunityStage},
};
use crosstie_store::{
    Condition,
    contracts::{sows_of_accounts, sows_of_opportunities},
    pipeline::{self, AccountColumn, OpportunityColumn, opportunities_of},
};

use crate::{
    access::{access, sensitivity},
    contracts::Sow,
    custom::{CustomField, CustomFieldQueries, custom_fields},
    edge::{Item, keyed},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, DateFilter, DateTimeFilter, Filter, IdFilter, Joined, TextFilter},
    integration::{
        links::{ExternalRef, external_refs},
        provenance::{Provenance, provenance},
    },
    listing::{Connection, Node, Part, listed, order_fields},
    sources::{SourceClaim, sources},
};

/// An account.
#[derive(Clone)]
pub(crate) struct Account(pub(crate) Item<AccountRecord>);

impl From<Item<AccountRecord>> for Account {
    fn from(item: Item<AccountRecord>) -> Self {
        Self(item)
    }
}

impl Node for Account {
    type Record = AccountRecord;
    const NAME: &'static str = "Account";
    const PERMISSION: Permission = Permission::PipelineRead;
}

/// A customer organization.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Account {
    #[graphql(flatten)]
    async fn record(&self) -> &AccountRecord {
        &self.0
    }

    /// Identifies the account.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The customer's own fields that have a value, by their names.
    async fn custom_fields(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only these, at most 100; all when it is left out.")] names: Option<Vec<String>>,
    ) -> Result<Option<Vec<CustomField>>> {
        custom_fields(ctx, (Entity::Account, &self.0.custom), names.as_deref()).map(Some)
    }

    /// What other systems know it as.
    async fn external_refs(&self, ctx: &Context<'_>) -> Result<Option<Vec<ExternalRef>>> {
        let record = (Entity::Account, &self.0);
        external_refs(ctx, Permission::PipelineRead, record, |account| account.id.to_string()).await.map(Some)
    }

    /// The account that it became one with; null for one that stands by itself.
    async fn merged_into(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        let found = access(ctx, Permission::PipelineRead)?;
        let account = self.0.one(
            "mergedInto",
            |account| account.merged_into,
            |ids| async move {
                Ok(keyed(pipeline::accounts_by_ids(found.store, found.rows, &ids).await?, |account| account.id))
            },
        );
        Ok(account.await?.map(Account))
    }

    /// Why a field has the value that it has: who said it, when, by what evidence, and what was overruled.
    async fn provenance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The field, such as `billingEmail` or `custom.region`.")] field: String,
    ) -> Result<Option<Provenance>> {
        let value = |field: &str| shown_values::account(&self.0).remove(field).unwrap_or_default();
        let record = (Entity::Account, &self.0);
        provenance(ctx, Permission::PipelineRead, record, (|record| record.id.to_string(), value), &field).await
    }

    /// Who said so: what each system last said of it, newest first.
    async fn sources(&self, ctx: &Context<'_>) -> Result<Option<Vec<SourceClaim>>> {
        sources(ctx, Permission::PipelineRead, &self.0, |account| account.id.to_string()).await.map(Some)
    }

    /// Its opportunities, in the order of their identifiers.
    async fn opportunities(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<Opportunity>>> {
        let found = access(ctx, Permission::PipelineRead)?;
        let part = &Part::of::<Opportunity>(first, after)?;
        let children = self.0.many(
            ("opportunities", part.key()),
            |account| Some(account.id),
            |ids| async move {
                let records = opportunities_of(found.store, found.rows, &ids, part.span()).await?;
                Ok(records.into_iter().filter_map(|record| Some((record.account_id?, record))).collect())
            },
        );
        Ok(Some(Connection::of_children(part, children.await?)))
    }

    /// Its statements of work, in the order of their identifiers.
    async fn sows(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<Sow>>> {
        let found = access(ctx, Permission::ContractsRead)?;
        let part = &Part::of::<Sow>(first, after)?;
        let children = self.0.many(
            ("sows", part.key()),
            |account| Some(account.id),
            |ids| async move {
                let records = sows_of_accounts(found.store, found.rows, &ids, part.span()).await?;
                Ok(keyed(records, |sow| sow.account_id))
            },
        );
        Ok(Some(Connection::of_children(part, children.await?)))
    }
}

/// An opportunity.
#[derive(Clone)]
pub(crate) struct Opportunity(pub(crate) Item<OpportunityRecord>);

impl From<Item<OpportunityRecord>> for Opportunity {
    fn from(item: Item<OpportunityRecord>) -> Self {
        Self(item)
    }
}

impl Node for Opportunity {
    type Record = OpportunityRecord;
    const NAME: &'static str = "Opportunity";
    const PERMISSION: Permission = Permission::PipelineRead;
}

/// A possible sale. The CRM has authority over stage, amount, close date and account.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Opportunity {
    #[graphql(flatten)]
    async fn record(&self) -> &OpportunityRecord {
        &self.0
    }

    /// Identifies the opportunity.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The customer's own fields that have a value, by their names.
    async fn custom_fields(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only these, at most 100; all when it is left out.")] names: Option<Vec<String>>,
    ) -> Result<Option<Vec<CustomField>>> {
        custom_fields(ctx, (Entity::Opportunity, &self.0.custom), names.as_deref()).map(Some)
    }

    /// The account that may buy.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        let found = access(ctx, Permission::PipelineRead)?;
        let account = self.0.one(
            "account",
            |opportunity| opportunity.account_id,
            |ids| async move {
                Ok(keyed(pipeline::accounts_by_ids(found.store, found.rows, &ids).await?, |account| account.id))
            },
        );
        Ok(account.await?.map(Account))
    }

    /// The statements of work that came from it, in the order of their identifiers.
    async fn sows(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, from 1 to 100; 25 when it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<Sow>>> {
        let found = access(ctx, Permission::ContractsRead)?;
        let part = &Part::of::<Sow>(first, after)?;
        let children = self.0.many(
            ("sows", part.key()),
            |opportunity| Some(opportunity.id),
            |ids| async move {
                let records = sows_of_opportunities(found.store, found.rows, &ids, part.span()).await?;
                Ok(keyed(records, |sow| sow.opportunity_id))
            },
        );
        Ok(Some(Connection::of_children(part, children.await?)))
    }

    /// Who said so: what each system last said of it, newest first.
    async fn sources(&self, ctx: &Context<'_>) -> Result<Option<Vec<SourceClaim>>> {
        sources(ctx, Permission::PipelineRead, &self.0, |opportunity| opportunity.id.to_string()).await.map(Some)
    }

    /// What other systems know it as.
    async fn external_refs(&self, ctx: &Context<'_>) -> Result<Option<Vec<ExternalRef>>> {
        let record = (Entity::Opportunity, &self.0);
        external_refs(ctx, Permission::PipelineRead, record, |opportunity| opportunity.id.to_string()).await.map(Some)
    }

    /// The opportunity that it became one with; null for one that stands by itself.
    async fn merged_into(&self, ctx: &Context<'_>) -> Result<Option<Opportunity>> {
        let found = access(ctx, Permission::PipelineRead)?;
        let opportunity = self.0.one(
            "mergedInto",
            |opportunity| opportunity.merged_into,
            |ids| async move {
                Ok(keyed(pipeline::opportunities_by_ids(found.store, found.rows, &ids).await?, |opportunity| {
                    opportunity.id
                }))
            },
        );
        Ok(opportunity.await?.map(Opportunity))
    }

    /// Why a field has the value that it has: who said it, when, by what evidence, and what was overruled.
    async fn provenance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The field, such as `amount` or `custom.region`.")] field: String,
    ) -> Result<Option<Provenance>> {
        let value = |field: &str| shown_values::opportunity(&self.0).remove(field).unwrap_or_default();
        let record = (Entity::Opportunity, &self.0);
        provenance(ctx, Permission::PipelineRead, record, (|record| record.id.to_string(), value), &field).await
    }
}

/// Which accounts to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct AccountFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The name.
    name: Option<TextFilter>,
    /// When it last changed.
    updated_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<AccountFilter>>,
    /// At least one of these holds.
    or: Option<Vec<AccountFilter>>,
    /// This does not hold.
    not: Option<Box<AccountFilter>>,
}

impl Filter for AccountFilter {
    type Column = AccountColumn;

    fn own(&self, conditions: &mut Vec<Condition<AccountColumn>>) -> Result<(), ApiError> {
        self.id.compare(AccountColumn::Id, conditions)?;
        self.name.compare(AccountColumn::Name, conditions)?;
        self.updated_at.compare(AccountColumn::UpdatedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What accounts are ordered by.
    AccountOrderField as "AccountOrder" of AccountColumn;
    /// The identifier; accounts that came later have larger ones.
    Id text,
    /// The name.
    Name text,
    /// When it last changed.
    UpdatedAt number,
}

impl Choice for OpportunityStage {
    const FILTER: &'static str = "OpportunityStageFilter";
}

/// Which opportunities to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct OpportunityFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// The account.
    account_id: Option<IdFilter>,
    /// The name.
    name: Option<TextFilter>,
    /// Where it stands.
    stage: Option<ChoiceFilter<OpportunityStage>>,
    /// The day on which it is expected to close.
    close_on: Option<DateFilter>,
    /// When it last changed.
    updated_at: Option<DateTimeFilter>,
    /// All of these hold.
    and: Option<Vec<OpportunityFilter>>,
    /// At least one of these holds.
    or: Option<Vec<OpportunityFilter>>,
    /// This does not hold.
    not: Option<Box<OpportunityFilter>>,
}

impl Filter for OpportunityFilter {
    type Column = OpportunityColumn;

    fn own(&self, conditions: &mut Vec<Condition<OpportunityColumn>>) -> Result<(), ApiError> {
        self.id.compare(OpportunityColumn::Id, conditions)?;
        self.account_id.compare(OpportunityColumn::Account, conditions)?;
        self.name.compare(OpportunityColumn::Name, conditions)?;
        self.stage.compare(OpportunityColumn::Stage, conditions)?;
        self.close_on.compare(OpportunityColumn::CloseOn, conditions)?;
        self.updated_at.compare(OpportunityColumn::UpdatedAt, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What opportunities are ordered by.
    OpportunityOrderField as "OpportunityOrder" of OpportunityColumn;
    /// The identifier; opportunities that came later have larger ones.
    Id text,
    /// The name.
    Name text,
    /// Where it stands, by the letters of the stage.
    Stage text,
    /// The day on which it is expected to close.
    CloseOn number,
    /// When it last changed.
    UpdatedAt number,
}

listed! {
    AccountQueries of Account filtered by AccountFilter, ordered by AccountOrderField;
    "The accounts that you may see." accounts from pipeline::accounts;
    "One account; null when there is none that you may see." account from pipeline::accounts_by_ids;
}

listed! {
    OpportunityQueries of Opportunity filtered by OpportunityFilter, ordered by OpportunityOrderField;
    "The opportunities that you may see." opportunities from pipeline::opportunities;
    "One opportunity; null when there is none that you may see." opportunity from pipeline::opportunities_by_ids;
}

/// Queries for accounts and opportunities, and the customer's own fields of both.
#[derive(MergedObject, Default)]
pub(crate) struct PipelineQueries(AccountQueries, OpportunityQueries, CustomFieldQueries);
