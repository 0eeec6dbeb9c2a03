//! Claims that a record of another system is gone. A record counts as deleted once every system that has authority over
//! it says so; it is never removed, and comes back when one of them has it again.

use std::collections::HashMap;

use crosstie_domain::{
    Instant,
    access::{Principal, RowScope},
    ids::{ConnectionId, SweepId},
    integration::{Arm, DeleteClaimRecord, DeleteEvidence, Entity},
};
use crosstie_store::{
    Change, StoreError, Tx, billing,
    integration::{connections_by_ids, gone_since, holders_of, identity},
    pipeline,
};

use crate::{App, AppError, Origin};

/// A system says that it has a record no more.
#[derive(Debug, Clone, Copy)]
pub struct Gone<'a> {
    /// The kind of record.
    pub entity: Entity,
    /// Its id there.
    pub remote_id: &'a str,
    /// What says so.
    pub evidence: DeleteEvidence,
    /// The id of the record that it was merged into, there.
    pub merged_into: Option<&'a str>,
    /// The sweep that missed it.
    pub sweep: Option<SweepId>,
    /// When the system was asked, before it answered.
    pub asked_at: Instant,
}

/// What came of a claim that a record is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It was written down; whether the record counts as deleted by that.
    Claimed {
        /// Whether every system with authority says so by now.
        everywhere: bool,
    },
    /// It was known before.
    Known,
    /// The hub never knew such a record.
    Unknown,
    /// The record was seen after the system was asked: ask again.
    AskAgain,
}

impl App {
    /// Takes in the claim that a system has a record no more.
    ///
    /// # Errors
    /// As the database.
    pub async fn claim_deleted(&self, tx: &Tx, origin: Origin<'_>, gone: Gone<'_>) -> Result<Deleted, AppError> {
        tx.lock_identity(origin.connection, gone.entity, gone.remote_id).await?;
        let Some(known) = identity(tx, origin.connection, gone.entity, gone.remote_id).await? else {
            return Ok(Deleted::Unknown);
        };
        if gone_since(tx, origin.connection, gone.entity, gone.remote_id).await?.is_some() {
            return Ok(Deleted::Known);
        }
        if gone.asked_at < known.last_seen_at {
            return Ok(Deleted::AskAgain);
        }
        tx.claim_deleted(&DeleteClaimRecord {
            id: tx.new_id(),
            connection_id: origin.connection,
            entity: gone.entity,
            remote_id: gone.remote_id.to_owned(),
            record_id: known.record_id.clone(),
            evidence: gone.evidence,
            inbound_event_id: origin.event,
            run_id: origin.run,
            sweep_id: gone.sweep,
            merged_into: gone.merged_into.map(str::to_owned),
            claimed_at: tx.now(),
            withdrawn_at: None,
        })
        .await?;
        let everywhere = !is_held(tx, gone.entity, &known.record_id).await?;
        if everywhere {
            set_deleted(tx, origin, (gone.entity, &known.record_id), Some(tx.now())).await?;
        }
        if let Some(into) = gone.merged_into {
            follow_merge(tx, origin, (gone.entity, gone.remote_id), into).await?;
        }
        Ok(Deleted::Claimed { everywhere })
    }

    /// Takes in that a record which was claimed to be gone is there: the claims are withdrawn.
    ///
    /// # Errors
    /// As the database.
    pub async fn came_back(
        &self,
        tx: &Tx,
        origin: Origin<'_>,
        (entity, remote_id, record_id): (Entity, &str, &str),
    ) -> Result<(), AppError> {
        tx.withdraw_deletes(origin.connection, entity, remote_id).await?;
        if is_held(tx, entity, record_id).await? {
            set_deleted(tx, origin, (entity, record_id), None).await?;
        }
        Ok(())
    }
}

/// Whether a system with authority over the record still has it. Over accounts a CRM has authority, where one knows the
/// account; over the rest whoever knows it. A connection that is not configured any more says nothing, and one that is
/// only observed decides where no other knows the record.
async fn is_held(tx: &Tx, entity: Entity, record_id: &str) -> Result<bool, AppError> {
    let holders = holders_of(tx, record_id).await?;
    let mut ids: Vec<ConnectionId> = holders.iter().map(|(connection, _)| *connection).collect();
    ids.dedup();
    let mut live = connections_by_ids(tx, &RowScope::All, &ids).await?;
    live.retain(|connection| connection.enabled);
    if live.iter().any(|connection| connection.mode.decides()) {
        live.retain(|connection| connection.mode.decides());
    }
    let is_crm: HashMap<_, _> = live.iter().map(|one| (one.id, one.arms.contains(&Arm::Crm))).collect();
    let crm_decides = entity == Entity::Account && is_crm.values().any(|is_crm| *is_crm);
    let decides = |connection| is_crm.get(connection).is_some_and(|is_crm| *is_crm || !crm_decides);
    Ok(holders.iter().any(|(connection, has_it)| *has_it && decides(connection)))
}

/// Writes on the record since when it counts as deleted, unless it says so already.
async fn set_deleted(
    tx: &Tx,
    origin: Origin<'_>,
    (entity, record_id): (Entity, &str),
    at: Option<Instant>,
) -> Result<(), AppError> {
    /// The record at its next version, saved; none when nothing changes.
    macro_rules! changed {
        ($by_ids:path, $save:ident) => {{
            let id = record_id.parse().map_err(|_| StoreError::Corrupt { column: "identities.record_id" })?;
            let found = $by_ids(tx, &RowScope::All, &[id]).await?.pop();
            match found.filter(|record| record.deleted_at.is_some() != at.is_some()) {
                Some(mut record) => {
                    record.deleted_at = at;
                    record.version += 1;
                    record.updated_at = tx.now();
                    tx.$save(&record).await?;
                    Some(record.version)
                }
                None => None,
            }
        }};
    }
    let version = match entity {
        Entity::Account => changed!(pipeline::accounts_by_ids, save_account),
        Entity::Opportunity => changed!(pipeline::opportunities_by_ids, save_opportunity),
        Entity::Invoice => changed!(billing::invoices_by_ids, save_invoice),
        // What the hub itself keeps is not deleted by others.
        _ => None,
    };
    let Some(version) = version else { return Ok(()) };
    let event = format!("{}_{}", entity.as_str(), if at.is_some() { "deleted" } else { "restored" });
    let actor = Principal::Connection(origin.connection);
    Ok(tx.publish(&[Change { entity, id: record_id, event: &event, actor, version }]).await?)
}

/// Lets the id of a record that was merged into another lead to that one's record.
async fn follow_merge(
    tx: &Tx,
    origin: Origin<'_>,
    (entity, remote_id): (Entity, &str),
    into: &str,
) -> Result<(), AppError> {
    let Some(other) = identity(tx, origin.connection, entity, into).await? else { return Ok(()) };
    Ok(tx.point_identity((origin.connection, entity, remote_id), &other.record_id).await?)
}
