//! Back-fill from end to end: customers of a local system are fetched page by page, mapped, recognized and written with
//! lineage, history and cursor; then the same pages once more, where nothing is new. A peer, `dlt`, brings the same
//! pages into the same kind of database by merging.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crosstie_app::{App, SystemClock, new_slice};
use crosstie_domain::integration::{BackfillRecord, BackfillStatus, ConnectionMode, Entity, RunTrigger};
use crosstie_sdk::{Credentials, NetOptions, ReqwestTransport, Secret, Settings};
use crosstie_store::Store;
use crosstie_sync::{Connection, ConnectionSetup, Connections, Engine, ReadingOptions};
use serde_json::Value as Json;
use tokio::process::Command;

use crate::{
    rows::{Customers, serve},
    support::variable,
};

/// Records, unless `CROSSTIE_BENCH_RECORDS` says another number.
const RECORDS: u64 = 20_000;

/// Measures a hub on this database, and the peer beside it.
pub(crate) async fn measure(name: &str, database: &str, folder: &Path) {
    let records = variable("CROSSTIE_BENCH_RECORDS").map_or(RECORDS, |text| text.parse().expect("a number of records"));
    let address = serve(records).await;
    let base_url = format!("http://{address}");
    let store = Store::open(database, Arc::new(SystemClock::default())).await.expect("the database can be opened");
    let engine = engine(&store, &base_url).await;
    let connection = engine.connections().named("customers").expect("it is configured");
    let watch = Watch::start();
    let first = load(&engine, connection, &store, &watch, records).await;
    first.tell(name, "first load");
    ask_again(&store, connection).await;
    let again = load(&engine, connection, &store, &watch, records).await;
    again.tell(name, "unchanged");
    store.close().await.expect("the database can be closed");

    let Some(python) = variable("CROSSTIE_BENCH_DLT") else {
        println!("NOT RUN: dlt (CROSSTIE_BENCH_DLT names no Python that has it; see tests/bench/dlt.sh)");
        return;
    };
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bench/dlt_load.py");
    let folder = folder.join(format!("dlt-{name}"));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let output = Command::new(python)
        .arg(script)
        .args([base_url.as_str(), database])
        .arg(&folder)
        .current_dir(&folder)
        .output()
        .await
        .expect("Python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "dlt failed: {said}{}", String::from_utf8_lossy(&output.stderr));
    let told: Json = serde_json::from_str(said.lines().last().unwrap_or_default()).expect("it tells its times");
    assert_eq!(told["records"].as_u64(), Some(records), "both brought the same: {told}");
    for (what, hub, key) in [("first load", &first, "first_seconds"), ("unchanged", &again, "again_seconds")] {
        let seconds = told[key].as_f64().expect("a number");
        let rate = number(records) / seconds;
        println!(
            "{name}: back-fill by dlt, {what}: {rate:.0} records/s; the hub is {:.2} times as fast",
            hub.rate() / rate
        );
    }
}

/// What one pass over all records came to.
struct Pass {
    records: u64,
    took: Duration,
    statements: u64,
    /// Resident memory in KiB when a tenth was there, at the end, and at most.
    memory: [u64; 3],
}

impl Pass {
    fn rate(&self) -> f64 {
        number(self.records) / self.took.as_secs_f64()
    }

    fn tell(&self, name: &str, what: &str) {
        let per_record = number(self.statements) / number(self.records);
        let [early, late, peak] = self.memory.map(|kib| kib / 1_024);
        println!(
            "{name}: back-fill of {} records, {what}: {:.0} records/s, {per_record:.2} statements a record, \
             {early} MiB after a tenth, {late} MiB at the end, {peak} MiB at most",
            self.records,
            self.rate()
        );
    }
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("fewer than four thousand million"))
}

async fn engine(store: &Store, base_url: &str) -> Arc<Engine> {
    let app = App::new(store.clone());
    let setup = ConnectionSetup {
        name: "customers".to_owned(),
        connector: &Customers,
        net: NetOptions {
            base_url: Some(base_url.to_owned()),
            credentials: Credentials::Bearer(Secret::new("bench")),
            settings: Settings::default(),
            transport: Arc::new(ReqwestTransport::new().expect("the network can be used")),
        },
        webhook_secrets: vec![],
        arms: vec![],
        mode: ConnectionMode::TwoWay,
        reading: ReadingOptions::default(),
    };
    let connections = Connections::set_up(&app, vec![setup]).await.expect("the connection is good");
    Engine::new(app, connections, "bench".to_owned())
}

/// Reads what is due, to the end: what changed, and whatever is left to back-fills. As in a hub, a worker of the runtime
/// does that.
async fn load(engine: &Arc<Engine>, connection: &Arc<Connection>, store: &Store, watch: &Watch, records: u64) -> Pass {
    let (engine, connection) = (Arc::clone(engine), Arc::clone(connection));
    watch.begin();
    let (begin, before) = (Instant::now(), store.statements());
    let reading = tokio::spawn(async move {
        let declared = &connection.connector.descriptor().reads[0];
        let due = engine.work_on_backfills(&connection, declared).await.expect("the database answers");
        if !due {
            let run = engine.pull(&connection, declared, RunTrigger::Manual).await.expect("the database answers");
            let run = run.expect("nobody else reads");
            assert!(run.error_code.is_none(), "{run:?}");
        }
        while engine.work_on_backfills(&connection, declared).await.expect("the database answers") {}
    });
    reading.await.expect("everything is read");
    let (took, statements) = (begin.elapsed(), store.statements() - before);
    Pass { records, took, statements, memory: watch.end() }
}

/// Asks for all of it once more.
async fn ask_again(store: &Store, connection: &Connection) {
    let tx = store.begin().await.expect("a transaction begins");
    let backfill = BackfillRecord {
        id: tx.new_id(),
        connection_id: connection.record.id,
        entity: Entity::Account,
        trigger: RunTrigger::Backfill,
        remote_id: None,
        since: None,
        until: tx.now(),
        status: BackfillStatus::Waiting,
        requested_by: "bench".to_owned(),
        created_at: tx.now(),
        finished_at: None,
    };
    tx.save_backfill(&backfill).await.expect("saved");
    tx.save_slice(&new_slice(&backfill, 0, None, backfill.until)).await.expect("saved");
    tx.commit().await.expect("it commits");
}

/// Looks at the memory of this process every tenth of a second.
struct Watch {
    samples: Arc<std::sync::Mutex<Vec<u64>>>,
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn start() -> Self {
        let watch = Self { samples: Arc::default(), peak: Arc::default(), over: Arc::default() };
        let (samples, peak, over) = (Arc::clone(&watch.samples), Arc::clone(&watch.peak), Arc::clone(&watch.over));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let now = resident_kib();
                peak.fetch_max(now, Ordering::Relaxed);
                samples.lock().expect("nobody panicked").push(now);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        watch
    }

    fn begin(&self) {
        self.samples.lock().expect("nobody panicked").clear();
        self.peak.store(resident_kib(), Ordering::Relaxed);
    }

    fn end(&self) -> [u64; 3] {
        let samples = self.samples.lock().expect("nobody panicked");
        let early = samples.get(samples.len() / 10).copied().unwrap_or_else(resident_kib);
        [early, resident_kib(), self.peak.load(Ordering::Relaxed)]
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The resident memory of this process; 0 where the system does not tell.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
