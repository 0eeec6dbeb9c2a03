//! What rows become.

use crosstie_hubspot::Hubspot;
use crosstie_sdk::{
    AnyReader, Connector, MappedRow, Observed, Settings,
    domain::{
        Money,
        integration::{Claim, Entity},
        pipeline::{AccountClaim, OpportunityClaim, OpportunityStage},
    },
};
use serde_json::{Value, json};

const DEAL: &str = include_str!("../fixtures/deal.json");
const BARE_DEAL: &str = include_str!("../fixtures/deal-bare.json");
const COMPANY: &str = include_str!("../fixtures/company.json");

fn map(entity: Entity, settings: Value, row: Value) -> MappedRow {
    let readers: &[&dyn AnyReader] = Hubspot.readers();
    let reader = readers.iter().find(|reader| reader.entity() == entity).expect("a reader");
    reader.map_raw(&Settings::new(settings), row)
}

fn observed(entity: Entity, settings: Value, row: Value) -> Observed {
    match map(entity, settings, row) {
        MappedRow::Good(observed) => *observed,
        other => panic!("{other:?}"),
    }
}

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).expect("a fixture is JSON")
}

fn deal_with(property: &str, value: Value) -> Value {
    let mut row = fixture(DEAL);
    row["properties"][property] = value;
    row
}

fn opportunity(settings: Value, row: Value) -> OpportunityClaim {
    match observed(Entity::Opportunity, settings, row).claim {
        Claim::Opportunity(claim) => claim,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deal_becomes_an_opportunity() {
    let observed = observed(Entity::Opportunity, Value::Null, fixture(DEAL));
    assert_eq!(observed.key.remote_id, "21478336514");
    assert_eq!(observed.key.version.as_deref(), Some("2026-11-20T09:00:00.250Z"));
    let expected = OpportunityClaim {
        name: Some("Data platform rollout".to_owned()),
        account: Some("9001".to_owned()),
        native_stage: Some("presentationscheduled".to_owned()),
        stage: Some(OpportunityStage::Scoping),
        amount: Some(Money::new(4_800_050, "EUR".parse().expect("a currency"))),
        close_on: Some("2026-12-31".parse().expect("a day")),
    };
    assert_eq!(observed.claim, Claim::Opportunity(expected));
    let paths: Vec<(&str, &str)> =
        observed.fields.iter().map(|(field, noted)| (field.as_str(), noted.source_path.as_str())).collect();
    let expected = [
        ("account", "associated_company"),
        ("amount", "properties.amount"),
        ("close_on", "properties.closedate"),
        ("name", "properties.dealname"),
        ("native_stage", "properties.dealstage"),
        ("stage", "properties.dealstage"),
    ];
    assert_eq!(paths, expected);
}

#[test]
fn a_bare_deal_goes_on_without_what_it_does_not_say() {
    let observed = observed(Entity::Opportunity, Value::Null, fixture(BARE_DEAL));
    let expected = OpportunityClaim {
        name: Some("Deal 21478336515".to_owned()),
        native_stage: Some("884471".to_owned()),
        ..OpportunityClaim::default()
    };
    assert_eq!(observed.claim, Claim::Opportunity(expected));
    assert_eq!(observed.fields["name"].source_path, "id");
    assert!(observed.fields["amount"].problem.as_deref().expect("a problem").contains("currency"));
    assert!(observed.fields["close_on"].problem.is_none());
}

#[test]
fn settings_map_stages_and_give_a_currency() {
    let settings = json!({ "stages": { "884471": "PROPOSED" }, "default_currency": "JPY" });
    let claim = opportunity(settings, fixture(BARE_DEAL));
    assert_eq!(claim.stage, Some(OpportunityStage::Proposed));
    assert_eq!(claim.amount, Some(Money::new(1_200, "JPY".parse().expect("a currency"))));
}

#[test]
fn given_stages_extend_and_override_the_default_pipeline() {
    let settings = json!({ "stages": { "presentationscheduled": "QUALIFY" } });
    let stage = |native: &str| opportunity(settings.clone(), deal_with("dealstage", json!(native))).stage;
    assert_eq!(stage("presentationscheduled"), Some(OpportunityStage::Qualify));
    assert_eq!(stage("appointmentscheduled"), Some(OpportunityStage::Qualify));
    assert_eq!(stage("qualifiedtobuy"), Some(OpportunityStage::Scoping));
    assert_eq!(stage("decisionmakerboughtin"), Some(OpportunityStage::Proposed));
    assert_eq!(stage("contractsent"), Some(OpportunityStage::Committed));
    assert_eq!(stage("closedwon"), Some(OpportunityStage::Won));
    assert_eq!(stage("closedlost"), Some(OpportunityStage::Lost));
    assert_eq!(stage("unheard_of"), None);
}

#[test]
fn a_close_date_is_a_utc_day_however_it_is_written() {
    let day = |text: &str| opportunity(Value::Null, deal_with("closedate", json!(text))).close_on;
    let expected = Some("2026-12-31".parse().expect("a day"));
    for text in ["2026-12-31T00:00:00Z", "2026-12-31T23:59:59.999Z", "1798675200000", "1798761599999", "2026-12-31"] {
        assert_eq!(day(text), expected, "{text}");
    }
    assert_eq!(day("2027-01-01T01:00:00+02:00"), expected);
    assert_eq!(day("-1"), Some("1969-12-31".parse().expect("a day")));
}

#[test]
fn an_unreadable_field_is_noted_and_the_rest_goes_on() {
    for (property, value, field) in [
        ("closedate", "soon", "close_on"),
        ("amount", "12,5", "amount"),
        ("amount", "0.001", "amount"),
        ("amount", "1e6", "amount"),
        ("deal_currency_code", "ZZZ", "amount"),
    ] {
        let observed = observed(Entity::Opportunity, Value::Null, deal_with(property, json!(value)));
        assert!(observed.fields[field].problem.is_some(), "{property} {value}");
        assert!(observed.fields["name"].problem.is_none());
    }
    let claim = opportunity(Value::Null, deal_with("amount", json!("")));
    assert_eq!(claim.amount, None);
}

#[test]
fn a_retyped_property_parks_its_row_alone() {
    match map(Entity::Opportunity, Value::Null, deal_with("amount", json!(48_000))) {
        MappedRow::Bad { remote_id, code, .. } => {
            assert_eq!((remote_id.as_deref(), code.as_str()), (Some("21478336514"), "UNREADABLE_ROW"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_company_becomes_an_account() {
    let company = observed(Entity::Account, Value::Null, fixture(COMPANY));
    assert_eq!(company.key.version.as_deref(), Some("2026-11-19T07:45:12.008Z"));
    let expected = AccountClaim {
        account: None,
        name: Some("Northwind Håndel".to_owned()),
        domain: Some("northwind.example".to_owned()),
        billing_email: None,
    };
    assert_eq!(company.claim, Claim::Account(expected));

    let mut nameless = fixture(COMPANY);
    nameless["properties"]["name"] = Value::Null;
    let by_domain = observed(Entity::Account, Value::Null, nameless.clone());
    assert!(matches!(by_domain.claim, Claim::Account(claim) if claim.name.as_deref() == Some("northwind.example")));
    nameless["properties"]["domain"] = json!("");
    let by_id = observed(Entity::Account, Value::Null, nameless);
    assert!(matches!(by_id.claim, Claim::Account(claim) if claim.name.as_deref() == Some("Company 9001")));
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let check = |settings: Value| Hubspot.check_settings(&Settings::new(settings));
    assert_eq!(check(Value::Null), Ok(()));
    assert_eq!(check(json!({ "stages": { "x": "WON" }, "default_currency": "usd" })), Ok(()));
    for wrong in
        [json!({ "stages": { "x": "SOLD" } }), json!({ "default_currency": "ZZZ" }), json!({ "stage_map": {} })]
    {
        assert!(check(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn the_customers_own_properties_are_read_as_the_settings_say_and_a_bad_one_spoils_nothing() {
    let mut row = fixture(DEAL);
    row["properties"]["delivery_model"] = json!(" Fixed price ");
    row["properties"]["arr"] = json!("a lot");
    row["properties"]["seats"] = json!(["not", "a", "text"]);
    row["properties"]["sponsor"] = Value::Null;
    let settings = json!({ "custom_fields": { "opportunity": {
        "deliveryModel": { "property": "delivery_model", "kind": "TEXT" },
        "arr": { "property": "arr", "kind": "NUMBER" },
        "seats": { "property": "seats", "kind": "NUMBER" },
        "sponsor": { "property": "sponsor", "kind": "TEXT" },
        "rawAmount": { "property": "amount", "kind": "NUMBER" },
        "notAsked": { "property": "not_asked", "kind": "TEXT" },
    }, "account": { "region": { "property": "region", "kind": "CHOICE" } } } });
    let seen = observed(Entity::Opportunity, settings.clone(), row);
    let field = |name: &str| &seen.fields[&format!("custom.{name}")];
    let model = field("deliveryModel");
    assert_eq!(model.value, json!({ "kind": "TEXT", "value": "Fixed price" }));
    assert_eq!(model.source_path, "properties.delivery_model");
    for name in ["arr", "seats"] {
        assert!(field(name).value.is_null() && field(name).problem.is_some(), "{name}: {:?}", field(name));
    }
    assert_eq!((&field("sponsor").value, &field("sponsor").problem), (&Value::Null, &None));
    assert_eq!(field("rawAmount").value["kind"], "NUMBER", "a property that the hub reads already may be mapped, too");
    assert!(!seen.fields.contains_key("custom.notAsked") && !seen.fields.contains_key("custom.region"));
    assert_eq!(seen.fields["amount"].problem, None, "the rest goes on");

    let mut row = fixture(COMPANY);
    row["properties"]["region"] = json!("emea");
    let seen = observed(Entity::Account, settings, row);
    assert_eq!(seen.fields["custom.region"].value, json!({ "kind": "CHOICE", "value": "emea" }));
}

#[test]
fn a_property_is_named_as_hubspot_names_it() {
    let with = |property: &str| {
        let field = json!({ "property": property, "kind": "TEXT" });
        Settings::new(json!({ "custom_fields": { "account": { "region": field } } }))
    };
    for property in ["region", "hs_analytics_source", "Region2"] {
        Hubspot.check_settings(&with(property)).expect(property);
    }
    for property in ["sales region", "a,b", "a&b", "größe"] {
        let refused = Hubspot.check_settings(&with(property)).expect_err(property).to_string();
        assert!(refused.contains("custom_fields.account.region.property"), "{refused}");
    }
}
