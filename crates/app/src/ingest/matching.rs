//! Whether a customer that was not known is an account that another system brought.

use crosstie_domain::{
    access::RowScope,
    integration::{
        Entity, MatchCandidate,
        authority::Speaker,
        matching::{MatchKeys, Matched, choose},
    },
    pipeline::{AccountClaim, AccountRecord},
};
use crosstie_store::{
    Tx,
    integration::{accounts_alike, identities_of},
};

use crate::AppError;

/// The account that a customer is, if that is sure; otherwise those that it may be.
///
/// # Errors
/// As the database.
pub(super) async fn find(
    tx: &Tx,
    speaker: &Speaker,
    claim: &AccountClaim,
) -> Result<(Option<AccountRecord>, Vec<MatchCandidate>), AppError> {
    let keys = MatchKeys::of(claim.name.as_deref(), claim.domain.as_deref(), claim.billing_email.as_deref());
    // Two systems that bring the same new customer at the same moment come one after the other.
    for key in [&keys.domain, &keys.name, &keys.email].into_iter().flatten() {
        tx.lock_record(&format!("match:{key}")).await?;
    }
    let alike = accounts_alike(tx, &keys).await?;
    if alike.is_empty() {
        return Ok((None, Vec::new()));
    }
    let ids: Vec<String> = alike.iter().map(|account| account.id.to_string()).collect();
    let links = identities_of(tx, &RowScope::All, &ids).await?;
    let known: Vec<(AccountRecord, MatchKeys)> = alike
        .into_iter()
        .map(|account| {
            let (name, domain) = (Some(account.name.as_str()), account.domain.as_deref());
            let keys = MatchKeys::of(name, domain, account.billing_email.as_deref());
            (account, keys)
        })
        .collect();
    let is_free = |account: &AccountRecord| {
        let id = account.id.to_string();
        let here = |link: &crosstie_store::integration::Identity| {
            link.connection_id == speaker.connection && link.entity == Entity::Account
        };
        !links.iter().any(|link| link.record_id == id && here(link))
    };
    Ok(match choose(&keys, &known, is_free) {
        Matched::Link(account) => (Some(account), Vec::new()),
        Matched::Candidates(found) => {
            let now = tx.now();
            let candidates = found.into_iter().map(|(account, score, evidence)| MatchCandidate {
                connection_id: speaker.connection,
                entity: Entity::Account,
                remote_id: speaker.remote_id.clone(),
                record_id: account.id.to_string(),
                score,
                evidence,
                found_at: now,
            });
            (None, candidates.collect())
        }
    })
}
