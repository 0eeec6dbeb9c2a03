//! Talks to the demo's hub and vendors as an outsider would: over HTTP.

use std::time::Duration;

use crosstie_sdk::{HttpRequest, HttpResponse, Method, ReqwestTransport, Transport};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::mpsc,
};

use super::Demo;
use crate::commands::CommandError;

pub(super) struct Client {
    transport: ReqwestTransport,
    hub: String,
    hubspot: String,
    stripe: String,
    token: String,
}

impl Client {
    pub(super) fn new(demo: &Demo) -> Result<Self, CommandError> {
        Ok(Self {
            transport: ReqwestTransport::new()?,
            hub: demo.hub.address.to_string(),
            hubspot: demo.hubspot.url.clone(),
            stripe: demo.stripe.url.clone(),
            token: demo.token.clone(),
        })
    }

    /// Runs a GraphQL operation; returns its data.
    pub(super) async fn graphql(&self, query: &str, variables: Value) -> Result<Value, CommandError> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let url = format!("http://{}/graphql", self.hub);
        let answer = self.send(Method::Post, url, &self.token, ("application/json", body)).await?;
        let answer: Value = serde_json::from_slice(&answer.body)?;
        match answer.get("errors") {
            Some(errors) => Err(format!("the hub answered {errors}").into()),
            None => Ok(answer["data"].clone()),
        }
    }

    /// Calls the CRM.
    pub(super) async fn hubspot(&self, method: Method, path: &str, body: &Value) -> Result<Value, CommandError> {
        let url = format!("{}{path}", self.hubspot);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        read(&self.send(method, url, "demo-operator", ("application/json", body)).await?)
    }

    /// Calls billing.
    pub(super) async fn stripe(&self, method: Method, path: &str, form: &str) -> Result<Value, CommandError> {
        let url = format!("{}{path}", self.stripe);
        let content = ("application/x-www-form-urlencoded", form.to_owned());
        read(&self.send(method, url, "sk_demo_operator", content).await?)
    }

    async fn send(
        &self,
        method: Method,
        url: String,
        token: &str,
        (content_type, body): (&str, String),
    ) -> Result<HttpResponse, CommandError> {
        let headers = vec![
            ("authorization".to_owned(), format!("Bearer {token}")),
            ("content-type".to_owned(), content_type.to_owned()),
            ("accept".to_owned(), "application/json".to_owned()),
        ];
        Ok(self.transport.send(HttpRequest { method, url, headers, body: body.into_bytes() }).await?)
    }

    /// Opens a subscription by server-sent events; every result comes through the channel.
    pub(super) async fn subscribe(&self, query: &str) -> Result<mpsc::UnboundedReceiver<Value>, CommandError> {
        let mut stream = TcpStream::connect(&self.hub).await?;
        let body = json!({ "query": query }).to_string();
        let request = format!(
            "POST /graphql HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.hub,
            self.token,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        if !line.contains(" 200 ") {
            return Err(format!("the subscription was answered {line:?}").into());
        }
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).await?;
        }
        let (results, receiver) = mpsc::unbounded_channel();
        tokio::spawn(read_events(reader, results));
        Ok(receiver)
    }
}

/// Reads a chunked body and hands on the data of each event.
async fn read_events(mut reader: BufReader<TcpStream>, results: mpsc::UnboundedSender<Value>) -> std::io::Result<()> {
    let mut text = String::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).await?;
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            return Ok(());
        }
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).await?;
        text.push_str(&String::from_utf8_lossy(&chunk[..size]));
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data:"));
            if let Some(Ok(value)) = data.map(|data| serde_json::from_str(data.trim())) {
                // Whoever asked may have stopped listening.
                let _ = results.send(value);
            }
            text = rest.to_owned();
        }
    }
}

fn read(answer: &HttpResponse) -> Result<Value, CommandError> {
    if answer.status >= 400 {
        return Err(format!("the vendor answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
    }
    Ok(if answer.body.is_empty() { Value::Null } else { serde_json::from_slice(&answer.body)? })
}

/// Repeats a question until the answer is there, for at most ten seconds.
pub(super) async fn until<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>, CommandError>,
) -> Result<T, CommandError> {
    for _ in 0..500 {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("{what}: not within ten seconds").into())
}
