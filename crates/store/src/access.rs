//! Persons, tokens, and answers that are kept under idempotency keys.

use crosstie_domain::{
    Instant,
    access::{Permission, PersonRecord, Principal, Role, TokenRecord},
    ids::{PersonId, TokenId},
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec};

#[derive(FromQueryResult)]
struct PersonRow {
    id: String,
    name: String,
    email: String,
    roles: String,
    row_scope: String,
    version: i32,
}

impl TryFrom<PersonRow> for PersonRecord {
    type Error = StoreError;

    fn try_from(row: PersonRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: codec::id("persons.id", &row.id)?,
            name: row.name,
            email: row.email,
            roles: codec::json("persons.roles", &row.roles)?,
            rows: codec::json("persons.row_scope", &row.row_scope)?,
            version: row.version,
        })
    }
}

/// The person with this identifier.
///
/// # Errors
/// As the database.
pub async fn person(db: &impl Reads, id: PersonId) -> Result<Option<PersonRecord>, StoreError> {
    let row =
        db.connection().one::<PersonRow>("SELECT * FROM persons WHERE id = $1", vec![id.to_string().into()]).await?;
    row.map(PersonRecord::try_from).transpose()
}

/// The person with this e-mail address, in lower case.
///
/// # Errors
/// As the database.
pub async fn person_by_email(db: &impl Reads, email: &str) -> Result<Option<PersonRecord>, StoreError> {
    let row = db.connection().one::<PersonRow>("SELECT * FROM persons WHERE email = $1", vec![email.into()]).await?;
    row.map(PersonRecord::try_from).transpose()
}

/// All persons, by e-mail address.
///
/// # Errors
/// As the database.
pub async fn persons(db: &impl Reads) -> Result<Vec<PersonRecord>, StoreError> {
    let rows = db.connection().all::<PersonRow>("SELECT * FROM persons ORDER BY email", vec![]).await?;
    rows.into_iter().map(PersonRecord::try_from).collect()
}

#[derive(FromQueryResult)]
struct TokenRow {
    id: String,
    lookup: String,
    secret_sha256: String,
    label: String,
    person_id: Option<String>,
    roles: String,
    permissions: String,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    created_at: i64,
}

impl TryFrom<TokenRow> for TokenRecord {
    type Error = StoreError;

    fn try_from(row: TokenRow) -> Result<Self, StoreError> {
        let permissions: Vec<String> = codec::json("tokens.permissions", &row.permissions)?;
        let permissions = permissions
            .iter()
            .map(|text| Permission::parse(text).ok_or(StoreError::Corrupt { column: "tokens.permissions" }))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            id: codec::id("tokens.id", &row.id)?,
            lookup: row.lookup,
            secret_sha256: row.secret_sha256,
            label: row.label,
            person: codec::id_opt("tokens.person_id", row.person_id.as_deref())?,
            roles: codec::json::<Vec<Role>>("tokens.roles", &row.roles)?,
            permissions,
            expires_at: codec::instant_opt("tokens.expires_at", row.expires_at)?,
            revoked_at: codec::instant_opt("tokens.revoked_at", row.revoked_at)?,
            created_at: codec::instant("tokens.created_at", row.created_at)?,
        })
    }
}

/// The token with this look-up part.
///
/// # Errors
/// As the database.
pub async fn token_by_lookup(db: &impl Reads, lookup: &str) -> Result<Option<TokenRecord>, StoreError> {
    let row = db.connection().one::<TokenRow>("SELECT * FROM tokens WHERE lookup = $1", vec![lookup.into()]).await?;
    row.map(TokenRecord::try_from).transpose()
}

/// The token with this identifier.
///
/// # Errors
/// As the database.
pub async fn token(db: &impl Reads, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
    let id = id.to_string();
    let row = db.connection().one::<TokenRow>("SELECT * FROM tokens WHERE id = $1", vec![id.into()]).await?;
    row.map(TokenRecord::try_from).transpose()
}

/// All tokens, newest first.
///
/// # Errors
/// As the database.
pub async fn tokens(db: &impl Reads) -> Result<Vec<TokenRecord>, StoreError> {
    let rows = db.connection().all::<TokenRow>("SELECT * FROM tokens ORDER BY id DESC", vec![]).await?;
    rows.into_iter().map(TokenRecord::try_from).collect()
}

/// An answer that was given under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The operation that gave it.
    pub operation: String,
    /// Hash of what was asked.
    pub request_sha256: String,
    /// What it came to: the identifier of the record.
    pub result: String,
}

#[derive(FromQueryResult)]
struct KeptRow {
    operation: String,
    request_sha256: String,
    result: String,
}

impl Tx {
    /// Saves a person: a new one at version 1, or the next version of one that nobody else changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn save_person(&self, person: &PersonRecord) -> Result<(), StoreError> {
        let row = vec![
            ("id", person.id.to_string().into()),
            ("name", person.name.clone().into()),
            ("email", person.email.clone().into()),
            ("roles", codec::json_text(&person.roles).into()),
            ("row_scope", codec::json_text(&person.rows).into()),
            ("version", person.version.into()),
        ];
        self.save_versioned("persons", row).await
    }

    /// Saves a token.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        let permissions: Vec<&str> = token.permissions.iter().map(|permission| permission.as_str()).collect();
        let row = vec![
            ("id", token.id.to_string().into()),
            ("lookup", token.lookup.clone().into()),
            ("secret_sha256", token.secret_sha256.clone().into()),
            ("label", token.label.clone().into()),
            ("person_id", token.person.map(|id| id.to_string()).into()),
            ("roles", codec::json_text(&token.roles).into()),
            ("permissions", codec::json_text(&permissions).into()),
            ("expires_at", token.expires_at.map(Instant::micros).into()),
            ("revoked_at", token.revoked_at.map(Instant::micros).into()),
            ("created_at", token.created_at.micros().into()),
        ];
        self.connection().save("tokens", &["id"], row, "").await.map(|_| ())
    }

    /// Ends a token at once.
    ///
    /// # Errors
    /// As the database.
    pub async fn revoke_token(&self, id: TokenId) -> Result<bool, StoreError> {
        let sql = "UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
        let values = vec![self.now().micros().into(), id.to_string().into()];
        Ok(self.connection().run(sql, values).await? > 0)
    }

    /// The answer that this principal was given under an idempotency key, while it is kept.
    ///
    /// # Errors
    /// As the database.
    pub async fn kept_answer(&self, principal: Principal, key: &str) -> Result<Option<KeptAnswer>, StoreError> {
        let sql = "SELECT operation, request_sha256, result FROM idempotency_keys \
                   WHERE principal = $1 AND idempotency_key = $2 AND expires_at > $3";
        let values = vec![principal.to_string().into(), key.into(), self.now().micros().into()];
        let row = self.connection().one::<KeptRow>(sql, values).await?;
        Ok(row.map(|KeptRow { operation, request_sha256, result }| KeptAnswer { operation, request_sha256, result }))
    }

    /// Keeps an answer under an idempotency key for 24 hours.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another request with this key was answered at the same time.
    pub async fn keep_answer(&self, principal: Principal, key: &str, answer: &KeptAnswer) -> Result<(), StoreError> {
        let now = self.now();
        let row = vec![
            ("principal", principal.to_string().into()),
            ("idempotency_key", key.into()),
            ("operation", answer.operation.clone().into()),
            ("request_sha256", answer.request_sha256.clone().into()),
            ("result", answer.result.clone().into()),
            ("expires_at", now.plus_ms(86_400_000).micros().into()),
        ];
        let when = format!("idempotency_keys.expires_at <= {}", now.micros());
        let kept = self.connection().save("idempotency_keys", &["principal", "idempotency_key"], row, &when).await?;
        if kept == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }
}
