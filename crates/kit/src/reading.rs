//! No row is lost, and what is found says the same whichever way it is found.

use std::collections::BTreeMap;

use crosstie_sdk::{
    AnyReader, Ask, Deletes, FakeVendor, Fault, MappedRow, More, Observed, Order, ReadEntity, domain::Instant,
};
use serde_json::json;

use crate::{
    Kind, Subject,
    bench::{Bench, fault_of, good, ids, reader},
    report::{Checked, Recorder, ensure},
};

/// Rows that a page is asked for.
const LIMIT: u32 = 3;
/// From one record to the next, in milliseconds.
const STEP_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600_000;

pub(crate) async fn check<V: FakeVendor + 'static>(subject: &Subject<V>, recorder: &mut Recorder) {
    recorder.record("reading.every_row", each_kind(subject, every_row).await);
    recorder.record("reading.one_moment", each_kind(subject, one_moment).await);
    recorder.record("reading.goes_on_from_every_place", each_kind(subject, goes_on_from_every_place).await);
    recorder.record("reading.window", each_kind(subject, window).await);
    recorder.record("reading.change_is_found", each_kind(subject, change_is_found).await);
    recorder.record("reading.while_rows_change", each_kind(subject, while_rows_change).await);
    recorder.record("reading.one", each_kind(subject, one).await);
    recorder.record("reading.deleted", each_kind(subject, deleted).await);
    recorder.record("reading.mapping_alone", each_kind(subject, mapping_alone).await);
    recorder.record("reading.unknown_place", each_kind(subject, unknown_place).await);
}

/// One kind of record at work: the vendor, and who reads it.
pub(crate) struct Scene<'a, V> {
    pub(crate) subject: &'a Subject<V>,
    pub(crate) kind: &'a Kind<V>,
    pub(crate) reader: &'static dyn AnyReader,
    pub(crate) bench: Bench<V>,
}

impl<'a, V: FakeVendor + 'static> Scene<'a, V> {
    pub(crate) fn new(subject: &'a Subject<V>, kind: &'a Kind<V>) -> Result<Self, String> {
        Ok(Self { subject, kind, reader: reader(subject, kind.entity)?, bench: Bench::new(subject)? })
    }

    fn declared(&self) -> Result<&'static ReadEntity, String> {
        let mut reads = self.subject.connector.descriptor().reads.iter();
        let read = reads.find(|read| read.entity == self.kind.entity);
        read.ok_or_else(|| format!("{} is not declared", self.kind.entity.as_str()))
    }

    /// Makes a record, now; its id.
    pub(crate) fn create(&self, number: u32) -> String {
        (self.kind.create)(&mut self.bench.vendor(), number, self.bench.now())
    }

    /// Makes so many, each a moment after the one before; their ids in order.
    pub(crate) fn create_many(&self, count: u32) -> Vec<String> {
        let mut ids: Vec<String> = (0..count)
            .map(|number| {
                self.bench.pass_ms(STEP_MS);
                self.create(number)
            })
            .collect();
        ids.sort_unstable();
        ids
    }

    fn change(&self, id: &str, number: u32) {
        (self.kind.change)(&mut self.bench.vendor(), id, number, self.bench.now());
    }

    async fn rows(&self, ask: Ask) -> Result<Vec<Observed>, String> {
        self.bench.rows(self.reader, ask).await
    }

    /// A record by its id, as it is.
    async fn by_id(&self, id: &str) -> Result<Observed, String> {
        match self.reader.read_one(&self.bench.net, id).await {
            Ok(MappedRow::Good(seen)) => Ok(*seen),
            Ok(row) => Err(format!("{id} by its id is {row:?}")),
            Err(fault) => Err(fault_of("a reading by id", &fault)),
        }
    }

    /// The window after one that ended at a moment.
    fn next_window(&self, ended: Instant) -> Result<Ask, String> {
        let since = ended.plus_ms(-self.declared()?.order.overlap_ms());
        Ok(Ask { since: Some(since), until: self.bench.now(), more: None, limit: LIMIT })
    }
}

/// Makes a check of each kind of record.
pub(crate) async fn each_kind<'a, V: FakeVendor + 'static>(
    subject: &'a Subject<V>,
    check: impl AsyncFn(Scene<'a, V>) -> Checked,
) -> Checked {
    let mut nothing = Some("it reads nothing");
    for kind in &subject.kinds {
        let checked = check(Scene::new(subject, kind)?).await;
        nothing = checked.map_err(|seen| format!("{}: {seen}", kind.entity.as_str()))?;
    }
    Ok(nothing)
}

async fn every_row<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    for count in [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT, 3 * LIMIT + 1] {
        let scene = Scene::new(scene.subject, scene.kind)?;
        let made = scene.create_many(count);
        scene.bench.pass_ms(STEP_MS);
        let read = ids(&scene.rows(scene.bench.all(LIMIT)).await?);
        ensure(read == made, || format!("of {made:?} came {read:?}"))?;
    }
    Ok(None)
}

async fn one_moment<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let mut made: Vec<String> = (0..3 * LIMIT + 1).map(|number| scene.create(number)).collect();
    made.sort_unstable();
    scene.bench.pass_ms(STEP_MS);
    let read = ids(&scene.rows(scene.bench.all(LIMIT)).await?);
    ensure(read == made, || format!("of {made:?}, all of one moment, came {read:?}"))?;
    Ok(None)
}

async fn goes_on_from_every_place<V: FakeVendor + 'static>(mut scene: Scene<'_, V>) -> Checked {
    // Some of one moment, some not.
    let mut made = scene.create_many(4);
    made.extend((4..9).map(|number| scene.create(number)));
    made.sort_unstable();
    scene.bench.pass_ms(STEP_MS);
    let ask = scene.bench.all(2);
    let pages = scene.bench.read(scene.reader, ask.clone()).await?;
    ensure(pages.len() > 1, || format!("{} rows came in one page of 2", made.len()))?;
    for (read, (place, _)) in pages.iter().enumerate() {
        scene.bench.reconnect(scene.subject)?;
        let before = good(pages[..read].iter().flat_map(|(_, page)| &page.rows));
        let rest = scene.rows(Ask { more: place.clone(), ..ask.clone() }).await?;
        let all = ids(&[before, rest].concat());
        ensure(all == made, || format!("after {read} page(s) another process comes to {all:?} of {made:?}"))?;
    }
    Ok(None)
}

async fn window<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    scene.create(0);
    scene.bench.pass_ms(HOUR_MS);
    let since = scene.bench.now();
    let mut wanted = vec![scene.create(1)];
    scene.bench.pass_ms(HOUR_MS);
    wanted.push(scene.create(2));
    scene.bench.pass_ms(HOUR_MS);
    wanted.push(scene.create(3));
    let until = scene.bench.now();
    scene.bench.pass_ms(HOUR_MS);
    for limit in [1, 50] {
        let read = ids(&scene.rows(Ask { since: Some(since), until, more: None, limit }).await?);
        let missing: Vec<&String> = wanted.iter().filter(|id| !read.contains(id)).collect();
        ensure(missing.is_empty(), || format!("{missing:?} of the window, both its ends included, did not come"))?;
    }
    Ok(None)
}

async fn change_is_found<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let made = scene.create_many(4);
    scene.bench.pass_ms(HOUR_MS);
    let before: BTreeMap<String, Observed> =
        scene.rows(scene.bench.all(LIMIT)).await?.into_iter().map(|seen| (seen.key.remote_id.clone(), seen)).collect();
    let ended = scene.bench.now();
    scene.bench.pass_ms(HOUR_MS);
    let changed = &made[1];
    scene.change(changed, 1);
    scene.bench.pass_ms(HOUR_MS);
    let after = scene.rows(scene.next_window(ended)?).await?;
    let seen = after.iter().rfind(|seen| seen.key.remote_id == *changed);
    let seen = seen.ok_or("what changed did not come in the next window")?;
    let old = before.get(changed).ok_or("it did not come at first")?;
    ensure(seen.key.version.is_some(), || "it has no version".to_owned())?;
    ensure(seen.key.version != old.key.version, || format!("it changed under one version {:?}", seen.key.version))?;
    ensure(seen.claim != old.claim, || "it says the same after it changed".to_owned())?;
    let moved = after.iter().find(|seen| {
        let old = before.get(&seen.key.remote_id);
        seen.key.remote_id != *changed && old.is_none_or(|old| old.key.version != seen.key.version)
    });
    ensure(moved.is_none(), || format!("{moved:?} did not change and has another version"))?;
    Ok(None)
}

/// Whatever changes while a window is read comes in it or in the next one, as it is then.
async fn while_rows_change<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let made = scene.create_many(8);
    // The next window does not reach back to them.
    scene.bench.pass_ms(HOUR_MS);
    let mut ask = scene.bench.all(2);
    let until = ask.until;
    let mut latest: BTreeMap<String, Observed> = BTreeMap::new();
    let mut hear = |rows: Vec<Observed>| latest.extend(rows.into_iter().map(|seen| (seen.key.remote_id.clone(), seen)));
    let mut wanted = made.clone();
    for number in 0.. {
        ensure(number < 100, || "the window does not end".to_owned())?;
        let page = scene.reader.read_page(&scene.bench.net, &ask).await.map_err(|fault| fault_of("a page", &fault))?;
        hear(good(page.rows.iter()));
        scene.bench.pass_ms(STEP_MS);
        // One that was read already, one that was not yet, and a new one.
        if number < 2 {
            let at = usize::try_from(number).unwrap_or_default();
            scene.change(&made[at], 10 + number);
            scene.change(&made[7 - at], 20 + number);
            wanted.push(scene.create(100 + number));
        }
        match page.more {
            More::At(place) => ask.more = Some(place),
            More::End => break,
        }
    }
    scene.bench.pass_ms(HOUR_MS);
    hear(scene.rows(scene.next_window(until)?).await?);
    for id in wanted {
        let now = scene.by_id(&id).await?;
        let known = latest.get(&id).ok_or_else(|| format!("{id} came in neither window"))?;
        ensure(known.claim == now.claim, || format!("of {id} an old state is known: {:?}", known.claim))?;
    }
    Ok(None)
}

async fn one<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    scene.create_many(3);
    scene.bench.pass_ms(STEP_MS);
    for seen in scene.rows(scene.bench.all(LIMIT)).await? {
        let alone = scene.by_id(&seen.key.remote_id).await?;
        ensure(alone.key == seen.key, || format!("by its id it is {:?}, in the list {:?}", alone.key, seen.key))?;
        ensure(alone.claim == seen.claim, || {
            format!("by its id it says {:?}, in the list {:?}", alone.claim, seen.claim)
        })?;
    }
    Ok(None)
}

async fn deleted<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let declared = scene.declared()?;
    let Some(delete) = scene.kind.delete else {
        let never = declared.deletes == Deletes::Never;
        ensure(never, || format!("{:?} is declared, and the kit is shown no way to delete", declared.deletes))?;
        return Ok(Some("nothing is ever deleted there"));
    };
    ensure(declared.deletes != Deletes::Never, || "it can be deleted, and that is declared to be never".to_owned())?;
    let made = scene.create_many(4);
    scene.bench.pass_ms(HOUR_MS);
    let ended = scene.bench.now();
    scene.rows(scene.bench.all(LIMIT)).await?;
    scene.bench.pass_ms(HOUR_MS);
    let gone = &made[2];
    delete(&mut scene.bench.vendor(), gone, scene.bench.now());
    scene.bench.pass_ms(HOUR_MS);
    match scene.reader.read_one(&scene.bench.net, gone).await {
        Err(Fault::Gone | Fault::Merged { .. }) | Ok(MappedRow::Gone { .. }) => {}
        other => return Err(format!("what was deleted is {other:?} by its id")),
    }
    let listed = ids(&scene.rows(scene.bench.all(LIMIT)).await?);
    let left: Vec<String> = made.iter().filter(|id| *id != gone).cloned().collect();
    ensure(listed == left, || format!("a complete listing shows {listed:?} of {left:?}"))?;
    let tells = match (declared.deletes, declared.order) {
        (Deletes::Tombstones, _) => "the next window",
        (Deletes::Announced, Order::Feed { .. }) => "the feed",
        _ => return Ok(None),
    };
    let pages = scene.bench.read(scene.reader, scene.next_window(ended)?).await?;
    let told = pages.iter().flat_map(|(_, page)| &page.rows).any(|row| match row {
        MappedRow::Gone { remote_id, .. } => remote_id == gone,
        MappedRow::Good(_) | MappedRow::Bad { .. } => false,
    });
    ensure(told, || format!("{tells} does not tell that {gone} is gone"))?;
    Ok(None)
}

async fn mapping_alone<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    scene.create_many(3);
    scene.bench.pass_ms(STEP_MS);
    let rows = scene.rows(scene.bench.all(LIMIT)).await?;
    ensure(!rows.is_empty(), || "no row came".to_owned())?;
    let asked = scene.bench.requests();
    for seen in rows {
        // As it is kept, and read again years later.
        let kept = serde_json::from_str(seen.text()).map_err(|error| error.to_string())?;
        match scene.reader.map_raw(&scene.bench.net.settings(), kept) {
            MappedRow::Good(again) if *again == seen => {}
            other => return Err(format!("mapped again without the vendor {seen:?} is {other:?}")),
        }
        ensure(!seen.fields.is_empty(), || "it is not said where any value stood".to_owned())?;
    }
    ensure(scene.bench.requests() == asked, || "the mapping asks the vendor".to_owned())?;
    Ok(None)
}

async fn unknown_place<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    scene.create_many(2 * LIMIT);
    scene.bench.pass_ms(STEP_MS);
    for place in [json!("no such place"), json!({ "no": "such place" }), json!(-1), json!([]), json!(null)] {
        let ask = Ask { more: Some(place.clone()), ..scene.bench.all(LIMIT) };
        match scene.reader.read_page(&scene.bench.net, &ask).await {
            Err(Fault::CursorGone) => {}
            Err(fault) => return Err(format!("a place {place} that is none is {} and not CURSOR_GONE", fault.code())),
            Ok(page) => return Err(format!("a place {place} that is none leads to {} row(s)", page.rows.len())),
        }
    }
    Ok(None)
}
