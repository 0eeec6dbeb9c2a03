//! `tap`: what is exchanged with another system, as it happens.

use std::{collections::HashSet, process::ExitCode, time::Duration};

use clap::Args;
use crosstie_domain::{
    Instant,
    ids::{ConnectionId, ExchangeId},
    integration::ExchangeRecord,
};
use crosstie_store::{Store, StoreError, integration::exchanges_written};

use super::{CommandError, ConfigArgs};
use crate::hub::open;

/// How often it looks for more.
const LOOK: Duration = Duration::from_millis(300);
/// How much later than its moment of writing an exchange may become visible, in milliseconds.
const LATE_MS: i64 = 5_000;
/// Exchanges that are read at once.
const PAGE: i64 = 200;

#[derive(Debug, Args)]
pub(super) struct TapArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The connection
    connection: String,
    /// Begin so long ago, such as `10m`, `2h` or `3d`, or at a moment such as 2026-11-23T10:00:00Z; now when left out
    #[arg(long, value_parser = since)]
    since: Option<Since>,
    /// Only what went wrong
    #[arg(long)]
    errors: bool,
    /// Headers and bodies too, as far as they were kept
    #[arg(long)]
    bodies: bool,
    /// End after what is there already
    #[arg(long)]
    no_follow: bool,
}

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Ago(i64),
    At(Instant),
}

fn since(text: &str) -> Result<Since, String> {
    let unit_ms = |unit: char| match unit {
        's' => Some(1_000),
        'm' => Some(60_000),
        'h' => Some(3_600_000),
        'd' => Some(86_400_000),
        _ => None,
    };
    let ago = text.chars().last().and_then(unit_ms).and_then(|unit| {
        let count: u32 = text[..text.len() - 1].parse().ok()?;
        Some(Since::Ago(i64::from(count) * unit))
    });
    let at = || text.parse().ok().map(Since::At);
    ago.or_else(at).ok_or_else(|| "neither a time such as 10m nor a moment such as 2026-11-23T10:00:00Z".to_owned())
}

pub(super) async fn run(args: TapArgs) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&args.config.load()?).await?;
    let connection = connections.named(&args.connection).ok_or("no such connection is configured")?;
    let store = app.store();
    let begin = match args.since {
        None => store.now(),
        Some(Since::Ago(ms)) => store.now().plus_ms(-ms),
        Some(Since::At(at)) => at,
    };
    let mut place = Place { begin, seen: HashSet::new() };
    loop {
        for exchange in place.next(store, connection.record.id).await? {
            if !args.errors || exchange.fault_code.is_some() {
                println!("{}", line(&exchange));
                if args.bodies {
                    print!("{}", details(&exchange));
                }
            }
        }
        if args.no_follow {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How far it has read. The last seconds are read again each time, since another process may write late.
struct Place {
    begin: Instant,
    seen: HashSet<ExchangeId>,
}

impl Place {
    /// What was not seen before.
    async fn next(&mut self, store: &Store, connection: ConnectionId) -> Result<Vec<ExchangeRecord>, StoreError> {
        let mut fresh = Vec::new();
        let mut still_near = HashSet::new();
        let settled = store.now().plus_ms(-LATE_MS);
        let (mut at, mut id) = (self.begin, None);
        loop {
            let page = exchanges_written(store, connection, (at, id), PAGE).await?;
            let read = i64::try_from(page.len()).unwrap_or(PAGE);
            for (written_at, exchange) in page {
                (at, id) = (written_at, Some(exchange.id));
                if written_at >= settled {
                    still_near.insert(exchange.id);
                }
                if !self.seen.contains(&exchange.id) {
                    fresh.push(exchange);
                }
            }
            if read < PAGE {
                self.begin = self.begin.max(settled);
                self.seen = still_near;
                return Ok(fresh);
            }
        }
    }
}

/// One exchange in one line.
fn line(exchange: &ExchangeRecord) -> String {
    let status = exchange.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    let size = exchange.answer_bytes.map_or_else(|| "-".to_owned(), bytes);
    let run = exchange.run_id.map(|id| id.to_string());
    let event = exchange.inbound_event_id.map(|id| id.to_string());
    let cause = run.or(event).or_else(|| exchange.effect_key.clone()).unwrap_or_else(|| "-".to_owned());
    let (id, at, method) = (exchange.id, exchange.started_at, &exchange.method);
    let again = if exchange.attempt > 1 { format!("  try {}", exchange.attempt) } else { String::new() };
    let fault = exchange.fault_code.as_ref().map(|code| format!("  {code}")).unwrap_or_default();
    let (address, took) = (one_line(&exchange.address), exchange.duration_ms);
    format!("{at}  {method:<6} {status}  {took:>5} ms  {size:>9}  {address}  {cause}{again}{fault}  {id}")
}

fn bytes(count: i64) -> String {
    match count {
        ..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1_000),
        _ => format!("{} MB", count / 1_000_000),
    }
}

/// Headers and bodies below the line.
fn details(exchange: &ExchangeRecord) -> String {
    let mut text = String::new();
    let parts = [
        (">", &exchange.request_headers, &exchange.request_body),
        ("<", &exchange.answer_headers, &exchange.answer_body),
    ];
    for (mark, headers, body) in parts {
        for header in headers {
            text.push_str(&format!("    {mark} {}: {}\n", header.name, one_line(&header.value)));
        }
        for line in body.iter().flat_map(|body| body.lines()) {
            text.push_str(&format!("    {mark} {}\n", one_line(line)));
        }
    }
    text
}

/// A text that moves no cursor: what another system sent could.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_time_ago_or_a_moment() {
        for (text, expected) in [
            ("90s", Some(Since::Ago(90_000))),
            ("10m", Some(Since::Ago(600_000))),
            ("2h", Some(Since::Ago(7_200_000))),
            ("3d", Some(Since::Ago(259_200_000))),
            ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z".parse().ok().map(Since::At)),
            ("", None),
            ("m", None),
            ("-5m", None),
            ("yesterday", None),
        ] {
            assert_eq!(since(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_another_system_sent_moves_no_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb\r\nc"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c");
    }
}
