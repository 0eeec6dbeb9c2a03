//! Which form of response a client asks for.

use axum::http::{HeaderMap, HeaderValue, header};

/// A form in which `/graphql` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/graphql-response+json`: the status says whether the request was good.
    GraphqlResponse,
    /// `application/json`: status 200 for every request that could be read, for older clients.
    Json,
    /// `text/event-stream`: one event per result.
    EventStream,
}

impl Media {
    /// The value of the header `Content-Type`.
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::EventStream => "text/event-stream",
        })
    }

    /// The form that the header `Accept` prefers; `None` if it allows none of ours. Among forms named with the same
    /// weight the most telling wins; a wildcard or no header at all means plain JSON, as the specification has it for
    /// older clients.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Option<Self> {
        let ranges = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .filter_map(Range::read)
            .collect::<Vec<_>>();
        if ranges.is_empty() {
            return Some(Self::Json);
        }
        let named = |name: &str| ranges.iter().find(|range| range.name == name).map(|range| range.weight);
        let wild = named("application/*").or_else(|| named("*/*")).unwrap_or(0);
        let json = named("application/json");
        // The last of equals wins in `max_by_key`.
        [
            (Self::GraphqlResponse, wild.min(named("application/graphql-response+json").unwrap_or(wild))),
            (Self::Json, json.unwrap_or(wild)),
            (Self::EventStream, named("text/event-stream").unwrap_or(0)),
            (Self::GraphqlResponse, named("application/graphql-response+json").unwrap_or(0)),
        ]
        .into_iter()
        .filter(|(_, weight)| *weight > 0)
        .max_by_key(|(_, weight)| *weight)
        .map(|(media, _)| media)
    }
}

/// One media range of `Accept`, its weight in thousandths.
struct Range {
    name: String,
    weight: u32,
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
        let weight = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(Some(1_000), thousandths)?;
        Some(Self { name, weight })
    }
}

/// `1`, `0.8`, `0.333` in thousandths.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let whole = whole.parse::<u32>().ok()?;
    let fraction = format!("{fraction:0<3}").get(..3)?.parse::<u32>().ok()?;
    Some(whole.saturating_mul(1_000).saturating_add(fraction).min(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(accept: &str) -> Option<Media> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        Media::negotiate(&headers)
    }

    #[test]
    fn weighs_what_the_client_accepts() {
        assert_eq!(Media::negotiate(&HeaderMap::new()), Some(Media::Json));
        for (accept, media) in [
            ("*/*", Some(Media::Json)),
            ("application/*;q=0.5", Some(Media::Json)),
            ("application/json", Some(Media::Json)),
            ("application/graphql-response+json", Some(Media::GraphqlResponse)),
            ("Application/GraphQL-Response+JSON; charset=utf-8", Some(Media::GraphqlResponse)),
            ("application/graphql-response+json, application/json;q=0.9", Some(Media::GraphqlResponse)),
            ("application/json, application/graphql-response+json", Some(Media::GraphqlResponse)),
            ("application/json, application/graphql-response+json;q=0.9", Some(Media::Json)),
            ("application/json;q=0, */*", Some(Media::GraphqlResponse)),
            ("text/event-stream", Some(Media::EventStream)),
            ("text/event-stream, application/json", Some(Media::EventStream)),
            ("application/json;q=0", None),
            ("text/html", None),
        ] {
            assert_eq!(negotiate(accept), media, "{accept}");
        }
    }
}
