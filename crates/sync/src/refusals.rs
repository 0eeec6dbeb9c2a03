//! What is kept of webhooks that were refused or turned away: enough to find out why, and little whatever a stranger does.
//!
//! Whoever is refused waits for nothing, and the same is done for each before it is known whether anything is kept: the
//! body is hashed and its beginning copied. What is kept goes into a short queue, from which a writer takes the secrets
//! out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crosstie_app::erasure::{Erased, ErasedValues};
use crosstie_domain::{
    Instant,
    ids::{ConnectionId, InboundRefusalId},
    integration::{ExchangeHeader, InboundRefusalRecord},
};
use crosstie_sdk::{Delivery, Redactor, signature::Refused};
use crosstie_store::{Store, integration::REFUSALS_AN_HOUR};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant as Moment, timeout_at},
};
use tracing::warn;

use crate::{Connection, inbox::describe};

/// What waits for the writer, at most.
const WAITING: usize = 256;
/// How long the writer gathers.
const GATHER: Duration = Duration::from_millis(250);
/// Bytes of a body from which its excerpt is made.
const BEGINNING: usize = 1_024;
/// What is kept of a body, in bytes.
const EXCERPT: usize = 300;
/// Headers whose names are kept, at most.
const HEADERS: usize = 50;
/// What is kept of a name, in bytes.
const NAME: usize = 64;
/// What is kept of a header's value, in bytes.
const VALUE: usize = 200;
const HOUR_MICROS: i64 = 3_600_000_000;
/// Headers that can hold no secret; those that end in `timestamp` are kept as well.
const SAFE: &[&str] = &["content-encoding", "content-length", "content-type", "date", "host", "user-agent"];

/// Takes in what was refused and turned away, and writes it down.
pub(crate) struct RefusalLog {
    queue: mpsc::Sender<Message>,
    store: Store,
    /// How many were kept of each connection, and of none, in the present hour.
    kept: Mutex<HashMap<Option<ConnectionId>, (i64, i32)>>,
    /// For those that no connection is meant by.
    nobody: Arc<Redactor>,
}

enum Message {
    Refused(Box<Seen>),
    TurnedAway(ConnectionId),
    /// Whoever waits for all that came before to be on disk.
    Flush(oneshot::Sender<()>),
}

/// A refused delivery as it was seen.
struct Seen {
    id: InboundRefusalId,
    connection: Option<ConnectionId>,
    asked_for: String,
    code: &'static str,
    headers: Vec<(String, String)>,
    bytes: usize,
    sha256: String,
    beginning: Vec<u8>,
    at: Instant,
    redactor: Arc<Redactor>,
}

impl Seen {
    /// As it is kept.
    fn record(&self) -> InboundRefusalRecord {
        let safe = self.headers.iter().filter(|(name, _)| SAFE.contains(&name.as_str()) || name.ends_with("timestamp"));
        let clean = |text: &str, most: usize| cut(self.redactor.text(text), most);
        let excerpt = (!self.beginning.is_empty()).then(|| cut(self.redactor.body(&self.beginning), EXCERPT));
        InboundRefusalRecord {
            id: self.id,
            connection_id: self.connection,
            asked_for: clean(&self.asked_for, NAME),
            code: self.code.to_owned(),
            header_names: self.headers.iter().map(|(name, _)| clean(name, NAME)).collect(),
            safe_headers: safe
                .map(|(name, value)| ExchangeHeader { name: clean(name, NAME), value: clean(value, VALUE) })
                .collect(),
            body_bytes: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            body_sha256: self.sha256.clone(),
            body_excerpt: excerpt,
            refused_at: self.at,
        }
    }
}

/// A text up to a size, at the border of a character, without what a database or a screen does not take.
fn cut(text: String, most: usize) -> String {
    let mut text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

impl RefusalLog {
    /// Starts the writer. It ends when the log is dropped.
    pub(crate) fn start(store: &Store) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write_all(store.clone(), waiting));
        Self { queue, store: store.clone(), kept: Mutex::default(), nobody: Arc::new(Redactor::new([])) }
    }

    /// Takes note of a delivery that was not believed; the first few are kept.
    pub(crate) fn refused(
        &self,
        (asked_for, connection): (&str, Option<&Connection>),
        (delivery, verdict): (&Delivery, Refused),
        at: Instant,
    ) {
        let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        let headers = delivery.headers.iter().take(HEADERS);
        let seen = Seen {
            id: self.store.new_id(),
            connection: connection.map(|connection| connection.record.id),
            asked_for: short(asked_for, NAME),
            code: verdict.code(),
            headers: headers.map(|(name, value)| (short(name, NAME), short(value, VALUE))).collect(),
            bytes: delivery.body.len(),
            sha256: hex::encode(Sha256::digest(&delivery.body)),
            beginning: delivery.body.iter().copied().take(BEGINNING).collect(),
            at,
            redactor: Arc::clone(connection.map_or(&self.nobody, |connection| &connection.redactor)),
        };
        if self.is_among_the_first(seen.connection, at) {
            self.put(Message::Refused(Box::new(seen)));
        }
    }

    /// Counts a delivery that was turned away.
    pub(crate) fn turned_away(&self, connection: ConnectionId) {
        self.put(Message::TurnedAway(connection));
    }

    /// Waits until all that came before is on disk, or was left out.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            // A writer that ended has nothing more to write.
            let _ = written.await;
        }
    }

    fn is_among_the_first(&self, connection: Option<ConnectionId>, at: Instant) -> bool {
        let hour = at.micros().div_euclid(HOUR_MICROS);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (of_hour, count) = kept.entry(connection).or_insert((hour, 0));
        if *of_hour != hour {
            (*of_hour, *count) = (hour, 0);
        }
        *count = count.saturating_add(1);
        *count <= REFUSALS_AN_HOUR
    }

    fn put(&self, message: Message) {
        if self.queue.try_send(message).is_err() {
            metrics::counter!("crosstie_inbound_notes_dropped_total").increment(1);
        }
    }
}

async fn write_all(store: Store, mut waiting: mpsc::Receiver<Message>) {
    let erased = ErasedValues::default();
    while let Some(first) = waiting.recv().await {
        let until = Moment::now() + GATHER;
        let mut next = Some(first);
        let (mut refusals, mut turned_away, mut flushed) = (Vec::new(), HashMap::new(), Vec::new());
        while let Some(message) = next.take() {
            match message {
                Message::Refused(seen) => refusals.push(seen.record()),
                Message::TurnedAway(connection) => *turned_away.entry(connection).or_insert(0_i64) += 1,
                Message::Flush(done) => flushed.push(done),
            }
            if flushed.is_empty() {
                next = timeout_at(until, waiting.recv()).await.ok().flatten();
            }
        }
        match erased.now(&store).await {
            Ok(erased) => refusals.iter_mut().for_each(|refusal| without_erased(refusal, &erased)),
            // What must not be kept is not known: nothing is.
            Err(_) => refusals.clear(),
        }
        let turned_away: Vec<_> = turned_away.into_iter().collect();
        if (!refusals.is_empty() || !turned_away.is_empty())
            && let Err(error) = store.keep_refusals(&refusals, &turned_away).await
        {
            // What is known of strangers is not worth a second try while the database has trouble.
            warn!(error = %describe(&error), "refused webhooks could not be written down");
        }
        for done in flushed {
            // Whoever does not wait any more need not know.
            let _ = done.send(());
        }
    }
}

/// What persons were erased of is not kept, whoever says it.
fn without_erased(refusal: &mut InboundRefusalRecord, erased: &Erased) {
    if erased.is_empty() {
        return;
    }
    refusal.asked_for = erased.masked(std::mem::take(&mut refusal.asked_for));
    refusal.body_excerpt = refusal.body_excerpt.take().map(|body| erased.masked(body));
    for header in &mut refusal.safe_headers {
        header.value = erased.masked(std::mem::take(&mut header.value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_the_border_of_a_character_and_holds_nothing_that_is_no_text() {
        assert_eq!(cut("aü\0b".to_owned(), 100), "aü\u{fffd}b");
        assert_eq!(cut("aüb".to_owned(), 2), "a");
        assert_eq!(cut("abc".to_owned(), 3), "abc");
    }
}
