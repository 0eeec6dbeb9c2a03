//! Orders and invoices that a billing system holds, as far as they are matched with what the hub keeps, the decisions
//! that they are the same, and what the hub and a system hold differently.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbBackend};

use crate::sql;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0016_adoption"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for text in [DOCUMENTS, ADOPTIONS] {
            sql::run(manager, text).await?;
        }
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        sql::run(manager, &differences(postgres)).await
    }
}

const DOCUMENTS: &str = "
CREATE TABLE remote_documents (
    id TEXT {binary} NOT NULL UNIQUE,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    customer TEXT,
    hub_id TEXT {binary},
    number TEXT,
    reference TEXT,
    title TEXT,
    match_reference TEXT,
    match_title TEXT,
    state TEXT NOT NULL,
    amount_minor BIGINT,
    amount_currency TEXT,
    dated_on INTEGER,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, entity, remote_id)
);
CREATE INDEX remote_documents_customer ON remote_documents (connection_id, customer);
CREATE INDEX remote_documents_reference ON remote_documents (connection_id, match_reference)
    WHERE match_reference IS NOT NULL;
CREATE INDEX remote_documents_hub ON remote_documents (hub_id) WHERE hub_id IS NOT NULL;
ALTER TABLE sows ADD COLUMN match_po TEXT
;
ALTER TABLE sows ADD COLUMN match_title TEXT
;
ALTER TABLE milestones ADD COLUMN match_name TEXT
;
UPDATE sows SET match_po = lower(substr(replace(replace(replace(replace(replace(po_number,
    ' ', ''), '-', ''), '/', ''), '.', ''), '#', ''), 1, 200)),
    match_title = lower(substr(replace(replace(replace(replace(title, ' ', ''), '-', ''), '.', ''), ',', ''), 1, 200));
UPDATE milestones
    SET match_name = lower(substr(replace(replace(replace(replace(name, ' ', ''), '-', ''), '.', ''), ',', ''), 1, 200));
CREATE INDEX milestones_account ON milestones (account_id, id);
";

const ADOPTIONS: &str = "
ALTER TABLE invoices ADD COLUMN merged_into TEXT {binary}
;
CREATE TABLE adoptions (
    id TEXT {binary} PRIMARY KEY,
    connection_id TEXT {binary} NOT NULL,
    entity TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    account_id TEXT {binary} NOT NULL,
    target_id TEXT {binary} NOT NULL,
    record_id TEXT {binary} NOT NULL,
    from_id TEXT {binary} NOT NULL,
    effect_key TEXT {binary},
    was_rejected INTEGER NOT NULL,
    score INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    accepted_minor BIGINT,
    accepted_currency TEXT,
    actor TEXT NOT NULL,
    reason TEXT,
    adopted_at BIGINT NOT NULL,
    undone_at BIGINT,
    undone_by TEXT,
    undo_reason TEXT,
    version INTEGER NOT NULL
);
CREATE UNIQUE INDEX adoptions_standing ON adoptions (connection_id, entity, remote_id) WHERE undone_at IS NULL;
CREATE INDEX adoptions_target ON adoptions (target_id, id);
CREATE INDEX adoptions_connection ON adoptions (connection_id, id);
";

/// Text columns of a difference.
const TEXTS: [&str; 14] = [
    "id",
    "connection_id",
    "account_id",
    "entity",
    "remote_id",
    "record_id",
    "field",
    "kind",
    "step",
    "effect_key",
    "here",
    "there",
    "here_currency",
    "there_currency",
];

/// A part of the view of differences: its text columns as [`TEXTS`] names them, what it comes to here and there in
/// minor units, and where that stands.
fn part(texts: [&str; 14], here_minor: &str, there_minor: &str, from: &str) -> String {
    let texts = TEXTS.iter().zip(texts).map(|(name, text)| {
        let text = if text == "NULL" { "CAST(NULL AS TEXT)" } else { text };
        format!("({text}) {{binary}} AS {name}")
    });
    let minor = |text: &str| if text == "NULL" { "CAST(NULL AS BIGINT)".to_owned() } else { text.to_owned() };
    format!(
        "SELECT {}, {} AS here_minor, {} AS there_minor FROM {from}",
        texts.collect::<Vec<_>>().join(", "),
        minor(here_minor),
        minor(there_minor)
    )
}

const LINK: &str = "JOIN identities i ON i.connection_id = d.connection_id AND i.entity = d.entity \
                    AND i.remote_id = d.remote_id";
const ORDER: &str = "JOIN service_orders o ON o.id = i.record_id";
const INVOICE: &str = "JOIN invoices v ON v.id = i.record_id JOIN milestones m ON m.id = v.milestone_id";

/// What waits to be sent, or was refused: the hub alone has it.
fn waiting() -> Vec<String> {
    let step = "CASE e.status WHEN 'REJECTED' THEN 'NOTHING' ELSE 'SEND' END";
    let of = |entity: &'static str, record: &'static str| {
        let (id, account, currency, minor) = match record {
            "o" => ("o.id", "o.account_id", "o.total_currency", "o.total_minor"),
            _ => ("v.id", "v.account_id", "v.total_currency", "v.total_minor"),
        };
        let (entity, table) = match entity {
            "order" => {
                ("'service_order'", "service_orders o ON o.id = e.record_id AND e.effect_key = 'order:' || o.id")
            }
            _ => ("'invoice'", "invoices v ON v.id = e.record_id AND e.effect_key LIKE 'invoice:%'"),
        };
        let texts = [
            "e.effect_key",
            "e.connection_id",
            account,
            entity,
            "NULL",
            id,
            "NULL",
            "'ONLY_HERE'",
            step,
            "e.effect_key",
            "NULL",
            "NULL",
            currency,
            "NULL",
        ];
        part(texts, minor, "NULL", &format!("effects e JOIN {table} WHERE e.status IN ('WAITING', 'SENT', 'REJECTED')"))
    };
    vec![of("order", "o"), of("invoice", "v")]
}

/// Documents that billing alone has.
fn only_there() -> Vec<String> {
    let of = |account: &'static str, record: &'static str, from: &str| {
        let texts = [
            "'there:' || d.id",
            "d.connection_id",
            account,
            "d.entity",
            "d.remote_id",
            record,
            "NULL",
            "'ONLY_THERE'",
            "'NOTHING'",
            "NULL",
            "NULL",
            "d.number",
            "NULL",
            "d.amount_currency",
        ];
        let from = format!("remote_documents d {LINK} {from} AND d.state <> 'CANCELED' AND i.deleted_at IS NULL");
        part(texts, "NULL", "d.amount_minor", &from)
    };
    let customer = "LEFT JOIN identities c ON c.connection_id = d.connection_id AND c.entity = 'account' \
                    AND c.remote_id = d.customer WHERE d.entity = 'service_order' \
                    AND NOT EXISTS (SELECT 1 FROM service_orders x WHERE x.id = i.record_id)";
    let alone = "JOIN invoices v ON v.id = i.record_id WHERE d.entity = 'invoice' AND v.milestone_id IS NULL";
    vec![of("c.record_id", "NULL", customer), of("v.account_id", "v.id", alone)]
}

/// Documents that are the hub's and stand in another way there, or are gone.
fn documents() -> Vec<String> {
    let of = |id: &str, record: [&'static str; 2], field: &'static str, here: [&'static str; 3], rest: &str| {
        let ([joined, record_id], [status, currency, minor]) = (record, here);
        let is_status = field == "'status'";
        let kind = if field == "NULL" { "'ONLY_HERE'" } else { "'DIFFERS'" };
        let account = if joined == ORDER { "o.account_id" } else { "m.account_id" };
        let (there, there_currency) = if is_status { ("d.state", "NULL") } else { ("NULL", "d.amount_currency") };
        let there_minor = if is_status { "NULL" } else { "d.amount_minor" };
        let id = format!("'{id}:' || d.id");
        let texts = [
            id.as_str(),
            "d.connection_id",
            account,
            "d.entity",
            "d.remote_id",
            record_id,
            field,
            kind,
            "'NOTHING'",
            "NULL",
            status,
            there,
            currency,
            there_currency,
        ];
        part(texts, minor, there_minor, &format!("remote_documents d {LINK} {joined} WHERE {rest}"))
    };
    let (order, invoice) = ([ORDER, "o.id"], [INVOICE, "v.id"]);
    let order_total = ["NULL", "o.total_currency", "o.total_minor"];
    let invoice_total = ["NULL", "m.amount_currency", "m.amount_minor"];
    let is = "i.deleted_at IS NULL AND d.entity =";
    let gone = "i.deleted_at IS NOT NULL AND d.entity =";
    vec![
        of(
            "total",
            order,
            "'total'",
            order_total,
            &format!(
                "{is} 'service_order' AND (d.amount_minor <> o.total_minor OR d.amount_currency <> o.total_currency)"
            ),
        ),
        of(
            "total",
            invoice,
            "'total'",
            invoice_total,
            &format!("{is} 'invoice' AND (d.amount_minor <> m.amount_minor OR d.amount_currency <> m.amount_currency)"),
        ),
        of(
            "status",
            order,
            "'status'",
            ["o.status", "NULL", "NULL"],
            &format!("{is} 'service_order' AND d.state = 'CANCELED' AND o.status NOT IN ('PENDING', 'REJECTED')"),
        ),
        of(
            "status",
            invoice,
            "'status'",
            ["m.billing", "NULL", "NULL"],
            &format!("{is} 'invoice' AND d.state = 'CANCELED' AND m.billing IN ('INVOICED', 'PAID')"),
        ),
        of("gone", order, "NULL", order_total, &format!("{gone} 'service_order'")),
        of("gone", invoice, "NULL", invoice_total, &format!("{gone} 'invoice'")),
    ]
}

/// Fields of accounts of which a system last said something else than the hub shows. What a switch would do about one is
/// not for the database to say.
fn accounts(postgres: bool) -> Vec<String> {
    // PostgreSQL gives out no text that holds a NUL.
    let said = "replace(a.fields, '\\u0000', '\\ufffd')";
    let said = if postgres { format!("{said}::json") } else { said.to_owned() };
    let of = |field: &'static str, column: &'static str| {
        let [id, name] = [format!("'{field}:' || i.connection_id || '/' || i.remote_id"), format!("'{field}'")];
        let there = format!("{said} -> '{field}' ->> 'v'");
        let texts = [
            id.as_str(),
            "i.connection_id",
            "i.record_id",
            "i.entity",
            "i.remote_id",
            "i.record_id",
            &name,
            "'DIFFERS'",
            "NULL",
            "NULL",
            column,
            &there,
            "NULL",
            "NULL",
        ];
        // A name that is not spoken of changes nothing.
        let spoken = if field == "name" { format!("({there})") } else { format!("({said} -> '{field}')") };
        let from = format!(
            "identities i JOIN accounts r ON r.id = i.record_id JOIN assertions a ON a.record_id = i.record_id \
             AND a.id = (SELECT b.id FROM assertions b WHERE b.record_id = i.record_id \
             AND b.connection_id = i.connection_id AND b.remote_id = i.remote_id \
             ORDER BY b.observed_at DESC, b.id DESC LIMIT 1) WHERE i.entity = 'account' AND i.deleted_at IS NULL \
             AND {spoken} IS NOT NULL AND COALESCE({there}, '') <> COALESCE({column}, '')"
        );
        part(texts, "NULL", "NULL", &from)
    };
    vec![of("name", "r.name"), of("domain", "r.domain"), of("billing_email", "r.billing_email")]
}

/// What the hub and a connected system hold differently.
fn differences(postgres: bool) -> String {
    let parts = [waiting(), only_there(), documents(), accounts(postgres)].concat();
    format!("CREATE VIEW connection_differences AS {}", parts.join(" UNION ALL "))
}
