//! Requests as a connector builds them, and answers as it reads them.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use url::Url;

use crate::Fault;

/// HTTP methods that vendors use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Method {
    /// The method as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A call to the vendor, below the connection's address.
#[derive(Clone)]
pub struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    pub(super) bucket: Option<&'static str>,
    pub(super) cost: u32,
    pub(super) repeatable: bool,
    pub(super) reads_forbidden: bool,
}

/// Shows no query, no header and no body: they hold secrets and personal data.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Call {
    /// A call; only GET counts as repeatable unless [`Call::repeatable`] says so.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: vec![("accept".to_owned(), "application/json".to_owned())],
            body: Vec::new(),
            bucket: None,
            cost: 1,
            repeatable: method == Method::Get,
            reads_forbidden: false,
        }
    }

    /// GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path)
    }

    /// POST.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::Post, path)
    }

    /// Adds a query parameter; it is encoded here.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json<T: Serialize>(mut self, body: &T) -> Self {
        self.body = serde_json::to_vec(body).expect("request bodies are plain data");
        self.header("content-type", "application/json")
    }

    /// Sets a form body from pairs, in order.
    #[must_use]
    pub fn form(mut self, pairs: &[(String, String)]) -> Self {
        self.body = serde_urlencoded::to_string(pairs).expect("pairs of texts can be written as a form").into_bytes();
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Names the rate budget that the call counts against.
    #[must_use]
    pub fn bucket(mut self, bucket: &'static str) -> Self {
        self.bucket = Some(bucket);
        self
    }

    /// Says that the vendor counts it as so many calls; 1 when nothing is said.
    #[must_use]
    pub fn cost(mut self, calls: u32) -> Self {
        self.cost = calls;
        self
    }

    /// Declares that sending it twice does what sending it once does: a search by POST, a write under the vendor's
    /// own idempotency key, a PUT of a whole record.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Says that the vendor answers 403 for other reasons than a missing permission, too, and tells in the body which one:
    /// the connector reads it, as it reads other refusals.
    #[must_use]
    pub fn reads_forbidden(mut self) -> Self {
        self.reads_forbidden = true;
        self
    }

    /// Method and path, as far as they may be shown.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method.as_str(), without_query(&self.path))
    }

    pub(super) fn request(&self, url: &Url, authorization: &str) -> HttpRequest {
        let mut url = url.clone();
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        let mut headers = self.headers.clone();
        headers.push(("authorization".to_owned(), authorization.to_owned()));
        HttpRequest { method: self.method, url: url.into(), headers, body: self.body.clone() }
    }
}

/// A request on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method.
    pub method: Method,
    /// The whole address.
    pub url: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// Shows no header and no body: they hold secrets and personal data.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path())
    }
}

impl HttpRequest {
    /// The path, without host and query.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let path = rest.find('/').map_or("/", |at| &rest[at..]);
        without_query(path)
    }

    /// The decoded pairs of the query, in order.
    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        serde_urlencoded::from_str(query).unwrap_or_default()
    }

    /// The decoded pairs of a form body, in order.
    pub fn form(&self) -> Vec<(String, String)> {
        serde_urlencoded::from_bytes(&self.body).unwrap_or_default()
    }

    /// A JSON body; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A vendor's answer as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, of bounded size.
    pub body: Vec<u8>,
}

/// Shows no header and only the size of the body: they hold secrets and personal data.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} bytes", self.status, self.body.len())
    }
}

impl HttpResponse {
    /// An answer with a JSON body.
    pub fn json<T: Serialize>(status: u16, body: &T) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: serde_json::to_vec(body).expect("answers are plain data"),
        }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A vendor's answer, for the connector to read.
#[derive(Debug, Clone)]
pub struct Answer {
    response: HttpResponse,
}

impl Answer {
    pub(super) fn new(response: HttpResponse) -> Self {
        Self { response }
    }

    /// Status: a success, or one of the refusals that the vendor explains in the body.
    pub fn status(&self) -> u16 {
        self.response.status
    }

    /// Whether the vendor did what was asked.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.response.status)
    }

    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`Fault::Shape`] with the place where it is not as expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.response.body).map_err(|error| Fault::Shape {
            path: format!("line {} column {}", error.line(), error.column()),
            why: error.to_string(),
        })
    }

    /// The body as JSON when the vendor did what was asked, otherwise what `explain` makes of its refusal.
    ///
    /// # Errors
    /// The explanation, or [`Fault::Shape`].
    pub fn json_or<T: DeserializeOwned>(&self, explain: impl FnOnce(&Self) -> Fault) -> Result<T, Fault> {
        if self.is_success() { self.json() } else { Err(explain(self)) }
    }
}

/// A path or an address up to its query.
pub(super) fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}
