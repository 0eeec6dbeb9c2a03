//! Whether a customer that was not known is an account that another system brought.

use crosstie_domain::{
    ids::AccountId,
    integration::{
        Entity, MatchCandidate,
        authority::Speaker,
        matching::{LINK, MatchKeys, Matched, choose},
    },
    pipeline::{AccountClaim, AccountRecord},
};

use super::page::Page;

/// What a customer is matched by.
pub(super) fn keys_of(claim: &AccountClaim) -> MatchKeys {
    MatchKeys::of(claim.name.as_deref(), claim.domain.as_deref(), claim.billing_email.as_deref())
}

fn keys_of_account(account: &AccountRecord) -> MatchKeys {
    MatchKeys::of(Some(account.name.as_str()), account.domain.as_deref(), account.billing_email.as_deref())
}

/// Whether so much speaks for a customer being this account that it may be linked by itself.
pub(super) fn may_link(keys: &MatchKeys, account: &AccountRecord) -> bool {
    keys.compare(&keys_of_account(account)).0 >= LINK
}

/// The account that a customer is, if that is sure; otherwise those that it may be.
pub(super) fn find(
    page: &Page<'_>,
    speaker: &Speaker,
    claim: &AccountClaim,
) -> (Option<AccountId>, Vec<MatchCandidate>) {
    let keys = keys_of(claim);
    let known: Vec<(&AccountRecord, MatchKeys)> =
        page.alike(&keys).into_iter().map(|account| (account, keys_of_account(account))).collect();
    let is_free = |account: &&AccountRecord| !page.is_linked_here(Entity::Account, &account.id.to_string());
    match choose(&keys, &known, is_free) {
        Matched::Link(account) => (Some(account.id), Vec::new()),
        Matched::Candidates(found) => {
            let candidates = found.into_iter().map(|(account, score, evidence)| MatchCandidate {
                connection_id: speaker.connection,
                entity: Entity::Account,
                remote_id: speaker.remote_id.clone(),
                record_id: account.id.to_string(),
                score,
                evidence,
                found_at: page.now,
            });
            (None, candidates.collect())
        }
    }
}
