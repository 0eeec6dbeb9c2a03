//! Every form body against Stripe's published description of its API, where that is at hand.

use std::io::Write;

use crosstie_sdk::{Connector, HttpRequest, Method};
use crosstie_stripe::Stripe;
use serde_json::{Value, json};

use crate::kit::{Bench, coded, invoice, now, order, selling, update, without_email};

/// What is wrong with a form for a path, as the description has it.
fn problems(spec: &Value, path: &str, form: &[(String, String)]) -> Vec<String> {
    let schema = &spec["paths"][path]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
    if !schema.is_object() {
        return vec![format!("{path}: no such write")];
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let given = |name: &str| form.iter().any(|(key, _)| key.split('[').next() == Some(name));
    let missing = required.filter(|name| !given(name)).map(|name| format!("{path}: {name} is missing"));
    let wrong = form.iter().filter_map(|(key, value)| {
        let steps: Vec<&str> = key.split('[').map(|step| step.trim_end_matches(']')).collect();
        fits(schema, &steps, value).err().map(|why| format!("{path}: {key}={value}: {why}"))
    });
    missing.chain(wrong).collect()
}

/// Whether a value may stand at the end of these steps.
fn fits(schema: &Value, steps: &[&str], value: &str) -> Result<(), String> {
    if let Some(choices) = schema["anyOf"].as_array() {
        let tried: Vec<_> = choices.iter().map(|choice| fits(choice, steps, value)).collect();
        return if tried.iter().any(Result::is_ok) { Ok(()) } else { tried.into_iter().next().unwrap_or(Ok(())) };
    }
    if let Some((step, rest)) = steps.split_first() {
        if schema["type"] == "array" {
            let place = step.parse::<usize>().map_err(|_| format!("{step} is no place in a list"));
            return place.and_then(|_| fits(&schema["items"], rest, value));
        }
        let known = &schema["properties"][step];
        let any = &schema["additionalProperties"];
        return match (known.is_object(), any.is_object()) {
            (true, _) => fits(known, rest, value),
            (false, true) => fits(any, rest, value),
            (false, false) => Err(format!("{step} is not known")),
        };
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.iter().any(|allowed| allowed == value)
    {
        return Err("not an allowed value".to_owned());
    }
    if let Some(longest) = schema["maxLength"].as_u64()
        && u64::try_from(value.chars().count()).is_ok_and(|length| length > longest)
    {
        return Err("too long".to_owned());
    }
    match schema["type"].as_str() {
        Some("integer") if value.parse::<i64>().is_err() => Err("not an integer".to_owned()),
        Some("boolean") if value.parse::<bool>().is_err() => Err("not a boolean".to_owned()),
        Some("object" | "array") => Err("not a single value".to_owned()),
        _ => Ok(()),
    }
}

/// The path as the description writes it, with a name in place of an id.
fn template(spec: &Value, request: &HttpRequest) -> String {
    let paths = spec["paths"].as_object().into_iter().flatten().map(|(path, _)| path);
    let same = |path: &&String| {
        let (ours, theirs): (Vec<_>, Vec<_>) = (request.path().split('/').collect(), path.split('/').collect());
        ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(ours, theirs)| ours == theirs || theirs.starts_with('{'))
    };
    paths.filter(same).min_by_key(|path| path.matches('{').count()).cloned().unwrap_or_default()
}

async fn all_writes() -> Vec<HttpRequest> {
    let mut writes = Vec::new();
    for requests in [&[order(), invoice()][..], &[without_email(invoice())]] {
        let bench = Bench::new();
        for request in requests {
            Stripe.writer().expect("a writer").apply(&bench.net, request).await.expect("written");
        }
        writes.extend(bench.sent().into_iter().filter(|request| request.method == Method::Post));
    }
    let taxed = json!({ "product": "prod_impl", "tax_behavior": "exclusive", "tax_rates": ["txr_vat"] });
    let automatic = json!({ "product": "prod_impl", "tax_behavior": "exclusive", "tax_code": "txcd_1" });
    for settings in [
        json!({ "items": { "codes": { "A": taxed } } }),
        json!({ "items": { "codes": { "A": { "tax_rates": ["txr_vat"] } } } }),
        json!({ "items": { "codes": { "A": automatic } }, "automatic_tax": true }),
    ] {
        let bench = selling(settings);
        Stripe.writer().expect("a writer").apply(&bench.net, &coded(invoice(), "A")).await.expect("written");
        writes.extend(bench.sent().into_iter().filter(|request| request.method == Method::Post));
    }
    let bench = Bench::new();
    let customer = bench.at_stripe(Method::Post, "/v1/customers", "name=Old&email=ap%40old.example", now());
    let customer = customer["id"].as_str().expect("an id");
    let old = json!({ "name": "Old", "billing_email": "ap@old.example" });
    let renamed = update(customer, json!({ "name": "New", "billing_email": null }), old);
    Stripe.writer().expect("a writer").apply(&bench.net, &renamed).await.expect("written");
    writes.extend(bench.sent().into_iter().filter(|request| request.method == Method::Post));
    writes
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test is told where the description is")]
async fn every_write_is_allowed_by_the_vendors_own_description() {
    let Some(folder) = std::env::var_os("CROSSTIE_VENDOR_SPECS") else {
        // Past the capture of output that tests do, so that it shows also when all pass.
        let said = b"\nNOT RUN: writes against Stripe's description of its API: CROSSTIE_VENDOR_SPECS is not set\n";
        std::io::stderr().write_all(said).expect("a place to say so");
        return;
    };
    let file = std::path::Path::new(&folder).join("specs/stripe/spec3.json");
    let spec: Value = serde_json::from_slice(&std::fs::read(file).expect("the description")).expect("JSON");
    let writes = all_writes().await;
    assert_eq!(
        writes.len(),
        23,
        "customer, product, draft, item, finalize; customer, two drafts, item, finalize; a customer's values; three times \
         customer, draft, item, finalize for what item codes stand for"
    );
    for write in writes {
        assert_eq!(problems(&spec, &template(&spec, &write), &write.form()), Vec::<String>::new());
    }
}

#[test]
fn the_check_sees_what_is_wrong() {
    let text = json!({ "type": "string" });
    let properties = json!({
        "customer": text,
        "days": { "type": "integer" },
        "rates": { "type": "array", "items": text },
        "how": { "enum": ["a", "b"], "type": "string" },
        "metadata": { "anyOf": [{ "type": "object", "additionalProperties": text }, { "enum": [""], "type": "string" }] },
    });
    let schema = json!({ "type": "object", "required": ["customer"], "properties": properties });
    let body = json!({ "content": { "application/x-www-form-urlencoded": { "schema": schema } } });
    let spec = json!({ "paths": { "/v1/things": { "post": { "requestBody": body } } } });
    let count = |pairs: &[(&str, &str)]| {
        let form: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        problems(&spec, "/v1/things", &form).len()
    };
    assert_eq!(count(&[("customer", "c"), ("days", "30"), ("how", "a"), ("metadata[x]", "y")]), 0);
    assert_eq!(count(&[("days", "30")]), 1, "one is missing");
    assert_eq!(count(&[("customer", "c"), ("days", "soon"), ("how", "c"), ("currency", "eur")]), 3);
    assert_eq!(count(&[("customer", "c"), ("metadata[x][y]", "z")]), 1, "too deep");
    assert_eq!(count(&[("customer", "c"), ("rates[0]", "r"), ("rates[1]", "s")]), 0);
    assert_eq!(count(&[("customer", "c"), ("rates", "r"), ("rates[x]", "s")]), 2, "a list");
    assert_eq!(problems(&spec, "/v1/others", &[]).len(), 1);
}
