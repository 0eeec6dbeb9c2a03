//! What other systems say, taken into the records of the hub: identity, the change itself, lineage and outbox, in the
//! transaction that the caller commits with its cursor or inbox state.

use std::collections::BTreeMap;

use crosstie_domain::{
    access::{AuthContext, Principal, RowScope},
    billing::{InvoiceClaim, InvoiceLineRecord, InvoiceRecord, InvoiceStatus},
    ids::{AccountId, ConnectionId, InboundEventId, InvoiceId, OpportunityId, SyncRunId},
    integration::{AssertedField, Assertion, Claim, Entity},
    pipeline::{AccountClaim, AccountRecord, OpportunityClaim, OpportunityRecord},
};
use crosstie_store::{
    Change, Tx, billing,
    integration::{Identity, identity, latest_assertion},
    pipeline,
};

use crate::{App, AppError};

/// Where a claim came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The connection.
    pub connection: ConnectionId,
    /// The run that read it, if one did.
    pub run: Option<SyncRunId>,
    /// The inbound event that led to the reading, if one did.
    pub event: Option<InboundEventId>,
    /// Version of the connector whose mapping read it.
    pub mapping_version: &'a str,
}

/// What a system says of one record.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The record's id there.
    pub remote_id: &'a str,
    /// The record's version there.
    pub remote_version: Option<&'a str>,
    /// What it says.
    pub claim: &'a Claim,
    /// Where each value stood.
    pub fields: &'a BTreeMap<String, AssertedField>,
    /// The row as it came.
    pub raw: &'a str,
}

/// What came of an observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The record in the hub.
    pub record_id: String,
    /// Whether anything changed.
    pub changed: bool,
}

impl App {
    /// Takes in what a system says of a record.
    ///
    /// # Errors
    /// As the database.
    pub async fn ingest(&self, tx: &Tx, origin: Origin<'_>, seen: Observation<'_>) -> Result<Ingested, AppError> {
        let entity = seen.claim.entity();
        let known = identity(tx, origin.connection, entity, seen.remote_id).await?;
        let taken = match seen.claim {
            Claim::Account(claim) => account(tx, origin, known.as_ref(), claim).await?,
            Claim::Opportunity(claim) => opportunity(tx, origin, known.as_ref(), claim).await?,
            Claim::Invoice(claim) => invoice(tx, origin, known.as_ref(), (seen.remote_id, claim)).await?,
        };
        let (record_id, version, changed) = taken;
        let now = tx.now();
        tx.save_identity(&Identity {
            connection_id: origin.connection,
            entity,
            remote_id: seen.remote_id.to_owned(),
            record_id: record_id.clone(),
            remote_version: seen.remote_version.map(str::to_owned),
            last_seen_at: now,
        })
        .await?;
        self.assert(tx, origin, seen, &record_id).await?;
        if changed {
            let event = if version == 1 { "appeared" } else { "changed" };
            let event = format!("{}_{event}", entity.as_str());
            let actor = Principal::Connection(origin.connection);
            tx.publish(&[Change { entity, id: &record_id, event: &event, actor, version }]).await?;
        }
        Ok(Ingested { record_id, changed })
    }

    /// Appends what was said, unless the system said the very same before.
    async fn assert(
        &self,
        tx: &Tx,
        origin: Origin<'_>,
        seen: Observation<'_>,
        record_id: &str,
    ) -> Result<(), AppError> {
        let before = latest_assertion(tx, origin.connection, record_id, seen.remote_id).await?;
        let said_before = before.as_ref().map(|assertion| &assertion.fields);
        let mut fields = seen.fields.clone();
        let mut anything_new = said_before.is_none_or(|before| before.len() != fields.len());
        for (name, field) in &mut fields {
            let old = said_before.and_then(|before| before.get(name));
            field.changed = old.is_none_or(|old| old.value != field.value);
            anything_new |= field.changed || old.is_none_or(|old| old.problem != field.problem);
        }
        if !anything_new {
            return Ok(());
        }
        let assertion = Assertion {
            id: tx.new_id(),
            entity: seen.claim.entity(),
            record_id: record_id.to_owned(),
            connection_id: origin.connection,
            remote_id: seen.remote_id.to_owned(),
            remote_version: seen.remote_version.map(str::to_owned),
            run_id: origin.run,
            inbound_event_id: origin.event,
            mapping_version: origin.mapping_version.to_owned(),
            observed_at: tx.now(),
            fields,
        };
        Ok(tx.append_assertion(&assertion, seen.raw).await?)
    }
}

/// The record, its version, and whether it changed.
type Taken = (String, i32, bool);

/// Sets a field that was spoken of; returns whether it changed.
fn set<T: PartialEq>(field: &mut T, said: Option<T>) -> bool {
    match said {
        Some(said) if said != *field => {
            *field = said;
            true
        }
        _ => false,
    }
}

/// Sets a field that may be empty; a field that was not spoken of stays as it is.
fn set_some<T: PartialEq>(field: &mut Option<T>, said: Option<T>) -> bool {
    said.is_some() && set(field, Some(said))
}

async fn account(tx: &Tx, _: Origin<'_>, known: Option<&Identity>, claim: &AccountClaim) -> Result<Taken, AppError> {
    let now = tx.now();
    let found = match known.and_then(|identity| identity.record_id.parse::<AccountId>().ok()) {
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
    changed |= set(&mut account.name, claim.name.clone());
    changed |= set_some(&mut account.domain, claim.domain.clone());
    changed |= set_some(&mut account.billing_email, claim.billing_email.clone());
    if changed {
        account.version += 1;
        account.updated_at = now;
        tx.save_account(&account).await?;
    }
    Ok((account.id.to_string(), account.version, changed))
}

async fn opportunity(
    tx: &Tx,
    origin: Origin<'_>,
    known: Option<&Identity>,
    claim: &OpportunityClaim,
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
    changed |= set_some(&mut opportunity.account_id, account_id);
    changed |= set(&mut opportunity.name, claim.name.clone());
    if claim.native_stage.is_some() {
        changed |= set_some(&mut opportunity.native_stage, claim.native_stage.clone());
        // A native stage without a mapping leaves no stage: an old one would be a lie.
        changed |= set(&mut opportunity.stage, Some(claim.stage));
    }
    changed |= set_some(&mut opportunity.amount, claim.amount);
    changed |= set_some(&mut opportunity.close_on, claim.close_on);
    if changed {
        opportunity.version += 1;
        opportunity.updated_at = now;
        tx.save_opportunity(&opportunity).await?;
    }
    Ok((opportunity.id.to_string(), opportunity.version, changed))
}

async fn invoice(
    tx: &Tx,
    origin: Origin<'_>,
    known: Option<&Identity>,
    (remote_id, claim): (&str, &InvoiceClaim),
) -> Result<Taken, AppError> {
    let now = tx.now();
    let by_identity = known.and_then(|identity| identity.record_id.parse::<InvoiceId>().ok());
    let found = match by_identity.or(claim.invoice) {
        Some(id) => billing::invoices_by_ids(tx, &RowScope::All, &[id]).await?.pop(),
        None => None,
    };
    // An id of ours on an invoice of another connection is not ours to believe.
    let found = found.filter(|invoice| invoice.connection_id == origin.connection);
    let is_new = found.is_none();
    let total = claim.total.unwrap_or(crosstie_domain::Money::zero(crosstie_domain::Currency::USD));
    let mut invoice = found.unwrap_or_else(|| InvoiceRecord {
        id: tx.new_id(),
        service_order_id: None,
        milestone_id: None,
        account_id: None,
        connection_id: origin.connection,
        billing_round: 1,
        number: None,
        status: claim.status,
        native_status: None,
        total,
        amount_paid: None,
        issued_on: None,
        due_on: None,
        billing_reference: None,
        rejection: None,
        version: 0,
        created_at: now,
        updated_at: now,
    });
    let mut changed = is_new;
    let status_before = invoice.status;
    if invoice.account_id.is_none() {
        changed |=
            set_some(&mut invoice.account_id, account_of(tx, origin.connection, claim.customer.as_deref()).await?);
    }
    changed |= set_some(&mut invoice.number, claim.number.clone());
    if claim.native_status.is_some() {
        changed |= set_some(&mut invoice.native_status, claim.native_status.clone());
        changed |= set(&mut invoice.status, Some(claim.status));
    }
    changed |= set(&mut invoice.total, claim.total);
    changed |= set_some(&mut invoice.amount_paid, claim.amount_paid);
    changed |= set_some(&mut invoice.issued_on, claim.issued_on);
    changed |= set_some(&mut invoice.due_on, claim.due_on);
    changed |= set_some(&mut invoice.billing_reference, Some(remote_id.to_owned()));
    if changed {
        invoice.version += 1;
        invoice.updated_at = now;
        tx.save_invoice(&invoice).await?;
        if let Some(lines) = &claim.lines {
            let lines: Vec<_> = (0..)
                .zip(lines)
                .map(|(position, line)| InvoiceLineRecord {
                    id: tx.new_id(),
                    invoice_id: invoice.id,
                    position,
                    description: line.description.clone(),
                    amount: line.amount,
                })
                .collect();
            tx.replace_invoice_lines(invoice.id, &lines).await?;
        }
    }
    if invoice.status != status_before {
        let auth = AuthContext { principal: Principal::Connection(origin.connection), ..AuthContext::system() };
        crate::billing::follow_invoice(tx, &auth, &invoice).await?;
    }
    Ok((invoice.id.to_string(), invoice.version, changed))
}

/// The account that a remote id stands for, where it is known.
async fn account_of(tx: &Tx, connection: ConnectionId, remote_id: Option<&str>) -> Result<Option<AccountId>, AppError> {
    let Some(remote_id) = remote_id else { return Ok(None) };
    let known = identity(tx, connection, Entity::Account, remote_id).await?;
    Ok(known.and_then(|identity| identity.record_id.parse().ok()))
}

/// Whether billing has issued an invoice that stands so.
pub(crate) fn is_issued(status: Option<InvoiceStatus>) -> bool {
    matches!(status, Some(InvoiceStatus::Open | InvoiceStatus::Paid | InvoiceStatus::Uncollectible))
}
