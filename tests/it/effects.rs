//! What becomes of effects that fail: when they are tried again, when they wait for a person, and what a person can do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crosstie_app::App;
use crosstie_domain::{
    access::{AuthContext, Role},
    integration::{ConnectionMode, EffectRecord, EffectStatus},
};
use crosstie_sdk::{Connector, Credentials, HttpResponse, NetOptions, Secret, Settings};
use crosstie_store::integration::waiting_for_a_person;
use crosstie_sync::{ConnectionSetup, Connections, Engine, ReadingOptions};
use serde_json::{Value as Json, json};

use crate::support::{Database, Graph, Notary, Register, Trouble, Way, codes, effects, on_each_database};

/// A hub whose orders go to a notary; nothing runs by itself.
struct Scene {
    graph: Graph,
    engine: Arc<Engine>,
    register: Arc<Mutex<Register>>,
}

async fn scene(database: &Database, connector: &'static dyn Connector) -> Scene {
    let register = Arc::new(Mutex::new(Register::default()));
    let graph = Graph::over(App::new(database.open().await)).await;
    let setup = ConnectionSetup {
        name: "notary".to_owned(),
        connector,
        net: NetOptions {
            base_url: None,
            credentials: Credentials::Bearer(Secret::new("test-key")),
            settings: Settings::default(),
            transport: Arc::new(Way(Arc::clone(&register))),
        },
        webhook_secrets: vec![],
        arms: vec![],
        mode: ConnectionMode::TwoWay,
        reading: ReadingOptions::default(),
    };
    let connections = Connections::set_up(&graph.app, vec![setup]).await.expect("the connection is good");
    let engine = Engine::new(graph.app.clone(), connections, "test".to_owned());
    Scene { graph, engine, register }
}

impl Scene {
    fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many orders the notary took, and how often it was asked for one.
    fn counted(&self) -> (usize, usize) {
        let register = self.register();
        (register.orders.len(), register.looks)
    }

    fn trouble(&self, trouble: Trouble) {
        self.register().troubles.push_back(trouble);
    }

    /// Drafts and signs a statement of work; its order.
    async fn order(&self) -> String {
        let mut draft = self.graph.draft(&self.graph.sold[0]);
        let notary = self.engine.connections().named("notary").expect("it is configured").record.id;
        draft["billingConnectionId"] = json!(notary);
        let drafted = self.graph.decide(AuthContext::system(), "createSow", "sow { id }", draft).await;
        let input = json!({ "sowId": drafted["sow"]["id"] });
        let signed = self.graph.decide(AuthContext::system(), "signSow", "sow { serviceOrder { id } }", input).await;
        signed["sow"]["serviceOrder"]["id"].as_str().expect("an order").to_owned()
    }

    /// Works on effects as long as one is due.
    async fn work(&self) {
        while self.engine.process_effect().await.expect("the database answers") {}
    }

    async fn replays(&self) {
        while self.engine.work_on_replays().await.expect("the database answers") {}
    }

    /// The effect that places an order.
    async fn effect(&self, order: &str) -> EffectRecord {
        let key = format!("order:{order}");
        effects(self.graph.app.store()).await.into_iter().find(|effect| effect.key == key).expect("it is there")
    }

    async fn decide(&self, mutation: &str, selection: &str, input: Json) -> Json {
        self.graph.decide(AuthContext::system(), mutation, selection, input).await
    }

    async fn shown(&self, order: &str) -> Json {
        let query = "query($id: ID!) { serviceOrder(id: $id) { status billingReference } }";
        self.graph.data(AuthContext::system(), query, json!({ "id": order })).await["serviceOrder"].clone()
    }

    /// What came of each item of a job.
    async fn results(&self, job: &Json) -> Json {
        let query = "query($id: ID!) { replayJob(id: $id) { status items counts { outcome items } \
                     results { nodes { itemId outcome code } } } }";
        self.graph.data(AuthContext::system(), query, json!({ "id": job["id"] })).await["replayJob"].clone()
    }

    async fn waiting(&self) -> i64 {
        let notary = self.engine.connections().named("notary").expect("it is configured").record.id;
        waiting_for_a_person(self.graph.app.store(), notary).await.expect("counted").effects
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_9_what_cannot_be_repeated_is_sent_once_and_a_person_says_how_it_ended() {
    on_each_database(async |database| {
        let scene = scene(database, Notary::once()).await;
        scene.trouble(Trouble::AnswerLost);
        let order = scene.order().await;
        scene.work().await;
        let effect = scene.effect(&order).await;
        assert_eq!((effect.status, effect.attempts), (EffectStatus::Uncertain, 1));
        assert_eq!(effect.error_code.as_deref(), Some("OUTCOME_UNKNOWN"));
        assert_eq!((scene.counted(), scene.waiting().await), ((1, 0), 1));
        database.clock.advance(30 * 86_400_000);
        scene.work().await;
        assert_eq!(scene.counted(), (1, 0), "nothing is sent again, and nobody is asked");

        let filter = json!({ "filter": { "key": { "eq": effect.key } } });
        let again = scene.decide("replayOutboundEffects", "steps { standing replayed } job { id }", filter).await;
        assert_eq!(again["codes"], json!(["NOT_FOUND"]), "a replay is no way around it");
        let selection = "effect { status safety remoteId version corrections { was became actor reason } }";
        let settle = async |input: Json| {
            let mut whole = json!({ "effectId": effect.id });
            for (name, value) in input.as_object().expect("fields") {
                whole[name] = value.clone();
            }
            scene.decide("settleOutboundEffect", selection, whole).await
        };
        assert_eq!(settle(json!({ "happened": true })).await["codes"], json!(["REQUIRED"]));
        assert_eq!(settle(json!({ "happened": false, "remoteId": "no_0" })).await["codes"], json!(["INVALID"]));
        let late = json!({ "happened": true, "remoteId": "no_0", "expectedVersion": 7 });
        assert_eq!(settle(late).await["codes"], json!(["CONFLICT"]));
        let told = json!({ "happened": true, "remoteId": "no_0", "reason": "seen there", "idempotencyKey": "once" });
        let settled = settle(told.clone()).await;
        assert_eq!((&settled["codes"], &settled["effect"]["status"]), (&json!([]), &json!("DONE")));
        assert_eq!((&settled["effect"]["remoteId"], &settled["effect"]["version"]), (&json!("no_0"), &json!(2)));
        assert_eq!(settled["effect"]["safety"], "NOT_REPEATABLE");
        let correction = &settled["effect"]["corrections"][0];
        assert_eq!((&correction["actor"], &correction["reason"]), (&json!("system"), &json!("seen there")));
        assert_eq!(settle(told).await["effect"]["version"], 2, "the same request is one decision");
        assert_eq!(scene.shown(&order).await, json!({ "status": "ACKED", "billingReference": "no_0" }));
        assert_eq!((scene.counted(), scene.waiting().await), ((1, 0), 0));
        let twice = settle(json!({ "happened": false })).await;
        assert_eq!(twice["codes"], json!(["INVALID_TRANSITION"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_9_what_cannot_be_repeated_is_sent_again_only_when_it_is_known_not_to_have_happened() {
    on_each_database(async |database| {
        let scene = scene(database, Notary::once()).await;
        scene.trouble(Trouble::NotSent);
        let order = scene.order().await;
        scene.work().await;
        let effect = scene.effect(&order).await;
        assert_eq!((effect.status, effect.attempts), (EffectStatus::Waiting, 1), "it never left");
        database.clock.advance(6_000);
        scene.work().await;
        assert_eq!(scene.effect(&order).await.status, EffectStatus::Done);
        assert_eq!(scene.counted(), (1, 0));

        // A process that dies between "about to be sent" and the answer leaves it open whether it was sent.
        let order = scene.order().await;
        let store = scene.graph.app.store();
        let taken = store.claim_effect(3_000).await.expect("asked").expect("it is due");
        scene.graph.app.effect_sending(&taken).await.expect("it may begin");
        database.clock.advance(3_000);
        scene.work().await;
        assert_eq!(scene.effect(&order).await.status, EffectStatus::Uncertain);
        assert_eq!(scene.counted(), (1, 0), "it is not sent to find out");
        let input = json!({ "effectId": scene.effect(&order).await.id, "happened": false });
        let settled = scene.decide("settleOutboundEffect", "effect { status }", input).await;
        assert_eq!(settled["effect"]["status"], "WAITING");
        scene.work().await;
        assert_eq!(scene.effect(&order).await.status, EffectStatus::Done);
        assert_eq!(scene.counted(), (2, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_remembers_keys_is_asked_first_only_once_it_may_have_forgotten_them() {
    on_each_database(async |database| {
        let scene = scene(database, Notary::keyed()).await;
        for trouble in [Trouble::AnswerLost, Trouble::NotSent, Trouble::NotSent] {
            scene.trouble(trouble);
        }
        let order = scene.order().await;
        scene.work().await;
        for wait in [6_000, 360_000] {
            database.clock.advance(wait);
            scene.work().await;
            assert_eq!(scene.counted(), (1, 0), "within the hour its key is enough");
        }
        database.clock.advance(3_600_000);
        scene.work().await;
        assert_eq!(scene.effect(&order).await.status, EffectStatus::Done);
        assert_eq!(scene.counted(), (1, 1), "it was found, and not sent again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_9_what_may_have_happened_is_asked_about_before_a_replay_sends_it_again() {
    on_each_database(async |database| {
        let scene = scene(database, Notary::upserting()).await;
        let order = scene.order().await;
        scene.trouble(Trouble::AnswerLost);
        scene.work().await;
        assert_eq!((scene.effect(&order).await.status, scene.counted()), (EffectStatus::Sent, (1, 0)));
        database.clock.advance(6_000);
        // Its lists lag behind, and so it is sent again, and refused.
        scene.trouble(Trouble::Instead(HttpResponse::json(200, &json!({ "id": null }))));
        scene.trouble(Trouble::Instead(HttpResponse::empty(422)));
        scene.work().await;
        assert_eq!(scene.effect(&order).await.status, EffectStatus::Rejected);
        let input = json!({ "filter": { "status": { "eq": "REJECTED" } } });
        let replay = scene.decide("replayOutboundEffects", "job { id }", input).await;
        scene.replays().await;
        scene.work().await;
        scene.replays().await;
        assert_eq!(scene.results(&replay["job"]).await["results"]["nodes"][0]["outcome"], "SUCCEEDED");
        assert_eq!(scene.effect(&order).await.status, EffectStatus::Done);
        assert_eq!(scene.counted(), (1, 1), "it was found, and not sent again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_an_effect_is_tried_ten_times_over_three_days_and_then_waits_for_a_person() {
    on_each_database(async |database| {
        let scene = scene(database, Notary::upserting()).await;
        let order = scene.order().await;
        let seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000, 86_400, 86_400];
        for (expected, tries) in seconds.into_iter().zip(1..) {
            scene.trouble(Trouble::NotSent);
            scene.work().await;
            let effect = scene.effect(&order).await;
            assert_eq!((effect.status, effect.attempts), (EffectStatus::Sent, tries), "it waits");
            let wait = effect.next_attempt_at.expect("it is tried again").ms_since(scene.graph.app.store().now());
            assert!((wait - expected * 1_000).abs() <= expected * 200, "{tries}: {wait}");
            // What waits for a person elsewhere uses up no try.
            database.clock.advance(wait);
            scene.trouble(Trouble::Instead(HttpResponse::empty(401)));
            scene.work().await;
            let held = scene.effect(&order).await;
            assert_eq!((held.attempts, held.error_code.as_deref()), (tries, Some("NEEDS_REAUTH")));
            database.clock.advance(400_000);
        }
        assert_eq!(scene.waiting().await, 0);
        scene.trouble(Trouble::NotSent);
        scene.work().await;
        let effect = scene.effect(&order).await;
        assert_eq!((effect.status, effect.attempts, effect.next_attempt_at), (EffectStatus::Exhausted, 10, None));
        assert_eq!(scene.waiting().await, 1);
        database.clock.advance(30 * 86_400_000);
        scene.work().await;
        assert_eq!(scene.counted().0, 0, "it is not tried by itself any more");

        let input = json!({ "filter": { "status": { "eq": "EXHAUSTED" } }, "reason": "the line is back" });
        let replay = scene.decide("replayOutboundEffects", "steps { standing items } job { id items }", input).await;
        assert_eq!(replay["steps"], json!([{ "standing": "EXHAUSTED", "items": 1 }]));
        scene.replays().await;
        scene.work().await;
        scene.replays().await;
        let done = scene.results(&replay["job"]).await;
        let result = json!({ "itemId": effect.id, "outcome": "SUCCEEDED", "code": null });
        assert_eq!((&done["status"], &done["results"]["nodes"]), (&json!("DONE"), &json!([result])));
        assert_eq!((scene.effect(&order).await.status, scene.counted().0), (EffectStatus::Done, 1));
        assert_eq!(scene.waiting().await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_more_time_gets_it() {
    on_each_database(async |database| {
        let scene = scene(database, Notary::upserting()).await;
        let order = scene.order().await;
        let mut throttled = HttpResponse::empty(429);
        throttled.headers.push(("retry-after".to_owned(), "7200".to_owned()));
        scene.trouble(Trouble::Instead(throttled));
        scene.work().await;
        let effect = scene.effect(&order).await;
        let wait = effect.next_attempt_at.expect("it is tried again").ms_since(scene.graph.app.store().now());
        assert_eq!((wait, effect.error_code.as_deref()), (7_200_000, Some("THROTTLED")));
        let input = json!({ "filter": { "errorCode": { "eq": "THROTTLED" } } });
        let replay = scene.decide("replayOutboundEffects", "steps { standing replayed } job { id }", input).await;
        assert_eq!(replay["steps"], json!([{ "standing": "SENT", "replayed": true }]));
        scene.replays().await;
        scene.work().await;
        scene.replays().await;
        let result = scene.results(&replay["job"]).await["results"]["nodes"][0].clone();
        assert_eq!((&result["outcome"], &result["code"]), (&json!("FAILED"), &json!("THROTTLED")), "its word holds");
        assert_eq!(scene.counted().0, 0);
        database.clock.advance(8_640_000);
        scene.work().await;
        assert_eq!(scene.effect(&order).await.status, EffectStatus::Done);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_a_refused_effect_can_be_corrected_and_what_was_decided_cannot() {
    on_each_database(async |database| {
        let scene = scene(database, Notary::upserting()).await;
        let order = scene.order().await;
        scene.trouble(Trouble::Instead(HttpResponse::empty(422)));
        scene.work().await;
        let effect = scene.effect(&order).await;
        assert_eq!(effect.status, EffectStatus::Rejected);
        let selection = "effect { title poNumber customerEmail version amount { amount } corrections { was became } }";
        let edit = async |input: Json| {
            let mut whole = json!({ "effectId": effect.id });
            for (name, value) in input.as_object().expect("fields") {
                whole[name] = value.clone();
            }
            scene.decide("editOutboundEffect", selection, whole).await
        };
        for (input, codes) in [
            (json!({}), json!(["REQUIRED"])),
            (json!({ "title": " " }), json!(["REQUIRED"])),
            (json!({ "title": "x".repeat(201) }), json!(["TOO_LONG"])),
            (json!({ "customerEmail": "nobody" }), json!(["INVALID"])),
            (json!({ "description": "of an invoice" }), json!(["INVALID"])),
            (json!({ "title": "Better", "expectedVersion": 9 }), json!(["CONFLICT"])),
            (json!({ "title": "Better", "reason": "x".repeat(501) }), json!(["TOO_LONG"])),
        ] {
            assert_eq!(edit(input.clone()).await["codes"], codes, "{input}");
        }
        assert_eq!(scene.effect(&order).await, effect, "a refusal changes nothing");
        let input =
            json!({ "title": "Better", "poNumber": "PO 7", "customerEmail": "ap@ours.example", "expectedVersion": 1 });
        let edited = edit(input).await;
        assert_eq!(edited["codes"], json!([]));
        assert_eq!(edited["effect"]["title"], "Better");
        assert_eq!((&edited["effect"]["poNumber"], &edited["effect"]["version"]), (&json!("PO 7"), &json!(2)));
        assert_eq!(edited["effect"]["amount"]["amount"], "10.00");
        let correction = &edited["effect"]["corrections"][0];
        assert!(correction["was"].as_str().is_some_and(|was| was.contains("\"title\":\"More\"")), "{correction}");
        let engineer = AuthContext { roles: vec![Role::IntegrationEngineer], ..AuthContext::system() };
        let query = "query($id: ID!) { effect(id: $id) { title payload corrections { was } } }";
        let seen = scene.graph.run(engineer, query, json!({ "id": effect.id })).await;
        assert_eq!(seen["data"]["effect"]["title"], "Better");
        assert!(
            seen["data"]["effect"]["payload"].is_null() && seen["data"]["effect"]["corrections"][0]["was"].is_null()
        );
        assert_eq!(codes(&seen).into_iter().collect::<Vec<_>>(), ["FORBIDDEN"], "an engineer sees no money");

        scene.work().await;
        assert_eq!(scene.counted().0, 0, "a correction sends nothing");
        let input = json!({ "filter": { "id": { "eq": effect.id } } });
        scene.decide("replayOutboundEffects", "job { id }", input).await;
        scene.replays().await;
        assert_eq!(scene.shown(&order).await["status"], "PENDING");
        scene.work().await;
        assert_eq!(scene.register().orders, [(effect.key.clone(), "Better".to_owned())]);
        assert_eq!(scene.shown(&order).await["status"], "ACKED");
        assert_eq!(edit(json!({ "title": "Too late" })).await["codes"], json!(["INVALID_TRANSITION"]));
    })
    .await;
}
