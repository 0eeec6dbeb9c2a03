//! Finding which changes a subscription tells of, and numbering them: one process at a time, in one transaction with
//! how far it was looked through.

use std::collections::{BTreeMap, HashSet};

use crosstie_domain::{
    access::{AuthContext, Principal, RowScope},
    ids::WebhookSubscriptionId,
    integration::{Entity, SubscriptionReason, SubscriptionStatus, WebhookDeliveryRecord, WebhookSubscriptionRecord},
};
use crosstie_store::{
    Reads, StoreError, Tx, billing, contracts, delivery,
    integration::{
        Lease, VersionedChange, alerts_by_ids, first_position, subscription_events, versioned_changes_after,
        webhook_subscriptions_by_ids,
    },
    pipeline,
};

use super::may_subscribe;
use crate::{App, AppError, access::rights};

/// Changes that are looked through in one transaction.
const BATCH: i64 = 500;

impl App {
    /// Looks through the next changes for a subscription and puts those that it tells of in line. Only the holder of
    /// the lease may; one who lost it does nothing. Returns whether there may be more.
    ///
    /// # Errors
    /// As the database.
    pub async fn expand_subscription(&self, lease: &Lease, id: WebhookSubscriptionId) -> Result<bool, AppError> {
        let tx = self.store().begin().await?;
        if !tx.fence_lease(lease).await? {
            return Ok(false);
        }
        let Some(mut subscription) = tx.lock_subscription(id).await? else { return Ok(false) };
        let paused_by_hub = subscription.status_reason == Some(SubscriptionReason::OwnerRevoked);
        if subscription.status == SubscriptionStatus::Disabled || paused_by_hub {
            return Ok(false);
        }
        let owner = rights(&tx, subscription.owner, tx.now()).await?.filter(may_subscribe);
        let Some(owner) = owner else {
            stop(&tx, &mut subscription).await?;
            tx.commit().await?;
            return Ok(false);
        };
        let first = first_position(&tx).await?;
        if first > subscription.position + 1 {
            // What came between is past its 90 days. A number that is never sent tells the receiver so.
            subscription.position = first - 1;
            subscription.last_sequence += 1;
        }
        let changes = versioned_changes_after(&tx, subscription.position, BATCH).await?;
        let Some(last) = changes.last().map(|change| change.position) else { return Ok(false) };
        let told = told(&tx, &subscription, &owner, changes).await?;
        subscription.last_sequence = tx.queue_changes(id, subscription.last_sequence, &told).await?;
        subscription.position = last;
        tx.save_subscription(&subscription).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// A change that a subscription tells of, and whether its owner may see the record now.
#[derive(Debug, Clone)]
pub struct ToldEvent {
    /// The change, with its delivery.
    pub delivery: WebhookDeliveryRecord,
    /// Whether it may be told.
    pub shown: bool,
}

impl App {
    /// The changes that a subscription tells of after a number, at most so many, and the last number that was given;
    /// `None` when there is no such subscription that the asker may see.
    ///
    /// # Errors
    /// As the database.
    pub async fn webhook_events(
        &self,
        auth: &AuthContext,
        id: WebhookSubscriptionId,
        after: i64,
        limit: i64,
    ) -> Result<Option<(i64, Vec<ToldEvent>)>, AppError> {
        let store = self.store();
        let found = webhook_subscriptions_by_ids(store, auth, &[id]).await?.pop();
        let Some(subscription) = found else { return Ok(None) };
        let deliveries = subscription_events(store, id, after, limit).await?;
        let Some(owner) = rights(store, subscription.owner, store.now()).await?.filter(may_subscribe) else {
            let events = deliveries.into_iter().map(|delivery| ToldEvent { delivery, shown: false });
            return Ok(Some((subscription.last_sequence, events.collect())));
        };
        let rows = rows_of(&subscription, &owner);
        let records: Vec<(Entity, &str)> =
            deliveries.iter().filter_map(|delivery| delivery.entity.zip(delivery.record_id.as_deref())).collect();
        let seen = if rows == RowScope::All { HashSet::new() } else { visible(store, &rows, &records).await? };
        let may_hear = |delivery: &WebhookDeliveryRecord| {
            delivery.entity.is_some_and(|entity| owner.may(entity.read_permission()))
                && (rows == RowScope::All || delivery.record_id.as_ref().is_some_and(|id| seen.contains(id)))
        };
        let events = deliveries.into_iter().map(|delivery| ToldEvent { shown: may_hear(&delivery), delivery });
        Ok(Some((subscription.last_sequence, events.collect())))
    }
}

/// Stops a subscription whose owner lost the right to have one.
pub(super) async fn stop(tx: &Tx, subscription: &mut WebhookSubscriptionRecord) -> Result<(), AppError> {
    subscription.status = SubscriptionStatus::Paused;
    subscription.status_reason = Some(SubscriptionReason::OwnerRevoked);
    subscription.version += 1;
    subscription.updated_at = tx.now();
    tx.save_subscription(subscription).await?;
    let why = "whoever made it may not have subscriptions any more; whoever resumes it becomes its owner";
    super::deliver::announce_stop(tx, subscription, why).await?;
    Ok(tx.subscription_history(subscription, Principal::System, "webhook_subscription_paused").await?)
}

/// Those of the changes that a subscription tells of, in their order.
async fn told(
    db: &impl Reads,
    subscription: &WebhookSubscriptionRecord,
    owner: &AuthContext,
    changes: Vec<VersionedChange>,
) -> Result<Vec<VersionedChange>, StoreError> {
    let asked = |change: &VersionedChange| {
        subscription.entities.contains(&change.entity)
            && owner.may(change.entity.read_permission())
            && (subscription.event_types.is_empty() || subscription.event_types.contains(&change.event))
    };
    let changes: Vec<VersionedChange> = changes.into_iter().filter(asked).collect();
    let rows = rows_of(subscription, owner);
    let records: Vec<(Entity, &str)> = changes.iter().map(|change| (change.entity, change.id.as_str())).collect();
    let seen = visible(db, &rows, &records).await?;
    Ok(changes.into_iter().filter(|change| rows == RowScope::All || seen.contains(&change.id)).collect())
}

/// The rows that a subscription tells of: those that its owner may see, of the accounts that it names.
pub(super) fn rows_of(subscription: &WebhookSubscriptionRecord, owner: &AuthContext) -> RowScope {
    match (&owner.rows, &subscription.accounts) {
        (rows, None) => rows.clone(),
        (RowScope::All, Some(named)) => RowScope::Accounts(named.clone()),
        (RowScope::Accounts(seen), Some(named)) => {
            RowScope::Accounts(named.iter().filter(|account| seen.contains(account)).copied().collect())
        }
    }
}

/// The identifiers of those of the records that the rows show.
pub(super) async fn visible(
    db: &impl Reads,
    rows: &RowScope,
    records: &[(Entity, &str)],
) -> Result<HashSet<String>, StoreError> {
    let mut by_kind: BTreeMap<Entity, Vec<&str>> = BTreeMap::new();
    for (entity, id) in records {
        by_kind.entry(*entity).or_default().push(id);
    }
    let mut seen = HashSet::new();
    for (entity, mut ids) in by_kind {
        ids.sort_unstable();
        ids.dedup();
        macro_rules! ids_of {
            ($by_ids:path) => {{
                let ids: Vec<_> = ids.iter().filter_map(|id| id.parse().ok()).collect();
                $by_ids(db, rows, &ids).await?.into_iter().map(|record| record.id.to_string()).collect::<Vec<_>>()
            }};
        }
        seen.extend(match entity {
            Entity::Account => ids_of!(pipeline::accounts_by_ids),
            Entity::Opportunity => ids_of!(pipeline::opportunities_by_ids),
            Entity::Sow => ids_of!(contracts::sows_by_ids),
            Entity::Milestone => ids_of!(delivery::milestones_by_ids),
            Entity::ServiceOrder => ids_of!(billing::service_orders_by_ids),
            Entity::Invoice => ids_of!(billing::invoices_by_ids),
            Entity::Alert => ids_of!(alerts_by_ids),
        });
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use crosstie_domain::{Instant, ids::AccountId};

    use super::*;

    fn account(number: u8) -> AccountId {
        format!("acc_0000000000000000000000000{number}").parse().expect("an identifier")
    }

    fn check(seen: Option<&[u8]>, named: Option<&[u8]>, expected: Option<&[u8]>) {
        let accounts = |numbers: &[u8]| numbers.iter().map(|number| account(*number)).collect::<Vec<_>>();
        let scope = |numbers: Option<&[u8]>| numbers.map_or(RowScope::All, |some| RowScope::Accounts(accounts(some)));
        let at = Instant::from_micros(0).expect("an instant");
        let subscription = WebhookSubscriptionRecord {
            id: "whs_00000000000000000000000001".parse().expect("an identifier"),
            url: String::new(),
            description: String::new(),
            entities: vec![],
            event_types: vec![],
            accounts: named.map(accounts),
            ordered: true,
            owner: Principal::System,
            status: SubscriptionStatus::Active,
            status_reason: None,
            position: 0,
            last_sequence: 0,
            failures_in_a_row: 0,
            left_alone_until: None,
            version: 1,
            created_at: at,
            updated_at: at,
        };
        let owner = AuthContext { rows: scope(seen), ..AuthContext::system() };
        assert_eq!(rows_of(&subscription, &owner), scope(expected), "{seen:?} {named:?}");
    }

    #[test]
    fn a_subscription_tells_of_no_more_than_its_owner_sees() {
        check(None, None, None);
        check(None, Some(&[1]), Some(&[1]));
        check(Some(&[1, 2]), None, Some(&[1, 2]));
        check(Some(&[1, 2]), Some(&[2, 3]), Some(&[2]));
        check(Some(&[]), Some(&[2]), Some(&[]));
    }
}
