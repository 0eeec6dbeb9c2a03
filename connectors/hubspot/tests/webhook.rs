//! Signatures and events of webhooks.

use crosstie_hubspot::Hubspot;
use crosstie_sdk::{
    Connector, Delivery, Inbound, Malformed, Nudge, Secret,
    domain::{Instant, integration::Entity},
    signature::{self, Encoding, Part, Refused},
};

const SECRET: &str = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";
const SENT_MS: i64 = 1_700_000_000_000;
/// Made by HubSpot's own client library (Node, 13.5.0) for the delivery below.
const SIGNATURE: &str = "rQEKkaNUiu+1qGF//O/pw4BCzstSqO1PyUnGICmf+7o=";

fn inbound() -> &'static dyn Inbound {
    static CONNECTOR: Hubspot = Hubspot;
    CONNECTOR.inbound().expect("webhooks are received")
}

fn at(ms: i64) -> Instant {
    Instant::from_micros(ms * 1_000).expect("a moment")
}

fn vector() -> Delivery {
    Delivery {
        method: "POST".to_owned(),
        url: "https://www.example.com/webhook_uri".to_owned(),
        headers: vec![
            ("x-hubspot-signature-v3".to_owned(), SIGNATURE.to_owned()),
            ("x-hubspot-request-timestamp".to_owned(), SENT_MS.to_string()),
        ],
        body: br#"{"example_field":"example_value"}"#.to_vec(),
    }
}

fn verify(delivery: &Delivery, secrets: &[&str], now_ms: i64) -> Result<(), Refused> {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    signature::verify(&inbound().scheme(), delivery, &secrets, at(now_ms)).map(|_| ())
}

#[test]
fn the_vendors_own_signature_is_accepted() {
    assert_eq!(verify(&vector(), &[SECRET], SENT_MS), Ok(()));
    assert_eq!(verify(&vector(), &["an older secret", SECRET], SENT_MS), Ok(()));
}

#[test]
fn a_delivery_that_was_tampered_with_is_refused() {
    let tampered: [fn(&mut Delivery); 5] = [
        |delivery| delivery.body.push(b' '),
        |delivery| delivery.method = "PUT".to_owned(),
        |delivery| delivery.url.push_str("?a=b"),
        |delivery| delivery.headers[1].1 = (SENT_MS + 1).to_string(),
        |delivery| delivery.headers[0].1.truncate(20),
    ];
    for change in tampered {
        let mut delivery = vector();
        change(&mut delivery);
        assert_eq!(verify(&delivery, &[SECRET], SENT_MS), Err(Refused::Wrong));
    }
    assert_eq!(verify(&vector(), &["another"], SENT_MS), Err(Refused::Wrong));
}

#[test]
fn a_delivery_from_another_time_is_refused() {
    for (now_ms, expected) in [
        (SENT_MS + 300_000, Ok(())),
        (SENT_MS - 300_000, Ok(())),
        (SENT_MS + 300_001, Err(Refused::Stale)),
        (SENT_MS - 300_001, Err(Refused::Stale)),
    ] {
        assert_eq!(verify(&vector(), &[SECRET], now_ms), expected, "{now_ms}");
    }
}

#[test]
fn a_delivery_without_signature_or_secret_is_refused() {
    assert_eq!(verify(&vector(), &[], SENT_MS), Err(Refused::NoSecret));
    let mut unsigned = vector();
    unsigned.headers.remove(0);
    assert_eq!(verify(&unsigned, &[SECRET], SENT_MS), Err(Refused::Unsigned));
}

fn split(body: &str) -> Result<Vec<Nudge>, Malformed> {
    let secret = Secret::new(SECRET);
    let mut delivery = vector();
    delivery.body = body.as_bytes().to_vec();
    let signed = &[Part::Method, Part::Url, Part::Body, Part::Timestamp];
    let value = signature::sign(signed, Encoding::Base64, &delivery, &SENT_MS.to_string(), &secret);
    delivery.headers[0].1 = value;
    let verified = signature::verify(&inbound().scheme(), &delivery, &[secret], at(SENT_MS)).expect("a good signature");
    inbound().split(verified)
}

#[test]
fn events_point_at_what_changed() {
    let nudges = split(include_str!("../fixtures/deliveries.json")).expect("events");
    let targets: Vec<(&str, Option<(Entity, &str)>)> = nudges
        .iter()
        .map(|nudge| {
            let target = nudge.target.as_ref().map(|(entity, id)| (*entity, id.as_str()));
            (nudge.event_type.as_str(), target)
        })
        .collect();
    let expected = [
        ("deal.propertyChange", Some((Entity::Opportunity, "21478336514"))),
        ("deal.propertyChange", Some((Entity::Opportunity, "21478336514"))),
        ("company.deletion", Some((Entity::Account, "9001"))),
        ("object.creation", Some((Entity::Opportunity, "21478336516"))),
        ("deal.associationChange", Some((Entity::Opportunity, "21478336516"))),
        ("company.merge", Some((Entity::Account, "9003"))),
        ("company.merge", Some((Entity::Account, "9002"))),
        ("contact.creation", None),
        ("something.new", None),
    ];
    assert_eq!(targets, expected);
    assert_eq!(nudges[0].occurred_at, Some(at(1_763_629_200_250)));
    assert_eq!(nudges[8].occurred_at, None);
}

#[test]
fn each_event_has_a_key_of_its_own_and_keeps_it_when_it_is_sent_again() {
    let body = include_str!("../fixtures/deliveries.json");
    let keys = |body: &str| split(body).expect("events").into_iter().map(|nudge| nudge.dedupe_key).collect::<Vec<_>>();
    let first = keys(body);
    let mut unique = first.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), first.len());
    assert_eq!(keys(&body.replace(r#""attemptNumber": 0"#, r#""attemptNumber": 3"#)), first);
}

#[test]
fn a_body_that_is_no_array_of_events_is_malformed() {
    for body in ["", "{}", "null", "[1]", r#"[{"occurredAt":"yesterday"}]"#] {
        assert!(split(body).is_err(), "{body}");
    }
    assert!(split(&format!("[{}]", vec!["{}"; 501].join(","))).is_err());
    assert_eq!(split("[]"), Ok(Vec::new()));
}
