//! HTTP/1.1 by hand, for what the client of the connectors does not do: other methods, and bodies that go on.

use std::time::Duration;

use serde_json::Value as Json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long a line of an answer, or the next event, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The head of an answer, and what follows it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: BufReader<TcpStream>,
}

/// Sends a request such as `OPTIONS /graphql` to the hub at this address.
pub(crate) async fn send(url: &str, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("the hub listens");
    let mut text = format!("{request} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.expect("it is sent");
    let mut body = BufReader::new(stream);
    let status = line(&mut body).await;
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut headers = Vec::new();
    loop {
        let line = line(&mut body).await;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Answer { status: status.expect("a status"), headers, body }
}

async fn line(body: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    timeout(PATIENCE, body.read_line(&mut line)).await.expect("it comes in time").expect("a line");
    line.trim_end().to_owned()
}

impl Answer {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The answer as a stream of events.
    pub(crate) fn into_events(self) -> EventStream {
        assert_eq!((self.status, self.header("content-type")), (200, Some("text/event-stream")));
        EventStream { body: self.body, text: Vec::new() }
    }
}

/// Events as they come in.
pub(crate) struct EventStream {
    body: BufReader<TcpStream>,
    /// What came and is no whole event yet.
    text: Vec<u8>,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

impl EventStream {
    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        // Comments go on coming, so none of them may begin the wait anew.
        timeout(PATIENCE, self.wait()).await.expect("an event comes in time")
    }

    async fn wait(&mut self) -> Option<Event> {
        loop {
            let end = self.text.windows(2).position(|two| two == b"\n\n");
            let Some(end) = end else {
                self.chunk().await?;
                continue;
            };
            let rest = self.text.split_off(end + 2);
            let whole = String::from_utf8(std::mem::replace(&mut self.text, rest)).expect("events are UTF-8");
            let fields: Vec<(&str, &str)> = whole.lines().filter_map(|line| line.split_once(':')).collect();
            let values = |wanted: &str| {
                let found = fields.iter().filter(|(name, _)| *name == wanted);
                found.map(|(_, value)| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>()
            };
            // Without any of these it is a comment, which keeps the connection alive.
            if let [name] = values("event").as_slice() {
                let id = values("id").first().map(|id| (*id).to_owned());
                return Some(Event { name: (*name).to_owned(), id, data: values("data").join("\n") });
            }
        }
    }

    /// The response in the next event.
    pub(crate) async fn result(&mut self) -> (Json, Option<String>) {
        let event = self.next().await.expect("the stream goes on");
        assert_eq!(event.name, "next", "{event:?}");
        (serde_json::from_str(&event.data).expect("the result is JSON"), event.id)
    }

    /// Reads one more chunk; `None` after the last.
    async fn chunk(&mut self) -> Option<()> {
        let size = usize::from_str_radix(&line(&mut self.body).await, 16).expect("the size of a chunk");
        let mut chunk = vec![0; size + 2];
        self.body.read_exact(&mut chunk).await.expect("a chunk");
        chunk.truncate(size);
        self.text.extend(chunk);
        (size > 0).then_some(())
    }
}
