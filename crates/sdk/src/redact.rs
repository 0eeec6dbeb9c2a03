//! What is kept of requests and answers holds no secret: neither under a name that says so, nor as a value that is
//! known, in whole or in part, in plain text or in one of the encodings that secrets travel in.

use std::{
    borrow::Cow,
    collections::{HashSet, VecDeque},
    sync::{PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::Secret;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";
/// So much of a secret is told from other text, in bytes: no longer part of one is left.
const PART: usize = 8;
/// Shorter secrets are too common as parts of other words to be looked for.
const SHORTEST: usize = 4;
/// Secrets that a connection was seen to use and get, and that are still looked for.
const LEARNED: usize = 32;
/// The longest value that is taken for a secret, in bytes.
const LONGEST: usize = 8 * 1_024;

/// Parts of the names of fields, headers and parameters that hold secrets, in lower case without `-` and `_`.
const SECRET_PARTS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "authorization",
    "apikey",
    "accesskey",
    "privatekey",
    "signature",
    "credential",
    "cookie",
    "sessionid",
    "clientassertion",
    "codeverifier",
];
/// Names that mean a secret only when they stand alone, and only in queries and forms.
const SECRET_PARAMETERS: &[&str] = &["key", "code", "pass", "pwd", "auth", "sig", "assertion"];
/// Names that hold the places of pages.
const PLACES: &[&str] = &["pagetoken", "nextpagetoken", "prevpagetoken", "continuationtoken", "synctoken"];
/// Fields under which a vendor gives, or is given, a secret that is used again.
const TEACHING: &[&str] = &["accesstoken", "refreshtoken", "idtoken", "clientsecret", "clientassertion", "token"];

/// Fields by which a request for a token proves who asks. They are good once, and answers may repeat them.
const PROOFS: &[&str] = &["code", "codeverifier", "assertion"];

/// Takes secrets out of what is kept.
pub struct Redactor {
    configured: Vec<String>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    learned: VecDeque<String>,
    windows: Windows,
}

/// The parts of all known secrets in all their encodings.
#[derive(Default)]
struct Windows {
    parts: HashSet<[u8; PART]>,
    /// The first two bytes of the parts, to pass over most text fast.
    begins: HashSet<[u8; 2]>,
    /// Secrets shorter than a part.
    short: Vec<Vec<u8>>,
}

impl Redactor {
    /// Looks for these secrets, and for those that it sees being used.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let secrets = secrets.into_iter().map(|secret| secret.expose().to_owned());
        let configured: Vec<String> = secrets.filter(|secret| secret.len() >= SHORTEST).collect();
        let windows = Windows::of(configured.iter());
        Self { configured, known: RwLock::new(Known { learned: VecDeque::new(), windows }) }
    }

    /// Remembers the secrets that these headers carry and that these bodies, a request's and its answer's, give out, so
    /// that they are known where they stand without a name.
    pub fn learn(&self, headers: &[(String, String)], bodies: [&[u8]; 2]) {
        let mut found = Vec::new();
        for (_, value) in headers.iter().filter(|(name, _)| bare(name) == "authorization") {
            let value = value.split_once(' ').map_or(value.as_str(), |(_, value)| value).trim();
            found.push(value.to_owned());
            if let Ok(pair) = STANDARD.decode(value)
                && let Ok(pair) = String::from_utf8(pair)
                && let Some((_, password)) = pair.split_once(':')
            {
                found.push(password.to_owned());
            }
        }
        let [request, _] = bodies;
        if contains(request, b"grant_type=") {
            let proofs = serde_urlencoded::from_bytes::<Vec<(String, String)>>(request).unwrap_or_default();
            let proofs = proofs.into_iter().filter(|(name, _)| PROOFS.contains(&bare(name).as_str()));
            found.extend(proofs.map(|(_, value)| value));
        }
        for body in bodies {
            // Few bodies name a token at all.
            if contains(body, b"token") || contains(body, b"secret") || contains(body, b"assertion") {
                let text = String::from_utf8_lossy(body);
                fields(&text, |name, value| {
                    if TEACHING.contains(&bare(name).as_str()) {
                        found.push(value.to_owned());
                    }
                });
            }
        }
        found.retain(|value| (PART..=LONGEST).contains(&value.len()));
        for value in found {
            self.remember(value);
        }
    }

    fn remember(&self, value: String) {
        let is_known = |known: &Known| self.configured.contains(&value) || known.learned.contains(&value);
        if is_known(&self.known.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.learned.len() == LEARNED {
            known.learned.pop_front();
        }
        known.learned.push_back(value);
        known.windows = Windows::of(self.configured.iter().chain(&known.learned));
    }

    /// An address without secrets.
    pub fn address(&self, url: &str) -> String {
        let Some((path, query)) = url.split_once('?') else { return self.text(url) };
        self.text(&format!("{path}?{}", pairs(query)))
    }

    /// Headers without secrets.
    pub fn headers(&self, headers: &[(String, String)]) -> Vec<(String, String)> {
        let redacted = headers.iter().map(|(name, value)| {
            let value = if is_secret(name) { REDACTED.to_owned() } else { self.text(value) };
            (name.clone(), value)
        });
        redacted.collect()
    }

    /// A body without secrets, as text. What is no text is shown as well as it can be.
    pub fn body(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let begin = text.trim_start();
        let is_form = !begin.starts_with(['{', '[', '<', '"']) && begin.contains('=') && !begin.contains(['\n', ' ']);
        let named = if is_form { pairs(&text) } else { named_values(&text) };
        self.text(&named)
    }

    /// A text without known secrets, and without the credentials that follow the words `Bearer` and `Basic`.
    pub fn text(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut hidden = vec![false; bytes.len()];
        self.known.read().unwrap_or_else(PoisonError::into_inner).windows.mark(bytes, &mut hidden);
        for scheme in [&b"Bearer "[..], b"Basic "] {
            for at in places(bytes, scheme) {
                let value = bytes[at + scheme.len()..].iter();
                let length =
                    value.take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=%".contains(byte)).count();
                if length >= PART {
                    hidden[at + scheme.len()..at + scheme.len() + length].fill(true);
                }
            }
        }
        if hidden.contains(&true) { without(bytes, &hidden) } else { text.to_owned() }
    }
}

impl Windows {
    fn of<'a>(secrets: impl Iterator<Item = &'a String>) -> Self {
        let mut windows = Self::default();
        for secret in secrets {
            for written in encodings(secret) {
                if written.len() < PART {
                    windows.short.push(written.clone());
                }
                for part in written.windows(PART).filter_map(|part| <[u8; PART]>::try_from(part).ok()) {
                    windows.begins.insert([part[0], part[1]]);
                    windows.parts.insert(part);
                }
            }
        }
        windows
    }

    /// Marks what is a known secret or a part of one.
    fn mark(&self, bytes: &[u8], hidden: &mut [bool]) {
        for (at, part) in bytes.windows(PART).enumerate() {
            if self.begins.contains(&[part[0], part[1]]) && self.parts.contains(part) {
                hidden[at..at + PART].fill(true);
            }
        }
        for short in &self.short {
            for at in places(bytes, short) {
                hidden[at..at + short.len()].fill(true);
            }
        }
    }
}

/// Every way in which a secret is written on the wire or in a text. Within base64 of something longer it stands in one
/// of three forms, by its distance from the beginning.
fn encodings(secret: &str) -> HashSet<Vec<u8>> {
    let bytes = secret.as_bytes();
    let json = serde_json::to_string(secret).unwrap_or_default();
    let mut all = HashSet::from([
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
        percent_encoded(bytes, "0123456789ABCDEF").into_bytes(),
        percent_encoded(bytes, "0123456789abcdef").into_bytes(),
        json.trim_matches('"').as_bytes().to_vec(),
    ]);
    if bytes.len() >= PART {
        for shift in 0..3 {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(bytes);
            let text = STANDARD.encode(&shifted);
            let text = text.trim_end_matches('=');
            // The characters at both ends also depend on what stands beside the secret.
            let from = if shift == 0 { 0 } else { shift + 1 };
            let until = if shifted.len() % 3 == 0 { text.len() } else { text.len() - 1 };
            if let Some(inner) = text.get(from..until) {
                all.insert(inner.as_bytes().to_vec());
                all.insert(inner.replace('+', "-").replace('/', "_").into_bytes());
            }
        }
    }
    all.retain(|written| written.len() >= SHORTEST);
    all
}

fn percent_encoded(bytes: &[u8], digits: &str) -> String {
    let digits: Vec<char> = digits.chars().collect();
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            text.push(digits[usize::from(byte >> 4)]);
            text.push(digits[usize::from(byte & 15)]);
        }
    }
    text
}

/// A name in lower case without what words are joined by.
fn bare(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ' | '.')).flat_map(char::to_lowercase).collect()
}

fn is_secret(name: &str) -> bool {
    let name = bare(name);
    !PLACES.contains(&name.as_str()) && SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// Pairs of a query or a form, secrets replaced by their names.
fn pairs(text: &str) -> String {
    let redacted = text.split('&').map(|pair| {
        let Some((name, _)) = pair.split_once('=') else { return Cow::from(pair) };
        let decoded = serde_urlencoded::from_str::<Vec<(String, String)>>(pair).unwrap_or_default();
        let plain = decoded.first().map_or(name, |(name, _)| name.as_str());
        // `card[token]` is named by its last part.
        let plain = plain.trim_end_matches(']').rsplit('[').next().unwrap_or_default();
        if is_secret(plain) || SECRET_PARAMETERS.contains(&bare(plain).as_str()) {
            Cow::from(format!("{name}={REDACTED}"))
        } else {
            Cow::from(pair)
        }
    });
    redacted.collect::<Vec<_>>().join("&")
}

/// Text in the manner of JSON, whole or torn off, with the values of secret names replaced; all else stays as it is.
fn named_values(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((name, value_at)) = next_name(rest) {
        let value = value_length(&rest[value_at..]);
        kept.push_str(&rest[..value_at]);
        let inner = &rest[value_at..value_at + value];
        if !is_secret(name) || matches!(inner.trim(), "null" | "true" | "false" | "") {
            // Names inside a structure are looked at in turn.
            rest = &rest[value_at..];
            if inner.starts_with('"') {
                kept.push_str(inner);
                rest = &rest[value..];
            }
            continue;
        }
        kept.push_str(&format!("\"{REDACTED}\""));
        rest = &rest[value_at + value..];
    }
    kept.push_str(rest);
    kept
}

/// Calls `see` with every name and its text, in JSON and in forms.
fn fields<'a>(text: &'a str, mut see: impl FnMut(&str, &'a str)) {
    let mut rest = text;
    let mut any = false;
    while let Some((name, value_at)) = next_name(rest) {
        any = true;
        let value = &rest[value_at..value_at + value_length(&rest[value_at..])];
        if value.starts_with('"') {
            see(name, value.trim_matches('"'));
        }
        rest = &rest[value_at..];
        if value.starts_with('"') {
            rest = &rest[value.len()..];
        }
    }
    if !any {
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            see(name, value);
        }
    }
}

/// The next name of a member, and where its value begins.
fn next_name(text: &str) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'"' {
            at += 1;
            continue;
        }
        let end = at + string_length(&bytes[at..]);
        let behind = end + spaces(&bytes[end..]);
        if bytes.get(behind) == Some(&b':') {
            let value = behind + 1 + spaces(&bytes[behind + 1..]);
            return Some((text[at..end].trim_matches('"'), value));
        }
        at = end;
    }
    None
}

fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The length of the string that begins here, with its quotes; up to the end when it does not end.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The length of the value that begins here: a string, a structure with all that is in it, or a word.
fn value_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at += string_length(&bytes[at..]),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b',' if depth == 0 => return at,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at.min(bytes.len());
        }
    }
    bytes.len()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn places<'a>(bytes: &'a [u8], part: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes.windows(part.len().max(1)).enumerate().filter(move |(_, window)| *window == part).map(|(at, _)| at)
}

/// The text with each hidden stretch replaced.
fn without(bytes: &[u8], hidden: &[bool]) -> String {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut was_hidden = false;
    for (byte, hidden) in bytes.iter().zip(hidden) {
        if *hidden && !was_hidden {
            kept.extend_from_slice(REDACTED.as_bytes());
        } else if !hidden {
            kept.push(*byte);
        }
        was_hidden = *hidden;
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "canary/7f3+Zk9=Qx2";

    fn redactor() -> Redactor {
        Redactor::new(&[Secret::new(SECRET)])
    }

    #[test]
    fn values_of_secret_names_are_replaced_in_json_and_nothing_else_changes() {
        let redactor = Redactor::new([]);
        for (body, expected) in [
            (r#"{"access_token":"abc","n":1.10}"#, r#"{"access_token":"[redacted]","n":1.10}"#),
            (
                r#"{"a": {"clientSecret" : "x\"y", "b": [1, 2]}}"#,
                r#"{"a": {"clientSecret" : "[redacted]", "b": [1, 2]}}"#,
            ),
            (r#"{"credentials": {"user": "ann"}, "c": 1}"#, r#"{"credentials": "[redacted]", "c": 1}"#),
            (r#"{"password": 12345, "c": null}"#, r#"{"password": "[redacted]", "c": null}"#),
            (r#"{"token": null, "next_page_token": "p2"}"#, r#"{"token": null, "next_page_token": "p2"}"#),
            (r#"{"refresh_token": "torn o"#, r#"{"refresh_token": "[redacted]""#),
            (r#"["token", "kept"]"#, r#"["token", "kept"]"#),
            (r#"{"name": "the \"token\": x"}"#, r#"{"name": "the \"token\": x"}"#),
            ("<p>token: kept, it has no quotes</p>", "<p>token: kept, it has no quotes</p>"),
            ("", ""),
        ] {
            assert_eq!(redactor.body(body.as_bytes()), expected);
        }
    }

    #[test]
    fn forms_queries_and_headers_lose_their_secrets_by_name() {
        let redactor = Redactor::new([]);
        let form = "grant_type=refresh_token&client_secret=s&code=c&card%5Btoken%5D=t&code_verifier=v&name=Ann%20Lee";
        let expected = "grant_type=refresh_token&client_secret=[redacted]&code=[redacted]&card%5Btoken%5D=[redacted]\
                        &code_verifier=[redacted]&name=Ann%20Lee";
        assert_eq!(redactor.body(form.as_bytes()), expected);
        let address = redactor.address("https://api.example/v1/x?key=abc&limit=5&after=7");
        assert_eq!(address, "https://api.example/v1/x?key=[redacted]&limit=5&after=7");
        let headers = ["authorization", "x-api-key", "set-cookie", "x-hubspot-signature-v3", "accept"];
        let headers: Vec<_> = headers.iter().map(|name| ((*name).to_owned(), "value".to_owned())).collect();
        let shown: Vec<_> = redactor.headers(&headers).into_iter().map(|(_, value)| value).collect();
        assert_eq!(shown, [REDACTED, REDACTED, REDACTED, REDACTED, "value"]);
    }

    #[test]
    fn a_known_secret_is_found_in_every_encoding_and_in_part() {
        let redactor = redactor();
        let bytes = SECRET.as_bytes();
        let within = |before: &str| STANDARD.encode(format!("{before}{SECRET}behind"));
        let shown = [
            SECRET.to_owned(),
            SECRET[3..12].to_owned(),
            STANDARD.encode(bytes),
            within(""),
            within("a"),
            within("ab"),
            within("abc").replace('+', "-").replace('/', "_"),
            hex::encode(bytes),
            hex::encode_upper(bytes),
            percent_encoded(bytes, "0123456789ABCDEF"),
            percent_encoded(bytes, "0123456789abcdef"),
        ];
        for text in shown {
            let kept = redactor.text(&format!("<h1>No such key: {text}!</h1>"));
            assert!(kept.starts_with("<h1>No such key: ") && kept.ends_with("!</h1>"), "{kept}");
            let left = text.as_bytes().windows(PART).any(|part| contains(kept.as_bytes(), part));
            assert!(!left || text.len() > 30, "{text}: {kept}");
            assert!(kept.contains(REDACTED), "{text}: {kept}");
        }
        assert_eq!(redactor.text("nothing of it, and canary too"), "nothing of it, and canary too");
    }

    #[test]
    fn what_was_seen_in_use_is_known_afterwards() {
        let redactor = Redactor::new([]);
        let used = [("authorization".to_owned(), format!("Basic {}", STANDARD.encode("ann:opensesame!")))];
        redactor.learn(&used, [b"", br#"{"access_token": "fresh-token-1", "note": "kept-as-it-is"}"#]);
        assert_eq!(
            redactor.text("fresh-token-1 and opensesame! kept-as-it-is"),
            "[redacted] and [redacted] kept-as-it-is"
        );
        for number in 0..100 {
            let answer = format!(r#"{{"access_token": "another-{number:08}"}}"#);
            redactor.learn(&[], [b"", answer.as_bytes()]);
        }
        assert_eq!(redactor.text("00000099"), REDACTED);
        assert_eq!(redactor.text("fresh-token-1"), "fresh-token-1", "only so many are remembered");
    }

    #[test]
    fn what_a_request_for_a_token_proved_itself_with_is_known_in_its_answer() {
        let redactor = redactor();
        let request = b"grant_type=authorization_code&code=one%2Atime%2Acode&code_verifier=long-verifier&client_id=id";
        redactor.learn(&[], [request, b"{}"]);
        let answer = br#"{"error_description":"not right: one*time*code, one%2Atime%2Acode, long-verifier of id"}"#;
        let expected = format!(r#"{{"error_description":"not right: {REDACTED}, {REDACTED}, {REDACTED} of id"}}"#);
        assert_eq!(redactor.body(answer), expected);
    }

    #[test]
    fn what_follows_the_name_of_a_scheme_is_a_credential() {
        let redactor = Redactor::new([]);
        assert_eq!(redactor.text("sent Bearer abc.def-ghi_jkl, refused"), "sent Bearer [redacted], refused");
        assert_eq!(redactor.text("the Bearer of bad news"), "the Bearer of bad news");
    }
}
