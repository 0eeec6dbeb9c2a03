//! What the vendor's refusals become.

use crosstie_salesforce::Salesforce;
use crosstie_sdk::{Connector, Fault, HttpResponse, domain::integration::Entity};
use serde_json::{Value, json};

use crate::support::Org;

fn told(status: u16, code: &str, message: &str, fields: &[&str]) -> HttpResponse {
    HttpResponse::json(status, &json!([{ "message": message, "errorCode": code, "fields": fields }]))
}

async fn fault_of(answer: HttpResponse) -> Fault {
    let org = Org::new();
    org.fake().fail_next(answer);
    org.page(Entity::Opportunity, &org.ask(5)).await.map(|_| ()).expect_err("a fault")
}

#[tokio::test]
async fn refusals_are_named_by_what_can_be_done() {
    let scope = |why: &str| Fault::MissingScope { why: why.to_owned() };
    let temporary = |why: &str| Fault::Transient { why: why.to_owned() };
    let mut slow = HttpResponse::empty(503);
    slow.headers.push(("retry-after".to_owned(), "10".to_owned()));
    let lists = json!([
        { "message": "First.", "errorCode": "INVALID_FIELD_FOR_INSERT_UPDATE", "fields": ["Name", "Website"] },
        { "message": "Second.", "errorCode": "STRING_TOO_LONG", "fields": ["Phone"] },
    ]);
    for (answer, expected) in [
        (told(401, "INVALID_SESSION_ID", "Session expired or invalid", &[]), Fault::NeedsReauth),
        (
            told(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", &[]),
            Fault::Throttled { retry_after_ms: None },
        ),
        (
            told(403, "API_DISABLED_FOR_ORG", "API is not enabled for this Organization or Partner", &[]),
            scope("API_DISABLED_FOR_ORG: API is not enabled for this Organization or Partner"),
        ),
        (told(403, "SOMETHING_NEW", "No.", &[]), scope("SOMETHING_NEW: No.")),
        (HttpResponse::empty(403), scope("HTTP 403")),
        (
            told(400, "INVALID_TYPE", "sObject type 'Opportunity' is not supported.", &[]),
            scope("INVALID_TYPE: sObject type 'Opportunity' is not supported."),
        ),
        (told(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access", &[]), temporary("UNABLE_TO_LOCK_ROW")),
        (told(400, "QUERY_TIMEOUT", "Your query request was running for too long.", &[]), temporary("QUERY_TIMEOUT")),
        (told(503, "SERVER_UNAVAILABLE", "Server Unavailable", &[]), temporary("the vendor answered 503")),
        (slow, Fault::Throttled { retry_after_ms: Some(10_000) }),
        (HttpResponse::empty(302), temporary("the vendor answered 302")),
        (
            told(400, "MALFORMED_QUERY", "unexpected token: FROM", &[]),
            Fault::rejected("", "MALFORMED_QUERY: unexpected token: FROM"),
        ),
        (HttpResponse::empty(400), Fault::rejected("", "HTTP 400")),
        (HttpResponse::json(400, &json!({ "error": "odd" })), Fault::rejected("", "HTTP 400")),
        (HttpResponse::json(400, &json!([])), Fault::rejected("", "HTTP 400")),
    ] {
        assert_eq!(fault_of(answer).await, expected);
    }
    let Fault::Rejected { errors } = fault_of(HttpResponse::json(400, &lists)).await else { panic!("no refusal") };
    let named: Vec<(&str, &str)> = errors.iter().map(|error| (error.field.as_str(), error.message.as_str())).collect();
    let expected = [
        ("Name", "INVALID_FIELD_FOR_INSERT_UPDATE: First."),
        ("Website", "INVALID_FIELD_FOR_INSERT_UPDATE: First."),
        ("Phone", "STRING_TOO_LONG: Second."),
    ];
    assert_eq!(named, expected);
}

#[tokio::test]
async fn a_field_that_the_org_does_not_have_is_named() {
    let org = Org::with_settings(json!({ "currency": "EUR", "custom_fields": { "opportunity": {
        "region": { "property": "Region__c", "kind": "TEXT" },
    } } }));
    let refused = org.page(Entity::Opportunity, &org.ask(5)).await.map(|_| ());
    let Err(Fault::Rejected { errors }) = refused else { panic!("{refused:?}") };
    assert_eq!(errors[0].field, "Region__c");
    assert!(errors[0].message.starts_with("INVALID_FIELD: No such column 'Region__c' on entity 'Opportunity'"));
    assert!(!errors[0].message.contains("SELECT"), "{}", errors[0].message);
    org.fake().add_field("Opportunity", "Region__c");
    assert!(org.page(Entity::Opportunity, &org.ask(5)).await.is_ok());
}

#[tokio::test]
async fn an_org_with_one_currency_asks_for_the_setting() {
    let org = Org::with_settings(Value::Null);
    let refused = org.page(Entity::Opportunity, &org.ask(5)).await.map(|_| ());
    let Err(Fault::Rejected { errors }) = refused else { panic!("{refused:?}") };
    assert_eq!(errors[0].field, "CurrencyIsoCode");
    assert!(errors[0].message.ends_with("an org with one currency needs the setting currency"), "{errors:?}");
    assert!(org.page(Entity::Account, &org.ask(5)).await.is_ok(), "accounts need no currency");
    org.fake().set_currencies(&["USD"]);
    assert!(org.page(Entity::Opportunity, &org.ask(5)).await.is_ok());
}

#[tokio::test]
async fn that_there_is_no_such_query_says_nothing_of_a_record() {
    let org = Org::new();
    let id = org.create_account("Here");
    let nowhere = "there is no /services/data/v64.0/queryAll at this address";
    for answer in [
        told(404, "NOT_FOUND", "The requested resource does not exist", &[]),
        HttpResponse::empty(410),
        told(400, "NOT_FOUND", "", &[]),
    ] {
        org.fake().fail_next(answer);
        assert_eq!(org.read_one(Entity::Account, &id).await, Err(Fault::rejected("base_url", nowhere)));
    }
    assert!(org.read_one(Entity::Account, &id).await.is_ok());
}

#[tokio::test]
async fn a_page_that_is_no_page_is_a_fault() {
    let org = Org::new();
    for body in ["<html>", "[]", r#"{ "records": [] }"#, r#"{ "done": true, "records": {} }"#] {
        let fault = org.page_of(Entity::Account, body).await.expect_err("a fault");
        assert_eq!(fault.code(), "SHAPE", "{body}");
    }
}

#[tokio::test]
async fn the_probe_needs_a_credential_that_is_accepted() {
    let org = Org::new();
    org.fake().fail_next(told(401, "INVALID_SESSION_ID", "Session expired or invalid", &[]));
    assert_eq!(Salesforce.probe(&org.net).await, Err(Fault::NeedsReauth));
    assert!(Salesforce.probe(&org.net).await.is_ok());
}

#[test]
fn a_day_of_polling_stays_far_below_the_calls_of_the_smallest_org() {
    let polls = Salesforce.descriptor().reads.iter().map(|read| 86_400 / read.poll_seconds);
    assert!(polls.sum::<u32>() < 15_000 / 4);
}
