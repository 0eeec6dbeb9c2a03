#![doc = include_str!("../README.md")]

mod m0001_first;
mod m0002_identity;
mod m0004_webhooks;
mod m0005_secrets;
mod m0006_exchanges;
mod m0008_mapping;
mod m0009_pushes;
mod m0010_reading;
mod m0012_budgets;
mod m0013_replay;
mod m0014_pressure;
mod m0015_erasure;
mod m0016_adoption;
mod m0018_item_codes;
mod m0019_custom_fields;
mod sql;

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::{MigrationTrait, async_trait};

/// All migrations in their order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first::Migration),
            Box::new(m0002_identity::Migration),
            Box::new(m0004_webhooks::Migration),
            Box::new(m0005_secrets::Migration),
            Box::new(m0006_exchanges::Migration),
            Box::new(m0008_mapping::Migration),
            Box::new(m0009_pushes::Migration),
            Box::new(m0010_reading::Migration),
            Box::new(m0012_budgets::Migration),
            Box::new(m0013_replay::Migration),
            Box::new(m0014_pressure::Migration),
            Box::new(m0015_erasure::Migration),
            Box::new(m0016_adoption::Migration),
            Box::new(m0018_item_codes::Migration),
            Box::new(m0019_custom_fields::Migration),
        ]
    }
}

/// How long a statement waits for another process that has the SQLite file.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

/// Applies every migration that is missing to the database at this address.
///
/// # Errors
/// When the database cannot be reached or refuses a statement.
pub async fn migrate(url: &str) -> Result<(), sea_orm_migration::DbErr> {
    let connection = connect(url).await?;
    Migrator::up(&connection, None).await?;
    connection.close().await
}

/// How many migrations the database at this address lacks.
///
/// # Errors
/// When the database cannot be reached.
pub async fn missing(url: &str) -> Result<usize, sea_orm_migration::DbErr> {
    let connection = connect(url).await?;
    let missing = Migrator::get_pending_migrations(&connection).await?.len();
    connection.close().await?;
    Ok(missing)
}

async fn connect(url: &str) -> Result<sea_orm_migration::sea_orm::DatabaseConnection, sea_orm_migration::DbErr> {
    let mut options = sea_orm_migration::sea_orm::ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    // A SQLite file keeps its mode: two who open it at once would get into each other's way over changing it.
    options.map_sqlx_sqlite_opts(|sqlite| sqlite.pragma("journal_mode", "WAL").busy_timeout(BUSY));
    // Looking for old connections may never end in this library, and one that migrates does not grow old.
    options.map_sqlx_sqlite_pool_opts(|pool| pool.idle_timeout(None).max_lifetime(None));
    options.map_sqlx_postgres_pool_opts(|pool| pool.idle_timeout(None).max_lifetime(None));
    sea_orm_migration::sea_orm::Database::connect(options).await
}
