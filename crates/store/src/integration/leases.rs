//! Leases: one process at a time does a job that must not run twice. A fence number rises with every new holder.

use sea_orm::{FromQueryResult, Value};

use crate::{Reads, Store, StoreError, Tx};

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

impl Lease {
    fn key(&self) -> Vec<Value> {
        vec![self.name.clone().into(), self.owner.clone().into(), self.fence.into()]
    }
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
        let sql = "INSERT INTO leases (name, owner, fence, until) VALUES ($1, $2, $3, $4) ON CONFLICT (name) \
                   DO UPDATE SET owner = excluded.owner, fence = excluded.fence, until = excluded.until \
                   WHERE leases.owner = excluded.owner OR leases.until <= $5";
        let until = now.plus_ms(ms).micros();
        let values = vec![name.into(), owner.into(), fence.into(), until.into(), now.micros().into()];
        let touched = tx.connection().run(sql, values).await?;
        tx.commit().await?;
        Ok((touched > 0).then(|| Lease { name: name.to_owned(), owner: owner.to_owned(), fence }))
    }

    /// Keeps a lease for so many milliseconds more. Returns whether it is still its owner's.
    ///
    /// # Errors
    /// As the database.
    pub async fn keep_lease(&self, lease: &Lease, ms: i64) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let sql = "UPDATE leases SET until = $4 WHERE name = $1 AND owner = $2 AND fence = $3";
        let mut values = lease.key();
        values.push(tx.now().plus_ms(ms).micros().into());
        let kept = tx.connection().run(sql, values).await? > 0;
        tx.commit().await?;
        Ok(kept)
    }

    /// Gives a lease back, so that nobody has to wait for its end; from then on it is nobody's, and its owner needs a
    /// new one. One that was taken over meanwhile stays.
    ///
    /// # Errors
    /// As the database.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        // The row stays, without an owner: the fence must go on rising.
        let sql = "UPDATE leases SET owner = '', until = 0 WHERE name = $1 AND owner = $2 AND fence = $3";
        tx.connection().run(sql, lease.key()).await?;
        tx.commit().await
    }

    /// Gives back all that a process holds: what is leased to its name, or to one that begins with it and a colon.
    ///
    /// # Errors
    /// As the database.
    pub async fn release_leases(&self, process: &str) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let sql = "UPDATE leases SET owner = '', until = 0 \
                   WHERE owner = $1 OR substr(owner, 1, length($1) + 1) = $1 || ':'";
        tx.connection().run(sql, vec![process.into()]).await?;
        tx.commit().await
    }
}

impl Tx {
    /// Whether a lease is still its owner's; if so nobody takes it over before the transaction ends. One that ran out
    /// and that nobody took is its owner's still: on SQLite it cannot be renewed while this transaction goes on.
    ///
    /// # Errors
    /// As the database.
    pub async fn holds_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        // A shared lock: several transactions of one holder go on side by side, and a takeover waits for all of them.
        let lock = if self.connection().is_postgres() { " FOR SHARE" } else { "" };
        let sql = format!("SELECT owner, fence, until FROM leases WHERE name = $1 AND owner = $2 AND fence = $3{lock}");
        let found: Option<LeaseRow> = self.connection().one(&sql, lease.key()).await?;
        Ok(found.is_some())
    }

    /// Whether a lease is still its owner's, and nobody takes it before this transaction ends; of several transactions
    /// of one holder one goes on at a time.
    ///
    /// # Errors
    /// As the database.
    pub async fn fence_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let sql = "UPDATE leases SET fence = fence WHERE name = $1 AND owner = $2 AND fence = $3";
        Ok(self.connection().run(sql, lease.key()).await? > 0)
    }
}
