//! What goes wrong at a vendor is what it is.

use crosstie_sdk::{FakeVendor, Fault, HttpResponse, TransportError};

use crate::{
    Subject,
    bench::fault_of,
    reading::{Scene, each_kind},
    report::{Checked, Recorder, ensure},
};

const LIMIT: u32 = 3;
/// Requests that one reading may take before a refused credential is told: with one renewal of a token.
const BEFORE_REFUSAL: usize = 3;

pub(crate) async fn check<V: FakeVendor + 'static>(subject: &Subject<V>, recorder: &mut Recorder) {
    recorder.record("faults.unauthorized", each_kind(subject, unauthorized).await);
    recorder.record("faults.slow_down", each_kind(subject, slow_down).await);
    recorder.record("faults.outage", each_kind(subject, outage).await);
    recorder.record("faults.lost_answer", each_kind(subject, lost_answer).await);
}

/// The faults of a probe, a page and one row, while every answer is this one.
async fn faults_of<V: FakeVendor + 'static>(scene: &Scene<'_, V>) -> Result<Vec<(&'static str, Fault)>, String> {
    let id = scene.create(0);
    let (net, ask) = (&scene.bench.net, scene.bench.all(LIMIT));
    let found = [
        ("a probe", scene.subject.connector.probe(net).await.err()),
        ("a page", scene.reader.read_page(net, &ask).await.err()),
        ("a reading by id", scene.reader.read_one(net, &id).await.err()),
    ];
    let told = |(what, fault): (_, Option<Fault>)| fault.map(|fault| (what, fault)).ok_or(format!("{what} goes well"));
    found.into_iter().map(told).collect()
}

async fn unauthorized<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    scene.bench.meddle(|_, _| Ok(HttpResponse::empty(401)));
    let before = scene.bench.requests();
    for (what, fault) in faults_of(&scene).await? {
        ensure(fault == Fault::NeedsReauth, || fault_of(&format!("{what} that is answered with 401"), &fault))?;
    }
    let asked = scene.bench.requests() - before;
    ensure(asked <= 3 * BEFORE_REFUSAL, || format!("a refused credential was tried {asked} times in 3 readings"))?;
    Ok(None)
}

async fn slow_down<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    scene.bench.meddle(|_, _| {
        let headers = vec![("retry-after".to_owned(), "7".to_owned())];
        Ok(HttpResponse { headers, ..HttpResponse::empty(429) })
    });
    for (what, fault) in faults_of(&scene).await? {
        let wanted = Fault::Throttled { retry_after_ms: Some(7_000) };
        ensure(fault == wanted, || fault_of(&format!("{what} that is to wait for 7 seconds"), &fault))?;
    }
    Ok(None)
}

async fn outage<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    for status in [500, 502, 504] {
        scene.bench.meddle(move |_, _| Ok(HttpResponse::empty(status)));
        for (what, fault) in faults_of(&scene).await? {
            let passes = matches!(fault, Fault::Transient { .. });
            ensure(passes, || fault_of(&format!("{what} that is answered with {status}"), &fault))?;
        }
    }
    Ok(None)
}

async fn lost_answer<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    for error in [TransportError::NotSent("no way".to_owned()), TransportError::AnswerLost("cut off".to_owned())] {
        let lost = error.clone();
        scene.bench.meddle(move |_, _| Err(lost.clone()));
        for (what, fault) in faults_of(&scene).await? {
            // Nobody has to look whether a reading happened.
            let passes = matches!(fault, Fault::Transient { .. });
            ensure(passes, || fault_of(&format!("{what} whose answer is lost ({error})"), &fault))?;
        }
    }
    // The next reading goes well.
    scene.bench.meddle_no_more();
    scene.bench.pass_ms(60_000);
    scene.bench.rows(scene.reader, scene.bench.all(LIMIT)).await?;
    Ok(None)
}
