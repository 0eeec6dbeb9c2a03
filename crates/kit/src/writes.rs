//! What is asked for happens once.

use crosstie_sdk::{FakeVendor, Fault, TransportError, WriteRequest, WriteSafety, Writer, Written};

use crate::{
    Effect, Subject,
    bench::{Bench, fault_of},
    report::{Checked, Recorder, ensure},
};

const WRITES_NOTHING: &str = "it writes nothing";
const NOTHING_TO_REPEAT: &str = "nothing that it writes is ever repeated";
/// Callers at one moment.
const CALLERS: usize = 10;
/// Tries after which a host gives up here.
const TRIES: usize = 8;
/// From one try to the next, in milliseconds.
const PATIENCE_MS: i64 = 60_000;

pub(crate) async fn check<V: FakeVendor + 'static>(subject: &Subject<V>, recorder: &mut Recorder) {
    recorder.record("writes.shown", shown(subject));
    recorder.record("writes.once", each_effect(subject, once).await);
    recorder.record("writes.at_once", each_effect(subject, at_once).await);
    recorder.record("writes.lost_answer", each_effect(subject, lost_answer).await);
    recorder.record("writes.find", each_effect(subject, find).await);
}

/// Every write that is declared is shown to the kit.
fn shown<V>(subject: &Subject<V>) -> Checked {
    for write in subject.connector.descriptor().writes {
        let is_shown = subject.effects.iter().any(|effect| {
            let request = (effect.request)(&mut (subject.vendor)(), crate::bench::begin());
            (request.intent.kind(), effect.entity) == (write.intent, write.entity)
        });
        ensure(is_shown, || format!("{:?} of {} is declared and not shown", write.intent, write.entity.as_str()))?;
    }
    if subject.connector.writer().is_some() { Ok(None) } else { Ok(Some(WRITES_NOTHING)) }
}

/// One effect at work.
struct Scene<'a, V> {
    subject: &'a Subject<V>,
    effect: &'a Effect<V>,
    writer: &'a dyn Writer,
    request: WriteRequest,
    bench: Bench<V>,
}

impl<'a, V: FakeVendor + 'static> Scene<'a, V> {
    fn new(subject: &'a Subject<V>, effect: &'a Effect<V>, writer: &'a dyn Writer) -> Result<Self, String> {
        let bench = Bench::new(subject)?;
        let request = (effect.request)(&mut bench.vendor(), bench.now());
        bench.pass_ms(1_000);
        Ok(Self { subject, effect, writer, request, bench })
    }

    fn again(&self) -> Result<Self, String> {
        Self::new(self.subject, self.effect, self.writer)
    }

    fn safety(&self) -> Option<WriteSafety> {
        self.subject.connector.descriptor().safety(self.request.intent.kind(), self.effect.entity)
    }

    fn count(&self) -> usize {
        let now = self.bench.now();
        (self.effect.count)(&mut self.bench.vendor(), now)
    }

    async fn apply(&self) -> Result<Written, Fault> {
        self.writer.apply(&self.bench.net, &self.request).await
    }

    /// Goes on as a host does, until it is known to have happened.
    async fn insist(&self, mut last: Result<Written, Fault>) -> Result<Written, String> {
        for _ in 0..TRIES {
            let fault = match last {
                Ok(written) => return Ok(written),
                Err(fault) => fault,
            };
            ensure(fault.is_temporary(), || fault_of("a try that may be repeated", &fault))?;
            self.bench.pass_ms(PATIENCE_MS);
            if matches!(fault, Fault::Unknown { .. }) {
                let found = self.writer.find(&self.bench.net, &self.request).await;
                if let Some(written) = found.map_err(|fault| fault_of("a look for it", &fault))? {
                    return Ok(written);
                }
            }
            last = self.apply().await;
        }
        Err(format!("after {TRIES} tries it has not happened: {last:?}"))
    }
}

async fn each_effect<'a, V: FakeVendor + 'static>(
    subject: &'a Subject<V>,
    check: impl AsyncFn(Scene<'a, V>) -> Checked,
) -> Checked {
    let Some(writer) = subject.connector.writer() else { return Ok(Some(WRITES_NOTHING)) };
    let mut nothing = Some(NOTHING_TO_REPEAT);
    for effect in &subject.effects {
        let scene = Scene::new(subject, effect, writer)?;
        let kind = scene.request.intent.kind();
        if scene.safety() == Some(WriteSafety::NotRepeatable) {
            continue;
        }
        let checked = check(scene).await;
        let checked = checked.map_err(|seen| format!("{kind:?} of {}: {seen}", effect.entity.as_str()))?;
        nothing = nothing.and(checked);
    }
    Ok(nothing)
}

async fn once<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    ensure(scene.count() == 0, || format!("{} stand there before anything was asked", scene.count()))?;
    let first = scene.apply().await.map_err(|fault| fault_of("the first call", &fault))?;
    ensure(scene.count() == 1, || format!("one was asked for, and {} stand there", scene.count()))?;
    scene.bench.pass_ms(PATIENCE_MS);
    let second = scene.apply().await.map_err(|fault| fault_of("a second call with the same key", &fault))?;
    ensure(scene.count() == 1, || format!("asked for twice with one key, {} stand there", scene.count()))?;
    ensure(first.remote_id == second.remote_id, || {
        format!("it is first {:?} and then {:?}", first.remote_id, second.remote_id)
    })?;
    Ok(None)
}

async fn at_once<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let tries = (0..CALLERS).map(|_| scene.apply());
    let ended = futures::future::join_all(tries).await;
    let mut ids = Vec::new();
    for last in ended {
        ids.push(scene.insist(last).await?.remote_id);
    }
    let now = scene.insist(scene.apply().await).await?;
    ensure(scene.count() == 1, || format!("{CALLERS} callers with one key left {}", scene.count()))?;
    let others: Vec<_> = ids.into_iter().filter(|id| *id != now.remote_id).collect();
    ensure(others.is_empty(), || format!("it is {:?}, and some callers were told {others:?}", now.remote_id))?;
    Ok(None)
}

async fn lost_answer<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    scene.apply().await.map_err(|fault| fault_of("the first call", &fault))?;
    let steps = scene.bench.requests();
    for step in 0..steps {
        let scene = scene.again()?;
        let mut left = step;
        scene.bench.meddle(move |_, answer| match left.checked_sub(1) {
            Some(less) => {
                left = less;
                Ok(answer)
            }
            None => {
                left = usize::MAX;
                Err(TransportError::AnswerLost("cut off".to_owned()))
            }
        });
        let first = scene.apply().await;
        let written = scene.insist(first).await.map_err(|seen| format!("answer {step} of {steps} is lost: {seen}"))?;
        let count = scene.count();
        ensure(count == 1, || format!("answer {step} of {steps} is lost, and {count} stand there"))?;
        let again = scene.apply().await.map_err(|fault| fault_of("a later call", &fault))?;
        ensure(again.remote_id == written.remote_id && scene.count() == 1, || {
            format!("answer {step} of {steps} is lost: it is {:?} and then {:?}", written.remote_id, again.remote_id)
        })?;
    }
    Ok(None)
}

async fn find<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    if scene.safety() == Some(WriteSafety::SetValues) {
        return Ok(Some("values are set, and nothing is made"));
    }
    let before = scene.writer.find(&scene.bench.net, &scene.request).await;
    let before = before.map_err(|fault| fault_of("a look before anything was asked", &fault))?;
    ensure(before.is_none(), || format!("before anything was asked it finds {before:?}"))?;
    let written = scene.apply().await.map_err(|fault| fault_of("the first call", &fault))?;
    let found = scene.writer.find(&scene.bench.net, &scene.request).await;
    let found = found.map_err(|fault| fault_of("a look for it", &fault))?;
    let found = found.map(|found| found.remote_id);
    ensure(found.as_ref() == Some(&written.remote_id), || {
        format!("{:?} is there, and found is {found:?}", written.remote_id)
    })?;
    Ok(None)
}
