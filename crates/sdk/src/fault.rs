//! What can go wrong at a vendor, named for what the host can do about it.

use crosstie_domain::ItemCode;

/// Why a call to a vendor did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The credential is not accepted any more; a person must renew it.
    #[error("the credential was refused")]
    NeedsReauth,
    /// The credential does not allow this.
    #[error("the credential lacks a permission: {why}")]
    MissingScope {
        /// What is missing, as far as the vendor said.
        why: String,
    },
    /// Too fast. Wait as long as the vendor says, or by the host's own schedule.
    #[error("the vendor asks to slow down")]
    Throttled {
        /// How long to wait, in milliseconds, when the vendor said.
        retry_after_ms: Option<i64>,
    },
    /// It did not happen and may work later.
    #[error("temporary: {why}")]
    Transient {
        /// What was seen.
        why: String,
    },
    /// It may have happened: the answer is lost. The host asks with `find` before it sends again.
    #[error("outcome unknown: {why}")]
    Unknown {
        /// What was seen.
        why: String,
    },
    /// The record changed at the vendor in the meantime.
    #[error("the record changed at the vendor")]
    Stale,
    /// The vendor will not do this as it was asked.
    #[error("refused: {}", join(.errors))]
    Rejected {
        /// Which fields, and why.
        errors: Vec<FieldError>,
    },
    /// A line whose item code stands for nothing in the settings of the connection; nothing was sent.
    #[error("{}: set {path} of the connection", .item_code.as_ref().map_or_else(
        || "a line has no item code, and nothing stands for those".to_owned(),
        |code| format!("the item code {code} stands for nothing here"),
    ))]
    ItemNotMapped {
        /// The code; none of a line without one.
        item_code: Option<ItemCode>,
        /// The setting that would say what it stands for.
        path: String,
    },
    /// There is no such record.
    #[error("no such record")]
    Gone,
    /// The record was merged into another one, which the vendor answers with instead.
    #[error("merged into {into}")]
    Merged {
        /// The id of the other record.
        into: String,
    },
    /// The place in the list is not known any more: read again from the start of the window.
    #[error("the page token is not known any more")]
    CursorGone,
    /// The pages of a list lead back to a place where they were before, so that it would never end: read it again from
    /// the start of the window.
    #[error("the vendor's pages lead in a circle")]
    CursorLoop,
    /// The answer does not look as the connector knows it.
    #[error("unexpected answer at {path}: {why}")]
    Shape {
        /// Where in the answer.
        path: String,
        /// What was wrong with it.
        why: String,
    },
    /// A person paused the connection; the host goes on when it is resumed. No connector says so.
    #[error("a person paused the connection")]
    Paused,
    /// The connector does not do this.
    #[error("not supported by this connector")]
    Unsupported,
    /// The connector asked for something that the host does not allow.
    #[error("defect: {why}")]
    Bug {
        /// What it asked for.
        why: String,
    },
}

/// One field that a vendor refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field, in the vendor's terms; empty when the vendor named none.
    pub field: String,
    /// Why, in the vendor's words; shown to operators only.
    pub message: String,
}

fn join(errors: &[FieldError]) -> String {
    let texts = errors.iter().map(|error| match error.field.as_str() {
        "" => error.message.clone(),
        field => format!("{field}: {}", error.message),
    });
    texts.collect::<Vec<_>>().join("; ")
}

impl Fault {
    /// A refusal of one field.
    pub fn rejected(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Rejected { errors: vec![FieldError { field: field.into(), message: message.into() }] }
    }

    /// The stable code, as shown in runs, parked rows and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NeedsReauth => "NEEDS_REAUTH",
            Self::MissingScope { .. } => "MISSING_SCOPE",
            Self::Throttled { .. } => "THROTTLED",
            Self::Transient { .. } => "TRANSIENT",
            Self::Unknown { .. } => "OUTCOME_UNKNOWN",
            Self::Stale => "STALE",
            Self::Rejected { .. } => "REJECTED",
            Self::ItemNotMapped { .. } => "ITEM_NOT_MAPPED",
            Self::Gone => "GONE",
            Self::Merged { .. } => "MERGED",
            Self::CursorGone => "CURSOR_GONE",
            Self::CursorLoop => "CURSOR_LOOP",
            Self::Shape { .. } => "SHAPE",
            Self::Paused => "PAUSED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Bug { .. } => "BUG",
        }
    }

    /// Whether the same request may work later without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Throttled { .. }
                | Self::Transient { .. }
                | Self::Unknown { .. }
                | Self::Stale
                | Self::CursorGone
                | Self::CursorLoop
                | Self::Paused
        )
    }
}
