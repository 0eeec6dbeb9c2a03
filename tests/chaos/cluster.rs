//! A PostgreSQL server of a test's own, which it stops and starts. Unlike the one that other tests share it writes to
//! disk before it answers.

use std::{path::PathBuf, process::Command};

use crosstie_app::SystemClock;
use crosstie_domain::Clock;

use crate::{process::free_port, support::variable};

/// A server that may be at work.
pub(crate) struct Cluster {
    /// The address of its one database.
    pub(crate) url: String,
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Cluster {
    /// A new server at work; `None` and a line about it when the environment does not say where its programs are.
    pub(crate) fn start(what: &str) -> Option<Self> {
        let Some(programs) = variable("CROSSTIE_TEST_PGBIN") else {
            println!("NOT RUN: {what} (CROSSTIE_TEST_PGBIN is not set)");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("crosstie-pg-{}", SystemClock::default().new_uuid()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let port = free_port();
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let cluster = Self { url, programs: PathBuf::from(programs), folder, port };
        if as_root() {
            let owned = Command::new("chown").arg("postgres:").arg(&cluster.folder).status().expect("chown runs");
            assert!(owned.success(), "the folder belongs to postgres");
        }
        let data = cluster.data();
        cluster.done("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C"]);
        cluster.go_on();
        Some(cluster)
    }

    /// Ends it as a power cut does: it writes nothing more, and reads its log at the next start.
    pub(crate) fn stop(&self) {
        self.done("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn go_on(&self) {
        let log = self.folder.join("server.log").display().to_string();
        let options = format!("-p {} -h 127.0.0.1 -k {} -c fsync=on", self.port, self.folder.display());
        self.done("pg_ctl", &["-D", &self.data(), "-l", &log, "-w", "-o", &options, "start"]);
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    fn done(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        // The server refuses to run as root.
        let mut command = match as_root() {
            true => Command::new("setpriv"),
            false => Command::new(&program),
        };
        if as_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(&program);
        }
        // A server keeps what it was started with, so nothing of it may be a pipe that somebody waits for.
        let output = self.folder.join("output");
        let log = std::fs::File::create(&output).expect("a file can be made");
        let status = command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().expect("the file is open"))
            .stderr(log)
            .status();
        let said = std::fs::read_to_string(&output).unwrap_or_default();
        assert!(status.expect("it runs").success(), "{} {arguments:?}: {said}", program.display());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.folder.join("data/postmaster.pid").exists() {
            self.stop();
        }
        // A folder that stays is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether the tests run as root.
pub(crate) fn as_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id runs");
    output.stdout.trim_ascii() == b"0"
}
