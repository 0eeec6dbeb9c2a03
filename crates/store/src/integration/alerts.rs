//! Alerts: opened once, counted on, closed once. Opening and closing are changes that subscribers hear of.

use crosstie_domain::{
    access::{Principal, RowScope},
    ids::{AlertId, ConnectionId, kind},
    integration::{AlertKey, AlertRecord, AlertState, EffectStatus, Entity, InboundStatus},
};
use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use crate::{Change, Expression, Listed, PageRequest, PageResult, Reads, StoreError, Tx, codec, page, pipeline::texts};

/// What alerts are filtered and ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertColumn {
    /// Identifier; alerts that opened later have larger ones.
    Id,
    /// What it is about.
    Kind,
    /// Connection.
    Connection,
    /// Kind of record.
    Entity,
    /// How it stands.
    State,
    /// When it opened.
    OpenedAt,
}

#[doc(hidden)]
#[derive(FromQueryResult)]
pub struct AlertRow {
    id: String,
    kind: String,
    connection_id: Option<String>,
    entity: Option<String>,
    subscription_id: Option<String>,
    state: String,
    count: i32,
    message: String,
    version: i32,
    opened_at: i64,
    updated_at: i64,
    closed_at: Option<i64>,
}

impl Listed for AlertRecord {
    type Column = AlertColumn;
    type Row = AlertRow;
    const SELECT: &'static str = "alerts.*";
    const FROM: &'static str = "alerts";
    const ID: &'static str = "alerts.id";
    const ACCOUNT: Option<&'static str> = None;

    fn expression(column: AlertColumn) -> Expression {
        match column {
            AlertColumn::Id => Expression::Required("alerts.id"),
            AlertColumn::Kind => Expression::Required("alerts.kind"),
            AlertColumn::Connection => Expression::Optional("alerts.connection_id"),
            AlertColumn::Entity => Expression::Optional("alerts.entity"),
            AlertColumn::State => Expression::Required("alerts.state"),
            AlertColumn::OpenedAt => Expression::Required("alerts.opened_at"),
        }
    }

    fn record(row: AlertRow) -> Result<Self, StoreError> {
        let entity = |text: String| Entity::parse(&text).ok_or(StoreError::Corrupt { column: "alerts.entity" });
        Ok(Self {
            id: codec::id("alerts.id", &row.id)?,
            kind: codec::word("alerts.kind", row.kind)?,
            connection_id: codec::id_opt("alerts.connection_id", row.connection_id.as_deref())?,
            entity: row.entity.map(entity).transpose()?,
            subscription_id: codec::id_opt("alerts.subscription_id", row.subscription_id.as_deref())?,
            state: codec::word("alerts.state", row.state)?,
            count: row.count,
            message: row.message,
            version: row.version,
            opened_at: codec::instant("alerts.opened_at", row.opened_at)?,
            updated_at: codec::instant("alerts.updated_at", row.updated_at)?,
            closed_at: codec::instant_opt("alerts.closed_at", row.closed_at)?,
        })
    }

    fn key(&self, column: AlertColumn) -> Json {
        match column {
            AlertColumn::Id => json!(self.id.to_string()),
            AlertColumn::Kind => json!(self.kind.as_str()),
            AlertColumn::Connection => json!(self.connection_id.map(|id| id.to_string())),
            AlertColumn::Entity => json!(self.entity.map(Entity::as_str)),
            AlertColumn::State => json!(codec::text(&self.state)),
            AlertColumn::OpenedAt => json!(self.opened_at.micros()),
        }
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A page of alerts.
///
/// # Errors
/// As the database.
pub async fn alerts(
    db: &impl Reads,
    scope: &RowScope,
    request: &PageRequest<AlertColumn>,
) -> Result<PageResult<AlertRecord>, StoreError> {
    page::page(db, scope, request).await
}

/// The alerts with these identifiers that the scope shows, in any order.
///
/// # Errors
/// As the database.
pub async fn alerts_by_ids(db: &impl Reads, scope: &RowScope, ids: &[AlertId]) -> Result<Vec<AlertRecord>, StoreError> {
    page::by_ids(db, scope, "alerts.id", &texts(ids)).await
}

/// Every open alert, the oldest first: there is at most one for each thing that can be wrong.
///
/// # Errors
/// As the database.
pub async fn open_alerts(db: &impl Reads) -> Result<Vec<AlertRecord>, StoreError> {
    let sql = "SELECT * FROM alerts WHERE state = $1 ORDER BY id";
    let rows: Vec<AlertRow> = db.connection().all(sql, vec![codec::text(&AlertState::Open).into()]).await?;
    rows.into_iter().map(AlertRecord::record).collect()
}

/// What waits for a person at one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Rows that could not be applied.
    pub rows: i64,
    /// Inbound events that could not be applied.
    pub events: i64,
    /// Effects that were refused or given up, or of which nobody knows whether they happened.
    pub effects: i64,
}

impl Waiting {
    /// All of it.
    pub fn total(self) -> i64 {
        self.rows + self.events + self.effects
    }
}

/// What waits for a person at a connection.
///
/// # Errors
/// As the database.
pub async fn waiting_for_a_person(db: &impl Reads, connection: ConnectionId) -> Result<Waiting, StoreError> {
    #[derive(FromQueryResult)]
    struct Counts {
        parked: i64,
        events: i64,
        refused: i64,
    }
    // The words stand in the text, so that the indexes of these words alone are used.
    let parked = codec::text(&InboundStatus::Parked);
    let waiting = EffectStatus::FOR_A_PERSON.map(|status| format!("'{}'", status.as_str())).join(", ");
    let sql = format!(
        "SELECT (SELECT COUNT(*) FROM parked_rows WHERE connection_id = $1) AS parked, \
         (SELECT COUNT(*) FROM inbound_events WHERE connection_id = $1 AND status = '{parked}') AS events, \
         (SELECT COUNT(*) FROM effects WHERE connection_id = $1 AND status IN ({waiting})) AS refused"
    );
    let counts: Option<Counts> = db.connection().one(&sql, vec![connection.to_string().into()]).await?;
    Ok(counts.map_or_else(Waiting::default, |counts| Waiting {
        rows: counts.parked,
        events: counts.events,
        effects: counts.refused,
    }))
}

#[derive(FromQueryResult)]
struct KeptRow {
    count: i32,
    message: String,
}

#[derive(FromQueryResult)]
struct ClosedRow {
    id: String,
    version: i32,
}

/// How a key stands in its column while the alert is open.
fn open_key(key: &AlertKey) -> String {
    let parts = [
        key.connection.map(|id| id.to_string()),
        key.entity.map(|entity| entity.as_str().to_owned()),
        key.subscription.map(|id| id.to_string()),
    ];
    let parts: Vec<String> = parts.into_iter().map(Option::unwrap_or_default).collect();
    format!("{}/{}", key.kind.as_str(), parts.join("/"))
}

impl Tx {
    /// Opens an alert and announces it, or, when it is open already, keeps its count and message without another
    /// announcement. The count is at least 1. Returns whether it was opened now.
    ///
    /// # Errors
    /// As the database.
    pub async fn raise_alert(&self, key: &AlertKey, count: i64, message: &str) -> Result<bool, StoreError> {
        let (now, db, open_key) = (self.now().micros(), self.connection(), open_key(key));
        let count = i32::try_from(count.max(1)).unwrap_or(i32::MAX);
        let message = message.replace('\0', "\u{fffd}");
        let sql = "SELECT count, message FROM alerts WHERE open_key = $1";
        let kept: Option<KeptRow> = db.one(sql, vec![open_key.clone().into()]).await?;
        if kept.as_ref().is_some_and(|kept| kept.count == count && kept.message == message) {
            return Ok(false);
        }
        if kept.is_none() {
            let id: AlertId = self.new_id::<kind::Alert>();
            let row = vec![
                ("id", id.to_string().into()),
                ("open_key", open_key.clone().into()),
                ("kind", key.kind.as_str().into()),
                ("connection_id", key.connection.map(|id| id.to_string()).into()),
                ("entity", key.entity.map(Entity::as_str).into()),
                ("subscription_id", key.subscription.map(|id| id.to_string()).into()),
                ("state", codec::text(&AlertState::Open).into()),
                ("count", count.into()),
                ("message", message.clone().into()),
                ("version", 1.into()),
                ("opened_at", now.into()),
                ("updated_at", now.into()),
            ];
            // Somebody else may open it at the same time: one of the two announces it.
            if db.insert("alerts", vec![row], " ON CONFLICT (open_key) DO NOTHING").await? > 0 {
                self.announce(&id.to_string(), 1, "alert_opened").await?;
                return Ok(true);
            }
        }
        let sql = "UPDATE alerts SET count = $2, message = $3, updated_at = $4 WHERE open_key = $1";
        db.run(sql, vec![open_key.into(), count.into(), message.into(), now.into()]).await?;
        Ok(false)
    }

    /// Closes an alert and announces that, when it is open. Returns whether it was.
    ///
    /// # Errors
    /// As the database.
    pub async fn close_alert(&self, key: &AlertKey) -> Result<bool, StoreError> {
        Ok(self.close_where("open_key = $2", open_key(key)).await? > 0)
    }

    /// Closes every alert of a connection, because it is not configured any more. Returns how many were open.
    ///
    /// # Errors
    /// As the database.
    pub async fn close_alerts_of(&self, connection: ConnectionId) -> Result<usize, StoreError> {
        self.close_where("connection_id = $2 AND open_key IS NOT NULL", connection.to_string()).await
    }

    async fn close_where(&self, which: &str, value: String) -> Result<usize, StoreError> {
        let sql = format!(
            "UPDATE alerts SET open_key = NULL, state = $3, closed_at = $1, updated_at = $1, version = version + 1 \
             WHERE {which} RETURNING id, version"
        );
        let values = vec![self.now().micros().into(), value.into(), codec::text(&AlertState::Closed).into()];
        let closed: Vec<ClosedRow> = self.connection().all(&sql, values).await?;
        for ClosedRow { id, version } in &closed {
            self.announce(id, *version, "alert_closed").await?;
        }
        Ok(closed.len())
    }

    async fn announce(&self, id: &str, version: i32, event: &str) -> Result<(), StoreError> {
        self.publish(&[Change { entity: Entity::Alert, id, event, actor: Principal::System, version }]).await
    }
}
