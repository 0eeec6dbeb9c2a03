//! A hub as a process of the system: started, killed, frozen and thawed.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crosstie_sdk::{HttpRequest, Method, Transport};
use tokio::process::{Child, Command};

use crate::{
    support::{Binary, variable},
    wait_for,
};

/// A hub that may be at work.
pub(crate) struct Process {
    /// The binary with its configuration.
    pub(crate) binary: Binary,
    /// Where it listens.
    pub(crate) url: String,
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(binary: Binary, url: String) -> Self {
        Self { binary, url, child: None }
    }

    /// Starts it; it is not ready yet.
    pub(crate) fn start(&mut self) {
        self.child = Some(self.spawn("serve"));
    }

    /// Runs a command of the binary, which may be killed as well.
    pub(crate) fn spawn(&self, command: &str) -> Child {
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).expect("a log file");
        // Where files may not grow, writing fails as it does on a full disk; otherwise the system would end the process.
        let (script, folder) = ("trap '' XFSZ; exec \"$0\" \"$1\"", self.binary.folder());
        let path = variable("CROSSTIE_CHAOS_BIN").expect("the binary was found by it");
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(path).arg(command).current_dir(folder).kill_on_drop(true);
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the binary starts")
    }

    /// Waits until it says that it takes work. One that ends meanwhile says why in its log.
    pub(crate) async fn ready(&mut self, http: &dyn Transport) {
        wait_for("the hub is ready", async || {
            assert!(self.still_runs(), "it ended while it started: {}", self.log());
            let request =
                HttpRequest { method: Method::Get, url: format!("{}/readyz", self.url), headers: vec![], body: vec![] };
            match http.send(request).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Ends it as the power cut does: it is told nothing.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.expect("it is killed");
    }

    /// Sends it a signal, such as `TERM`, `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        // The one of the shell: not every system has it as a program of its own.
        let script = format!("kill -{name} {}", self.id());
        let sent = std::process::Command::new("sh").args(["-c", &script]).status().expect("a shell runs");
        assert!(sent.success(), "{script}");
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        tokio::time::timeout(crate::PATIENCE, child.wait()).await.expect("it ends").expect("it can be waited for")
    }

    /// Whether it still runs: one that came to its end by itself has lost more than its work.
    pub(crate) fn still_runs(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started");
        child.try_wait().expect("it can be asked").is_none()
    }

    /// Its number at the system.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("it runs")
    }

    /// What it wrote into its log, since its first start.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        Path::new(self.binary.folder()).join("serve.log")
    }
}

/// The ports that tests hand out. They lie below those that the system gives to whoever asks for any, so that nobody takes
/// the port of a hub between its death and its next start.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of loopback that is free, and stays so: no two calls get the same one.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another run of the tests beside this one begins elsewhere.
    let begin = std::process::id().wrapping_mul(101);
    let size = u32::from(PORTS.end - PORTS.start);
    for _ in 0..size {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % size;
        let port = PORTS.start + u16::try_from(offset).expect("it is in the range");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
