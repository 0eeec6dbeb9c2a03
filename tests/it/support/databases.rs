//! Fresh databases: SQLite in a file for every test, PostgreSQL too when a server is named.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crosstie_app::SystemClock;
use crosstie_domain::Clock;
use crosstie_store::Store;
use sea_orm::{ConnectOptions, ConnectionTrait, Database as Orm, DatabaseConnection};

use super::{TestClock, variable};

/// A database of one test alone, with the schema in it.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) clock: Arc<TestClock>,
    /// The folder of the file; none with PostgreSQL.
    folder: Option<PathBuf>,
}

impl Database {
    /// A database that is there already, and stays when the test ends.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.to_owned(), clock: Arc::new(TestClock::standing()), folder: None }
    }

    /// Its name at the PostgreSQL server.
    pub(crate) fn name(&self) -> &str {
        self.url.rsplit('/').next().expect("an address has an end")
    }

    /// Another way in, as another process has one.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.url, self.clock.clone()).await.expect("the database opens")
    }

    /// Empties tables, so that what comes next begins with nothing in them.
    pub(crate) async fn empty(&self, tables: &[&str]) {
        let raw = self.raw().await;
        let all: String = tables.iter().map(|table| format!("DELETE FROM {table}; ")).collect();
        raw.execute_unprepared(&format!("BEGIN; {all}COMMIT")).await.expect("they are emptied");
        raw.close().await.expect("it closes");
    }

    /// One connection beside the store, for what the store never does.
    pub(crate) async fn raw(&self) -> DatabaseConnection {
        connect(&self.url).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // A folder that stays is the system's to clean up.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Runs a test on a new SQLite database, and on a new PostgreSQL database when `CROSSTIE_TEST_POSTGRES` names a server.
/// The clock stands still and moves when the test says so.
pub(crate) async fn on_each_database(test: impl AsyncFn(&Database)) {
    on_each(Kept::OnDisk, test).await;
}

/// The same for a test that commits thousands of times: nothing of that has to outlive the machine.
pub(crate) async fn on_each_quick_database(test: impl AsyncFn(&Database)) {
    on_each(Kept::InMemory, test).await;
}

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    OnDisk,
    InMemory,
}

async fn on_each(kept: Kept, test: impl AsyncFn(&Database)) {
    let database = sqlite(kept).await;
    test(&database).await;
    drop(database);
    let Some(server) = variable("CROSSTIE_TEST_POSTGRES") else {
        println!("NOT RUN: PostgreSQL (CROSSTIE_TEST_POSTGRES is not set)");
        return;
    };
    let database = postgres(&server, kept).await;
    test(&database).await;
    let admin = connect(&server).await;
    admin
        .execute_unprepared(&format!("DROP DATABASE {} WITH (FORCE)", database.name()))
        .await
        .expect("it can be dropped");
    admin.close().await.expect("it closes");
}

async fn sqlite(kept: Kept) -> Database {
    let memory = Path::new("/dev/shm");
    let place = if kept == Kept::InMemory && memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = place.join(format!("crosstie-it-{}", SystemClock::default().new_uuid()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let url = format!("sqlite://{}?mode=rwc", folder.join("crosstie.db").display());
    crosstie_migrations::migrate(&url).await.expect("migrations apply");
    Database { url, clock: Arc::new(TestClock::standing()), folder: Some(folder) }
}

async fn postgres(server: &str, kept: Kept) -> Database {
    let name = format!("it_{}", SystemClock::default().new_uuid().simple());
    let admin = connect(server).await;
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a database can be made");
    if kept == Kept::InMemory {
        let sql = format!("ALTER DATABASE {name} SET synchronous_commit = off");
        admin.execute_unprepared(&sql).await.expect("it need not wait for the disk");
    }
    admin.close().await.expect("it closes");
    let (server, _) = server.rsplit_once('/').expect("an address with a database");
    let url = format!("{server}/{name}");
    crosstie_migrations::migrate(&url).await.expect("migrations apply");
    Database { url, clock: Arc::new(TestClock::standing()), folder: None }
}

/// One connection, which never grows old: see the store's pools.
pub(crate) async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    options.map_sqlx_sqlite_pool_opts(|pool| pool.idle_timeout(None).max_lifetime(None));
    options.map_sqlx_postgres_pool_opts(|pool| pool.idle_timeout(None).max_lifetime(None));
    Orm::connect(options).await.expect("the database can be reached")
}
