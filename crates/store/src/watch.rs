//! Watching commits: what tests end a process at. A hub has no watch, and asks for one at a commit and nowhere else.

use std::{fmt, panic::Location, pin::Pin, sync::Arc};

/// Which side of a commit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Nothing of the transaction is on disk.
    Before,
    /// All of it is, and whoever commits does not know yet.
    After,
}

/// A side of a commit, and where in the code it is made. Its written form names the file and the line.
#[derive(Debug, Clone, Copy)]
pub struct CommitPoint {
    /// The side.
    pub side: Side,
    /// Where the commit is made.
    pub place: &'static Location<'static>,
}

impl fmt::Display for CommitPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.side == Side::Before { "before" } else { "after" };
        let file = self.place.file();
        let file = file.split_once("crates/").map_or(file, |(_, inside)| inside);
        write!(f, "{side} the commit at {file}:{}", self.place.line())
    }
}

/// Is told of every commit, on both sides of it.
pub trait CommitWatch: Send + Sync {
    /// A commit has come so far; it goes on when this is done, and never when it is not.
    fn reached(&self, point: CommitPoint) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The watch of a store, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Watched(Option<Arc<dyn CommitWatch>>);

impl Watched {
    pub(crate) fn by(watch: Arc<dyn CommitWatch>) -> Self {
        Self(Some(watch))
    }

    pub(crate) async fn reached(&self, side: Side, place: &'static Location<'static>) {
        if let Some(watch) = &self.0 {
            watch.reached(CommitPoint { side, place }).await;
        }
    }
}
