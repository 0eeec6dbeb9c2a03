//! Keyset pages against a sorted list, and the rows that a scope hides, on both databases.

use std::cmp::Ordering;

use crosstie_domain::{
    CivilDate,
    access::RowScope,
    billing::{InvoiceRecord, ServiceOrderRecord},
    contracts::SowRecord,
    ids::AccountId,
    pipeline::{AccountRecord, OpportunityRecord, OpportunityStage},
};
use crosstie_store::{
    Condition, Direction, Keys, Operand, Operator, PageRequest, Span, Store, StoreError, billing, contracts, count,
    delivery,
    pipeline::{self, OpportunityColumn},
};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, prop_oneof},
    sample::select,
    test_runner::{Config, TestCaseError, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use crate::support::{Sold, account, account_record, connection, on_each_database, opportunity_record, sell};

/// What is ordered by, of one row.
#[derive(Debug, Clone)]
struct Given {
    name: &'static str,
    stage: Option<OpportunityStage>,
    close_on: Option<i32>,
}

#[derive(Debug, Clone)]
struct Case {
    rows: Vec<Given>,
    order: Vec<(OpportunityColumn, Direction)>,
    page: u32,
}

fn cases() -> impl Strategy<Value = Case> {
    let stage = select(vec![OpportunityStage::Qualify, OpportunityStage::Won, OpportunityStage::Lost]);
    let given = (select(vec!["Acme", "acme", "Émile", "Z"]), option::of(stage), option::of(-1..2_i32));
    let row = given.prop_map(|(name, stage, close_on)| Given { name, stage, close_on });
    let columns = select(vec![OpportunityColumn::Name, OpportunityColumn::Stage, OpportunityColumn::CloseOn]);
    let direction = prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)];
    let order = vec((columns, direction), 0..3).prop_map(|mut order| {
        order.dedup_by_key(|(column, _)| *column);
        order
    });
    (vec(row, 0..24), order, 1..6_u32).prop_map(|(rows, order, page)| Case { rows, order, page })
}

async fn save(store: &Store, rows: &[Given]) -> (AccountId, Vec<OpportunityRecord>) {
    let tx = store.begin().await.expect("a transaction begins");
    let owner = account_record(&tx, "Owner");
    tx.save_account(&owner).await.expect("the account is saved");
    let mut saved = Vec::new();
    for given in rows {
        let opportunity = OpportunityRecord {
            stage: given.stage,
            close_on: given.close_on.and_then(CivilDate::from_days),
            ..opportunity_record(&tx, &owner, given.name)
        };
        tx.save_opportunity(&opportunity).await.expect("the opportunity is saved");
        saved.push(opportunity);
    }
    tx.commit().await.expect("it commits");
    (owner.id, saved)
}

/// The order that the pages must have: empty values last whichever way it goes, and the identifier decides ties.
fn compare(order: &[(OpportunityColumn, Direction)], a: &OpportunityRecord, b: &OpportunityRecord) -> Ordering {
    let stage = |row: &OpportunityRecord| row.stage.map(|stage| format!("{stage:?}"));
    let by = |column: OpportunityColumn, direction: Direction| match column {
        OpportunityColumn::Name => empty_last(Some(&a.name), Some(&b.name), direction),
        OpportunityColumn::Stage => empty_last(stage(a), stage(b), direction),
        _ => empty_last(a.close_on, b.close_on, direction),
    };
    let unequal = order.iter().map(|(column, direction)| by(*column, *direction)).find(|found| found.is_ne());
    unequal.unwrap_or_else(|| a.id.to_string().cmp(&b.id.to_string()))
}

fn empty_last<T: Ord>(a: Option<T>, b: Option<T>, direction: Direction) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if direction == Direction::Ascending => a.cmp(&b),
        (Some(a), Some(b)) => b.cmp(&a),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

/// All rows of the account, page by page, and whether the pages said rightly that more follow.
async fn walk(store: &Store, of: AccountId, case: &Case, forward: bool) -> Result<Vec<OpportunityRecord>, StoreError> {
    let mut found: Vec<OpportunityRecord> = Vec::new();
    let mut from: Option<Keys> = None;
    loop {
        let request = PageRequest {
            condition: Condition::Is(OpportunityColumn::Account, Operator::Eq, Operand::Text(of.to_string())),
            order: case.order.clone(),
            span: if forward { Span::First(case.page, from) } else { Span::Last(case.page, from) },
        };
        let page = pipeline::opportunities(store, &RowScope::All, &request).await?;
        let more = if forward { page.has_next } else { page.has_previous };
        let edge = if forward { page.rows.last() } else { page.rows.first() };
        from = edge.map(|(_, keys)| keys.clone());
        let rows = page.rows.into_iter().map(|(row, _)| row);
        found = if forward { found.into_iter().chain(rows).collect() } else { rows.chain(found).collect() };
        if !more || from.is_none() || found.len() > case.rows.len() {
            return Ok(found);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_give_every_row_once_in_order_whichever_way_they_are_turned() {
    on_each_database(async |database| {
        let store = database.open().await;
        let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
        let check = |case: Case| {
            let (expected, forward, backward) = block_in_place(|| {
                Handle::current().block_on(async {
                    let (of, mut expected) = save(&store, &case.rows).await;
                    expected.sort_by(|a, b| compare(&case.order, a, b));
                    (expected, walk(&store, of, &case, true).await, walk(&store, of, &case, false).await)
                })
            });
            for (way, found) in [("forward", forward), ("backward", backward)] {
                let found = found.map_err(|error| TestCaseError::fail(error.to_string()))?;
                if found != expected {
                    return Err(TestCaseError::fail(format!("{way}: {found:#?}\nexpected: {expected:#?}")));
                }
            }
            Ok(())
        };
        TestRunner::new(config).run(&cases(), check).expect("every case holds");
    })
    .await;
}

/// Two accounts with one sale each, and a scope that shows the first alone.
struct Two {
    store: Store,
    accounts: [AccountRecord; 2],
    sold: [Sold; 2],
    scope: RowScope,
}

async fn two(store: Store) -> Two {
    let billing = connection(&store, "stripe").await;
    let accounts = [account(&store, "Mine").await, account(&store, "Theirs").await];
    let sold = [sell(&store, &accounts[0], billing, "mine").await, sell(&store, &accounts[1], billing, "theirs").await];
    let scope = RowScope::Accounts(vec![accounts[0].id]);
    Two { store, accounts, sold, scope }
}

fn all<C>() -> PageRequest<C> {
    PageRequest { condition: Condition::All(vec![]), order: vec![], span: Span::First(100, None) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_hides_the_rows_of_other_accounts_in_lists_and_counts() {
    on_each_database(async |database| {
        let Two { store, accounts, sold, scope } = two(database.open().await).await;
        macro_rules! sees_only {
            ($list:path, $record:ty, $mine:expr) => {
                let page = $list(&store, &scope, &all()).await.expect("the list can be read");
                let ids: Vec<String> = page.rows.iter().map(|(row, _)| row.id.to_string()).collect();
                assert_eq!(ids, [$mine.to_string()], stringify!($list));
                let shown = count::<$record>(&store, &scope, &Condition::All(vec![])).await.expect("counted");
                assert_eq!(shown, 1, stringify!($list));
                let nobody = RowScope::Accounts(vec![]);
                assert!($list(&store, &nobody, &all()).await.expect("the list can be read").rows.is_empty());
                let whole = count::<$record>(&store, &RowScope::All, &Condition::All(vec![])).await.expect("counted");
                assert_eq!(whole, 2, stringify!($list));
            };
        }
        sees_only!(pipeline::accounts, AccountRecord, accounts[0].id);
        sees_only!(pipeline::opportunities, OpportunityRecord, sold[0].opportunity);
        sees_only!(contracts::sows, SowRecord, sold[0].sow);
        sees_only!(billing::service_orders, ServiceOrderRecord, sold[0].order);
        sees_only!(billing::invoices, InvoiceRecord, sold[0].invoice);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_hides_the_rows_of_other_accounts_by_identifier() {
    on_each_database(async |database| {
        let Two { store, accounts, sold, scope } = two(database.open().await).await;
        macro_rules! sees_only_the_first {
            ($by_ids:path, $ids:expr) => {
                let ids = $ids;
                let found = $by_ids(&store, &scope, &ids).await.expect("they can be read");
                assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), ids[..1], stringify!($by_ids));
                let found = $by_ids(&store, &RowScope::All, &ids).await.expect("they can be read");
                assert_eq!(found.len(), 2, stringify!($by_ids));
            };
        }
        sees_only_the_first!(pipeline::accounts_by_ids, [accounts[0].id, accounts[1].id]);
        sees_only_the_first!(pipeline::opportunities_by_ids, [sold[0].opportunity, sold[1].opportunity]);
        sees_only_the_first!(contracts::sows_by_ids, [sold[0].sow, sold[1].sow]);
        sees_only_the_first!(delivery::milestones_by_ids, [sold[0].milestone, sold[1].milestone]);
        sees_only_the_first!(billing::service_orders_by_ids, [sold[0].order, sold[1].order]);
        sees_only_the_first!(billing::invoices_by_ids, [sold[0].invoice, sold[1].invoice]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_hides_the_children_of_other_accounts_even_below_their_parents() {
    on_each_database(async |database| {
        let Two { store, accounts, sold, scope } = two(database.open().await).await;
        let span = (10, None);
        let parents = [accounts[0].id, accounts[1].id];
        let found = pipeline::opportunities_of(&store, &scope, &parents, span).await.expect("read");
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [sold[0].opportunity]);
        let found = contracts::sows_of_accounts(&store, &scope, &parents, span).await.expect("read");
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [sold[0].sow]);
        let parents = [sold[0].opportunity, sold[1].opportunity];
        let found = contracts::sows_of_opportunities(&store, &scope, &parents, span).await.expect("read");
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [sold[0].sow]);
        let parents = [sold[0].sow, sold[1].sow];
        let found = delivery::milestones_of(&store, &scope, &parents).await.expect("read");
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [sold[0].milestone]);
        let found = billing::service_orders_of(&store, &scope, &parents).await.expect("read");
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [sold[0].order]);
        let parents = [sold[0].milestone, sold[1].milestone];
        let found = billing::invoices_of_milestones(&store, &scope, &parents).await.expect("read");
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [sold[0].invoice]);
        let parents = [sold[0].order, sold[1].order];
        let found = billing::invoices_of_orders(&store, &scope, &parents, span).await.expect("read");
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [sold[0].invoice]);
    })
    .await;
}
