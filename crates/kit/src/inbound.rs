//! Webhooks: what is genuine is taken, and nothing else.

use crosstie_sdk::{
    Delivery, FakeVendor, HttpRequest, Inbound, Nudge, Secret, Verified,
    domain::Instant,
    signature::{Scheme, verify},
};

use crate::{
    Subject, WEBHOOK_SECRET,
    reading::{Scene, each_kind},
    report::{Checked, Recorder, ensure},
};

const NO_WEBHOOKS: &str = "it has no webhooks";

pub(crate) async fn check<V: FakeVendor + 'static>(subject: &Subject<V>, recorder: &mut Recorder) {
    recorder.record("inbound.genuine", each_kind(subject, genuine).await);
    recorder.record("inbound.forged", each_kind(subject, forged).await);
    recorder.record("inbound.same_key", each_kind(subject, same_key).await);
    recorder.record("inbound.odd_body", each_kind(subject, odd_body).await);
}

/// The deliveries that the making of a record sets off, and its id.
fn deliveries<V: FakeVendor + 'static>(scene: &Scene<'_, V>, number: u32) -> (String, Vec<Delivery>) {
    scene.bench.vendor().take_deliveries();
    let id = scene.create(number);
    let sent = scene.bench.vendor().take_deliveries();
    let delivery = |HttpRequest { method, url, headers, body }: HttpRequest| {
        let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        Delivery { method: method.as_str().to_owned(), url, headers, body }
    };
    (id, sent.into_iter().map(delivery).collect())
}

fn nudges(inbound: &dyn Inbound, delivery: &Delivery) -> Result<Vec<Nudge>, String> {
    inbound.split(Verified::kept(delivery)).map_err(|malformed| format!("a genuine body is refused: {malformed}"))
}

async fn genuine<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let Some(inbound) = scene.subject.connector.inbound() else { return Ok(Some(NO_WEBHOOKS)) };
    let (id, sent) = deliveries(&scene, 0);
    ensure(!sent.is_empty(), || "a new record sets off no delivery".to_owned())?;
    let mut told = Vec::new();
    for delivery in &sent {
        for secrets in [&[WEBHOOK_SECRET][..], &["another live secret", WEBHOOK_SECRET]] {
            let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
            let verified = verify(&inbound.scheme(), delivery, &secrets, scene.bench.now());
            verified.map_err(|refused| format!("a genuine delivery is refused: {refused}"))?;
        }
        told.extend(nudges(inbound, delivery)?.into_iter().filter_map(|nudge| nudge.target));
    }
    let wanted = (scene.kind.entity, id);
    ensure(told.contains(&wanted), || format!("{wanted:?} was made, and the deliveries point at {told:?}"))?;
    Ok(None)
}

/// Whether a delivery is taken.
fn is_taken(inbound: &dyn Inbound, delivery: &Delivery, secrets: &[&str], now: Instant) -> bool {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    verify(&inbound.scheme(), delivery, &secrets, now).is_ok()
}

async fn forged<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let Some(inbound) = scene.subject.connector.inbound() else { return Ok(Some(NO_WEBHOOKS)) };
    let now = scene.bench.now();
    let (_, sent) = deliveries(&scene, 0);
    let Scheme::HmacSha256 { header, tolerance_ms, .. } = inbound.scheme();
    for delivery in &sent {
        let secret = &[WEBHOOK_SECRET][..];
        ensure(!is_taken(inbound, delivery, &["another secret"], now), || "any secret does".to_owned())?;
        ensure(!is_taken(inbound, delivery, &[], now), || "no secret does".to_owned())?;
        for at in 0..delivery.body.len() {
            let mut forged = delivery.clone();
            forged.body[at] ^= 1;
            ensure(!is_taken(inbound, &forged, secret, now), || format!("byte {at} of the body is not signed"))?;
        }
        let longer = Delivery { body: [&delivery.body[..], b" "].concat(), ..delivery.clone() };
        ensure(!is_taken(inbound, &longer, secret, now), || "a body with more behind it is taken".to_owned())?;
        let signature = delivery.header(header).unwrap_or_default().to_owned();
        let half = signature.chars().take(signature.chars().count() / 2).collect::<String>();
        let oversized = signature.repeat(100);
        for other in ["", " ", "0", "t=1,v1=", &half, &oversized] {
            let with = |(name, value): &(String, String)| {
                let value = if name == header { other.to_owned() } else { value.clone() };
                (name.clone(), value)
            };
            let forged = Delivery { headers: delivery.headers.iter().map(with).collect(), ..delivery.clone() };
            ensure(!is_taken(inbound, &forged, secret, now), || format!("the signature {other:?} is taken"))?;
        }
        let without = delivery.headers.iter().filter(|(name, _)| name != header).cloned().collect();
        let unsigned = Delivery { headers: without, ..delivery.clone() };
        ensure(!is_taken(inbound, &unsigned, secret, now), || "no signature is needed".to_owned())?;
        for (late_ms, taken) in [
            (tolerance_ms + 1_001, false),
            (-tolerance_ms - 1_001, false),
            (tolerance_ms - 1_001, true),
            (-tolerance_ms + 1_001, true),
        ] {
            let is = is_taken(inbound, delivery, secret, now.plus_ms(late_ms));
            ensure(is == taken, || format!("{late_ms} ms after it was sent it is taken: {is}"))?;
        }
        ensure(tolerance_ms <= 600_000, || format!("what is {tolerance_ms} ms old can be sent again by anybody"))?;
    }
    Ok(None)
}

async fn same_key<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let Some(inbound) = scene.subject.connector.inbound() else { return Ok(Some(NO_WEBHOOKS)) };
    let mut keys = Vec::new();
    for number in 0..3 {
        scene.bench.pass_ms(1_000);
        for delivery in deliveries(&scene, number).1 {
            let once: Vec<String> = nudges(inbound, &delivery)?.into_iter().map(|nudge| nudge.dedupe_key).collect();
            let twice: Vec<String> = nudges(inbound, &delivery)?.into_iter().map(|nudge| nudge.dedupe_key).collect();
            ensure(once == twice, || format!("the same delivery has the keys {once:?} and {twice:?}"))?;
            ensure(once.iter().all(|key| !key.is_empty()), || "an event has no key".to_owned())?;
            keys.extend(once);
        }
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    ensure(keys.len() == count, || format!("{count} events have {} key(s)", keys.len()))?;
    Ok(None)
}

async fn odd_body<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let Some(inbound) = scene.subject.connector.inbound() else { return Ok(Some(NO_WEBHOOKS)) };
    let (_, sent) = deliveries(&scene, 0);
    let first = sent.first().ok_or("a new record sets off no delivery")?;
    let half = first.body[..first.body.len() / 2].to_vec();
    let bodies = [b"".to_vec(), b"{".to_vec(), b"\xff\xfe".to_vec(), b"42".to_vec(), b"\"text\"".to_vec(), half];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let odd = Delivery { body, ..first.clone() };
        let split = inbound.split(Verified::kept(&odd));
        ensure(split.is_err(), || format!("the body {shown:?} is taken for {split:?}"))?;
    }
    for body in ["null", "{}", "[]", "[null]", "[{}]", "{\"id\": null}"] {
        let odd = Delivery { body: body.as_bytes().to_vec(), ..first.clone() };
        // It may hold nothing, and is not to point at anything.
        let told = inbound.split(Verified::kept(&odd)).unwrap_or_default();
        ensure(told.iter().all(|nudge| nudge.target.is_none()), || format!("the body {body} points at {told:?}"))?;
    }
    Ok(None)
}
