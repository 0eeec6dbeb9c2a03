//! Erasure: what the hub kept of a person goes, and stays away. What stood there is told by a mark.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::{ids::ErasureId, time::Instant};

const BEGIN: &str = "[erased:";
/// Hexadecimal digits in a mark.
const DIGITS: usize = 32;

/// What stands in place of an erased value. Equal values have equal marks in one database.
///
/// ```
/// use crosstie_domain::integration::erasure::{is_mark, mark, marks_in};
///
/// let mark = mark("00112233445566778899aabbccddeeff");
/// assert!(is_mark(&mark));
/// assert_eq!(marks_in(&format!("Renewal with {mark}")), ["00112233445566778899aabbccddeeff"]);
/// ```
pub fn mark(hash: &str) -> String {
    format!("{BEGIN}{hash}]")
}

/// Whether a text is a mark and nothing else.
pub fn is_mark(text: &str) -> bool {
    text.len() == BEGIN.len() + DIGITS + 1 && !marks_in(text).is_empty()
}

/// The hashes of the marks in a text.
pub fn marks_in(text: &str) -> Vec<&str> {
    let after = text.split(BEGIN).skip(1);
    let hash = |part: &'_ str| part.as_bytes().get(DIGITS) == Some(&b']') && part.is_char_boundary(DIGITS);
    after.filter(|part| hash(part)).filter_map(|part| part.get(..DIGITS)).filter(|hash| is_hex(hash)).collect()
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// How an erasure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErasureStatus {
    /// It waits for the engine.
    Waiting,
    /// At work; where it is cut off it goes on.
    Running,
    /// Nothing is left: a whole pass over the database found no more of it.
    Done,
}

/// Rows of one table that held something of the person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedPlace {
    /// The table of the database.
    pub table: String,
    /// How many of its rows.
    pub rows: i64,
}

/// The erasure of a person: who asked for it, when, why, and how far it came. It holds nothing of the person.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "ErasureRecord")]
pub struct ErasureRecord {
    /// Identifies the erasure.
    #[graphql(skip)]
    pub id: ErasureId,
    /// How it stands.
    pub status: ErasureStatus,
    /// Who asked for it.
    pub requested_by: String,
    /// Why, in words.
    pub reason: String,
    /// How many e-mail addresses it is about.
    pub emails: i32,
    /// How many names it is about.
    pub names: i32,
    /// How often the database was gone through, this time included. The last pass finds nothing.
    pub pass: i32,
    /// The table that it is at.
    #[graphql(skip)]
    pub at_table: Option<String>,
    /// The last row of that table that was looked at.
    #[graphql(skip)]
    pub at_key: Option<serde_json::Value>,
    /// Rows that were looked at, in all passes.
    pub rows_seen: i64,
    /// Rows that were erased from in this pass.
    #[graphql(skip)]
    pub rows_in_pass: i64,
    /// Rows that something was erased from.
    pub rows_erased: i64,
    /// Where they were.
    #[graphql(skip)]
    pub places: Vec<ErasedPlace>,
    /// When it was asked for.
    pub created_at: Instant,
    /// When it was done.
    pub finished_at: Option<Instant>,
    /// Since when the values may be kept again.
    pub lifted_at: Option<Instant>,
    /// Who allowed it.
    pub lifted_by: Option<String>,
}

impl ErasureRecord {
    /// Counts rows of a table that were erased from.
    pub fn count(&mut self, table: &str, rows: i64) {
        if rows == 0 {
            return;
        }
        self.rows_erased += rows;
        self.rows_in_pass += rows;
        match self.places.iter_mut().find(|place| place.table == table) {
            Some(place) => place.rows += rows,
            None => self.places.push(ErasedPlace { table: table.to_owned(), rows }),
        }
    }
}

/// A value that was erased and must not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedValue {
    /// Its keyed hash, as it stands in marks.
    pub hash: String,
    /// The erasure that it belongs to.
    pub erasure: ErasureId,
    /// Of a name: how many words it has; 0 for an e-mail address.
    pub words: i32,
    /// How many letters it has, spaces between words included.
    pub letters: i32,
}

/// When and by whom a value was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedBy {
    /// The hash in its mark.
    pub hash: String,
    /// When it was asked for.
    pub at: Instant,
    /// By whom.
    pub by: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_from_what_looks_like_them() {
        let hash = "0123456789abcdef0123456789abcdef";
        for (text, expected) in [
            (mark(hash), vec![hash]),
            (format!("a {} b {}", mark(hash), mark(hash)), vec![hash, hash]),
            ("[erased:]".to_owned(), vec![]),
            ("[erased:0123456789ABCDEF0123456789ABCDEF]".to_owned(), vec![]),
            (format!("[erased:{hash}0]"), vec![]),
            (format!("[erased:{hash}"), vec![]),
            (String::new(), vec![]),
        ] {
            assert_eq!(marks_in(&text), expected, "{text}");
        }
        assert!(is_mark(&mark(hash)) && !is_mark(&format!("{} ", mark(hash))));
    }
}
