//! Alerts: opened once, closed once, and heard of by whoever listens.

use std::sync::{Arc, Mutex, PoisonError};

use crosstie_app::App;
use crosstie_connectors::fakes::HubspotFake;
use crosstie_domain::{
    Clock,
    access::{AuthContext, RowScope},
    integration::{AlertKey, AlertKind, AlertRecord, ConnectionMode, Entity, RunTrigger},
};
use crosstie_sdk::{Credentials, HttpResponse, MemoryTransport, Method, NetOptions, Secret, Settings};
use crosstie_store::{
    Condition, Direction, PageRequest, Span, Store, Tx,
    integration::{AlertColumn, ParkedRow, alerts, changes_after, open_alerts},
};
use crosstie_sync::{ConnectionSetup, Connections, Engine};
use futures::future::join_all;
use serde_json::json;

use crate::support::{Database, HostedVendor, RunningHub, codes, connection, graph, on_each_database, until};

/// Every alert, the first first.
async fn all(store: &Store) -> Vec<AlertRecord> {
    let order = vec![(AlertColumn::Id, Direction::Ascending)];
    let request = PageRequest { condition: Condition::All(vec![]), order, span: Span::First(100, None) };
    let page = alerts(store, &RowScope::All, &request).await.expect("alerts can be read");
    page.rows.into_iter().map(|(alert, _)| alert).collect()
}

/// What was announced of alerts, in order.
async fn announced(store: &Store) -> Vec<String> {
    let lease = store.lease("relay", "test", 60_000).await.expect("asked").expect("taken");
    store.place_outbox(&lease, 1_000).await.expect("placed");
    let changes = changes_after(store, 0, 1_000).await.expect("read");
    changes.into_iter().filter(|change| change.entity == Entity::Alert).map(|change| change.event).collect()
}

async fn in_tx<T>(store: &Store, work: impl AsyncFnOnce(&Tx) -> T) -> T {
    let tx = store.begin().await.expect("a transaction begins");
    let done = work(&tx).await;
    tx.commit().await.expect("it commits");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_announced_when_it_opens_and_when_it_closes_and_counts_on_silently_between() {
    on_each_database(async |database| {
        let store = database.open().await;
        let books = connection(&store, "books").await;
        let parked = AlertKey::connection(AlertKind::ItemsParked, books);
        let late = AlertKey::entity(AlertKind::FreshnessLate, books, Entity::Invoice);
        let raise = async |key: &AlertKey, count| {
            in_tx(&store, async |tx| tx.raise_alert(key, count, "nul \0 here").await.expect("raised")).await
        };
        let close = async |key: &AlertKey| in_tx(&store, async |tx| tx.close_alert(key).await.expect("closed")).await;
        assert!(!close(&parked).await, "nothing is open yet");
        assert!(raise(&parked, 1).await);
        assert!(raise(&late, 1).await, "another thing has an alert of its own");
        database.clock.advance(1_000);
        assert!(!raise(&parked, 1).await && !raise(&parked, 7).await, "it is open already");
        let open = open_alerts(&store).await.expect("read");
        let shown: Vec<_> = open.iter().map(|alert| (alert.kind, alert.count, alert.message.as_str())).collect();
        let message = "nul \u{fffd} here";
        assert_eq!(shown, [(AlertKind::ItemsParked, 7, message), (AlertKind::FreshnessLate, 1, message)]);
        assert_eq!(open[0].updated_at.ms_since(open[0].opened_at), 1_000);
        assert!(close(&parked).await && !close(&parked).await);
        assert!(raise(&parked, 2).await, "what was closed opens anew, as another alert");
        in_tx(&store, async |tx| assert_eq!(tx.close_alerts_of(books).await.expect("closed"), 2)).await;
        let states: Vec<_> = all(&store).await.iter().map(|alert| (alert.version, alert.closed_at.is_some())).collect();
        assert_eq!(states, [(2, true); 3]);
        let expected = ["opened", "opened", "closed", "opened", "closed", "closed"].map(|end| format!("alert_{end}"));
        assert_eq!(announced(&store).await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_raise_an_alert_at_once_one_announces_it() {
    on_each_database(async |database| {
        let stores = [database.open().await, database.open().await];
        let books = connection(&stores[0], "books").await;
        let key = AlertKey::connection(AlertKind::ConnectionNeedsReauth, books);
        let raising = (0..16).map(async |number: usize| {
            let store = &stores[number % 2];
            until("raised", async || {
                // Two processes on SQLite wait for each other without an order: one may have to come again.
                let tx = store.begin().await.ok()?;
                let opened = tx.raise_alert(&key, 1, "renew it").await.ok()?;
                tx.commit().await.ok()?;
                Some(opened)
            })
            .await
        });
        let opened = join_all(raising).await.into_iter().filter(|opened| *opened).count();
        assert_eq!(opened, 1);
        assert_eq!(announced(&stores[0]).await, ["alert_opened"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_hears_of_an_alert_and_only_whoever_may_see_the_border_does() {
    on_each_database(async |database| {
        let graph = graph(database).await;
        graph.place_changes().await;
        let query = "subscription { entityChanged(types: [ALERT], after: \"0\") \
                     { event node { ... on Alert { id kind state connection { name } } } } }";
        let heard = graph.first(AuthContext::system(), query, json!({})).await;
        let node = json!({
            "id": graph.id_of("Alert"), "kind": "ITEMS_PARKED", "state": "OPEN", "connection": { "name": "stripe" }
        });
        assert_eq!(heard["data"]["entityChanged"], json!({ "event": "alert_opened", "node": node }), "{heard}");
        let mut auth = AuthContext::system();
        auth.permissions.retain(|permission| permission.as_str() != "integration:read");
        let refused = graph.first(auth.clone(), query, json!({})).await;
        assert_eq!(codes(&refused).into_iter().collect::<Vec<_>>(), ["FORBIDDEN"]);
        let ours = AuthContext { rows: RowScope::Accounts(vec![graph.accounts[0].id]), ..AuthContext::system() };
        let listed = graph.data(ours, "{ alerts { totalCount nodes { id } } }", json!({})).await;
        assert_eq!(listed["alerts"]["totalCount"], 0, "whoever sees some accounts alone sees no alerts");
        let filter = "{ alerts(filter: { kind: { eq: ITEMS_PARKED }, state: { eq: OPEN } }) { nodes { count } } }";
        let found = graph.data(AuthContext::system(), filter, json!({})).await;
        assert_eq!(found["alerts"]["nodes"], json!([{ "count": 1 }]));
    })
    .await;
}

/// An engine over one HubSpot that does nothing by itself.
async fn engine(database: &Database, hubspot: &Arc<Mutex<HubspotFake>>) -> Arc<Engine> {
    let app = App::new(database.open().await);
    let clock = Arc::clone(&database.clock);
    let transport = MemoryTransport::new(Arc::clone(hubspot), move || clock.now());
    let setup = ConnectionSetup {
        name: "hubspot".to_owned(),
        connector: crosstie_connectors::connector("hubspot").expect("it ships"),
        net: NetOptions {
            base_url: None,
            credentials: Credentials::Bearer(Secret::new("test-key")),
            settings: Settings::default(),
            transport: Arc::new(transport),
        },
        webhook_secrets: vec![],
        arms: vec![],
        mode: ConnectionMode::TwoWay,
        reading: crosstie_sync::ReadingOptions::default(),
    };
    let connections = Connections::set_up(&app, vec![setup]).await.expect("the connection is good");
    Engine::new(app, connections, "test".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_refused_is_told_once_and_so_is_its_recovery() {
    on_each_database(async |database| {
        let hubspot = Arc::new(Mutex::new(HubspotFake::new(None, Secret::new("x"), 1)));
        let engine = engine(database, &hubspot).await;
        let store = database.open().await;
        let pull = async |answer: Option<HttpResponse>| {
            if let Some(answer) = answer {
                hubspot.lock().unwrap_or_else(PoisonError::into_inner).fail_next(answer);
            }
            let connection = engine.connections().named("hubspot").expect("it is configured");
            let declared = &connection.connector.descriptor().reads[0];
            engine.pull(connection, declared, RunTrigger::Manual).await.expect("the database answers");
        };
        pull(None).await;
        assert!(all(&store).await.is_empty());
        pull(Some(HttpResponse::empty(401))).await;
        pull(Some(HttpResponse::empty(401))).await;
        pull(Some(HttpResponse::empty(500))).await;
        let found = all(&store).await;
        assert_eq!(found.iter().map(|alert| alert.kind).collect::<Vec<_>>(), [AlertKind::ConnectionNeedsReauth]);
        assert!(found[0].closed_at.is_none(), "another failure says nothing of the credential");
        pull(None).await;
        pull(None).await;
        assert_eq!(announced(&store).await, ["alert_opened", "alert_closed"]);
        Connections::default().retire_others(&App::new(store.clone())).await.expect("the database answers");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_person_is_an_alert_and_a_metric_until_it_is_gone() {
    on_each_database(async |database| {
        let clock = Arc::clone(&database.clock);
        let fake = HubspotFake::new(None, Secret::new("x"), 1);
        let hubspot = HostedVendor::start(fake, move || clock.now(), |_| std::time::Duration::ZERO).await;
        let mut config = hubspot.connection("hubspot", "x");
        let name = format!("crm-{}", &database.clock.new_uuid().simple().to_string()[..12]);
        config.name.clone_from(&name);
        let hub = RunningHub::start(database, vec![config]).await;
        let store = hub.hub.app.store();
        let connection = hub.hub.engine.connections().named(&name).expect("it is configured").record.id;
        let park = async |remote_id: &str| {
            let parked = ParkedRow {
                connection_id: connection,
                entity: Entity::Opportunity,
                remote_id: remote_id.to_owned(),
                code: "UNREADABLE_ROW".to_owned(),
                message: "not an object".to_owned(),
                raw: "[]".to_owned(),
                mapping_version: "9.9.9".to_owned(),
            };
            in_tx(store, async |tx| tx.park_row(&parked).await.expect("parked")).await;
        };
        let counted = async |count: i32| {
            until("the alert counts what waits", async || {
                let open = open_alerts(store).await.expect("read");
                open.into_iter().find(|alert| alert.kind == AlertKind::ItemsParked && alert.count == count)
            })
            .await
        };
        let metric = async |value: u8| {
            let line = format!("crosstie_alerts_open{{kind=\"ITEMS_PARKED\",connection=\"{name}\"}} {value}\n");
            until(&line, async || {
                let answer = hub.send(Method::Get, "/metrics", &[], "").await;
                String::from_utf8(answer.body).expect("text").contains(&line).then_some(())
            })
            .await;
        };
        park("1").await;
        let alert = counted(1).await;
        park("2").await;
        assert_eq!(counted(2).await.id, alert.id);
        metric(1).await;
        in_tx(store, async |tx| {
            for remote_id in ["1", "2"] {
                assert!(tx.unpark_row(connection, Entity::Opportunity, remote_id).await.expect("unparked"));
            }
        })
        .await;
        metric(0).await;
        let shown = hub.ask("{ alerts { nodes { id state count closedAt message } } }").await;
        assert_eq!(shown["alerts"]["nodes"][0]["state"], "CLOSED", "{shown}");
        hub.stop().await;
    })
    .await;
}
