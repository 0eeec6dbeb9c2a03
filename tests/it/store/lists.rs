//! How lists are found: by their indexes, in any case, and with names of any length.

use crosstie_domain::{access::RowScope, billing::InvoiceRecord, pipeline::AccountRecord, pipeline::OpportunityRecord};
use crosstie_store::{
    Condition, Direction, Keys, Listed, Operand, Operator, PageRequest, Span, Store,
    billing::InvoiceColumn,
    pipeline::{AccountColumn, OpportunityColumn, accounts},
    plan,
};
use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::support::{account, on_each_database};

fn page<C>(order: (C, Direction), after: Option<Keys>) -> PageRequest<C> {
    PageRequest { condition: Condition::All(vec![]), order: vec![order], span: Span::First(25, after) }
}

/// Fails when a page by this column does not come from this index, at the beginning of the list or within it. Returns
/// how the one within it is found.
async fn expect_index<T: Listed>(store: &Store, order: (T::Column, Direction), after: Keys, index: &str) -> String {
    let mut plans = Vec::new();
    for after in [None, Some(after)] {
        let within = after.is_some();
        let found = plan::<T>(store, &RowScope::All, &page(order, after)).await.expect("it is explained");
        assert!(found.contains(index), "{index}, within the list: {within}\n{found}");
        // With the index PostgreSQL sorts at most the ties, SQLite the last term of the order.
        let sorted = found.lines().any(|step| {
            let step = step.trim_start_matches([' ', '-', '>']);
            step.starts_with("Sort  ") || step.starts_with("USE TEMP B-TREE") && !step.contains("LAST TERM")
        });
        assert!(!sorted, "{index}, within the list: {within}\n{found}");
        plans.push(found);
    }
    plans.pop().expect("two plans")
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_by_an_indexed_column_come_from_its_index() {
    on_each_database(async |database| {
        if database.url.starts_with("postgres") {
            // A small table is read whole, and sorted, more cheaply than by an index.
            for way in ["seqscan", "bitmapscan", "sort"] {
                let never = format!("ALTER DATABASE {} SET enable_{way} = off", database.name());
                database.raw().await.execute_unprepared(&never).await.expect("a setting is changed");
            }
        }
        let store = database.open().await;
        let id = json!("acc_01h455vb4pex5vsknk084sn02q");
        let number = || vec![json!(5), id.clone()];
        let text = || vec![json!("m"), id.clone()];
        let (ascending, descending) = (Direction::Ascending, Direction::Descending);
        for direction in [ascending, descending] {
            let by_update = (AccountColumn::UpdatedAt, direction);
            let by_name = (AccountColumn::Name, direction);
            let by_opportunity = (OpportunityColumn::Name, direction);
            let by_invoice = (InvoiceColumn::UpdatedAt, direction);
            let plans = [
                expect_index::<AccountRecord>(&store, by_update, number(), "accounts_updated").await,
                expect_index::<AccountRecord>(&store, by_name, text(), "accounts_name").await,
                expect_index::<OpportunityRecord>(&store, by_opportunity, text(), "opportunities_name").await,
                expect_index::<InvoiceRecord>(&store, by_invoice, number(), "invoices_updated").await,
            ];
            for plan in plans {
                let enters = if store.is_sqlite() { "SEARCH" } else { "Index Cond" };
                assert!(plan.contains(enters), "the index is not entered where the page begins\n{plan}");
            }
        }
        // Empty values come last: the index of a column that may be empty has them there.
        let by = (OpportunityColumn::CloseOn, ascending);
        expect_index::<OpportunityRecord>(&store, by, number(), "opportunities_close").await;
    })
    .await;
}

async fn names(store: &Store, operator: Operator, text: &str) -> Vec<String> {
    let request = PageRequest {
        condition: Condition::Is(AccountColumn::Name, operator, Operand::Text(text.to_owned())),
        ..page((AccountColumn::Id, Direction::Ascending), None)
    };
    let found = accounts(store, &RowScope::All, &request).await.expect("accounts can be read");
    found.rows.into_iter().map(|(account, _)| account.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn contains_finds_letters_of_any_script_in_any_case() {
    on_each_database(async |database| {
        let store = database.open().await;
        for name in ["Überall GmbH", "ÜBERALL KG", "überall [eG]", "Москва*", "50%_off?", "Straße (Nord)", "Co\\Op é"]
        {
            account(&store, name).await;
        }
        let cases: [(&str, &[&str]); 14] = [
            ("Über", &["Überall GmbH", "ÜBERALL KG", "überall [eG]"]),
            ("ÜBERALL", &["Überall GmbH", "ÜBERALL KG", "überall [eG]"]),
            ("überall k", &["ÜBERALL KG"]),
            ("ÜBERALL [EG]", &["überall [eG]"]),
            ("uber", &[]),
            ("gmbh", &["Überall GmbH"]),
            ("МОСКВА*", &["Москва*"]),
            ("мо.*", &[]),
            ("м?с", &[]),
            ("50%_OFF?", &["50%_off?"]),
            ("5%", &[]),
            ("STRAßE (n", &["Straße (Nord)"]),
            ("o\\op É", &["Co\\Op é"]),
            ("[üÜ]", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(names(&store, Operator::Contains, text).await, expected, "{text}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_length_are_kept_found_and_paged() {
    on_each_database(async |database| {
        let store = database.open().await;
        // Letters that do not repeat: PostgreSQL would make a repeated one short.
        let long: String =
            (0..6_000_u32).filter_map(|number| char::from_u32(0x4e00 + number * 7919 % 20_000)).collect();
        let given = [format!("{long}1"), format!("{long}2"), "short".to_owned(), format!("{long}0")];
        for name in &given {
            account(&store, name).await;
        }
        assert_eq!(names(&store, Operator::Eq, &given[1]).await, [given[1].clone()]);
        assert_eq!(names(&store, Operator::Eq, &long).await, Vec::<String>::new());

        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let order = (AccountColumn::Name, Direction::Ascending);
            let request = PageRequest { span: Span::First(1, after), ..page(order, None) };
            let part = accounts(&store, &RowScope::All, &request).await.expect("accounts can be read");
            after = part.rows.last().map(|(_, keys)| keys.clone());
            found.extend(part.rows.into_iter().map(|(account, _)| account.name));
            if !part.has_next {
                break;
            }
        }
        // What begins with the same 200 characters stands in the order in which it came.
        let [first, second, short, third] = given;
        assert!(found == [short, first, second, third], "{:?}", found.iter().map(String::len).collect::<Vec<_>>());
    })
    .await;
}
