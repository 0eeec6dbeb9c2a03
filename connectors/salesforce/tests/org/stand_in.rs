//! The stand-in itself.

use crosstie_sdk::{FakeVendor, HttpRequest, Method};
use serde_json::{Value, json};

use crate::support::{BASE, Org, at, opportunity};

fn refusal((status, body): (u16, Value)) -> (u16, String) {
    (status, body[0]["errorCode"].as_str().unwrap_or_default().to_owned())
}

fn wrong(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn it_understands_its_own_queries_and_refuses_every_other() {
    let org = Org::new();
    let malformed = wrong(400, "MALFORMED_QUERY");
    for soql in [
        "",
        "Id FROM Account",
        "SELECT FROM Account",
        "SELECT Id Account",
        "SELECT Id FROM Account WHERE",
        "SELECT Id FROM Account WHERE Name = 'A'",
        "SELECT Id FROM Account WHERE Id = 7",
        "SELECT Id FROM Account WHERE Id = 'unended",
        "SELECT Id FROM Account WHERE Id = 'a\\'b'",
        "SELECT Id FROM Account WHERE SystemModstamp > '2026-01-01T00:00:00Z'",
        "SELECT Id FROM Account WHERE SystemModstamp > 2026-01-01",
        "SELECT Id FROM Account WHERE SystemModstamp != 2026-01-01T00:00:00Z",
        "SELECT Id FROM Account WHERE Id > 'a' AND Id < 'c' OR Id = 'd'",
        "SELECT Id FROM Account WHERE (Id > 'a'",
        "SELECT Id FROM Account ORDER BY Name",
        "SELECT Id FROM Account ORDER BY SystemModstamp DESC, Id",
        "SELECT Id FROM Account LIMIT many",
        "SELECT Id FROM Account LIMIT 5 OFFSET 5",
        "SELECT Id, Id FROM Account",
        "SELECT COUNT() FROM Account",
    ] {
        assert_eq!(refusal(org.query("query", soql)), malformed, "{soql}");
    }
    assert_eq!(refusal(org.query("query", "SELECT Id FROM Invoice")), wrong(400, "INVALID_TYPE"));
    assert_eq!(refusal(org.query("query", "SELECT Id, Rating FROM Account")), wrong(400, "INVALID_FIELD"));
    assert_eq!(refusal(org.query("query", "SELECT Id, Phone FROM Organization")), wrong(400, "INVALID_FIELD"));
    assert_eq!(refusal(org.query("query", "SELECT CurrencyIsoCode FROM Opportunity")), wrong(400, "INVALID_FIELD"));
    assert_eq!(refusal(org.call(Method::Get, "/query", Value::Null)), malformed);
    assert_eq!(refusal(org.call(Method::Get, "/query/01g5e00000fakeAAAA-2", Value::Null)), wrong(404, "NOT_FOUND"));
}

#[test]
fn a_query_shows_what_stands_and_query_all_what_is_deleted_too() {
    let org = Org::new();
    let (kept, deleted) = (org.create_account("Kept"), org.create_account("Deleted"));
    org.pass_ms(1_000);
    org.delete("Account", &deleted);
    let found = |resource: &str, condition: &str| {
        let soql = format!("select id, isdeleted from account {condition} order by systemmodstamp, id limit 5");
        let (status, page) = org.query(resource, &soql);
        assert_eq!((status, &page["done"]), (200, &json!(true)));
        let rows = page["records"].as_array().expect("rows").clone();
        rows.iter()
            .map(|row| (row["Id"].as_str().unwrap_or_default().to_owned(), row["IsDeleted"] == true))
            .collect::<Vec<_>>()
    };
    let expected: Vec<(String, bool)> = vec![(kept.clone(), false), (deleted.clone(), true)];
    assert_eq!(found("query", ""), expected[..1]);
    assert_eq!(found("queryAll", ""), expected);
    assert_eq!(found("queryAll", &format!("where id = '{deleted}' or id < '{kept}'")), expected[1..]);
    assert_eq!(found("queryAll", "where systemmodstamp < 2026-09-21T14:13:21Z"), expected[..1]);
    assert_eq!(found("queryAll", "where systemmodstamp >= 2026-09-21T14:13:21+00:00"), expected[1..]);
}

#[test]
fn it_refuses_what_the_vendor_refuses() {
    let org = Org::new();
    let account = org.create_account("Acme");
    let create = |object: &str, fields: Value| org.call(Method::Post, &format!("/sobjects/{object}"), fields);
    let set = |id: &str, fields: Value| org.call(Method::Patch, &format!("/sobjects/Account/{id}"), fields);
    let (status, body) = create("Opportunity", json!({ "Name": "Bare" }));
    assert_eq!((status, &body[0]["fields"]), (400, &json!(["StageName", "CloseDate"])));
    assert_eq!(body[0]["errorCode"], "REQUIRED_FIELD_MISSING");
    assert_eq!(refusal(set(&account, json!({ "Name": null }))), wrong(400, "REQUIRED_FIELD_MISSING"));
    let (status, body) = set(&account, json!({ "SystemModstamp": "2026-01-01T00:00:00Z" }));
    assert_eq!((status, &body[0]["fields"]), (400, &json!(["SystemModstamp"])));
    assert_eq!(refusal(set(&account, json!({ "Rating": "Hot" }))), wrong(400, "INVALID_FIELD"));
    assert_eq!(refusal(set(&account, json!({ "Name": 7 }))), wrong(400, "JSON_PARSER_ERROR"));
    assert_eq!(refusal(set(&account, json!([]))), wrong(400, "JSON_PARSER_ERROR"));
    let with = |name: &str, value: Value| {
        let mut fields = opportunity("D");
        fields[name] = value;
        fields
    };
    assert_eq!(refusal(create("Opportunity", with("Amount", json!("a lot")))), wrong(400, "JSON_PARSER_ERROR"));
    assert_eq!(refusal(create("Opportunity", with("CloseDate", json!("soon")))), wrong(400, "JSON_PARSER_ERROR"));
    let stranger = with("AccountId", json!("0015e00000NordAAAI"));
    assert_eq!(refusal(create("Opportunity", stranger)), wrong(400, "INVALID_CROSS_REFERENCE_KEY"));
    assert_eq!(refusal(set("0015e00000NordAAAI", json!({ "Name": "X" }))), wrong(404, "NOT_FOUND"));
    org.delete("Account", &account);
    assert_eq!(refusal(set(&account, json!({ "Name": "X" }))), wrong(404, "ENTITY_IS_DELETED"));
    let shown =
        |fields: &str| org.call(Method::Get, &format!("/sobjects/Account/{account}?fields={fields}"), Value::Null);
    assert_eq!(refusal(shown("Name")), wrong(404, "ENTITY_IS_DELETED"));
    assert!(org.fake().undelete(&account, at(org.now_ms())));
    assert_eq!((shown("name").0, &shown("name").1["Name"]), (200, &json!("Acme")));
    assert_eq!(refusal(shown("Rating")), wrong(400, "INVALID_FIELD"));
    assert!(!org.fake().merge(&account, &account, at(org.now_ms())));
}

#[test]
fn it_needs_a_token_and_the_version_that_is_spoken() {
    let org = Org::new();
    let ask = |url: &str, token: Option<&str>| {
        let headers = token.map(|token| ("authorization".to_owned(), token.to_owned())).into_iter().collect();
        let request = HttpRequest { method: Method::Get, url: format!("{BASE}{url}"), headers, body: Vec::new() };
        org.fake().respond(&request, at(org.now_ms())).status
    };
    let query = "query?q=SELECT+Id+FROM+Account";
    assert_eq!(ask(&format!("/services/data/v64.0/{query}"), Some("Bearer x")), 200);
    assert_eq!(ask(&format!("/services/data/v64.0/{query}"), None), 401);
    assert_eq!(ask(&format!("/services/data/v64.0/{query}"), Some("Bearer ")), 401);
    assert_eq!(ask(&format!("/services/data/v20.0/{query}"), Some("Bearer x")), 404);
    assert_eq!(org.fake().requests(), 4);
}

#[test]
fn a_write_on_condition_is_refused_once_the_record_changed() {
    let org = Org::new();
    let id = org.create_account("Old");
    let set = |since: &str| {
        let headers = [("authorization", "Bearer x"), ("if-unmodified-since", since)];
        let request = HttpRequest {
            method: Method::Patch,
            url: format!("{BASE}/services/data/v64.0/sobjects/Account/{id}"),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            body: br#"{"Name":"New"}"#.to_vec(),
        };
        org.fake().respond(&request, at(org.now_ms())).status
    };
    assert_eq!(set("yesterday"), 400);
    assert_eq!(set("Mon, 21 Sep 2026 14:13:19 GMT"), 412);
    assert_eq!(set("Mon, 21 Sep 2026 14:13:20 GMT"), 204);
}

#[test]
fn ids_sort_by_the_time_of_their_making_and_an_org_that_starts_again_uses_none_twice() {
    let before = Org::new();
    let old: Vec<String> = (0..70).map(|at| before.create_account(&format!("{at}"))).collect();
    assert!(old.is_sorted() && old.iter().all(|id| id.len() == 18 && id.starts_with("001")), "{old:?}");
    let after = Org::new();
    after.pass_ms(100);
    let new = after.create_account("after");
    assert!(new > old[69], "{new}");
    let (status, _) = after.call(Method::Get, &format!("/sobjects/Account/{}?fields=Name", old[0]), Value::Null);
    assert_eq!(status, 404);
}
