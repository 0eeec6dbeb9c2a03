//! The log of exchanges: every request to another system and its answer, without secrets.
//!
//! Whoever exchanges waits for nothing: what was said goes into a queue of bounded length and size, and a writer of its
//! own takes the secrets out and writes many exchanges in one commit. What finds the queue full is counted and left out.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crosstie_app::erasure::{Erased, ErasedValues};
use crosstie_domain::{
    Instant,
    ids::{ConnectionId, ExchangeId, InboundEventId, SyncRunId},
    integration::{EffectKey, ExchangeHeader, ExchangeRecord, RunTrigger},
};
use crosstie_sdk::{HttpRequest, HttpResponse, Priority, Redactor, Sending, Transport, TransportError, fault_code};
use crosstie_store::{Store, StoreError};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant as Moment, timeout_at},
};
use tracing::warn;

use crate::inbox::describe;

/// Exchanges that wait for the writer, at most.
const WAITING: usize = 2_048;
/// Bytes of bodies that wait for the writer, at most; of what comes then only the size is kept.
const WAITING_BYTES: usize = 16 * 1_024 * 1_024;
/// Exchanges in one commit, at most.
const BATCH: usize = 256;
/// How long the writer gathers exchanges.
const GATHER: Duration = Duration::from_millis(250);
/// How often the writer tries before it leaves a batch out.
const TRIES: usize = 3;
/// What is kept of a body, in bytes.
const KEPT_BYTES: usize = 64 * 1_024;
const DAY_MS: i64 = 86_400_000;
/// Answers of one piece of work that are remembered, to tell which of them brought a row.
const REMEMBERED: usize = 512;
/// Bytes of them.
const REMEMBERED_BYTES: usize = 4 * 1_024 * 1_024;

/// Which bodies are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBodies {
    /// Of exchanges that went wrong.
    #[default]
    Errors,
    /// Of all exchanges.
    All,
    /// Of none.
    None,
}

/// Why something is asked of another system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) run: Option<SyncRunId>,
    pub(crate) event: Option<InboundEventId>,
    pub(crate) effect: Option<EffectKey>,
}

tokio::task_local! {
    static WORK: Arc<Work>;
}

/// A piece of work that talks to another system: why it does, how much its calls matter beside others, and what it was
/// last answered.
pub(crate) struct Work {
    cause: Cause,
    priority: Priority,
    answers: Mutex<Answers>,
    contact: Mutex<Option<Contact>>,
}

/// What an exchange shows of whether the system is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contact {
    /// It answered, be it with a refusal.
    Answered,
    /// It did not, or only that something is wrong with it: a stable code.
    Silent(&'static str),
}

impl Contact {
    /// What the code of an exchange shows; nothing when the system asks to slow down.
    fn of(fault: Option<&'static str>) -> Option<Self> {
        match fault {
            Some("THROTTLED") => None,
            Some(code @ ("TRANSIENT" | "OUTCOME_UNKNOWN")) => Some(Self::Silent(code)),
            _ => Some(Self::Answered),
        }
    }
}

/// What the last exchange of the present work showed, if there was one since this was last asked.
pub(crate) fn contact() -> Option<Contact> {
    WORK.try_with(|work| work.contact()).ok().flatten()
}

#[derive(Default)]
struct Answers {
    /// The latest last.
    kept: VecDeque<(ExchangeId, Arc<Vec<u8>>)>,
    bytes: usize,
}

impl Work {
    /// Work for somebody who waits: an event or an effect.
    pub(crate) fn of(cause: Cause) -> Arc<Self> {
        Self::new(cause, Priority::Event)
    }

    /// A reading: what changed lately goes before what has time.
    pub(crate) fn of_run(run: SyncRunId, trigger: RunTrigger) -> Arc<Self> {
        let priority = match trigger {
            RunTrigger::Schedule | RunTrigger::Manual | RunTrigger::Refresh => Priority::Incremental,
            RunTrigger::Backfill | RunTrigger::Sweep | RunTrigger::Drift => Priority::BackFill,
        };
        Self::new(Cause { run: Some(run), ..Cause::default() }, priority)
    }

    /// Work that nobody waits for and that no run tells of.
    pub(crate) fn aside() -> Arc<Self> {
        Self::new(Cause::default(), Priority::BackFill)
    }

    fn new(cause: Cause, priority: Priority) -> Arc<Self> {
        Arc::new(Self { cause, priority, answers: Mutex::default(), contact: Mutex::default() })
    }

    /// What its last exchange showed, if there was one since this was last asked.
    pub(crate) fn contact(&self) -> Option<Contact> {
        self.contact.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Does a part of the work; what it exchanges is known as caused by it.
    pub(crate) async fn on<T>(self: &Arc<Self>, part: impl Future<Output = T>) -> T {
        // On the heap: what a piece of work holds on to is too much for the stack of a thread.
        self.priority.of(WORK.scope(Arc::clone(self), Box::pin(part))).await
    }

    fn remember(&self, id: ExchangeId, body: &Arc<Vec<u8>>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.bytes += body.len();
        answers.kept.push_back((id, Arc::clone(body)));
        while answers.kept.len() > REMEMBERED || (answers.bytes > REMEMBERED_BYTES && answers.kept.len() > 1) {
            let Some((_, gone)) = answers.kept.pop_front() else { return };
            answers.bytes -= gone.len();
        }
    }

    fn brought(&self, remote_ids: &[&str]) -> Vec<Option<ExchangeId>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut brought = vec![None; remote_ids.len()];
        for (id, body) in answers.kept.iter().rev() {
            if brought.iter().all(Option::is_some) {
                break;
            }
            let words = if remote_ids.len() > 1 { words_of(body) } else { HashSet::new() };
            for (remote_id, brought) in remote_ids.iter().zip(&mut brought).filter(|(_, brought)| brought.is_none()) {
                let remote_id = remote_id.as_bytes();
                let is_word = !remote_id.is_empty() && remote_id.iter().all(is_of_a_word);
                let named = match is_word && remote_ids.len() > 1 {
                    true => words.contains(remote_id),
                    false => names(body, remote_id),
                };
                *brought = named.then_some(*id);
            }
        }
        let latest = answers.kept.back().map(|(id, _)| *id);
        brought.into_iter().map(|brought| brought.or(latest)).collect()
    }
}

/// The exchanges of the present work that brought these records: the latest whose answer names the id, or else the
/// latest.
pub(crate) fn exchanges_that_brought(remote_ids: &[&str]) -> Vec<Option<ExchangeId>> {
    WORK.try_with(|work| work.brought(remote_ids)).unwrap_or_else(|_| vec![None; remote_ids.len()])
}

fn is_of_a_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

/// The words of a text.
fn words_of(body: &[u8]) -> HashSet<&[u8]> {
    body.split(|byte| !is_of_a_word(byte)).filter(|word| !word.is_empty()).collect()
}

/// Whether a text holds an id that is no part of a longer word.
fn names(body: &[u8], id: &[u8]) -> bool {
    let Some((first, rest)) = id.split_first() else { return false };
    let word = |byte: Option<&u8>| byte.is_some_and(is_of_a_word);
    let mut from = 0;
    while let Some(at) = body[from..].iter().position(|byte| byte == first).map(|at| from + at) {
        let end = at + id.len();
        let before = at.checked_sub(1).and_then(|before| body.get(before));
        if body[at + 1..].starts_with(rest) && !word(before) && !word(body.get(end)) {
            return true;
        }
        from = at + 1;
    }
    false
}

/// What is kept of exchanges, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExchangeSettings {
    /// Days until an exchange is let go of.
    pub keep_days: u32,
    /// Which bodies are kept.
    pub bodies: KeptBodies,
}

impl Default for ExchangeSettings {
    fn default() -> Self {
        Self { keep_days: 7, bodies: KeptBodies::default() }
    }
}

/// Takes exchanges in and writes them down. One that was not started keeps nothing.
#[derive(Clone, Default)]
pub struct ExchangeLog {
    writer: Option<Writer>,
    held: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Writer {
    queue: mpsc::Sender<Message>,
    store: Store,
    keep_days: u32,
}

enum Message {
    Said(Box<Said>),
    /// Whoever waits for all that came before to be on disk.
    Flush(oneshot::Sender<()>),
}

/// An exchange as it was, secrets included: it never leaves the memory so.
struct Said {
    id: ExchangeId,
    connection: ConnectionId,
    cause: Cause,
    sending: Sending,
    started_at: Instant,
    took: Duration,
    method: &'static str,
    url: String,
    request_headers: Vec<(String, String)>,
    request: Body,
    fault: Option<&'static str>,
    status: Option<u16>,
    answer_headers: Vec<(String, String)>,
    answer: Option<Body>,
    redactor: Arc<Redactor>,
}

/// A body, or only its size when too many waited.
struct Body {
    size: usize,
    bytes: Option<Arc<Vec<u8>>>,
}

impl ExchangeLog {
    /// Starts the writer. It ends when the last handle is dropped.
    pub fn start(store: &Store, settings: ExchangeSettings) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let held = Arc::new(AtomicUsize::new(0));
        tokio::spawn(write_all(store.clone(), waiting, (settings.bodies, Arc::clone(&held))));
        Self { writer: Some(Writer { queue, store: store.clone(), keep_days: settings.keep_days }), held }
    }

    /// Lets go of the exchanges that were kept long enough.
    ///
    /// # Errors
    /// As the database.
    pub async fn forget_old(&self) -> Result<(), StoreError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let before = writer.store.now().plus_ms(-i64::from(writer.keep_days) * DAY_MS);
        writer.store.forget_exchanges(before).await.map(|_| ())
    }

    /// Waits until all that was exchanged before is on disk, or was left out.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if let Some(writer) = &self.writer
            && writer.queue.send(Message::Flush(done)).await.is_ok()
        {
            // A writer that ended has nothing more to write.
            let _ = written.await;
        }
    }

    /// Carries requests by this transport and writes down what was exchanged.
    pub(crate) fn over(&self, transport: Arc<dyn Transport>, redactor: Arc<Redactor>) -> Arc<Recorded> {
        Arc::new(Recorded { transport, log: self.clone(), redactor, connection: OnceLock::new() })
    }

    /// Takes the size of a body, and the body itself while there is room for it.
    fn hold(&self, bytes: Arc<Vec<u8>>) -> Body {
        let size = bytes.len();
        let held = self.held.fetch_add(size, Ordering::Relaxed);
        if held + size > WAITING_BYTES {
            self.held.fetch_sub(size, Ordering::Relaxed);
            metrics::counter!("crosstie_exchanges_dropped_total", "what" => "body").increment(1);
            return Body { size, bytes: None };
        }
        Body { size, bytes: Some(bytes) }
    }

    fn take(&self, said: Said) {
        let Some(Writer { queue, .. }) = &self.writer else { return };
        if let Err(
            mpsc::error::TrySendError::Full(Message::Said(said))
            | mpsc::error::TrySendError::Closed(Message::Said(said)),
        ) = queue.try_send(Message::Said(Box::new(said)))
        {
            self.held.fetch_sub(said.held(), Ordering::Relaxed);
            metrics::counter!("crosstie_exchanges_dropped_total", "what" => "exchange").increment(1);
        }
    }
}

impl Said {
    fn held(&self) -> usize {
        let bodies = [Some(&self.request), self.answer.as_ref()];
        bodies.into_iter().flatten().filter(|body| body.bytes.is_some()).map(|body| body.size).sum()
    }

    /// The exchange as it is kept.
    fn record(&self, bodies: KeptBodies) -> ExchangeRecord {
        let body = |body: Option<&Body>| body.and_then(|body| body.bytes.clone()).filter(|bytes| !bytes.is_empty());
        let (request, answer) = (body(Some(&self.request)), body(self.answer.as_ref()));
        let empty = Vec::new();
        let given = [&request, &answer].map(|body| body.as_ref().map_or(empty.as_slice(), |bytes| bytes.as_slice()));
        self.redactor.learn(&self.request_headers, given);
        let kept = match bodies {
            KeptBodies::All => true,
            KeptBodies::Errors => self.fault.is_some(),
            KeptBodies::None => false,
        };
        let shown =
            |body: &Option<Arc<Vec<u8>>>| body.as_ref().filter(|_| kept).map(|bytes| cut(self.redactor.body(bytes)));
        let hash =
            |body: &Option<Arc<Vec<u8>>>| body.as_ref().map(|bytes| hex::encode(Sha256::digest(bytes.as_slice())));
        let headers = |headers: &[(String, String)]| {
            let headers = self.redactor.headers(headers).into_iter();
            headers.map(|(name, value)| ExchangeHeader { name, value }).collect()
        };
        ExchangeRecord {
            id: self.id,
            connection_id: self.connection,
            run_id: self.cause.run,
            inbound_event_id: self.cause.event,
            effect_key: self.cause.effect.as_ref().map(|key| key.as_str().to_owned()),
            method: self.method.to_owned(),
            address: cut(self.redactor.address(&self.url)),
            status: self.status.map(i32::from),
            fault_code: self.fault.map(str::to_owned),
            attempt: self.sending.attempt,
            started_at: self.started_at,
            duration_ms: i64::try_from(self.took.as_millis()).unwrap_or(i64::MAX),
            request_bytes: i64::try_from(self.request.size).unwrap_or(i64::MAX),
            request_sha256: hash(&request),
            request_headers: headers(&self.request_headers),
            request_body: shown(&request),
            answer_bytes: self.answer.as_ref().map(|body| i64::try_from(body.size).unwrap_or(i64::MAX)),
            answer_sha256: hash(&answer),
            answer_headers: headers(&self.answer_headers),
            answer_body: shown(&answer),
        }
    }
}

/// A text up to the size that is kept, at the border of a character.
fn cut(mut text: String) -> String {
    if text.len() > KEPT_BYTES {
        let end = (0..=KEPT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

async fn write_all(store: Store, mut waiting: mpsc::Receiver<Message>, (bodies, held): (KeptBodies, Arc<AtomicUsize>)) {
    let erased = ErasedValues::default();
    while let Some(first) = waiting.recv().await {
        let until = Moment::now() + GATHER;
        let mut next = Some(first);
        let (mut records, mut flushed) = (Vec::new(), Vec::new());
        while let Some(message) = next.take() {
            match message {
                Message::Said(said) => {
                    records.push(said.record(bodies));
                    held.fetch_sub(said.held(), Ordering::Relaxed);
                }
                Message::Flush(done) => flushed.push(done),
            }
            if records.len() < BATCH && flushed.is_empty() {
                next = timeout_at(until, waiting.recv()).await.ok().flatten();
            }
        }
        write(&store, &erased, records).await;
        for done in flushed {
            // Whoever does not wait any more need not know.
            let _ = done.send(());
        }
    }
}

async fn write(store: &Store, erased: &ErasedValues, mut records: Vec<ExchangeRecord>) {
    if records.is_empty() {
        return;
    }
    let mut cleaned = false;
    for _ in 0..TRIES {
        // Nothing is written down before it is known what must not be.
        let kept = match erased.now(store).await {
            Ok(erased) => {
                if !cleaned {
                    records.iter_mut().for_each(|record| without_erased(record, &erased));
                    cleaned = true;
                }
                store.keep_exchanges(&records).await
            }
            Err(error) => Err(error),
        };
        match kept {
            Ok(()) => return,
            Err(error) => warn!(error = %describe(&error), "exchanges could not be written down"),
        }
        tokio::time::sleep(GATHER).await;
    }
    let dropped = u64::try_from(records.len()).unwrap_or(0);
    metrics::counter!("crosstie_exchanges_dropped_total", "what" => "exchange").increment(dropped);
}

/// Remembers for the present work what an exchange showed.
fn note_contact(fault: Option<&'static str>) {
    let Some(contact) = Contact::of(fault) else { return };
    // What is asked outside of any work shows nothing to anybody.
    let _ = WORK.try_with(|work| *work.contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(contact));
}

fn without_erased(record: &mut ExchangeRecord, erased: &Erased) {
    if erased.is_empty() {
        return;
    }
    record.address = erased.masked(std::mem::take(&mut record.address));
    for body in [&mut record.request_body, &mut record.answer_body] {
        *body = body.take().map(|body| erased.masked(body));
    }
    for header in record.request_headers.iter_mut().chain(&mut record.answer_headers) {
        header.value = erased.masked(std::mem::take(&mut header.value));
    }
}

/// A transport that tells the log what it carried.
pub(crate) struct Recorded {
    transport: Arc<dyn Transport>,
    log: ExchangeLog,
    redactor: Arc<Redactor>,
    connection: OnceLock<(ConnectionId, String)>,
}

impl Recorded {
    /// Names the connection; nothing is written down before.
    pub(crate) fn belongs_to(&self, connection: ConnectionId, name: &str) {
        // A connection is named once, where it is set up.
        let _ = self.connection.set((connection, name.to_owned()));
    }

    fn count(&self, name: &str, (status, fault): (Option<u16>, Option<&'static str>)) {
        let class = match status {
            None => "none",
            Some(0..=199) => "1xx",
            Some(200..=299) => "2xx",
            Some(300..=399) => "3xx",
            Some(400..=499) => "4xx",
            Some(500..) => "5xx",
        };
        let labels = [
            ("connection", name.to_owned()),
            ("status", class.to_owned()),
            ("fault", fault.unwrap_or("none").to_owned()),
        ];
        metrics::counter!("crosstie_exchanges_total", &labels).increment(1);
    }
}

#[async_trait::async_trait]
impl Transport for Recorded {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let (Some((connection, name)), Some(Writer { store, .. })) = (self.connection.get(), &self.log.writer) else {
            let sending = Sending::now();
            let answer = self.transport.send(request).await;
            note_contact(fault_code(&answer, sending));
            return answer;
        };
        let (id, started_at, sending) = (store.new_id(), store.now(), Sending::now());
        let (method, url, request_headers) = (request.method.as_str(), request.url.clone(), request.headers.clone());
        let asked = Arc::new(request.body.clone());
        let begun = Moment::now();
        let answer = self.transport.send(request).await;
        let took = begun.elapsed();
        let fault = fault_code(&answer, sending);
        note_contact(fault);
        let status = answer.as_ref().ok().map(|answer| answer.status);
        self.count(name, (status, fault));
        let answered = answer.as_ref().ok().map(|answer| (answer.headers.clone(), Arc::new(answer.body.clone())));
        let work = WORK.try_with(Arc::clone).ok();
        if let (Some(work), Some((_, body)), None) = (&work, &answered, fault) {
            work.remember(id, body);
        }
        let (answer_headers, answer_body) = answered.unzip();
        self.log.take(Said {
            id,
            connection: *connection,
            cause: work.map(|work| work.cause.clone()).unwrap_or_default(),
            sending,
            started_at,
            took,
            method,
            url,
            request_headers,
            request: self.log.hold(asked),
            fault,
            status,
            answer_headers: answer_headers.unwrap_or_default(),
            answer: answer_body.map(|body| self.log.hold(body)),
            redactor: Arc::clone(&self.redactor),
        });
        answer
    }

    fn now(&self) -> Option<Instant> {
        self.transport.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ExchangeId {
        text.parse().expect("an identifier")
    }

    #[test]
    fn an_id_is_named_only_where_it_is_a_word_of_its_own() {
        let body = br#"{"id":"12","other":123,"ref":"in_12x","list":[7,42]}"#;
        for (word, expected) in
            [("12", true), ("123", true), ("42", true), ("23", false), ("in_12", false), ("", false)]
        {
            assert_eq!(names(body, word.as_bytes()), expected, "{word}");
        }
    }

    #[test]
    fn a_row_was_brought_by_the_latest_answer_that_names_it() {
        let work = Work::of(Cause::default());
        assert_eq!(work.brought(&["7"]), [None]);
        let page = id("xch_00000000000000000000000001");
        let one = id("xch_00000000000000000000000002");
        work.remember(page, &Arc::new(br#"[{"id":7},{"id":8,"customer":9}]"#.to_vec()));
        work.remember(one, &Arc::new(br#"{"id":9}"#.to_vec()));
        for (remote_id, brought) in [("7", page), ("9", one), ("no such", one)] {
            assert_eq!(work.brought(&[remote_id]), [Some(brought)], "{remote_id}");
        }
        // Read after it was referred to; and the latest, when none names it.
        assert_eq!(work.brought(&["7", "9", "no such"]), [Some(page), Some(one), Some(one)]);
    }

    #[test]
    fn answers_are_remembered_up_to_a_size() {
        let work = Work::of(Cause::default());
        let first = id("xch_00000000000000000000000001");
        work.remember(first, &Arc::new(b"\"a\"".to_vec()));
        for _ in 0..4 {
            work.remember(id("xch_00000000000000000000000002"), &Arc::new(vec![b' '; REMEMBERED_BYTES / 3]));
        }
        assert_ne!(work.brought(&["a"]), [Some(first)]);
        let answers = work.answers.lock().expect("nobody panicked");
        assert!(answers.bytes <= REMEMBERED_BYTES);
    }
}
