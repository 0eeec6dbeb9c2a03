//! What a store holds, read whole.

use crosstie_domain::{
    access::RowScope,
    integration::{EffectRecord, InboundEventRecord, SyncRunRecord},
};
use crosstie_store::{
    Condition, Direction, PageRequest, Span, Store,
    integration::{EffectColumn, InboundColumn, RunColumn, effects as page_of_effects, inbound_events, sync_runs},
};

fn all<C>(by: C) -> PageRequest<C> {
    let order = vec![(by, Direction::Ascending)];
    PageRequest { condition: Condition::All(vec![]), order, span: Span::First(100_000, None) }
}

/// Every inbound event, the first first.
pub(crate) async fn events(store: &Store) -> Vec<InboundEventRecord> {
    let page = inbound_events(store, &RowScope::All, &all(InboundColumn::Id)).await.expect("events can be read");
    page.rows.into_iter().map(|(event, _)| event).collect()
}

/// Every effect, the first first.
pub(crate) async fn effects(store: &Store) -> Vec<EffectRecord> {
    let page = page_of_effects(store, &RowScope::All, &all(EffectColumn::Id)).await.expect("effects can be read");
    page.rows.into_iter().map(|(effect, _)| effect).collect()
}

/// Every synchronization run, the first first.
pub(crate) async fn runs(store: &Store) -> Vec<SyncRunRecord> {
    let page = sync_runs(store, &RowScope::All, &all(RunColumn::Id)).await.expect("runs can be read");
    page.rows.into_iter().map(|(run, _)| run).collect()
}
