//! Fresh databases: SQLite in a file for every test, PostgreSQL too when a server is named.

use std::{path::PathBuf, sync::Arc};

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
    let database = sqlite().await;
    test(&database).await;
    drop(database);
    let Some(server) = variable("CROSSTIE_TEST_POSTGRES") else {
        println!("NOT RUN: PostgreSQL (CROSSTIE_TEST_POSTGRES is not set)");
        return;
    };
    let database = postgres(&server).await;
    test(&database).await;
    let admin = connect(&server).await;
    admin
        .execute_unprepared(&format!("DROP DATABASE {} WITH (FORCE)", database.name()))
        .await
        .expect("it can be dropped");
    admin.close().await.expect("it closes");
}

async fn sqlite() -> Database {
    let folder = std::env::temp_dir().join(format!("crosstie-it-{}", SystemClock::default().new_uuid()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let url = format!("sqlite://{}?mode=rwc", folder.join("crosstie.db").display());
    crosstie_migrations::migrate(&url).await.expect("migrations apply");
    Database { url, clock: Arc::new(TestClock::standing()), folder: Some(folder) }
}

async fn postgres(server: &str) -> Database {
    let name = format!("it_{}", SystemClock::default().new_uuid().simple());
    let admin = connect(server).await;
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a database can be made");
    admin.close().await.expect("it closes");
    let (server, _) = server.rsplit_once('/').expect("an address with a database");
    let url = format!("{server}/{name}");
    crosstie_migrations::migrate(&url).await.expect("migrations apply");
    Database { url, clock: Arc::new(TestClock::standing()), folder: None }
}

/// One connection, which never grows old: see the store's pools.
async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    options.map_sqlx_sqlite_pool_opts(|pool| pool.idle_timeout(None).max_lifetime(None));
    options.map_sqlx_postgres_pool_opts(|pool| pool.idle_timeout(None).max_lifetime(None));
    Orm::connect(options).await.expect("the database can be reached")
}
