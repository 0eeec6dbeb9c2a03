//! Pools and transactions.

use std::{
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crosstie_domain::{Clock, Id, Instant, ids::Kind};
use sea_orm::{
    ConnAcquireErr, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, FromQueryResult, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
    sea_query::ArrayType, sqlx::Connection as _,
};
use tokio::time::timeout;

use crate::{
    StoreError,
    arrays::{Arrays, ROWS_AT_ONCE, array_type},
    gate::{WriteGate, WritePass},
    texts::Texts,
    watch::{CommitWatch, Side, Watched},
};

/// How long work waits for its turn: for a connection, and on SQLite for the writers before it.
const TURN: Duration = Duration::from_secs(10);
/// How long a statement waits for a lock that another process or transaction holds.
const LOCK: Duration = Duration::from_secs(5);
/// How long PostgreSQL keeps a transaction in which nothing happens. A process that stands still with one open would
/// otherwise keep its locks, and all others waiting, for as long as it stands.
const SILENCE: Duration = Duration::from_secs(10);

/// The database: a pool for reading and a way to write.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    reading: DatabaseConnection,
    writing: DatabaseConnection,
    backend: DbBackend,
    gate: WriteGate,
    clock: Arc<dyn Clock>,
    statements: Arc<AtomicU64>,
    watched: Watched,
}

impl Store {
    /// Opens the database at `sqlite://path` or `postgres://…`. The schema must be there already.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached.
    pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::open_with(url, clock, Watched::default()).await
    }

    /// The same with a watch over every commit: for tests that end a process at any of them.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_watched(
        url: &str,
        clock: Arc<dyn Clock>,
        watch: Arc<dyn CommitWatch>,
    ) -> Result<Self, StoreError> {
        Self::open_with(url, clock, Watched::by(watch)).await
    }

    async fn open_with(url: &str, clock: Arc<dyn Clock>, watched: Watched) -> Result<Self, StoreError> {
        let sqlite = url.starts_with("sqlite:");
        let reading = connect(url, if sqlite { 4 } else { 16 }).await?;
        let writing = if sqlite { connect(url, 1).await? } else { reading.clone() };
        let backend = reading.get_database_backend();
        Ok(Self {
            inner: Arc::new(Inner {
                reading,
                writing,
                backend,
                gate: WriteGate::default(),
                clock,
                statements: Arc::default(),
                watched,
            }),
        })
    }

    /// Begins a transaction. Whatever it does is kept by [`Tx::commit`] or not at all.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also when its turn does not come within 10 seconds.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let late = |_| StoreError::Unavailable(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        let pass = match self.is_sqlite() {
            true => Some(timeout(TURN, self.inner.gate.ordinary()).await.map_err(late)?),
            false => None,
        };
        self.begin_with(pass).await
    }

    /// Begins a transaction ahead of ordinary work: for acknowledgments.
    pub(crate) async fn begin_first(&self) -> Result<Tx, StoreError> {
        let pass = if self.is_sqlite() { Some(self.inner.gate.first().await) } else { None };
        self.begin_with(pass).await
    }

    async fn begin_with(&self, pass: Option<WritePass>) -> Result<Tx, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: self.is_sqlite().then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.inner.writing.begin_with_options(options).await?;
        let (clock, statements) = (Arc::clone(&self.inner.clock), Arc::clone(&self.inner.statements));
        let (backend, watched) = (self.inner.backend, self.inner.watched.clone());
        Ok(Tx { transaction, backend, clock, statements, watched, _pass: pass })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.inner.reading.ping().await?)
    }

    /// Brings what was written to SQLite into the main file and empties its log, so that nothing erased stays there. A
    /// reader may hold that up; then it is done at the next opportunity. Does nothing with PostgreSQL.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn empty_log(&self) -> Result<(), StoreError> {
        if self.is_sqlite() {
            let _pass = self.inner.gate.ordinary().await;
            let writing = Connection {
                way: Way::Pool(&self.inner.writing),
                backend: self.inner.backend,
                statements: &self.inner.statements,
            };
            writing.run("PRAGMA wal_checkpoint(TRUNCATE)", vec![]).await?;
        }
        Ok(())
    }

    /// Closes all connections; what is under way ends first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.writing.close_by_ref().await?;
        Ok(self.inner.reading.close_by_ref().await?)
    }

    /// The present moment.
    pub fn now(&self) -> Instant {
        self.inner.clock.now()
    }

    /// A new identifier.
    pub fn new_id<K: Kind>(&self) -> Id<K> {
        Id::from_uuid(self.inner.clock.new_uuid())
    }

    /// Whether this is the embedded database, with its single writer.
    pub fn is_sqlite(&self) -> bool {
        self.inner.backend == DbBackend::Sqlite
    }

    /// How many statements have run through this store: for tests that count them.
    pub fn statements(&self) -> u64 {
        self.inner.statements.load(Ordering::Relaxed)
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }
}

/// Opens a pool. Its connections have no age: the library looks for old ones by a count that can fall below zero when
/// connections come and go at that moment, and then never ends looking.
async fn connect(url: &str, connections: u32) -> Result<DatabaseConnection, StoreError> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).acquire_timeout(TURN).sqlx_logging(false);
    options.map_sqlx_sqlite_opts(|sqlite| {
        sqlite
            .pragma("journal_mode", "WAL")
            .pragma("synchronous", "FULL")
            .pragma("foreign_keys", "ON")
            // What is deleted or erased is overwritten in the file, not only let go of.
            .pragma("secure_delete", "ON")
            .busy_timeout(LOCK)
            .statement_cache_capacity(256)
    });
    // SQLite undoes a whole transaction by itself when the disk is full. The library does not notice and counts on from
    // there, so that what follows would never be committed: such a connection is not used again.
    options.map_sqlx_sqlite_pool_opts(|pool| {
        pool.idle_timeout(None).max_lifetime(None).after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
    });
    options.map_sqlx_postgres_pool_opts(|pool| pool.idle_timeout(None).max_lifetime(None));
    options.map_sqlx_postgres_opts(|postgres| {
        let limits = [("lock_timeout", LOCK), ("idle_in_transaction_session_timeout", SILENCE)];
        postgres
            .options(limits.map(|(name, limit)| (name, limit.as_millis().to_string())))
            .statement_cache_capacity(256)
    });
    Ok(Database::connect(options).await?)
}

/// A transaction. Dropping it undoes everything.
pub struct Tx {
    transaction: DatabaseTransaction,
    backend: DbBackend,
    clock: Arc<dyn Clock>,
    statements: Arc<AtomicU64>,
    watched: Watched,
    _pass: Option<WritePass>,
}

impl Tx {
    /// Keeps everything; on return it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], and nothing was kept.
    #[track_caller]
    pub fn commit(self) -> impl Future<Output = Result<(), StoreError>> + Send {
        let place = Location::caller();
        async move {
            self.watched.reached(Side::Before, place).await;
            self.transaction.commit().await?;
            self.watched.reached(Side::After, place).await;
            Ok(())
        }
    }

    /// The present moment.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A new identifier.
    pub fn new_id<K: Kind>(&self) -> Id<K> {
        Id::from_uuid(self.clock.new_uuid())
    }
}

/// What can be read from: the pool, or a transaction that sees its own changes.
pub trait Reads: Sync {
    #[doc(hidden)]
    fn connection(&self) -> Connection<'_>;
}

impl Reads for Store {
    fn connection(&self) -> Connection<'_> {
        Connection {
            way: Way::Pool(&self.inner.reading),
            backend: self.inner.backend,
            statements: &self.inner.statements,
        }
    }
}

impl Reads for Tx {
    fn connection(&self) -> Connection<'_> {
        Connection { way: Way::Transaction(&self.transaction), backend: self.backend, statements: &self.statements }
    }
}

/// Runs statements.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Connection<'a> {
    way: Way<'a>,
    backend: DbBackend,
    statements: &'a AtomicU64,
}

#[derive(Clone, Copy)]
enum Way<'a> {
    Pool(&'a DatabaseConnection),
    Transaction(&'a DatabaseTransaction),
}

impl Connection<'_> {
    pub(crate) fn backend(&self) -> DbBackend {
        self.backend
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.backend == DbBackend::Postgres
    }

    /// All rows of a query.
    pub(crate) async fn all<R: FromQueryResult>(&self, sql: &str, values: Vec<Value>) -> Result<Vec<R>, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let statement = Statement::from_sql_and_values(self.backend, sql, values);
        let rows = match self.way {
            Way::Pool(pool) => pool.query_all_raw(statement).await?,
            Way::Transaction(transaction) => transaction.query_all_raw(statement).await?,
        };
        rows.iter().map(|row| R::from_query_result(row, "").map_err(StoreError::from)).collect()
    }

    /// The first row of a query.
    pub(crate) async fn one<R: FromQueryResult>(&self, sql: &str, values: Vec<Value>) -> Result<Option<R>, StoreError> {
        Ok(self.all(sql, values).await?.into_iter().next())
    }

    /// Runs a statement; returns how many rows it touched.
    pub(crate) async fn run(&self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let statement = Statement::from_sql_and_values(self.backend, sql, values);
        let result = match self.way {
            Way::Pool(pool) => pool.execute_raw(statement).await?,
            Way::Transaction(transaction) => transaction.execute_raw(statement).await?,
        };
        Ok(result.rows_affected())
    }

    /// The rows of a query about any number of texts. `sql` gets the list of them, which comes after the first values.
    pub(crate) async fn all_among<R: FromQueryResult>(
        &self,
        first: &[Value],
        texts: &[impl AsRef<str>],
        sql: impl Fn(Texts) -> String,
    ) -> Result<Vec<R>, StoreError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (list, values) = self.list(first, texts);
        self.all(&sql(list), values).await
    }

    /// Runs a statement about any number of texts, as [`Connection::all_among`]. Returns how many rows it touched.
    pub(crate) async fn run_among(
        &self,
        first: &[Value],
        texts: &[impl AsRef<str>],
        sql: impl Fn(Texts) -> String,
    ) -> Result<u64, StoreError> {
        if texts.is_empty() {
            return Ok(0);
        }
        let (list, values) = self.list(first, texts);
        self.run(&sql(list), values).await
    }

    fn list(&self, first: &[Value], texts: &[impl AsRef<str>]) -> (Texts, Vec<Value>) {
        let texts = Texts::value(self.backend, texts);
        let values: Vec<Value> = first.iter().cloned().chain([texts]).collect();
        (Texts::at(self.backend, values.len()), values)
    }

    /// Holds keys until the end of the transaction, one after the other in the order that everybody takes them in, so
    /// that two who want the same ones never wait for each other. Keys of different spaces are different keys. SQLite
    /// has one writer: nothing is done there.
    pub(crate) async fn hold(&self, keys: &[String], space: i64) -> Result<(), StoreError> {
        if !self.is_postgres() {
            return Ok(());
        }
        let sql = |names: Texts| {
            format!(
                "SELECT pg_advisory_xact_lock(key) FROM (SELECT DISTINCT hashtextextended(name, $1) AS key \
                 FROM ({}) AS names (name) ORDER BY key) AS keys",
                names.rows()
            )
        };
        self.run_among(&[space.into()], keys, sql).await.map(|_| ())
    }

    /// Inserts a row, or changes the one with the same key if `when` (a condition on the old row) holds.
    /// Returns how many rows it touched.
    pub(crate) async fn save(&self, table: &str, key: &[&str], row: Columns, when: &str) -> Result<u64, StoreError> {
        self.save_all(table, key, vec![row], when).await
    }

    /// The same for rows of the same columns and different keys.
    pub(crate) async fn save_all(
        &self,
        table: &str,
        key: &[&str],
        rows: Vec<Columns>,
        when: &str,
    ) -> Result<u64, StoreError> {
        let Some(first) = rows.first() else { return Ok(0) };
        let changes: Vec<String> = first
            .iter()
            .filter(|(name, _)| !key.contains(name) && *name != "created_at")
            .map(|(name, _)| format!("{name} = excluded.{name}"))
            .collect();
        let when = if when.is_empty() { String::new() } else { format!(" WHERE {when}") };
        let change = format!(" ON CONFLICT ({}) DO UPDATE SET {}{when}", key.join(", "), changes.join(", "));
        self.insert(table, rows, &change).await
    }

    /// Inserts rows of the same columns; with `ignore`, rows whose key is taken are left out or changed.
    pub(crate) async fn insert(&self, table: &str, rows: Vec<Columns>, ignore: &str) -> Result<u64, StoreError> {
        let Some(first) = rows.first() else { return Ok(0) };
        let names: Vec<&str> = first.iter().map(|(name, _)| *name).collect();
        let types: Option<Vec<ArrayType>> = first.iter().map(|(_, value)| array_type(value)).collect();
        if let (true, Some(types)) = (self.is_postgres() && rows.len() > 1, types) {
            return self.insert_columns(table, (&names, &types), rows, ignore).await;
        }
        // SQLite takes at most 32,766 values in a statement, PostgreSQL 65,535.
        let rows_at_once = (30_000 / names.len().max(1)).max(1);
        let tuple = |from: usize| match self.backend {
            DbBackend::Postgres => marks(from, names.len()),
            // Without numbers: SQLite looks through all of them for each value.
            _ => vec!["?"; names.len()].join(", "),
        };
        let mut touched = 0;
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut values = Vec::new();
            let mut tuples = Vec::new();
            for row in rows.by_ref().take(rows_at_once) {
                tuples.push(format!("({})", tuple(values.len() + 1)));
                values.extend(row.into_iter().map(|(_, value)| value));
            }
            let sql = format!("INSERT INTO {table} ({}) VALUES {}{ignore}", names.join(", "), tuples.join(", "));
            touched += self.run(&sql, values).await?;
        }
        Ok(touched)
    }

    /// The same, a column after the other: one statement for any number of rows, which stays prepared.
    async fn insert_columns(
        &self,
        table: &str,
        (names, types): (&[&str], &[ArrayType]),
        rows: Vec<Columns>,
        ignore: &str,
    ) -> Result<u64, StoreError> {
        let mut touched = 0;
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut columns: Vec<Vec<Value>> = types.iter().map(|_| Vec::new()).collect();
            for row in rows.by_ref().take(ROWS_AT_ONCE) {
                for (column, (_, value)) in columns.iter_mut().zip(row) {
                    column.push(value);
                }
            }
            let mut sent = Arrays::default();
            let shown: Vec<String> = types.iter().zip(columns).map(|(of, column)| sent.take(of, column)).collect();
            let Arrays { values, marks, names: arrays } = sent;
            let sql = format!(
                "INSERT INTO {table} ({}) SELECT {} FROM UNNEST({}) AS sent ({}){ignore}",
                names.join(", "),
                shown.join(", "),
                marks.join(", "),
                arrays.join(", ")
            );
            touched += self.run(&sql, values).await?;
        }
        Ok(touched)
    }
}

/// A row to be written: column and value.
pub(crate) type Columns = Vec<(&'static str, Value)>;

/// `$3, $4, $5` for three values from the third on.
pub(crate) fn marks(from: usize, count: usize) -> String {
    (from..from + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct StandingClock;

    impl Clock for StandingClock {
        fn now(&self) -> Instant {
            Instant::from_micros(0).expect("the epoch is an instant")
        }

        fn new_uuid(&self) -> uuid::Uuid {
            uuid::Uuid::nil()
        }
    }

    #[derive(FromQueryResult)]
    struct Number {
        id: i64,
    }

    #[tokio::test]
    async fn after_the_database_undid_a_transaction_by_itself_what_is_committed_is_kept() {
        let folder = std::env::temp_dir().join(format!("crosstie-store-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let url = format!("sqlite://{}?mode=rwc", folder.join("undone.db").display());
        let store = Store::open(&url, Arc::new(StandingClock)).await.expect("it opens");
        let run = async |tx: &Tx, sql: &str| tx.connection().run(sql, vec![]).await;
        let tx = store.begin().await.expect("it begins");
        run(&tx, "CREATE TABLE numbers (id INTEGER PRIMARY KEY)").await.expect("the table is made");
        tx.commit().await.expect("it commits");

        let tx = store.begin().await.expect("it begins");
        run(&tx, "INSERT INTO numbers VALUES (1)").await.expect("inserted");
        // As a full disk does, this ends the transaction in the database and not in the library.
        run(&tx, "INSERT OR ROLLBACK INTO numbers VALUES (1)").await.expect_err("it is there twice");
        drop(tx);
        let tx = store.begin().await.expect("it begins");
        run(&tx, "INSERT INTO numbers VALUES (2)").await.expect("inserted");
        drop(tx);
        let tx = store.begin().await.expect("it begins");
        run(&tx, "INSERT INTO numbers VALUES (3)").await.expect("inserted");
        tx.commit().await.expect("it commits");

        let other = Store::open(&url, Arc::new(StandingClock)).await.expect("it opens");
        let kept: Vec<Number> = other.connection().all("SELECT id FROM numbers", vec![]).await.expect("read");
        assert_eq!(kept.iter().map(|number| number.id).collect::<Vec<_>>(), [3]);
        other.close().await.expect("it closes");
        store.close().await.expect("it closes");
        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    }
}
