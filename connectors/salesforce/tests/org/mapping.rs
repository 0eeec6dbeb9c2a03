//! What rows become, as they come over the wire.

use crosstie_salesforce::Salesforce;
use crosstie_sdk::{
    Connector, MappedRow, Settings,
    domain::{
        Currency, Money,
        integration::{Claim, Entity},
        pipeline::{AccountClaim, OpportunityClaim, OpportunityStage},
    },
};
use serde_json::{Value, json};

use crate::support::{Org, good, reader};

const OPPORTUNITIES: &str = include_str!("../../fixtures/opportunities.json");
const ACCOUNTS: &str = include_str!("../../fixtures/accounts.json");

/// The rows of a page in an org with these settings.
async fn rows(settings: Value, entity: Entity, body: &str) -> Vec<MappedRow> {
    Org::with_settings(settings).page_of(entity, body).await.expect("a page")
}

/// The first opportunity of the fixture with a member put in the place of another.
async fn with(settings: Value, member: &str, instead: &str) -> MappedRow {
    assert!(OPPORTUNITIES.contains(member), "{member}");
    let body = OPPORTUNITIES.replacen(member, instead, 1);
    rows(settings, Entity::Opportunity, &body).await.swap_remove(0)
}

fn opportunity(row: MappedRow) -> OpportunityClaim {
    match good(row).claim {
        Claim::Opportunity(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn currency(code: &str) -> Currency {
    code.parse().expect("a currency")
}

#[tokio::test]
async fn opportunities_keep_their_name() {
    let rows = rows(Value::Null, Entity::Opportunity, OPPORTUNITIES).await;
    let seen = good(rows[0].clone());
    assert_eq!(seen.key.remote_id, "0065e00000RollAAAU");
    assert!(seen.key.version.expect("a version").starts_with("2026-11-20T09:00:00Z[_row="));
    let expected = OpportunityClaim {
        name: Some("Warehouse rollout, phase 2".to_owned()),
        account: Some("0015e00000NordAAAI".to_owned()),
        native_stage: Some("Proposal/Price Quote".to_owned()),
        stage: Some(OpportunityStage::Proposed),
        amount: Some(Money::new(4_800_050, Currency::EUR)),
        close_on: Some("2026-12-31".parse().expect("a day")),
    };
    assert_eq!(seen.claim, Claim::Opportunity(expected));
    let paths: Vec<(&str, &str)> =
        seen.fields.iter().map(|(field, noted)| (field.as_str(), noted.source_path.as_str())).collect();
    let expected = [
        ("account", "AccountId"),
        ("amount", "Amount"),
        ("close_on", "CloseDate"),
        ("name", "Name"),
        ("native_stage", "StageName"),
        ("stage", "StageName"),
    ];
    assert_eq!(paths, expected);

    let bare = OpportunityClaim {
        name: Some("Advisory retainer".to_owned()),
        native_stage: Some("Verbal OK".to_owned()),
        close_on: Some("2027-02-01".parse().expect("a day")),
        ..OpportunityClaim::default()
    };
    let seen = good(rows[1].clone());
    assert_eq!(seen.claim, Claim::Opportunity(bare));
    assert!(seen.fields.values().all(|field| field.problem.is_none()), "{:?}", seen.fields);
    assert!(matches!(&rows[2], MappedRow::Gone { remote_id, .. } if remote_id == "0065e00000LostAAAQ"));
}

#[tokio::test]
async fn accounts_keep_their_name() {
    let rows = rows(Value::Null, Entity::Account, ACCOUNTS).await;
    let seen = good(rows[0].clone());
    let expected = AccountClaim {
        account: None,
        name: Some("Nordlicht Logistik GmbH".to_owned()),
        domain: Some("nordlicht.example".to_owned()),
        billing_email: None,
    };
    assert_eq!(seen.claim, Claim::Account(expected));
    assert!(!seen.fields.contains_key("billing_email"), "no field of the vendor's holds one");
    assert!(matches!(&rows[1], MappedRow::Gone { remote_id, .. } if remote_id == "0015e00000OldNAAAY"));
}

#[tokio::test]
async fn a_domain_is_seen_in_whatever_people_type() {
    for (website, domain) in [
        ("acme.example", Some("acme.example")),
        ("www.Acme.example", Some("acme.example")),
        ("HTTP://acme.example:8080/x?y#z", Some("acme.example")),
        ("https://user@shop.acme.example.", Some("shop.acme.example")),
        ("", None),
    ] {
        let row = json!({ "Id": "0015e00000NordAAAI", "Name": "A", "Website": website, "IsDeleted": false,
            "SystemModstamp": "2026-11-19T07:45:12.000+0000" });
        let seen = good(reader(Entity::Account).map_raw(&Settings::default(), row));
        assert_eq!(seen.fields["domain"].value, json!(domain), "{website}");
        assert_eq!(seen.fields["domain"].problem, None, "{website}");
    }
    let row = json!({ "Id": "0015e00000NordAAAI", "Name": "A", "Website": "ask Jane", "IsDeleted": false,
        "SystemModstamp": "2026-11-19T07:45:12.000+0000" });
    let seen = good(reader(Entity::Account).map_raw(&Settings::default(), row));
    assert_eq!(seen.fields["domain"].problem.as_deref(), Some("no domain can be seen in it"));
    assert_eq!(seen.fields["name"].problem, None);
}

#[tokio::test]
async fn stages_are_told_by_settings_then_by_what_closed_ones_say_then_by_their_usual_names() {
    let settings = json!({ "stages": { "Verbal OK": "COMMITTED", "Prospecting": "SCOPING", "Parked": "LOST" } });
    let flags = |closed: bool, won: bool| format!("\"IsClosed\": {closed},\n      \"IsWon\": {won}");
    for (name, closed, won, expected) in [
        ("Verbal OK", false, false, Some(OpportunityStage::Committed)),
        ("Prospecting", false, false, Some(OpportunityStage::Scoping)),
        ("Parked", true, true, Some(OpportunityStage::Lost)),
        ("Qualification", false, false, Some(OpportunityStage::Qualify)),
        ("Needs Analysis", false, false, Some(OpportunityStage::Scoping)),
        ("Value Proposition", false, false, Some(OpportunityStage::Scoping)),
        ("Id. Decision Makers", false, false, Some(OpportunityStage::Scoping)),
        ("Perception Analysis", false, false, Some(OpportunityStage::Scoping)),
        ("Proposal/Price Quote", false, false, Some(OpportunityStage::Proposed)),
        ("Negotiation/Review", false, false, Some(OpportunityStage::Committed)),
        ("Closed Won", true, true, Some(OpportunityStage::Won)),
        ("Gewonnen", true, true, Some(OpportunityStage::Won)),
        ("Verloren", true, false, Some(OpportunityStage::Lost)),
        ("Qualification", true, false, Some(OpportunityStage::Lost)),
        ("Unheard of", false, false, None),
    ] {
        let body = OPPORTUNITIES.replacen("Proposal/Price Quote", name, 1).replacen(
            &flags(false, false),
            &flags(closed, won),
            1,
        );
        let claim = opportunity(rows(settings.clone(), Entity::Opportunity, &body).await.swap_remove(0));
        assert_eq!((claim.native_stage.as_deref(), claim.stage), (Some(name), expected), "{name} {closed} {won}");
    }
}

#[tokio::test]
async fn amounts_are_exact_in_currencies_of_every_kind() {
    for (digits, code, minor) in [
        ("48000.5", "EUR", 4_800_050),
        ("0.1", "EUR", 10),
        ("-12.34", "EUR", -1_234),
        ("0.0", "EUR", 0),
        ("1.5E7", "EUR", 1_500_000_000),
        ("1.23456789E7", "EUR", 1_234_567_890),
        ("9999999999999999.99", "EUR", 999_999_999_999_999_999),
        ("15000.0", "JPY", 15_000),
        ("1.2E8", "JPY", 120_000_000),
        ("1.234", "KWD", 1_234),
        ("15000.0", "KWD", 15_000_000),
        ("48000", "USD", 4_800_000),
    ] {
        let body = OPPORTUNITIES.replacen("48000.5", digits, 1).replacen("\"EUR\"", &format!("{code:?}"), 1);
        let claim = opportunity(rows(Value::Null, Entity::Opportunity, &body).await.swap_remove(0));
        assert_eq!(claim.amount, Some(Money::new(minor, currency(code))), "{digits} {code}");
    }
}

#[tokio::test]
async fn an_org_with_one_currency_says_it_in_the_settings() {
    let without = OPPORTUNITIES.replace("      \"CurrencyIsoCode\": \"EUR\",\n", "");
    assert!(!without.contains("EUR"));
    let claim = opportunity(rows(json!({ "currency": "USD" }), Entity::Opportunity, &without).await.swap_remove(0));
    assert_eq!(claim.amount, Some(Money::new(4_800_050, Currency::USD)));
    let seen = good(rows(Value::Null, Entity::Opportunity, &without).await.swap_remove(0));
    let problem = seen.fields["amount"].problem.as_deref().expect("a problem");
    assert!(problem.contains("setting currency"), "{problem}");
    assert_eq!(seen.fields["name"].problem, None);
}

#[tokio::test]
async fn a_field_that_cannot_be_read_is_noted_and_the_rest_goes_on() {
    for (member, instead, field) in [
        ("\"Amount\": 48000.5", "\"Amount\": 0.001", "amount"),
        ("\"Amount\": 48000.5", "\"Amount\": 1E300", "amount"),
        ("\"Amount\": 48000.5", "\"Amount\": \"a lot\"", "amount"),
        ("\"Amount\": 48000.5", "\"Amount\": [48000.5]", "amount"),
        ("\"Amount\": 48000.5", "\"Amount\": 99999999999999999999.0", "amount"),
        ("\"CurrencyIsoCode\": \"EUR\"", "\"CurrencyIsoCode\": \"ZZZ\"", "amount"),
        ("\"CloseDate\": \"2026-12-31\"", "\"CloseDate\": \"31.12.2026\"", "close_on"),
        ("\"CloseDate\": \"2026-12-31\"", "\"CloseDate\": true", "close_on"),
        ("\"AccountId\": \"0015e00000NordAAAI\"", "\"AccountId\": { \"Id\": 1 }", "account"),
        ("\"StageName\": \"Proposal/Price Quote\"", "\"StageName\": false", "native_stage"),
        ("\"IsWon\": false", "\"IsWon\": \"no\"", "stage"),
        ("\"Name\": \"  Warehouse rollout, phase 2 \"", "\"Name\": []", "name"),
    ] {
        let seen = good(with(Value::Null, member, instead).await);
        assert!(seen.fields[field].problem.is_some(), "{instead}: {:?}", seen.fields[field]);
        let others = seen.fields.iter().filter(|(name, _)| !name.contains("stage") && *name != field);
        for (name, other) in others {
            assert_eq!(other.problem, None, "{instead} spoils {name}");
        }
    }
    let claim = opportunity(with(Value::Null, "\"  Warehouse rollout, phase 2 \"", "\" \"").await);
    assert_eq!(claim.name.as_deref(), Some("Opportunity 0065e00000RollAAAU"));
}

#[tokio::test]
async fn a_row_that_is_none_parks_alone() {
    for (member, instead) in [
        ("\"Id\": \"0065e00000RollAAAU\"", "\"Id\": 7"),
        ("\"Id\": \"0065e00000RollAAAU\"", "\"Id\": \"short\""),
        ("\"SystemModstamp\": \"2026-11-20T09:00:00.000+0000\"", "\"SystemModstamp\": \"lately\""),
        ("\"IsDeleted\": false", "\"IsDeleted\": \"perhaps\""),
    ] {
        let body = OPPORTUNITIES.replacen(member, instead, 1);
        let rows = rows(Value::Null, Entity::Opportunity, &body).await;
        assert!(
            matches!(&rows[0], MappedRow::Bad { code, .. } if code == "UNREADABLE_ROW"),
            "{instead}: {:?}",
            rows[0]
        );
        assert!(matches!(&rows[1], MappedRow::Good(_)), "{:?}", rows[1]);
    }
    let body = r#"{ "done": true, "records": ["no row", { "Id": null }] }"#;
    let rows = rows(Value::Null, Entity::Opportunity, body).await;
    assert!(rows.iter().all(|row| matches!(row, MappedRow::Bad { .. })), "{rows:?}");
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let check = |settings: Value| Salesforce.check_settings(&Settings::new(settings));
    assert_eq!(check(Value::Null), Ok(()));
    assert_eq!(
        check(json!({ "stages": { "x": "WON" }, "currency": "usd", "billing_email": "Billing_Email__c" })),
        Ok(())
    );
    for (wrong, path) in [
        (json!({ "stages": { "x": "SOLD" } }), "settings.stages.x"),
        (json!({ "currency": "ZZZ" }), "settings.currency"),
        (json!({ "billing_email": "Billing Email" }), "settings.billing_email"),
        (json!({ "billing_email": "x FROM User" }), "settings.billing_email"),
        (json!({ "stage_map": {} }), "stage_map"),
        (
            json!({ "custom_fields": { "account": { "region": { "property": "Owner.Name", "kind": "TEXT" } } } }),
            "settings.custom_fields.account.region.property",
        ),
        (
            json!({ "custom_fields": { "account": { "region": { "property": "1st__c", "kind": "TEXT" } } } }),
            "settings.custom_fields.account.region.property",
        ),
    ] {
        let refused = check(wrong.clone()).expect_err(path).to_string();
        assert!(refused.contains(path), "{refused}");
    }
}

#[test]
fn the_schema_knows_every_setting() {
    let schema = Salesforce.settings_schema();
    let known: Vec<&String> = schema["properties"].as_object().expect("properties").keys().collect();
    assert_eq!(known, ["billing_email", "currency", "custom_fields", "stages"]);
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[test]
fn custom_fields_that_were_not_asked_for_are_not_spoken_of_and_a_bad_one_spoils_nothing() {
    let settings = Settings::new(json!({ "custom_fields": { "account": {
        "region": { "property": "Region__c", "kind": "TEXT" },
        "seats": { "property": "Seats__c", "kind": "NUMBER" },
        "sponsor": { "property": "Sponsor__c", "kind": "TEXT" },
        "later": { "property": "Later__c", "kind": "TEXT" },
    } } }));
    let row = json!({ "Id": "0015e00000NordAAAI", "Name": "A", "IsDeleted": false, "Region__c": " North ",
        "Seats__c": "many", "Sponsor__c": null, "SystemModstamp": "2026-11-19T07:45:12.000+0000" });
    let seen = good(reader(Entity::Account).map_raw(&settings, row));
    assert_eq!(seen.fields["custom.region"].value, json!({ "kind": "TEXT", "value": "North" }));
    assert_eq!(seen.fields["custom.region"].source_path, "Region__c");
    assert!(seen.fields["custom.seats"].problem.is_some());
    assert_eq!((&seen.fields["custom.sponsor"].value, &seen.fields["custom.sponsor"].problem), (&Value::Null, &None));
    assert!(!seen.fields.contains_key("custom.later") && !seen.fields.contains_key("domain"));
    assert_eq!(seen.fields["name"].problem, None);
}
