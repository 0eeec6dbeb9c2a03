use std::borrow::Cow;

use crosstie_domain::{
    UserErrorCode::{Invalid, LimitExceeded, Required, TooLong},
    integration::Entity,
};
use serde_json::{Value, json};

use super::*;

const BOTH: &[Entity] = &[Entity::Account, Entity::Opportunity];

fn settings(fields: Value) -> Settings {
    Settings::new(json!({ "custom_fields": fields }))
}

fn one(field: Value) -> CustomFields {
    CustomFields::of(&settings(json!({ "account": { "one": field } })), BOTH).expect("it is good")
}

/// What a field makes of a value: what is noted, and its problem.
fn read(fields: &CustomFields, value: &Value) -> (Value, Option<String>) {
    let mut bag = Bag::default();
    fields.read(Entity::Account, &mut bag, |property| Some((Cow::Owned(value.clone()), format!("p.{property}"))));
    let noted = bag.into_fields().remove("custom.one").expect("it is noted");
    assert_eq!(noted.source_path, "p.one");
    (noted.value, noted.problem)
}

#[test]
fn a_value_of_each_kind_is_read_exactly() {
    for (kind, value, expected) in [
        ("TEXT", json!("  EMEA "), json!("EMEA")),
        ("TEXT", json!(7), json!("7")),
        ("TEXT", json!("a\0b"), json!("a\u{fffd}b")),
        ("NUMBER", json!("0012.50"), json!("12.5")),
        ("NUMBER", json!(-3), json!("-3")),
        ("NUMBER", json!("123456789012345678901234567890.5"), json!("123456789012345678901234567890.5")),
        ("BOOLEAN", json!(true), json!(true)),
        ("BOOLEAN", json!("False"), json!(false)),
        ("DATE", json!("2026-02-28"), json!("2026-02-28")),
        ("DATE", json!("2026-02-28T00:00:00Z"), json!("2026-02-28")),
        ("DATE", json!("1772236800000"), json!("2026-02-28")),
        ("INSTANT", json!("2026-02-28T11:00:00.123456+01:00"), json!("2026-02-28T10:00:00.123456Z")),
        ("INSTANT", json!(1_772_236_800_000_i64), json!("2026-02-28T00:00:00Z")),
        ("CHOICE", json!("tm"), json!("tm")),
    ] {
        let expected = json!({ "kind": kind, "value": expected });
        assert_eq!(read(&one(json!({ "property": "one", "kind": kind })), &value), (expected, None), "{kind} {value}");
    }
}

#[test]
fn an_option_goes_by_its_label_and_a_new_one_is_taken_as_it_comes() {
    let fields = one(json!({ "property": "one", "kind": "CHOICE", "options": { "tm": "Time and material" } }));
    for (option, label) in [("tm", "Time and material"), ("retainer", "retainer")] {
        assert_eq!(read(&fields, &json!(option)), (json!({ "kind": "CHOICE", "value": label }), None));
    }
}

#[test]
fn what_is_not_of_the_kind_is_a_problem_of_its_field_that_does_not_quote_it() {
    let long = "x".repeat(2_001);
    for (kind, value) in [
        ("TEXT", json!(["a"])),
        ("TEXT", json!({ "a": 1 })),
        ("TEXT", json!(long)),
        ("NUMBER", json!("much")),
        ("NUMBER", json!("1,000")),
        ("BOOLEAN", json!("yes")),
        ("BOOLEAN", json!(1)),
        ("DATE", json!("28.02.2026")),
        ("DATE", json!("2026-02-30")),
        ("DATE", json!("2026-02-28T10:00:00Z")),
        ("INSTANT", json!("yesterday")),
        ("INSTANT", json!("9223372036854775807")),
        ("CHOICE", json!([1])),
    ] {
        let (noted, problem) = read(&one(json!({ "property": "one", "kind": kind })), &value);
        let problem = problem.unwrap_or_else(|| panic!("{kind} {value}"));
        assert_eq!(noted, Value::Null, "{kind} {value}");
        assert!(!value.as_str().is_some_and(|text| problem.contains(text)), "{problem}");
    }
}

#[test]
fn what_is_empty_says_so_and_what_was_not_asked_for_says_nothing() {
    for (kind, _) in CustomFieldKind::ALL.map(|(kind, text)| (text, kind)) {
        let fields = one(json!({ "property": "one", "kind": kind }));
        for empty in [Value::Null, json!(""), json!("  ")] {
            assert_eq!(read(&fields, &empty), (Value::Null, None), "{kind} {empty}");
        }
        let mut bag = Bag::default();
        fields.read(Entity::Account, &mut bag, |_| None);
        fields.read(Entity::Opportunity, &mut bag, |_| Some((Cow::Owned(json!("x")), "x".to_owned())));
        assert!(bag.into_fields().is_empty(), "{kind}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_their_path_and_code() {
    let good = json!({ "property": "region", "kind": "TEXT" });
    let many: Map<String, Value> = (0..51).map(|place| (format!("f{place}"), good.clone())).collect();
    let options: Map<String, Value> = (0..201).map(|place| (format!("o{place}"), json!("x"))).collect();
    let long = "x".repeat(101);
    for (fields, path, code) in [
        (json!([]), "", Invalid),
        (json!({ "invoice": {} }), "invoice", Invalid),
        (json!({ "account": [] }), "account", Invalid),
        (json!({ "account": many }), "account", LimitExceeded),
        (json!({ "account": { "Region": good } }), "account.Region", Invalid),
        (json!({ "account": { "sales_region": good } }), "account.sales_region", Invalid),
        (json!({ "account": { "billingEmail": good } }), "account.billingEmail", Invalid),
        (json!({ "opportunity": { "stage": good } }), "opportunity.stage", Invalid),
        (json!({ "account": { "region": "region" } }), "account.region", Invalid),
        (json!({ "account": { "region": { "kind": "TEXT" } } }), "account.region.property", Required),
        (json!({ "account": { "region": { "property": "r" } } }), "account.region.kind", Required),
        (json!({ "account": { "region": { "property": "", "kind": "TEXT" } } }), "account.region.property", Invalid),
        (json!({ "account": { "region": { "property": long, "kind": "TEXT" } } }), "account.region.property", TooLong),
        (json!({ "account": { "region": { "property": "r", "kind": "MONEY" } } }), "account.region.kind", Invalid),
        (
            json!({ "account": { "region": { "property": "r", "kind": "TEXT", "label": 7 } } }),
            "account.region.label",
            Invalid,
        ),
        (
            json!({ "account": { "region": { "property": "r", "kind": "TEXT", "labl": "x" } } }),
            "account.region.labl",
            Invalid,
        ),
        (
            json!({ "account": { "region": { "property": "r", "kind": "TEXT", "options": {} } } }),
            "account.region.options",
            Invalid,
        ),
        (
            json!({ "account": { "region": { "property": "r", "kind": "CHOICE", "options": options } } }),
            "account.region.options",
            LimitExceeded,
        ),
    ] {
        let path = if path.is_empty() { "custom_fields".to_owned() } else { format!("custom_fields.{path}") };
        let refused = CustomFields::of(&settings(fields.clone()), BOTH).expect_err(&path);
        assert_eq!((refused.path.join("."), refused.code), (path.clone(), code), "{fields}");
        assert!(serde_json::from_value::<CustomFields>(fields).expect_err("alike").to_string().contains(&path));
    }
    let other = json!({ "opportunity": { "region": good } });
    let refused = CustomFields::of(&settings(other), &[Entity::Account]).expect_err("it reads no opportunities");
    assert_eq!(refused.path, ["custom_fields", "opportunity"]);
    let bracket = json!({ "account": { "region": { "property": "a,b", "kind": "TEXT" } } });
    let fields = CustomFields::of(&settings(bracket), BOTH).expect("common to all");
    let refused = fields.with_properties(|property| !property.contains(','), "no commas").expect_err("of the vendor");
    assert_eq!(
        (refused.path.join("."), refused.why.as_str()),
        ("custom_fields.account.region.property".to_owned(), "no commas")
    );
}

#[test]
fn two_names_may_stand_for_one_property_which_is_asked_for_once() {
    let fields = json!({ "opportunity": {
        "region": { "property": "region", "kind": "TEXT", "label": "Region" },
        "area": { "property": "region", "kind": "CHOICE" },
        "arr": { "property": "arr", "kind": "NUMBER" },
    } });
    let fields = CustomFields::of(&settings(fields), BOTH).expect("it is good");
    assert_eq!(fields.properties(Entity::Opportunity), ["arr", "region"]);
    assert!(fields.properties(Entity::Account).is_empty());
    let told = fields.definitions();
    let labels: Vec<_> = told.iter().map(|field| (field.name.as_str(), field.label.as_str())).collect();
    assert_eq!(labels, [("area", "area"), ("arr", "arr"), ("region", "Region")]);
    let none = CustomFields::of(&Settings::default(), BOTH).expect("none is good");
    assert!(none.definitions().is_empty());
}
