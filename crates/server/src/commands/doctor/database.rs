//! The database: whether it is there and up to date, keeps what it was told, and has room; and how the work in it stands.

use std::{path::Path, process::Command};

use crosstie_app::App;
use crosstie_store::{DatabaseFacts, Store, WorkFacts, secrets::secrets_after};

use super::{Findings, chain};
use crate::{config::Config, database};

/// Free room on the disk below which somebody should look, and below which nothing can be promised, in KiB.
const LITTLE_KIB: u64 = 1_024 * 1_024;
const TOO_LITTLE_KIB: u64 = 64 * 1_024;
/// The oldest PostgreSQL that the hub is tested with.
const OLDEST_POSTGRES: i64 = 140_000;
/// How far clocks may be apart before somebody should look, in milliseconds.
const CLOCK_MS: i64 = 2_000;
/// How far at most, in milliseconds: leases are shorter than that.
const CLOCK_MOST_MS: i64 = 30_000;
/// How long a change may wait for its place, and a worker may be silent, in milliseconds.
const GRACE_MS: i64 = 30_000;
const PAGE: i64 = 200;

/// Whether the database is there and up to date. Nothing is made that is not there.
pub(super) async fn reached(config: &Config, findings: &mut Findings) -> bool {
    const CHECK: &str = "database";
    if let Some(file) = database::file(&config.database.url).filter(|file| !file.exists()) {
        let text = format!("there is no file {}", file.display());
        findings.failed(CHECK, text, "`crosstie migrate` makes it; or correct `database.url`.");
        return false;
    }
    match database::missing(&config.database.url).await {
        Ok(0) => {
            findings.ok(CHECK, "reached, and up to date");
            true
        }
        Ok(missing) => {
            findings.failed(CHECK, format!("lacks {missing} migration(s)"), "Run `crosstie migrate`.");
            false
        }
        Err(error) => {
            findings.failed(CHECK, chain(&error), "See that the database runs, and that `database.url` is right.");
            false
        }
    }
}

/// Whether the database keeps what it was told.
pub(super) async fn durability(store: &Store, config: &Config, findings: &mut Findings) {
    match store.check_writable().await {
        Ok(()) => findings.ok("database writes", "taken"),
        Err(error) => findings.failed("database writes", chain(&error), "See whether it is read-only, locked or full."),
    }
    let facts = match store.database_facts().await {
        Ok(facts) => facts,
        Err(error) => return findings.failed("durability", chain(&error), "See that the database runs."),
    };
    match facts {
        DatabaseFacts::Sqlite { journal_mode, synchronous } => {
            let text = format!("journal_mode {journal_mode}, synchronous {synchronous}");
            match journal_mode == "wal" && synchronous >= 2 {
                true => findings.ok("durability", text),
                false => {
                    findings.failed("durability", text, "Keep the file where SQLite can use WAL: on a local disk.")
                }
            }
            if let Some(file) = database::file(&config.database.url) {
                room(&file, findings);
            }
        }
        facts => postgres(&facts, findings),
    }
}

fn postgres(facts: &DatabaseFacts, findings: &mut Findings) {
    let DatabaseFacts::Postgres {
        version,
        fsync,
        synchronous_commit,
        full_page_writes,
        clock_ahead_ms,
        missing_months,
    } = facts
    else {
        return;
    };
    let text = format!("PostgreSQL {}.{}", version / 10_000, version % 10_000);
    match *version >= OLDEST_POSTGRES {
        true => findings.ok("database version", text),
        false => findings.warning("database version", text, "The hub is tested with PostgreSQL 14 and later."),
    }
    let text = format!("fsync {fsync}, synchronous_commit {synchronous_commit}, full_page_writes {full_page_writes}");
    if fsync != "on" || synchronous_commit == "off" {
        let advice = "An acknowledged webhook can be lost: turn fsync and synchronous_commit on.";
        findings.failed("durability", text, advice);
    } else if full_page_writes != "on" {
        findings.warning("durability", text, "A crash can spoil pages, unless the file system writes them whole.");
    } else {
        findings.ok("durability", text);
    }
    let text = format!("the database is {clock_ahead_ms} ms ahead");
    clock("clock of the database", (*clock_ahead_ms, (CLOCK_MS, CLOCK_MOST_MS)), text, findings);
    match missing_months.as_slice() {
        [] => findings.ok("partitions", "this month's and the coming months' are there"),
        missing => {
            let text = format!("not there: {}", missing.join(", "));
            findings.warning("partitions", text, "A hub makes them when it starts and every six hours: start one.");
        }
    }
}

/// Judges how far two clocks are apart.
pub(super) fn clock(check: &str, (ahead_ms, (some, most)): (i64, (i64, i64)), text: String, findings: &mut Findings) {
    const ADVICE: &str = "Set the clocks by NTP.";
    match ahead_ms.abs() {
        apart if apart > most => findings.failed(check, text, ADVICE),
        apart if apart > some => findings.warning(check, text, ADVICE),
        _ => findings.ok(check, text),
    }
}

fn room(file: &Path, findings: &mut Findings) {
    const CHECK: &str = "disk";
    let Some(kib) = free_kib(file) else {
        return findings.warning(CHECK, "how much is free cannot be told", "Look by `df`.");
    };
    let text = format!("{} MiB are free", kib / 1_024);
    match kib {
        ..TOO_LITTLE_KIB => findings.failed(CHECK, text, "Make room: a full disk takes no webhook."),
        TOO_LITTLE_KIB..LITTLE_KIB => findings.warning(CHECK, text, "Make room before it is full."),
        _ => findings.ok(CHECK, text),
    }
}

/// Free KiB on the disk of a file, as `df` of POSIX tells.
fn free_kib(file: &Path) -> Option<u64> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let told = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    available(&String::from_utf8_lossy(&told.stdout))
}

/// The fourth column of the last line.
fn available(told: &str) -> Option<u64> {
    told.lines().last()?.split_whitespace().nth(3)?.parse().ok()
}

/// Whether every secret that the database keeps opens.
pub(super) async fn secrets(app: &App, has_key: bool, findings: &mut Findings) {
    const CHECK: &str = "secrets";
    let (mut after, mut opened, mut closed) = (None, 0, Vec::new());
    loop {
        let page = match secrets_after(app.store(), after.as_ref(), PAGE).await {
            Ok(page) => page,
            Err(error) => return findings.failed(CHECK, chain(&error), "See that the database runs."),
        };
        let Some(last) = page.last() else { break };
        after = Some(last.place.clone());
        for sealed in &page {
            match app.open_sealed(sealed) {
                Ok(_) => opened += 1,
                Err(error) => closed.push(error.to_string()),
            }
        }
    }
    match (closed.as_slice(), has_key) {
        ([], true) => findings.ok(CHECK, format!("{opened} sealed secret(s) open with the master keys")),
        ([], false) => findings.ok(CHECK, "none is sealed, and there is no master key"),
        ([first, ..], _) => {
            let text = format!("{} of {} do not open: {first}", closed.len(), closed.len() + opened);
            findings.failed(CHECK, text, "Give the hub the master key that sealed them, or set them anew.");
        }
    }
}

/// Whether somebody does the work.
pub(super) async fn work(app: &App, findings: &mut Findings) {
    let store = app.store();
    let facts = match store.work_facts(GRACE_MS).await {
        Ok(facts) => facts,
        Err(error) => return findings.failed("relay", chain(&error), "See that the database runs."),
    };
    let WorkFacts { unplaced, unplaced_since, relay_until, abandoned } = facts;
    let now = store.now();
    let runs = relay_until.is_some_and(|until| now.ms_since(until) < GRACE_MS);
    let waits_ms = unplaced_since.map_or(0, |since| now.ms_since(since));
    let text = match unplaced {
        0 => "no change waits for its place".to_owned(),
        unplaced => format!("{unplaced} change(s) wait for their place, the first for {} s", waits_ms / 1_000),
    };
    match (runs, waits_ms > GRACE_MS) {
        (true, true) => findings.failed("relay", text, "The relay is stuck: look at the log of the hub."),
        (false, true) => findings.warning("relay", text, "No hub runs on this database: start one."),
        (_, false) => findings.ok("relay", text),
    }
    let running = if runs { "a hub runs on this database" } else { "no hub runs on this database now" };
    match abandoned {
        0 => findings.ok("workers", format!("{running}; nothing was taken and left")),
        abandoned => {
            let text = format!("{running}; {abandoned} event(s) or effect(s) were taken and left");
            findings.warning("workers", text, "They are taken up again by a hub that runs: start one, or see its log.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    #[test]
    fn free_room_is_read_from_what_df_tells() {
        let told = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda1 100 40 60 40% /a b\n";
        assert_eq!(available(told), Some(60));
        assert_eq!(available(""), None);
    }

    #[test]
    fn clocks_are_judged_by_how_far_they_are_apart_either_way() {
        for (ahead_ms, expected) in [(0, State::Ok), (-2_500, State::Warning), (31_000, State::Failed)] {
            let mut findings = Findings::default();
            clock("clock", (ahead_ms, (CLOCK_MS, CLOCK_MOST_MS)), String::new(), &mut findings);
            assert_eq!(findings.0[0].state, expected, "{ahead_ms}");
        }
    }

    #[test]
    fn a_database_that_may_forget_what_it_acknowledged_fails() {
        for (fsync, commit, pages, expected) in [
            ("on", "on", "on", State::Ok),
            ("on", "local", "on", State::Ok),
            ("on", "on", "off", State::Warning),
            ("on", "off", "on", State::Failed),
            ("off", "on", "on", State::Failed),
        ] {
            let mut findings = Findings::default();
            let facts = DatabaseFacts::Postgres {
                version: 160_003,
                fsync: fsync.to_owned(),
                synchronous_commit: commit.to_owned(),
                full_page_writes: pages.to_owned(),
                clock_ahead_ms: 0,
                missing_months: vec![],
            };
            postgres(&facts, &mut findings);
            let found = findings.0.iter().find(|finding| finding.check == "durability").expect("it is looked at");
            assert_eq!(found.state, expected, "{fsync} {commit} {pages}");
        }
    }
}
