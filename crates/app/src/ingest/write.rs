//! What came of a page, written together: a statement or two for each kind of row.

use crosstie_domain::{
    access::{AuthContext, Principal},
    ids::{InvoiceId, ServiceOrderId},
};
use crosstie_store::Change;

use super::{page::Page, pipeline::Subject, push};
use crate::{AppError, billing::follow_invoice};

impl Page<'_> {
    /// Writes what came of the page.
    ///
    /// # Errors
    /// As the database, and nothing of the transaction may be kept.
    pub(super) async fn write(self) -> Result<(), AppError> {
        // Who counts the invoices of an order comes before who changes them.
        let mut orders: Vec<ServiceOrderId> =
            self.due.follows.iter().filter_map(|invoice| invoice.service_order_id).collect();
        orders.sort_unstable();
        orders.dedup();
        self.tx.lock_service_orders(&orders).await?;
        // What was said is sealed while the database writes the records.
        tokio::try_join!(self.write_said(), self.write_records()).map(|_| ())
    }

    async fn write_said(&self) -> Result<(), AppError> {
        let said = self.due.assertions.iter().map(|(assertion, raw)| (&**assertion, *raw));
        Ok(self.tx.append_assertions(said).await?)
    }

    async fn write_records(&self) -> Result<(), AppError> {
        let Self { tx, origin, known, due, .. } = self;
        let (mut accounts, mut opportunities) = (Vec::new(), Vec::new());
        for (id, before) in &due.subjects {
            match known.subjects.get(id) {
                Some(Subject::Account(account)) => accounts.push((account, account.version - before)),
                Some(Subject::Opportunity(record)) => opportunities.push((record, record.version - before)),
                None => {}
            }
        }
        tx.save_accounts(&accounts).await?;
        tx.save_opportunities(&opportunities).await?;
        let invoices = due.invoices.iter().filter_map(|(id, before)| {
            let invoice = known.invoices.get(id)?;
            Some((invoice, invoice.version - before))
        });
        tx.save_invoices(&invoices.collect::<Vec<_>>()).await?;
        let of: Vec<InvoiceId> = due.lines.keys().copied().collect();
        let lines: Vec<_> = due.lines.values().flatten().cloned().collect();
        tx.replace_lines_of(&of, &lines).await?;
        let fields = due.fields.iter().filter_map(|(record, entity)| {
            let fields = known.fields.get(record)?;
            Some((*entity, record.as_str(), fields))
        });
        tx.save_fields_of(&fields.collect::<Vec<_>>()).await?;
        let conflicts = due.conflicts.iter().filter_map(|(id, before)| {
            let conflict = known.conflicts.get(id)?;
            Some((conflict, conflict.version - before))
        });
        tx.save_conflicts(&conflicts.collect::<Vec<_>>()).await?;
        tx.save_candidates(&due.candidates).await?;
        let documents = due.documents.iter().filter_map(|key| known.documents.get(key));
        tx.save_documents(&documents.collect::<Vec<_>>()).await?;
        push::request(tx, &due.wanted).await?;
        let link = |(entity, remote_id): &(_, String)| known.links.get(&(origin.connection, *entity))?.get(remote_id);
        tx.save_identities(&due.links.iter().filter_map(link).collect::<Vec<_>>()).await?;

        let actor = Principal::Connection(origin.connection);
        let auth = AuthContext { principal: actor, ..AuthContext::system() };
        for invoice in &due.follows {
            follow_invoice(tx, &auth, invoice).await?;
        }
        let changes = due.changes.iter().map(|change| Change {
            entity: change.entity,
            id: &change.id,
            event: &change.event,
            actor,
            version: change.version,
        });
        Ok(tx.publish(&changes.collect::<Vec<_>>()).await?)
    }
}
