//! Accounts and opportunities, as the CRM and billing speak of them.

use crosstie_domain::{
    access::RowScope,
    ids::{AccountId, ConnectionId, OpportunityId},
    integration::{Arm, Entity},
    pipeline::{AccountClaim, AccountRecord, OpportunityClaim, OpportunityRecord},
};
use crosstie_store::{
    Tx,
    integration::{Identity, connections_by_ids, identities_of, identity},
    pipeline,
};

use super::{Origin, Taken, said::Said};
use crate::AppError;

pub(super) async fn account(
    tx: &Tx,
    origin: Origin<'_>,
    known: Option<&Identity>,
    (said, claim): (Said<'_>, &AccountClaim),
) -> Result<Taken, AppError> {
    let now = tx.now();
    let linked = known.and_then(|identity| identity.record_id.parse::<AccountId>().ok());
    // A customer that the hub itself made at billing carries our id, and may be heard of before its making is noted.
    let found = match linked.or(claim.account) {
        Some(id) => pipeline::accounts_by_ids(tx, &RowScope::All, &[id]).await?.pop(),
        None => None,
    };
    let is_new = found.is_none();
    let mut account = found.unwrap_or_else(|| AccountRecord {
        id: tx.new_id(),
        name: claim.name.clone().unwrap_or_default(),
        domain: claim.domain.clone(),
        billing_email: claim.billing_email.clone(),
        version: 0,
        created_at: now,
        updated_at: now,
    });
    let mut changed = is_new;
    if is_new || speaks_for_accounts(tx, origin, account.id).await? {
        changed |= said.set(&mut account.name, claim.name.clone());
        changed |= said.set_or_clear("domain", &mut account.domain, claim.domain.clone());
        changed |= said.set_or_clear("billing_email", &mut account.billing_email, claim.billing_email.clone());
    }
    if changed {
        account.version += 1;
        account.updated_at = now;
        tx.save_account(&account).await?;
    }
    Ok((account.id.to_string(), account.version, changed))
}

/// Whether the system has authority over an account: a CRM has, and another one has as long as no CRM knows the account.
async fn speaks_for_accounts(tx: &Tx, origin: Origin<'_>, account: AccountId) -> Result<bool, AppError> {
    if origin.arms.contains(&Arm::Crm) {
        return Ok(true);
    }
    let others = identities_of(tx, &RowScope::All, &[account.to_string()]).await?;
    let mut others: Vec<ConnectionId> = others.iter().map(|identity| identity.connection_id).collect();
    others.sort_unstable();
    others.dedup();
    let connections = connections_by_ids(tx, &RowScope::All, &others).await?;
    Ok(!connections.iter().any(|connection| connection.enabled && connection.arms.contains(&Arm::Crm)))
}

pub(super) async fn opportunity(
    tx: &Tx,
    origin: Origin<'_>,
    known: Option<&Identity>,
    (said, claim): (Said<'_>, &OpportunityClaim),
) -> Result<Taken, AppError> {
    let now = tx.now();
    let account_id = account_of(tx, origin.connection, claim.account.as_deref()).await?;
    let found = match known.and_then(|identity| identity.record_id.parse::<OpportunityId>().ok()) {
        Some(id) => pipeline::opportunities_by_ids(tx, &RowScope::All, &[id]).await?.pop(),
        None => None,
    };
    let is_new = found.is_none();
    let mut opportunity = found.unwrap_or_else(|| OpportunityRecord {
        id: tx.new_id(),
        account_id,
        name: claim.name.clone().unwrap_or_default(),
        stage: claim.stage,
        native_stage: claim.native_stage.clone(),
        amount: claim.amount,
        close_on: claim.close_on,
        version: 0,
        created_at: now,
        updated_at: now,
    });
    let mut changed = is_new;
    changed |= said.set_or_clear("account", &mut opportunity.account_id, account_id);
    changed |= said.set(&mut opportunity.name, claim.name.clone());
    changed |= said.set_or_clear("native_stage", &mut opportunity.native_stage, claim.native_stage.clone());
    // A native stage without a mapping leaves no stage.
    changed |= said.set_or_clear("native_stage", &mut opportunity.stage, claim.stage);
    changed |= said.set_or_clear("amount", &mut opportunity.amount, claim.amount);
    changed |= said.set_or_clear("close_on", &mut opportunity.close_on, claim.close_on);
    if changed {
        opportunity.version += 1;
        opportunity.updated_at = now;
        tx.save_opportunity(&opportunity).await?;
    }
    Ok((opportunity.id.to_string(), opportunity.version, changed))
}

/// The account that a remote id stands for, where it is known.
pub(super) async fn account_of(
    tx: &Tx,
    connection: ConnectionId,
    remote_id: Option<&str>,
) -> Result<Option<AccountId>, AppError> {
    let Some(remote_id) = remote_id else { return Ok(None) };
    let known = identity(tx, connection, Entity::Account, remote_id).await?;
    Ok(known.and_then(|identity| identity.record_id.parse().ok()))
}
