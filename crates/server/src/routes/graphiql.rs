//! `/graphiql`: a page for trying queries. It holds no data; the token comes from the person, or from the part of the
//! address behind `#`, which browsers do not send.

use axum::{
    http::{HeaderName, header},
    response::{Html, IntoResponse},
};

/// The scripts may come from one place at pinned versions, each with the hash of what it must be.
const POLICY: &str = "default-src 'none'; script-src https://unpkg.com 'sha256-INLINE'; style-src https://unpkg.com \
    'unsafe-inline'; connect-src 'self'; img-src data:; font-src data: https://unpkg.com; worker-src blob:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = r#"
const token = new URLSearchParams(location.hash.slice(1)).get('token');
const fetcher = GraphiQL.createFetcher({ url: '/graphql' });
ReactDOM.createRoot(document.getElementById('graphiql')).render(React.createElement(GraphiQL, {
  fetcher,
  defaultQuery: '{ opportunities(first: 5) { nodes { name stage amount { amount currency } account { name } } } }',
  defaultHeaders: token ? JSON.stringify({ Authorization: 'Bearer ' + token }, null, 2) : undefined,
  shouldPersistHeaders: false,
}));
"#;

/// The page.
pub(super) async fn page() -> impl IntoResponse {
    let html = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Crosstie GraphiQL</title>
<style>body {{ margin: 0 }} #graphiql {{ height: 100vh }}</style>
<link rel="stylesheet" crossorigin="anonymous" href="https://unpkg.com/graphiql@3.8.3/graphiql.min.css"
  integrity="sha384-Mq3vbRBY71jfjQAt/DcjxUIYY33ksal4cgdRt9U/hNPvHBCaT2JfJ/PTRiPKf0aM">
</head>
<body>
<div id="graphiql">GraphiQL is loading; it needs access to unpkg.com.</div>
<script crossorigin="anonymous" src="https://unpkg.com/react@18.3.1/umd/react.production.min.js"
  integrity="sha384-DGyLxAyjq0f9SPpVevD6IgztCFlnMF6oW/XQGmfe+IsZ8TqEiDrcHkMLKI6fiB/Z"></script>
<script crossorigin="anonymous" src="https://unpkg.com/react-dom@18.3.1/umd/react-dom.production.min.js"
  integrity="sha384-gTGxhz21lVGYNMcdJOyq01Edg0jhn/c22nsx0kyqP0TxaV5WVdsSH1fSDUf5YJj1"></script>
<script crossorigin="anonymous" src="https://unpkg.com/graphiql@3.8.3/graphiql.min.js"
  integrity="sha384-HbRVEFG0JGJZeAHCJ9Xm2+tpknBQ7QZmNlO/DgZtkZ0aJSypT96YYGRNod99l9Ie"></script>
<script>{SCRIPT}</script>
</body>
</html>
"#
    );
    let policy = POLICY.replace("sha256-INLINE", &format!("sha256-{}", inline_hash()));
    (
        [
            (header::CONTENT_SECURITY_POLICY, policy),
            (HeaderName::from_static("referrer-policy"), "no-referrer".to_owned()),
        ],
        Html(html),
    )
}

fn inline_hash() -> String {
    crosstie_sdk::signature::sha256_base64(SCRIPT.as_bytes())
}
