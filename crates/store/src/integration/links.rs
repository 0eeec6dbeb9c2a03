//! Links to records of other systems, what may be the same, and the decisions about it.

use crosstie_domain::{
    access::RowScope,
    ids::{AccountId, ConnectionId, IdentityEventId},
    integration::{
        Entity, IdentityEvent, LinkState, MatchCandidate,
        authority::Speaker,
        matching::{MatchKeys, normalized_name},
    },
    pipeline::AccountRecord,
};
use sea_orm::FromQueryResult;

use crate::{Listed, Reads, StoreError, Tx, codec, db::marks, pipeline::AccountRow, texts::Texts};

/// Accounts with something in common that are looked at, at most, for each kind of key.
const LOOKED_AT: i64 = 20;

/// A text that accounts are looked up by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchKey {
    /// The name as it is compared.
    Name(String),
    /// The internet domain.
    Domain(String),
    /// The e-mail address.
    Email(String),
}

impl MatchKey {
    /// What accounts are looked up by that may be the one of these keys.
    pub fn wanted(keys: &MatchKeys) -> impl Iterator<Item = Self> {
        let domains = [keys.domain.as_deref(), keys.email_domain()].into_iter().flatten();
        let domains: Vec<_> = domains.map(|domain| Self::Domain(domain.to_owned())).collect();
        let (name, email) = (keys.name.clone().map(Self::Name), keys.email.clone().map(Self::Email));
        name.into_iter().chain(domains).chain(email)
    }

    /// What an account is found by.
    pub fn of(account: &AccountRecord) -> impl Iterator<Item = Self> {
        let short = |text: &String| text.chars().take(200).collect::<String>().to_lowercase();
        let name = match_name(&account.name).map(Self::Name);
        let domain = account.domain.as_ref().map(|domain| Self::Domain(short(domain)));
        let email = account.billing_email.as_ref().map(|email| Self::Email(short(email)));
        [name, domain, email].into_iter().flatten()
    }
}

#[derive(FromQueryResult)]
struct AlikeRow {
    kind: i32,
    looked_for: String,
}

struct Alike(AlikeRow, AccountRow);

impl FromQueryResult for Alike {
    fn from_query_result(row: &sea_orm::QueryResult, prefix: &str) -> Result<Self, sea_orm::DbErr> {
        Ok(Self(FromQueryResult::from_query_result(row, prefix)?, FromQueryResult::from_query_result(row, prefix)?))
    }
}

/// What is looked for, what key it is, and where it stands.
type Looked<'a> = (Vec<&'a str>, fn(String) -> MatchKey, &'static str);

/// Accounts that are found by these keys, a few for each, beside the key.
///
/// # Errors
/// As the database.
pub async fn accounts_alike(tx: &Tx, keys: &[MatchKey]) -> Result<Vec<(MatchKey, AccountRecord)>, StoreError> {
    let (mut names, mut domains, mut emails) = (Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        match key {
            MatchKey::Name(text) => names.push(text.as_str()),
            MatchKey::Domain(text) => domains.push(text.as_str()),
            MatchKey::Email(text) => emails.push(text.as_str()),
        }
    }
    // Only where it is said that there is a value SQLite uses the indexes of those that have one.
    let by: [Looked<'_>; 3] = [
        (names, MatchKey::Name, "b.match_name"),
        (domains, MatchKey::Domain, "b.domain IS NOT NULL AND lower(substr(b.domain, 1, 200))"),
        (emails, MatchKey::Email, "b.billing_email IS NOT NULL AND lower(substr(b.billing_email, 1, 200))"),
    ];
    let db = tx.connection();
    let (mut lists, mut found, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, (texts, _, column)) in by.iter().enumerate().filter(|(_, (texts, ..))| !texts.is_empty()) {
        values.push(Texts::value(db.backend(), texts));
        lists.push(format!("keys{kind} (looked_for) AS ({})", Texts::at(db.backend(), values.len()).rows()));
        let first = |what: &str| {
            format!(
                "SELECT {what} FROM accounts b WHERE b.merged_into IS NULL AND {column} = keys{kind}.looked_for \
                 LIMIT {LOOKED_AT}"
            )
        };
        let joined = match db.is_postgres() {
            true => format!("JOIN LATERAL ({}) AS a ON TRUE", first("b.*")),
            // Each key is looked for among the accounts, never each account among the keys.
            false => format!("CROSS JOIN accounts a ON a.id IN ({})", first("b.id")),
        };
        found.push(format!("SELECT {kind} AS kind, keys{kind}.looked_for, a.* FROM keys{kind} {joined}"));
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("WITH {} {}", lists.join(", "), found.join(" UNION ALL "));
    let rows: Vec<Alike> = db.all(&sql, values).await?;
    let read = |Alike(AlikeRow { kind, looked_for }, account)| {
        let (_, key, _) = &by[usize::try_from(kind).unwrap_or_default()];
        Ok((key(looked_for), AccountRecord::record(account)?))
    };
    rows.into_iter().map(read).collect()
}

#[derive(FromQueryResult)]
struct CandidateRow {
    connection_id: String,
    entity: String,
    remote_id: String,
    record_id: String,
    score: i32,
    evidence: String,
    found_at: i64,
}

/// What the remote records of these records may be instead, best first; of all records when none are named. At most so
/// many.
///
/// # Errors
/// As the database.
pub async fn match_candidates(
    db: &impl Reads,
    _found_under: &RowScope,
    records: Option<&[String]>,
    limit: i64,
) -> Result<Vec<MatchCandidate>, StoreError> {
    let mut values: Vec<sea_orm::Value> = vec![limit.into()];
    let mut only = String::new();
    if let Some(records) = records {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        only = format!("WHERE c.record_id IN ({})", marks(2, records.len()));
        values.extend(records.iter().map(|id| id.clone().into()));
    }
    let sql = format!(
        "SELECT c.* FROM match_candidates c {only} ORDER BY c.score DESC, c.connection_id, c.remote_id, c.record_id LIMIT $1"
    );
    let rows: Vec<CandidateRow> = db.connection().all(&sql, values).await?;
    rows.into_iter()
        .map(|row| {
            Ok(MatchCandidate {
                connection_id: codec::id("match_candidates.connection_id", &row.connection_id)?,
                entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "match_candidates.entity" })?,
                remote_id: row.remote_id,
                record_id: row.record_id,
                score: row.score,
                evidence: codec::json("match_candidates.evidence", &row.evidence)?,
                found_at: codec::instant("match_candidates.found_at", row.found_at)?,
            })
        })
        .collect()
}

#[derive(FromQueryResult)]
struct EventRow {
    id: String,
    entity: String,
    kind: String,
    record_id: String,
    other_id: String,
    moved: String,
    actor: String,
    reason: Option<String>,
    happened_at: i64,
    undone_by: Option<String>,
}

/// The decisions about these records, newest first. The records were found under the scope.
///
/// # Errors
/// As the database.
pub async fn identity_events_of(
    db: &impl Reads,
    _found_under: &RowScope,
    records: &[String],
) -> Result<Vec<IdentityEvent>, StoreError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let marks = marks(1, records.len());
    let sql = format!(
        "SELECT * FROM identity_events WHERE record_id IN ({marks}) OR other_id IN ({marks}) ORDER BY id DESC LIMIT 1000"
    );
    let rows: Vec<EventRow> = db.connection().all(&sql, records.iter().map(|id| id.clone().into()).collect()).await?;
    rows.into_iter()
        .map(|row| {
            Ok(IdentityEvent {
                id: codec::id("identity_events.id", &row.id)?,
                entity: Entity::parse(&row.entity).ok_or(StoreError::Corrupt { column: "identity_events.entity" })?,
                kind: codec::word("identity_events.kind", row.kind)?,
                record_id: row.record_id,
                other_id: row.other_id,
                moved: codec::json("identity_events.moved", &row.moved)?,
                actor: row.actor,
                reason: row.reason,
                happened_at: codec::instant("identity_events.happened_at", row.happened_at)?,
                undone_by: codec::id_opt("identity_events.undone_by", row.undone_by.as_deref())?,
            })
        })
        .collect()
}

/// Which column of which table names the record that another one belongs to.
fn belonging(entity: Entity) -> &'static [(Entity, &'static str, &'static str)] {
    match entity {
        Entity::Account => &[
            (Entity::Opportunity, "opportunities", "account_id"),
            (Entity::Sow, "sows", "account_id"),
            (Entity::Milestone, "milestones", "account_id"),
            (Entity::ServiceOrder, "service_orders", "account_id"),
            (Entity::Invoice, "invoices", "account_id"),
        ],
        Entity::Opportunity => &[(Entity::Sow, "sows", "opportunity_id")],
        _ => &[],
    }
}

/// A record that belongs to another one since: which kind, which one, at which version.
pub type Child = (Entity, String, i32);

#[derive(FromQueryResult)]
struct ChildRow {
    id: String,
    version: i32,
}

impl Tx {
    /// Lets the records that belong to one record belong to another one: all of them, or those of a list.
    ///
    /// # Errors
    /// As the database.
    pub async fn move_children(
        &self,
        entity: Entity,
        (from, into): (&str, &str),
        only: Option<&[(Entity, String)]>,
    ) -> Result<Vec<Child>, StoreError> {
        let mut moved = Vec::new();
        for (child, table, column) in belonging(entity) {
            let listed: Option<Vec<&String>> =
                only.map(|only| only.iter().filter(|(kind, _)| kind == child).map(|(_, id)| id).collect());
            let chunks: Vec<Option<&[&String]>> = match &listed {
                None => vec![None],
                Some(ids) => ids.chunks(5_000).map(Some).collect(),
            };
            for chunk in chunks {
                let mut values: Vec<sea_orm::Value> = vec![from.into(), into.into(), self.now().micros().into()];
                let mut which = String::new();
                if let Some(ids) = chunk {
                    which = format!(" AND id IN ({})", marks(4, ids.len()));
                    values.extend(ids.iter().map(|id| (*id).clone().into()));
                }
                let sql = format!(
                    "UPDATE {table} SET {column} = $2, version = version + 1, updated_at = $3 \
                     WHERE {column} = $1{which} RETURNING id, version"
                );
                let rows: Vec<ChildRow> = self.connection().all(&sql, values).await?;
                moved.extend(rows.into_iter().map(|row| (*child, row.id, row.version)));
            }
        }
        if entity == Entity::Account {
            self.move_adoptions(from, into).await?;
        }
        Ok(moved)
    }

    /// Lets adoptions be of the account that the order or milestone is of now.
    async fn move_adoptions(&self, from: &str, into: &str) -> Result<(), StoreError> {
        let sql = "UPDATE adoptions SET account_id = $2 WHERE account_id = $1 AND target_id IN \
                   (SELECT id FROM service_orders WHERE account_id = $2 UNION ALL \
                   SELECT id FROM milestones WHERE account_id = $2)";
        self.connection().run(sql, vec![from.into(), into.into()]).await.map(|_| ())
    }

    /// Lets a record of another system, and all that it said, be another record of the hub.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not linked to the first one any more.
    pub async fn move_link(
        &self,
        entity: Entity,
        speaker: &Speaker,
        (from, into): (&str, &str),
        state: LinkState,
    ) -> Result<(), StoreError> {
        let key = || -> Vec<sea_orm::Value> {
            vec![into.into(), speaker.connection.to_string().into(), speaker.remote_id.clone().into(), from.into()]
        };
        let sql = "UPDATE identities SET record_id = $1, state = $5 \
                   WHERE connection_id = $2 AND remote_id = $3 AND record_id = $4 AND entity = $6";
        let mut values = key();
        values.extend([codec::text(&state).into(), entity.as_str().into()]);
        if self.connection().run(sql, values).await? == 0 {
            return Err(StoreError::Conflict);
        }
        let sql = "UPDATE assertions SET record_id = $1 WHERE connection_id = $2 AND remote_id = $3 AND record_id = $4";
        self.connection().run(sql, key()).await?;
        self.forget_candidates(entity, speaker).await
    }

    /// Notes how sure a link is.
    ///
    /// # Errors
    /// As the database.
    pub async fn set_link_state(&self, entity: Entity, speaker: &Speaker, state: LinkState) -> Result<(), StoreError> {
        let sql = "UPDATE identities SET state = $1 WHERE connection_id = $2 AND entity = $3 AND remote_id = $4";
        let values = vec![
            codec::text(&state).into(),
            speaker.connection.to_string().into(),
            entity.as_str().into(),
            speaker.remote_id.clone().into(),
        ];
        self.connection().run(sql, values).await.map(|_| ())
    }

    /// Notes what a remote record may be.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_candidates(&self, candidates: &[MatchCandidate]) -> Result<(), StoreError> {
        let rows = candidates.iter().map(|candidate| {
            vec![
                ("connection_id", candidate.connection_id.to_string().into()),
                ("entity", candidate.entity.as_str().into()),
                ("remote_id", candidate.remote_id.clone().into()),
                ("record_id", candidate.record_id.clone().into()),
                ("score", candidate.score.into()),
                ("evidence", codec::json_text(&candidate.evidence).into()),
                ("found_at", candidate.found_at.micros().into()),
            ]
        });
        let ignore = " ON CONFLICT (connection_id, entity, remote_id, record_id) DO NOTHING";
        self.connection().insert("match_candidates", rows.collect(), ignore).await.map(|_| ())
    }

    /// Forgets what a remote record might have been.
    ///
    /// # Errors
    /// As the database.
    pub async fn forget_candidates(&self, entity: Entity, speaker: &Speaker) -> Result<(), StoreError> {
        let sql = "DELETE FROM match_candidates WHERE connection_id = $1 AND entity = $2 AND remote_id = $3";
        let values =
            vec![speaker.connection.to_string().into(), entity.as_str().into(), speaker.remote_id.clone().into()];
        self.connection().run(sql, values).await.map(|_| ())
    }

    /// Writes a decision down.
    ///
    /// # Errors
    /// As the database.
    pub async fn save_identity_event(&self, event: &IdentityEvent) -> Result<(), StoreError> {
        let row = vec![
            ("id", event.id.to_string().into()),
            ("entity", event.entity.as_str().into()),
            ("kind", codec::text(&event.kind).into()),
            ("record_id", event.record_id.clone().into()),
            ("other_id", event.other_id.clone().into()),
            ("moved", codec::json_text(&event.moved).into()),
            ("actor", event.actor.clone().into()),
            ("reason", event.reason.clone().into()),
            ("happened_at", event.happened_at.micros().into()),
            ("undone_by", event.undone_by.map(|id| id.to_string()).into()),
        ];
        self.connection().save("identity_events", &["id"], row, "").await.map(|_| ())
    }

    /// Notes that a decision was undone by another one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was undone before.
    pub async fn undo_identity_event(&self, id: IdentityEventId, by: IdentityEventId) -> Result<(), StoreError> {
        let sql = "UPDATE identity_events SET undone_by = $1 WHERE id = $2 AND undone_by IS NULL";
        let touched = self.connection().run(sql, vec![by.to_string().into(), id.to_string().into()]).await?;
        if touched == 0 { Err(StoreError::Conflict) } else { Ok(()) }
    }

    /// The records of this connection that belong to an account because of what a customer of it says: which kind,
    /// which one.
    ///
    /// # Errors
    /// As the database.
    pub async fn children_through(
        &self,
        connection: ConnectionId,
        account: AccountId,
    ) -> Result<Vec<(Entity, String)>, StoreError> {
        #[derive(FromQueryResult)]
        struct Row {
            entity: String,
            id: String,
        }
        let sql = "SELECT i.entity, o.id FROM opportunities o \
                   JOIN identities i ON i.record_id = o.id AND i.entity = 'opportunity' AND i.connection_id = $1 \
                   WHERE o.account_id = $2 UNION SELECT i.entity, o.id FROM invoices o \
                   JOIN identities i ON i.record_id = o.id AND i.entity = 'invoice' AND i.connection_id = $1 \
                   WHERE o.account_id = $2";
        let values = vec![connection.to_string().into(), account.to_string().into()];
        let rows: Vec<Row> = self.connection().all(sql, values).await?;
        let kind = |text: &str| Entity::parse(text).ok_or(StoreError::Corrupt { column: "identities.entity" });
        rows.into_iter().map(|row| Ok((kind(&row.entity)?, row.id))).collect()
    }
}

/// The name of an account as it is looked up by.
pub(crate) fn match_name(name: &str) -> Option<String> {
    Some(normalized_name(name)).filter(|name| !name.is_empty())
}
