//! The rate budgets of a connection, shared by all processes that talk through it.

use crosstie_domain::{
    ids::ConnectionId,
    integration::{QuotaAsk, QuotaGrant, QuotaTerms},
};
use crosstie_sdk::{Fault, Quotas, RateBudget};
use crosstie_store::Store;
use tracing::warn;

use crate::inbox::describe;

/// Leases from the database.
pub(crate) struct SharedQuotas {
    pub(crate) store: Store,
    pub(crate) connection: ConnectionId,
}

fn terms(budget: &RateBudget) -> QuotaTerms {
    QuotaTerms { per_second: budget.per_second, burst: budget.burst }
}

#[async_trait::async_trait]
impl Quotas for SharedQuotas {
    async fn lease(&self, budget: &RateBudget, ask: QuotaAsk) -> Result<QuotaGrant, Fault> {
        let grant = self.store.lease_quota((self.connection, budget.bucket), terms(budget), ask).await;
        grant.map_err(|error| Fault::Transient { why: format!("no rate budget: {}", describe(&error)) })
    }

    async fn shrink(&self, budget: &RateBudget, remaining: Option<u32>, closed_ms: Option<i64>) {
        let bucket = (self.connection, budget.bucket);
        let shrunk = self.store.shrink_quota(bucket, terms(budget), (remaining, closed_ms)).await;
        if let Err(error) = shrunk {
            warn!(error = %describe(&error), "what a vendor said of its limits could not be written down");
        }
    }
}
