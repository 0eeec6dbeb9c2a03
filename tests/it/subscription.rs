//! Subscriptions by server-sent events through a whole hub: what is heard, from where on, and how a stream ends.

use std::time::Duration;

use crosstie_app::access::NewToken;
use crosstie_domain::access::Role;
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::support::{
    Database, RunningHub, Sold, account, connection, on_each_database, sell,
    wire::{self, EventStream},
};

const HEAR: &str = "subscription($after: String) { entityChanged(after: $after) { \
                    eventId event type recordId node { __typename id } } }";

/// A hub with one sale in it, for which more can be drafted: each draft is a change.
struct Scene {
    hub: RunningHub,
    sold: Sold,
    billing: String,
}

async fn scene(database: &Database) -> Scene {
    let hub = RunningHub::start(database, vec![]).await;
    let store = hub.hub.app.store();
    let (billing, owner) = (connection(store, "stripe").await, account(store, "Acme").await);
    let sold = sell(store, &owner, billing, "acme").await;
    Scene { hub, sold, billing: billing.to_string() }
}

impl Scene {
    /// Drafts a statement of work; its identifier.
    async fn draft(&self) -> Json {
        let (opportunity, billing) = (self.sold.opportunity, &self.billing);
        let query = format!(
            "mutation {{ createSow(input: {{ opportunityId: \"{opportunity}\", billingConnectionId: \"{billing}\", \
             title: \"More\", total: {{ amount: \"1.00\", currency: \"USD\" }} }}) {{ sow {{ id }} }} }}"
        );
        self.hub.ask(&query).await["createSow"]["sow"]["id"].clone()
    }

    async fn hear(&self, token: &str, after: Json, headers: &[(&str, &str)]) -> EventStream {
        let token = format!("Bearer {token}");
        let always =
            [("authorization", token.as_str()), ("accept", "text/event-stream"), ("content-type", "application/json")];
        let headers: Vec<_> = always.iter().chain(headers).copied().collect();
        let body = json!({ "query": HEAR, "variables": { "after": after } }).to_string();
        wire::send(&self.hub.url, "POST /graphql", &headers, &body).await.into_events()
    }
}

/// The next change is the draft of this statement of work, at this place in the order of all changes.
async fn expect_draft(stream: &mut EventStream, place: &str, sow: &Json) {
    let (result, id) = stream.result().await;
    let change = json!({
        "eventId": place, "event": "sow_drafted", "type": "SOW", "recordId": sow,
        "node": { "__typename": "Sow", "id": sow },
    });
    assert_eq!(result, json!({ "data": { "entityChanged": change } }));
    assert_eq!(id.as_deref(), Some(place), "the id of the event is what a client comes back with");
}

async fn expect_complete(stream: &mut EventStream) {
    let event = stream.next().await.expect("the stream ends in order");
    assert_eq!((event.name.as_str(), event.data.trim()), ("complete", ""));
    assert_eq!(stream.next().await, None, "nothing comes after the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_heard_as_it_happens_and_carries_its_place_as_the_id_of_the_event() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let mut stream = scene.hear(&scene.hub.token, json!("0"), &[]).await;
        for place in ["1", "2"] {
            let sow = scene.draft().await;
            expect_draft(&mut stream, place, &sow).await;
        }
        drop(stream);
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_goes_on_where_it_broke_off() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let mut stream = scene.hear(&scene.hub.token, json!("0"), &[]).await;
        let (one, two) = (scene.draft().await, scene.draft().await);
        expect_draft(&mut stream, "1", &one).await;
        drop(stream);
        let three = scene.draft().await;
        let mut again = scene.hear(&scene.hub.token, Json::Null, &[("last-event-id", "1")]).await;
        expect_draft(&mut again, "2", &two).await;
        expect_draft(&mut again, "3", &three).await;
        let four = scene.draft().await;
        expect_draft(&mut again, "4", &four).await;
        let mut asked = scene.hear(&scene.hub.token, json!("2"), &[("last-event-id", "1")]).await;
        expect_draft(&mut asked, "3", &three).await;
        drop((again, asked));
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_not_given_out_ends_the_stream_with_its_reason() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let mut first = scene.hear(&scene.hub.token, json!("0"), &[]).await;
        let sow = scene.draft().await;
        expect_draft(&mut first, "1", &sow).await;
        for place in ["2", "9000000000000000000", "-1", "one", ""] {
            for by_header in [false, true] {
                let header = [("last-event-id", place)];
                let (after, headers) = if by_header { (Json::Null, &header[..]) } else { (json!(place), &[][..]) };
                let mut stream = scene.hear(&scene.hub.token, after, headers).await;
                let (result, id) = stream.result().await;
                assert_eq!(result["errors"][0]["extensions"]["code"], "BAD_CURSOR", "{place:?} {by_header}: {result}");
                assert_eq!((&result["data"], id), (&Json::Null, None), "{place:?}: {result}");
                expect_complete(&mut stream).await;
            }
        }
        let mut stream = scene.hear(&scene.hub.token, json!("1"), &[]).await;
        let next = scene.draft().await;
        expect_draft(&mut stream, "2", &next).await;
        drop((first, stream));
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_that_it_was_opened_with() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let app = &scene.hub.hub.app;
        let (label, roles) = ("short".to_owned(), vec![Role::Viewer]);
        let end = app.store().now().plus_ms(1_500);
        let short = NewToken { label, person_email: None, roles, permissions: vec![], expires_at: Some(end) };
        let (_, token) = app.create_token(short).await.expect("a token is made");
        let mut stream = scene.hear(&token, json!("0"), &[]).await;
        let mut beside = scene.hear(&scene.hub.token, json!("0"), &[]).await;
        let sow = scene.draft().await;
        expect_draft(&mut stream, "1", &sow).await;
        let (result, _) = stream.result().await;
        assert!(app.store().now() >= end, "not before its time");
        assert_eq!(result["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{result}");
        assert_eq!(result["data"], Json::Null);
        expect_complete(&mut stream).await;
        expect_draft(&mut beside, "1", &sow).await;
        let next = scene.draft().await;
        expect_draft(&mut beside, "2", &next).await;
        drop(beside);
        scene.hub.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_stops_completes_its_streams() {
    on_each_database(async |database| {
        let scene = scene(database).await;
        let mut heard = scene.hear(&scene.hub.token, json!("0"), &[]).await;
        let mut quiet = scene.hear(&scene.hub.token, json!("0"), &[]).await;
        let sow = scene.draft().await;
        expect_draft(&mut heard, "1", &sow).await;
        expect_draft(&mut quiet, "1", &sow).await;
        // Long before the patience of the stop ends, which would cut them off.
        let ended = timeout(Duration::from_secs(3), async {
            tokio::join!(scene.hub.stop(), expect_complete(&mut heard), expect_complete(&mut quiet))
        });
        ended.await.expect("the streams and the hub end without waiting for each other");
    })
    .await;
}
