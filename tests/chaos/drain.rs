//! A hub that is told to stop ends what is under way, begins nothing, and leaves nothing that the next start would have
//! to wait for.

use std::time::{Duration, Instant};

use crosstie_sdk::{HttpRequest, HttpResponse, Method, Transport};
use sea_orm::DatabaseConnection;
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    oracle::{everything_holds, number},
    story,
    support::{on_each_database, wire},
    vendors::{At, writes},
    wait_for,
    world::{Scene, World},
};

/// Within this the process is at its end, whatever others do.
const PROMISED: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_told_to_stop_ends_what_is_under_way_and_begins_nothing() {
    story(on_each_database(async |database| {
        let Some(mut scene) = Scene::new("a stop in order", &database.url, 1).await else { return };
        let (world, raw) = (std::sync::Arc::clone(&scene.world), database.raw().await);
        scene.start(0).await;
        let url = scene.processes[0].url.clone();
        scene.sell("deal-before".to_owned());
        scene.sold().await;

        // A write and a page are under way at vendors, a request of a client has come by half, and a stream is open.
        let write = world.stripe.hold(0, At::Answer, |request| writes(request) && request.path() == "/v1/products");
        let page = world.hubspot.hold(0, At::Answer, |request| request.path().ends_with("/deals/search"));
        scene.sell("deal-meanwhile".to_owned());
        let input = json!({ "connectionId": world.connection("hubspot").await, "entity": "OPPORTUNITY" });
        world.decide("refresh", "backfills { id }", input).await;
        write.reached().await;
        page.reached().await;
        let half = half_a_request(&world, &url).await;
        let mut stream = changes(&world, &url).await.into_events();
        stream.result().await;

        let told = Instant::now();
        scene.processes[0].signal("TERM");
        wait_for("it says that it stops", async || match get(&world, &url, "/readyz").await {
            Ok(HttpResponse { status: 503, body, .. }) if body == b"stopping\n" => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        scene.processes[0].signal("TERM");
        assert_eq!(get(&world, &url, "/healthz").await.expect("it answers").status, 200, "it still lives");
        let refused = world.post(&url, json!({ "query": "{ viewer { principal } }" }).to_string().into_bytes()).await;
        let refused = refused.expect("it answers");
        let body: Json = serde_json::from_slice(&refused.body).expect("JSON");
        assert_eq!((refused.status, &body["errors"][0]["extensions"]["code"]), (503, &json!("SERVICE_UNAVAILABLE")));
        assert_eq!(body["errors"][0]["extensions"]["retryable"], true, "{body}");
        let webhook = get(&world, &url, "/webhooks/hubspot").await.expect("it answers");
        assert_eq!(webhook.status, 405, "there is no such way in");
        let unavailable = world.unavailable();
        scene.sell("deal-late".to_owned());
        wait_for("webhooks are answered 503", async || {
            if world.unavailable() > unavailable { Ok(()) } else { Err("none yet".to_owned()) }
        })
        .await;
        while let Some(event) = stream.next().await {
            assert!(matches!(event.name.as_str(), "next" | "complete"), "{event:?}");
        }
        assert_eq!(the_rest(half).await, 200, "a request that has come is answered");
        assert!(scene.processes[0].still_runs(), "it waits for the vendors");
        let last = "SELECT COUNT(*) FROM inbound_events";
        let events = number(&raw, last).await;
        drop((write, page));
        let status = scene.processes[0].ended().await;
        assert_eq!(status.code(), Some(0), "{}", scene.processes[0].log());
        println!("{:?} from the signal to the end", told.elapsed());
        assert_eq!(number(&raw, last).await, events, "nothing new was taken in");
        nothing_is_held(&raw).await;
        let unknown = "SELECT COUNT(*) FROM effects WHERE status = 'SENT'";
        assert_eq!(number(&raw, unknown).await, 0, "what was sent is written down");
        raw.close().await.expect("it closes");

        scene.start(0).await;
        everything_holds(&mut scene, database).await;
        scene.processes[0].signal("TERM");
        assert_eq!(scene.processes[0].ended().await.code(), Some(0));
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_told_to_stop_does_not_wait_for_a_vendor_for_longer_than_it_promises() {
    story(on_each_database(async |database| {
        let Some(mut scene) = Scene::new("a stop beside a slow vendor", &database.url, 1).await else { return };
        let world = std::sync::Arc::clone(&scene.world);
        scene.start(0).await;
        let write = world.stripe.hold(0, At::Answer, |request| request.path().ends_with("/finalize"));
        scene.sell("deal-slow".to_owned());
        write.reached().await;
        let told = Instant::now();
        scene.processes[0].signal("TERM");
        let status = scene.processes[0].ended().await;
        let took = told.elapsed();
        assert_eq!(status.code(), Some(0), "{}", scene.processes[0].log());
        assert!(took < PROMISED, "{took:?}: {}", scene.processes[0].log());
        println!("{took:?} from the signal to the end");
        drop(write);
        scene.start(0).await;
        everything_holds(&mut scene, database).await;
        scene.processes[0].kill().await;
    }))
    .await;
}

/// No row and no job is anybody's.
async fn nothing_is_held(raw: &DatabaseConnection) {
    for table in ["effects", "inbound_events", "webhook_deliveries"] {
        let sql = format!("SELECT COUNT(*) FROM {table} WHERE lease_until IS NOT NULL");
        assert_eq!(number(raw, &sql).await, 0, "{table}");
    }
    assert_eq!(number(raw, "SELECT COUNT(*) FROM leases WHERE owner <> ''").await, 0, "leases");
    assert_eq!(number(raw, "SELECT COUNT(*) FROM sync_runs WHERE status = 'RUNNING'").await, 0, "runs");
}

async fn get(world: &World, url: &str, path: &str) -> Result<HttpResponse, String> {
    let request = HttpRequest { method: Method::Get, url: format!("{url}{path}"), headers: vec![], body: vec![] };
    world.http.send(request).await.map_err(|error| error.to_string())
}

async fn changes(world: &World, url: &str) -> wire::Answer {
    let token = format!("Bearer {}", world.token);
    let headers =
        [("authorization", token.as_str()), ("accept", "text/event-stream"), ("content-type", "application/json")];
    let body = json!({ "query": "subscription { entityChanged(after: \"0\") { eventId } }" }).to_string();
    wire::send(url, "POST /graphql", &headers, &body).await
}

const ASKED: &str = "{\"query\":\"{ viewer { principal } }\"}";

/// Sends a request up to the middle of its body.
async fn half_a_request(world: &World, url: &str) -> TcpStream {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("the hub listens");
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{}",
        world.token,
        ASKED.len(),
        &ASKED[..9],
    );
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    stream
}

/// Sends the rest of the body; the status of the answer.
async fn the_rest(mut stream: TcpStream) -> u16 {
    stream.write_all(&ASKED.as_bytes()[9..]).await.expect("it is sent");
    let mut answer = Vec::new();
    // It ends when the hub closes the connection, as it does when it stops.
    let read = tokio::time::timeout(Duration::from_secs(20), async {
        while !answer.starts_with(b"HTTP/1.1 ") || answer.len() < 12 {
            let mut some = [0; 512];
            match stream.read(&mut some).await.expect("it can be read") {
                0 => break,
                count => answer.extend_from_slice(&some[..count]),
            }
        }
    });
    read.await.expect("it answers");
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{text:?}"))
}
