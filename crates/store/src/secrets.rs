//! Secrets as they are kept: sealed. What seals and opens them is not here, and no function here sees one in the clear.

use crosstie_domain::{
    Instant,
    secrets::{SecretOwner, SecretPlace},
};
use sea_orm::{FromQueryResult, Value};

use crate::{Reads, StoreError, Tx, codec};

/// A secret in its envelope: the secret sealed by a key of its own, and that key sealed by a master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The master key that sealed the secret's own key.
    pub key_id: String,
    /// The secret's own key, sealed.
    pub wrapped_key: Vec<u8>,
    /// What the secret was sealed with beside its key; never used twice.
    pub nonce: Vec<u8>,
    /// The secret, sealed.
    pub ciphertext: Vec<u8>,
}

/// A sealed secret where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Where it belongs.
    pub place: SecretPlace,
    /// The secret.
    pub envelope: Envelope,
    /// Rises with each new value.
    pub version: i64,
    /// When there was first a secret in this place.
    pub created_at: Instant,
    /// When its value last changed.
    pub updated_at: Instant,
    /// When its own key was last sealed by another master key.
    pub rotated_at: Option<Instant>,
}

#[derive(FromQueryResult)]
struct SecretRow {
    owner_kind: String,
    owner_id: String,
    name: String,
    key_id: String,
    wrapped_key: Vec<u8>,
    nonce: Vec<u8>,
    ciphertext: Vec<u8>,
    version: i64,
    created_at: i64,
    updated_at: i64,
    rotated_at: Option<i64>,
}

impl SecretRow {
    fn read(self) -> Result<SealedSecret, StoreError> {
        let owner = SecretOwner::parse(&self.owner_kind).ok_or(StoreError::Corrupt { column: "secrets.owner_kind" })?;
        Ok(SealedSecret {
            place: SecretPlace { owner, owner_id: self.owner_id, name: self.name },
            envelope: Envelope {
                key_id: self.key_id,
                wrapped_key: self.wrapped_key,
                nonce: self.nonce,
                ciphertext: self.ciphertext,
            },
            version: self.version,
            created_at: codec::instant("secrets.created_at", self.created_at)?,
            updated_at: codec::instant("secrets.updated_at", self.updated_at)?,
            rotated_at: codec::instant_opt("secrets.rotated_at", self.rotated_at)?,
        })
    }
}

fn place_values(place: &SecretPlace) -> Vec<Value> {
    vec![place.owner.as_str().into(), place.owner_id.clone().into(), place.name.clone().into()]
}

/// The secret in this place.
///
/// # Errors
/// As the database.
pub async fn secret(db: &impl Reads, place: &SecretPlace) -> Result<Option<SealedSecret>, StoreError> {
    let sql = "SELECT * FROM secrets WHERE owner_kind = $1 AND owner_id = $2 AND name = $3";
    let row: Option<SecretRow> = db.connection().one(sql, place_values(place)).await?;
    row.map(SecretRow::read).transpose()
}

/// The secrets of one owner, by name.
///
/// # Errors
/// As the database.
pub async fn secrets_of(db: &impl Reads, owner: SecretOwner, id: &str) -> Result<Vec<SealedSecret>, StoreError> {
    let sql = "SELECT * FROM secrets WHERE owner_kind = $1 AND owner_id = $2 ORDER BY name";
    let rows: Vec<SecretRow> = db.connection().all(sql, vec![owner.as_str().into(), id.into()]).await?;
    rows.into_iter().map(SecretRow::read).collect()
}

/// A page of secrets in the order of their places, after a place.
///
/// # Errors
/// As the database.
pub async fn secrets_after(
    db: &impl Reads,
    after: Option<&SecretPlace>,
    limit: i64,
) -> Result<Vec<SealedSecret>, StoreError> {
    let start = SecretPlace { owner: SecretOwner::Connection, owner_id: String::new(), name: String::new() };
    let mut values = place_values(after.unwrap_or(&start));
    values.push(limit.into());
    let sql = "SELECT * FROM secrets WHERE (owner_kind, owner_id, name) > ($1, $2, $3) \
               ORDER BY owner_kind, owner_id, name LIMIT $4";
    let rows: Vec<SecretRow> = db.connection().all(sql, values).await?;
    rows.into_iter().map(SecretRow::read).collect()
}

impl Tx {
    /// Keeps a secret in a place, instead of the one that was there.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_secret(&self, place: &SecretPlace, envelope: Envelope) -> Result<(), StoreError> {
        let sql = "INSERT INTO secrets (owner_kind, owner_id, name, key_id, wrapped_key, nonce, ciphertext, version, \
                   created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8) \
                   ON CONFLICT (owner_kind, owner_id, name) DO UPDATE SET key_id = excluded.key_id, \
                   wrapped_key = excluded.wrapped_key, nonce = excluded.nonce, ciphertext = excluded.ciphertext, \
                   version = secrets.version + 1, updated_at = excluded.updated_at";
        let mut values = place_values(place);
        values.extend([
            envelope.key_id.into(),
            envelope.wrapped_key.into(),
            envelope.nonce.into(),
            envelope.ciphertext.into(),
            self.now().micros().into(),
        ]);
        self.connection().run(sql, values).await.map(|_| ())
    }

    /// Keeps the own key of a secret as another master key sealed it, unless the secret changed since it was read.
    /// Returns whether it was kept.
    ///
    /// # Errors
    /// As the database.
    pub async fn rewrap_secret(&self, read: &SealedSecret, envelope: Envelope) -> Result<bool, StoreError> {
        let sql = "UPDATE secrets SET key_id = $4, wrapped_key = $5, rotated_at = $6 \
                   WHERE owner_kind = $1 AND owner_id = $2 AND name = $3 AND version = $7 AND key_id = $8";
        let mut values = place_values(&read.place);
        values.extend([
            envelope.key_id.into(),
            envelope.wrapped_key.into(),
            self.now().micros().into(),
            read.version.into(),
            read.envelope.key_id.clone().into(),
        ]);
        Ok(self.connection().run(sql, values).await? > 0)
    }

    /// Forgets the secret in a place. Returns whether there was one.
    ///
    /// # Errors
    /// As the database.
    pub async fn delete_secret(&self, place: &SecretPlace) -> Result<bool, StoreError> {
        let sql = "DELETE FROM secrets WHERE owner_kind = $1 AND owner_id = $2 AND name = $3";
        Ok(self.connection().run(sql, place_values(place)).await? > 0)
    }
}
