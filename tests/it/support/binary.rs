//! The binary itself, as whoever runs a hub has it.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use crosstie_app::SystemClock;
use crosstie_domain::Clock;
use tokio::process::Command;

use super::variable;

/// The binary with a folder of its own, where its configuration is.
pub(crate) struct Binary {
    path: PathBuf,
    folder: PathBuf,
}

/// What a command did.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Binary {
    /// The binary that the environment names, with this `crosstie.toml`; a line that it is missing otherwise.
    pub(crate) fn find(what: &str, config: &str) -> Option<Self> {
        Self::named("CROSSTIE_BIN", what, config)
    }

    /// The same for the binary that this variable of the environment names.
    pub(crate) fn named(name: &str, what: &str, config: &str) -> Option<Self> {
        let Some(path) = variable(name) else {
            println!("NOT RUN: {what} ({name} is not set)");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("crosstie-bin-{}", SystemClock::default().new_uuid()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let binary = Self { path: PathBuf::from(path), folder };
        binary.write("crosstie.toml", config);
        Some(binary)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file beside its configuration.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).expect("the file is written");
    }

    /// A command, not yet started; it ends with the test at the latest.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(&self.folder).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Said {
        let Output { status, stdout, stderr } = self.command(arguments).output().await.expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Said { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// Runs a command that must go well; what it printed.
    pub(crate) async fn done(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.out, said.err);
        said.out.trim().to_owned()
    }

    /// Runs a command that must fail in order; all that it printed.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments).await;
        assert!(said.code.is_some_and(|code| code != 0), "{arguments:?}: {:?} {}{}", said.code, said.out, said.err);
        assert!(!said.err.contains("panicked"), "{arguments:?}: {}", said.err);
        format!("{}{}", said.out, said.err)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // A folder that stays is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
