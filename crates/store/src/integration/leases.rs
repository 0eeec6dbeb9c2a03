//! Leases: one process at a time does a job that must not run twice. A fence number rises with every new holder.

use sea_orm::FromQueryResult;

use crate::{Reads, Store, StoreError};

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is leased.
    pub name: String,
    /// Who holds it.
    pub owner: String,
    /// Rises with every new holder.
    pub fence: i64,
}

#[derive(FromQueryResult)]
struct LeaseRow {
    owner: String,
    fence: i64,
    until: i64,
}

impl Store {
    /// Takes or renews a lease for so many milliseconds; `None` while somebody else holds it.
    ///
    /// # Errors
    /// As the database.
    pub async fn lease(&self, name: &str, owner: &str, ms: i64) -> Result<Option<Lease>, StoreError> {
        let tx = self.begin().await?;
        let now = tx.now();
        let lock = if tx.connection().is_postgres() { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT owner, fence, until FROM leases WHERE name = $1{lock}");
        let found: Option<LeaseRow> = tx.connection().one(&sql, vec![name.into()]).await?;
        let fence = match found {
            Some(row) if row.owner == owner => row.fence,
            Some(row) if row.until > now.micros() => return Ok(None),
            Some(row) => row.fence + 1,
            None => 1,
        };
        let row = vec![
            ("name", name.into()),
            ("owner", owner.into()),
            ("fence", fence.into()),
            ("until", now.plus_ms(ms).micros().into()),
        ];
        let when = format!("leases.owner = '{}' OR leases.until <= {}", owner.replace('\'', ""), now.micros());
        let touched = tx.connection().save("leases", &["name"], row, &when).await?;
        tx.commit().await?;
        Ok((touched > 0).then(|| Lease { name: name.to_owned(), owner: owner.to_owned(), fence }))
    }
}
