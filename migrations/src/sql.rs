//! Runs statements that are written once for both databases.

use sea_orm_migration::{
    DbErr, SchemaManager,
    sea_orm::{ConnectionTrait, DbBackend},
};

/// Runs the statements of a text, which are parted by lines that hold nothing but `;`.
pub(crate) async fn run(manager: &SchemaManager<'_>, text: &str) -> Result<(), DbErr> {
    let postgres = manager.get_database_backend() == DbBackend::Postgres;
    for statement in text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        manager.get_connection().execute_unprepared(&adapt(statement, postgres)).await?;
        if postgres && statement.contains("{partition:") {
            let table = statement.split_whitespace().nth(2).unwrap_or_default().trim_end_matches('(');
            let rest = format!("CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT");
            manager.get_connection().execute_unprepared(&rest).await?;
        }
    }
    Ok(())
}

fn adapt(statement: &str, postgres: bool) -> String {
    let mut text = statement
        .replace("{bytes}", if postgres { "BYTEA" } else { "BLOB" })
        .replace("{binary}", if postgres { "COLLATE \"C\"" } else { "" });
    if let Some(start) = text.find("{partition:") {
        let end = text[start..].find('}').map_or(text.len(), |length| start + length + 1);
        let column = text[start + "{partition:".len()..end - 1].to_owned();
        let clause = if postgres { format!("PARTITION BY RANGE ({column})") } else { String::new() };
        text.replace_range(start..end, &clause);
    }
    text
}
