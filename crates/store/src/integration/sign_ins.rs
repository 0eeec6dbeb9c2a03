//! How connections sign in by OAuth 2.0, and authorizations that were begun. Tokens are among the secrets.

use crosstie_domain::{
    ids::ConnectionId,
    integration::{AuthorizationRecord, SignInRecord},
};
use sea_orm::FromQueryResult;

use crate::{Reads, StoreError, Tx, codec, db::marks};

#[derive(FromQueryResult)]
struct SignInRow {
    connection: String,
    state: String,
    code: Option<String>,
    may_try: i32,
    generation: i64,
    asking_fence: Option<i64>,
    expires_at: Option<i64>,
    origin_sha256: Option<String>,
    configuration_sha256: Option<String>,
    authorization_page: Option<String>,
    redirect_url: Option<String>,
    changed_at: i64,
    renewed_at: Option<i64>,
}

impl SignInRow {
    fn read(self) -> Result<SignInRecord, StoreError> {
        Ok(SignInRecord {
            connection: self.connection,
            state: codec::word("connection_sign_ins.state", self.state)?,
            code: self.code,
            may_try: self.may_try != 0,
            generation: self.generation,
            asking_fence: self.asking_fence,
            renew_at: codec::instant_opt("connection_sign_ins.expires_at", self.expires_at)?,
            origin_sha256: self.origin_sha256,
            configuration_sha256: self.configuration_sha256,
            authorization_page: self.authorization_page,
            redirect_url: self.redirect_url,
            changed_at: codec::instant("connection_sign_ins.changed_at", self.changed_at)?,
            renewed_at: codec::instant_opt("connection_sign_ins.renewed_at", self.renewed_at)?,
        })
    }
}

#[derive(FromQueryResult)]
struct AuthorizationRow {
    connection: String,
    state_sha256: String,
    redirect_url: String,
    begun_by: String,
    expires_at: i64,
}

/// How the connections of these names sign in; those that do not by OAuth 2.0, or never have, are left out.
///
/// # Errors
/// As the database.
pub async fn sign_ins_of(db: &impl Reads, connections: &[String]) -> Result<Vec<SignInRecord>, StoreError> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let marks = marks(1, connections.len());
    let sql = format!("SELECT * FROM connection_sign_ins WHERE connection IN ({marks})");
    let names = connections.iter().map(|name| name.clone().into()).collect();
    let rows: Vec<SignInRow> = db.connection().all(&sql, names).await?;
    rows.into_iter().map(SignInRow::read).collect()
}

impl Tx {
    /// How a connection signs in, or that nothing is known of it; nobody changes it before the transaction ends.
    ///
    /// # Errors
    /// As the database.
    pub async fn sign_in(&self, connection: &str) -> Result<SignInRecord, StoreError> {
        let lock = if self.connection().is_postgres() { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT * FROM connection_sign_ins WHERE connection = $1{lock}");
        let row: Option<SignInRow> = self.connection().one(&sql, vec![connection.into()]).await?;
        row.map_or_else(|| Ok(SignInRecord::new(connection, self.now())), SignInRow::read)
    }

    /// Saves how a connection signs in.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_sign_in(&self, record: &SignInRecord) -> Result<(), StoreError> {
        let row = vec![
            ("connection", record.connection.clone().into()),
            ("state", codec::text(&record.state).into()),
            ("code", record.code.clone().into()),
            ("may_try", i32::from(record.may_try).into()),
            ("generation", record.generation.into()),
            ("asking_fence", record.asking_fence.into()),
            ("expires_at", record.renew_at.map(|at| at.micros()).into()),
            ("origin_sha256", record.origin_sha256.clone().into()),
            ("configuration_sha256", record.configuration_sha256.clone().into()),
            ("authorization_page", record.authorization_page.clone().into()),
            ("redirect_url", record.redirect_url.clone().into()),
            ("changed_at", record.changed_at.micros().into()),
            ("renewed_at", record.renewed_at.map(|at| at.micros()).into()),
        ];
        self.connection().save("connection_sign_ins", &["connection"], row, "").await.map(|_| ())
    }

    /// Lets readings of a connection that failed be tried again now.
    ///
    /// # Errors
    /// As the database.
    pub async fn read_again_now(&self, connection: ConnectionId) -> Result<(), StoreError> {
        let sql = "UPDATE cursors SET next_run_at = $2 WHERE connection_id = $1 AND failures > 0 AND next_run_at > $2";
        let values = vec![connection.to_string().into(), self.now().micros().into()];
        self.connection().run(sql, values).await.map(|_| ())
    }

    /// The authorization of a connection that was begun last and is not finished; nobody takes it before the
    /// transaction ends.
    ///
    /// # Errors
    /// As the database.
    pub async fn authorization(&self, connection: &str) -> Result<Option<AuthorizationRecord>, StoreError> {
        let lock = if self.connection().is_postgres() { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT * FROM connection_authorizations WHERE connection = $1{lock}");
        let row: Option<AuthorizationRow> = self.connection().one(&sql, vec![connection.into()]).await?;
        row.map(|row| {
            Ok(AuthorizationRecord {
                connection: row.connection,
                state_sha256: row.state_sha256,
                redirect_url: row.redirect_url,
                begun_by: row.begun_by,
                expires_at: codec::instant("connection_authorizations.expires_at", row.expires_at)?,
            })
        })
        .transpose()
    }

    /// Saves an authorization that begins, instead of one that was begun before.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_authorization(&self, record: &AuthorizationRecord) -> Result<(), StoreError> {
        let row = vec![
            ("connection", record.connection.clone().into()),
            ("state_sha256", record.state_sha256.clone().into()),
            ("redirect_url", record.redirect_url.clone().into()),
            ("begun_by", record.begun_by.clone().into()),
            ("expires_at", record.expires_at.micros().into()),
        ];
        self.connection().save("connection_authorizations", &["connection"], row, "").await.map(|_| ())
    }

    /// Forgets the authorization of a connection: it is finished, or cannot be.
    ///
    /// # Errors
    /// As the database.
    pub async fn delete_authorization(&self, connection: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM connection_authorizations WHERE connection = $1";
        self.connection().run(sql, vec![connection.into()]).await.map(|_| ())
    }
}
