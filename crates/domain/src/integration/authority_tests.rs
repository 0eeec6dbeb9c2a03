use proptest::prelude::*;
use serde_json::json;

use super::*;

fn speaker(number: u8) -> Speaker {
    let connection = ConnectionId::from_uuid(uuid::Uuid::from_u128(u128::from(number)));
    Speaker { connection, remote_id: format!("r{number}") }
}

fn at(seconds: i64) -> Instant {
    Instant::from_micros(seconds * 1_000_000).expect("a moment")
}

fn rule(authority: Authority, on_conflict: OnConflict, is_money: bool) -> FieldRule {
    FieldRule { entity: Entity::Account, field: "name".into(), is_money, authority, on_conflict }
}

/// Systems 1 and 2 are CRMs, 3 and 4 bill.
fn arms(speaker: &Speaker) -> Vec<Arm> {
    let number = speaker.connection.uuid().as_u128();
    vec![if number <= 2 { Arm::Crm } else { Arm::Billing }]
}

fn say(state: &mut FieldState, rule: &FieldRule, who: u8, value: Value, second: i64) -> Verdict {
    let rank = |speaker: &Speaker| rule.authority.rank(&arms(speaker));
    let heard = Heard { speaker: speaker(who), value, remote_version: None, at: at(second), assertion: None };
    let verdict = state.hear(rule, &rank, heard);
    if let Verdict::Held(reason) = verdict {
        state.hold(ConflictId::from_uuid(uuid::Uuid::from_u128(99)), reason);
    }
    verdict
}

type Step = (u8, Value, Verdict, Value);

fn check(rule: &FieldRule, steps: Vec<Step>) -> FieldState {
    let mut state = FieldState::agreed(Value::Null, at(0));
    for (second, (who, value, verdict, base)) in (1..).zip(steps) {
        let heard = say(&mut state, rule, who, value.clone(), second);
        assert_eq!((heard, &state.base), (verdict, &base), "step {second}: {who} says {value}");
    }
    state
}

fn preferred() -> Authority {
    Authority::Preferred { order: vec![Arm::Crm, Arm::Billing] }
}

#[test]
fn the_first_in_the_order_that_says_anything_is_followed() {
    use Verdict::{Followed, Stays};
    let rule = rule(preferred(), OnConflict::Newest, false);
    let state = check(
        &rule,
        vec![
            (3, json!("Acme Inc"), Followed, json!("Acme Inc")),
            (1, json!("Acme"), Followed, json!("Acme")),
            (3, json!("ACME"), Stays, json!("Acme")),
            (1, Value::Null, Followed, json!("ACME")),
            (1, json!("Acme AG"), Followed, json!("Acme AG")),
            (3, Value::Null, Stays, json!("Acme AG")),
            (1, Value::Null, Followed, Value::Null),
        ],
    );
    assert!(state.held.is_none());
}

#[test]
fn only_the_arm_with_authority_is_followed_and_what_others_say_stays_visible() {
    use Verdict::{Followed, Stays};
    let rule = rule(Authority::Authoritative { arm: Arm::Billing }, OnConflict::Newest, false);
    let state = check(
        &rule,
        vec![
            (1, json!("Acme"), Stays, Value::Null),
            (3, json!("ACME Inc"), Followed, json!("ACME Inc")),
            (1, json!("Acme AG"), Stays, json!("ACME Inc")),
        ],
    );
    let overruled: Vec<_> = state.overruled().map(|(speaker, voice)| (speaker.clone(), voice.value.clone())).collect();
    assert_eq!(overruled, [(speaker(1), json!("Acme AG"))]);
    for nobody in [Authority::Derived, Authority::Local] {
        let rule = FieldRule { authority: nobody, ..rule.clone() };
        check(&rule, vec![(1, json!("Acme"), Stays, Value::Null), (3, json!("B"), Stays, Value::Null)]);
    }
}

#[test]
fn a_change_that_knew_of_the_agreed_value_is_followed_and_one_that_did_not_is_a_conflict() {
    use Verdict::{Converged, Followed, Held, Stays};
    let money = rule(Authority::Authoritative { arm: Arm::Crm }, OnConflict::Held, true);
    let state = check(
        &money,
        vec![
            (1, json!(100), Followed, json!(100)),
            (2, json!(100), Stays, json!(100)),
            (1, json!(120), Followed, json!(120)),
            // The second one still believes in 100 and changes it.
            (2, json!(90), Held(HeldReason::BothChanged), json!(120)),
            (1, json!(130), Stays, json!(120)),
            (2, json!(130), Converged, json!(130)),
            (2, json!(140), Followed, json!(140)),
        ],
    );
    assert!(state.held.is_none());
    let text = FieldRule { is_money: false, on_conflict: OnConflict::Newest, ..money };
    check(
        &text,
        vec![
            (1, json!("a"), Followed, json!("a")),
            (2, json!("a"), Stays, json!("a")),
            (1, json!("b"), Followed, json!("b")),
            (2, json!("c"), Followed, json!("c")),
        ],
    );
}

#[test]
fn systems_that_are_linked_with_different_amounts_wait_for_a_person_whose_decision_holds() {
    use Verdict::{Followed, Held};
    let money = rule(Authority::Shared, OnConflict::Held, true);
    let mut state = check(
        &money,
        vec![(1, json!(100), Followed, json!(100)), (2, json!(90), Held(HeldReason::NeverAgreed), json!(100))],
    );
    assert!(state.resolve(json!(90), at(10)));
    assert_eq!((&state.base, &state.by, &state.held), (&json!(90), &None, &None));
    assert_eq!(state.overruled().map(|(speaker, _)| speaker.clone()).collect::<Vec<_>>(), [speaker(1)]);
    // The overruled one says the same again: the decision stands. It changes its mind: that is a new conflict.
    assert_eq!(say(&mut state, &money, 1, json!(100), 11), Verdict::Stays);
    assert_eq!(say(&mut state, &money, 1, json!(110), 12), Held(HeldReason::BothChanged));
    // Once our own write has arrived there, its next change is an ordinary one.
    state.resolve(json!(90), at(13));
    let pushed = Pushed { value: json!(90), remote_version: Some("7".to_owned()), effect_key: "push:1".to_owned() };
    state.note_pushed(&speaker(1), pushed, at(14));
    assert_eq!(say(&mut state, &money, 1, json!(110), 15), Followed);
}

#[test]
fn the_echo_of_our_own_write_is_no_change_and_an_equal_value_of_somebody_else_is() {
    let money = rule(Authority::Shared, OnConflict::Held, true);
    let mut state = check(&money, vec![(1, json!(100), Verdict::Followed, json!(100))]);
    say(&mut state, &money, 2, json!(100), 2);
    let pushed = |value, version: &str| Pushed {
        value,
        remote_version: Some(version.to_owned()),
        effect_key: "push:1".to_owned(),
    };
    state.note_pushed(&speaker(2), pushed(json!(100), "7"), at(3));
    assert_eq!(say(&mut state, &money, 1, json!(110), 4), Verdict::Followed);
    let echo = |state: &mut FieldState, version: &str| {
        let rank = |_: &Speaker| Some(0);
        let remote_version = Some(version.to_owned());
        let (speaker, value) = (speaker(2), json!(100));
        state.voices.get_mut(&speaker).expect("it spoke").value = json!(95);
        state.hear(&money, &rank, Heard { speaker, value, remote_version, at: at(5), assertion: None })
    };
    assert_eq!(echo(&mut state.clone(), "7"), Verdict::Stays, "our own write, heard late");
    assert_eq!(echo(&mut state, "8"), Verdict::Held(HeldReason::BothChanged), "somebody set it so again");
}

#[test]
fn a_field_that_goes_to_and_fro_is_held() {
    let rule = rule(Authority::Shared, OnConflict::Newest, false);
    let mut state = FieldState::agreed(json!("a"), at(0));
    say(&mut state, &rule, 1, json!("a"), 1);
    say(&mut state, &rule, 2, json!("a"), 1);
    let held = (2..40).find(|second| {
        let (who, value) = if second % 2 == 0 { (1, "b") } else { (2, "a") };
        state.voices.get_mut(&speaker(who)).expect("it spoke").value = json!("x");
        say(&mut state, &rule, who, json!(value), *second) == Verdict::Held(HeldReason::Flipping)
    });
    assert_eq!(held, Some(8), "after six changes");
    assert!(state.held.is_some());
}

#[test]
fn a_system_that_is_not_this_record_takes_its_value_with_it() {
    let rule = rule(preferred(), OnConflict::Newest, false);
    let mut state = FieldState::agreed(Value::Null, at(0));
    say(&mut state, &rule, 3, json!("Acme Inc"), 1);
    say(&mut state, &rule, 1, json!("Other"), 2);
    let rank = |speaker: &Speaker| rule.authority.rank(&arms(speaker));
    assert_eq!(state.forget(&speaker(1), &rank), Some(json!("Acme Inc")));
    assert_eq!(state.by, Some(speaker(3)));
}

#[test]
fn rules_are_changed_by_name_and_money_is_never_left_to_who_came_last() {
    let mut rules = FieldRules::default();
    let shared = || Authority::Shared;
    assert_eq!(rules.set((Entity::Opportunity, "name"), shared(), Some(OnConflict::Held)), Ok(()));
    assert_eq!(rules.of(Entity::Opportunity, "name").map(|rule| rule.on_conflict), Some(OnConflict::Held));
    let money = rules.set((Entity::Opportunity, "amount"), shared(), Some(OnConflict::Newest));
    assert!(matches!(money, Err(RuleError::MoneyIsHeld { .. })));
    assert!(matches!(rules.set((Entity::Account, "size"), shared(), None), Err(RuleError::NoSuchField { .. })));
    for (entity, field) in [(Entity::Invoice, "status"), (Entity::ServiceOrder, "total")] {
        let fixed = rules.set((entity, field), shared(), None);
        assert!(matches!(fixed, Err(RuleError::Fixed { .. })), "billing keeps invoices, and the hub its orders");
    }
    let nobody = Authority::Preferred { order: vec![] };
    assert!(matches!(rules.set((Entity::Account, "name"), nobody, None), Err(RuleError::EmptyOrder { .. })));
}

proptest! {
    #[test]
    fn whatever_is_said_the_base_is_something_that_was_said_and_the_same_story_ends_the_same(
        story in proptest::collection::vec((1_u8..=4, 0_u8..4, 0_u8..5), 1..60),
        policy in 0_u8..3,
        newest in any::<bool>(),
    ) {
        let authority = match policy {
            0 => preferred(),
            1 => Authority::Authoritative { arm: Arm::Crm },
            _ => Authority::Shared,
        };
        let rule = rule(authority, if newest { OnConflict::Newest } else { OnConflict::Held }, false);
        let tell = || {
            let mut state = FieldState::agreed(Value::Null, at(0));
            for (second, (who, value, decision)) in (1..).zip(&story) {
                let value = if *value == 0 { Value::Null } else { json!(value) };
                let held = state.held.is_some();
                let before = state.base.clone();
                let verdict = say(&mut state, &rule, *who, value, second);
                match verdict {
                    Verdict::Stays | Verdict::Held(_) => assert_eq!(state.base, before),
                    Verdict::Followed => assert!(!held, "what is held does not move"),
                    Verdict::Converged => assert!(held && state.held.is_none()),
                }
                if *decision == 0 && state.held.is_some() {
                    let first = state.voices.values().next().expect("a voice").value.clone();
                    state.resolve(first, at(second));
                }
            }
            state
        };
        let told = tell();
        prop_assert_eq!(&told, &tell());
        let written = serde_json::to_string(&told).expect("it can be written");
        let read: FieldState = serde_json::from_str(&written).expect("it can be read");
        prop_assert_eq!(&read, &told);
        let said = told.base.is_null() || story.iter().any(|(_, value, _)| json!(value) == told.base);
        prop_assert!(said);
    }

    #[test]
    fn when_all_who_have_a_say_agree_nothing_is_held(
        story in proptest::collection::vec((1_u8..=4, 1_u8..4), 1..40),
    ) {
        let rule = rule(Authority::Shared, OnConflict::Held, true);
        let mut state = FieldState::agreed(Value::Null, at(0));
        for (second, (who, value)) in (1..).zip(&story) {
            say(&mut state, &rule, *who, json!(value), second);
        }
        let speakers: Vec<u8> = (1..=4).filter(|who| state.voices.contains_key(&speaker(*who))).collect();
        for (second, who) in (1_000_000..).step_by(10_000).zip(speakers) {
            say(&mut state, &rule, who, json!(9), second);
        }
        prop_assert!(state.held.is_none());
        prop_assert_eq!(state.base, json!(9));
    }
}

/// Two systems and the hub between them: what each holds, what the hub has asked to be written, and how often it wrote.
struct Loop {
    rule: FieldRule,
    state: FieldState,
    held: [(i64, u64); 2],
    /// Writes on their way: to which system, what, what is expected there.
    queue: Vec<(usize, i64, i64)>,
    version: u64,
    writes: usize,
    second: i64,
}

impl Loop {
    fn new(rule: FieldRule) -> Self {
        let state = FieldState::agreed(json!(0), at(0));
        let mut all = Self { rule, state, held: [(0, 1), (0, 1)], queue: vec![], version: 1, writes: 0, second: 0 };
        all.read(0);
        all.read(1);
        all
    }

    fn edit(&mut self, system: usize, value: i64) {
        self.version += 1;
        self.held[system] = (value, self.version);
    }

    /// The hub reads a system, decides, and asks for what follows.
    fn read(&mut self, system: usize) {
        // Edits of people are minutes apart: the loop breaker is for machines.
        self.second += 300;
        let (value, version) = self.held[system];
        let who = u8::try_from(system + 1).expect("two systems");
        let rank = |speaker: &Speaker| self.rule.authority.rank(&arms(speaker));
        let (speaker, remote_version) = (speaker(who), Some(version.to_string()));
        let heard = Heard { speaker, value: json!(value), remote_version, at: at(self.second), assertion: None };
        if let Verdict::Held(reason) = self.state.hear(&self.rule, &rank, heard) {
            self.state.hold(ConflictId::from_uuid(uuid::Uuid::from_u128(1)), reason);
        }
        self.ask();
    }

    fn ask(&mut self) {
        for system in 0..2 {
            let speaker = speaker(u8::try_from(system + 1).expect("two systems"));
            let Some(value) = self.state.to_push(&speaker).and_then(Value::as_i64) else { continue };
            let expected = self.state.voices[&speaker].value.as_i64().expect("a number");
            self.state.note_asked(&speaker);
            self.queue.push((system, value, expected));
        }
    }

    /// The first write that waits for a system arrives, or is refused because something else stands there.
    fn write(&mut self, system: usize) {
        let Some(place) = self.queue.iter().position(|(to, _, _)| *to == system) else { return };
        let (_, value, expected) = self.queue.remove(place);
        let speaker = speaker(u8::try_from(system + 1).expect("two systems"));
        let (stands, _) = self.held[system];
        if stands != value && stands != expected {
            self.state.note_refused(&speaker, &json!(value));
            return self.read(system);
        }
        if stands != value {
            self.edit(system, value);
            self.writes += 1;
        }
        let remote_version = Some(self.held[system].1.to_string());
        let pushed = Pushed { value: json!(value), remote_version, effect_key: "push".to_owned() };
        self.state.note_pushed(&speaker, pushed, at(self.second));
        self.ask();
    }

    /// Nobody edits any more: the hub reads and writes until nothing moves. How many rounds that took.
    fn settle(&mut self) -> usize {
        for round in 0..50 {
            let before = (self.held, self.state.clone());
            for system in 0..2 {
                self.read(system);
                while self.queue.iter().any(|(to, _, _)| *to == system) {
                    self.write(system);
                }
            }
            let observed = |state: &FieldState| {
                state.voices.values().map(|voice| (voice.value.clone(), voice.asked.clone())).collect::<Vec<_>>()
            };
            let same = before.1.base == self.state.base && observed(&before.1) == observed(&self.state);
            if self.queue.is_empty() && before.0 == self.held && same {
                return round;
            }
        }
        panic!("they never come to rest: {:?} {:?}", self.held, self.state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_systems_and_the_hub_between_them_come_to_rest_on_one_value(
        steps in proptest::collection::vec((0_usize..3, 0_usize..2, 1_i64..4), 0..40),
        policy in 0_u8..3,
    ) {
        let rule = match policy {
            0 => rule(Authority::Shared, OnConflict::Newest, false),
            1 => rule(Authority::Authoritative { arm: Arm::Crm }, OnConflict::Newest, false),
            _ => rule(Authority::Shared, OnConflict::Held, true),
        };
        let mut all = Loop::new(rule);
        let mut edits = 0;
        for (what, system, value) in steps {
            match what {
                0 => {
                    edits += 1;
                    all.edit(system, value);
                }
                1 => all.read(system),
                _ => all.write(system),
            }
        }
        all.settle();
        if all.state.held.is_some() {
            // A person decides, and what is decided reaches both.
            all.state.resolve(json!(7), at(all.second));
            all.ask();
            all.settle();
        }
        prop_assert!(all.state.held.is_none());
        prop_assert_eq!(all.held[0].0, all.held[1].0, "both hold the same: {:?}", all.state);
        prop_assert_eq!(&all.state.base, &json!(all.held[0].0));
        // Each edit is carried to the other side a few times at most: nothing goes to and fro.
        prop_assert!(all.writes <= 2 * edits + 2, "{} writes for {edits} edits", all.writes);
        let (held, writes) = (all.held, all.writes);
        prop_assert_eq!(all.settle(), 0, "at rest it stays at rest");
        prop_assert_eq!((all.held, all.writes), (held, writes));
    }
}

#[test]
fn a_custom_field_goes_by_the_rule_of_all_of_them_until_it_has_its_own() {
    let mut rules = FieldRules::default();
    let of = |rules: &FieldRules, entity, field: &str| rules.of(entity, field).map(|rule| rule.authority.clone());
    assert_eq!(of(&rules, Entity::Account, "custom.region"), Some(preferred()));
    let crm = Authority::Authoritative { arm: Arm::Crm };
    assert_eq!(of(&rules, Entity::Opportunity, "custom.region"), Some(crm));
    assert_eq!(of(&rules, Entity::Invoice, "custom.region"), None);
    rules.set((Entity::Account, "custom.region"), Authority::Shared, Some(OnConflict::Held)).expect("a field");
    rules.set((Entity::Account, "custom.*"), Authority::Local, None).expect("all of them");
    assert_eq!(of(&rules, Entity::Account, "custom.region"), Some(Authority::Shared));
    assert_eq!(of(&rules, Entity::Account, "custom.sponsor"), Some(Authority::Local));
    let listed = rules.all().iter().filter(|rule| rule.field.starts_with("custom.")).count();
    assert_eq!(listed, 3, "both kinds of record, and the one that has its own");
    for wrong in ["custom.Region", "custom.", "custom.a_b", "region"] {
        let refused = rules.set((Entity::Account, wrong), Authority::Shared, None);
        assert!(matches!(refused, Err(RuleError::NoSuchField { .. })), "{wrong}");
    }
    let refused = rules.set((Entity::Invoice, "custom.region"), Authority::Shared, None);
    assert!(matches!(refused, Err(RuleError::NoSuchField { .. })), "invoices have none");
}

#[test]
fn a_system_that_speaks_of_a_field_no_more_leaves_it_to_the_others() {
    let rule = rule(preferred(), OnConflict::Newest, false);
    let rank = |speaker: &Speaker| rule.authority.rank(&arms(speaker));
    let withdraw = |state: &mut FieldState, who: u8| state.withdraw(&speaker(who), &rank);
    let heard = |steps: &[(u8, &str)]| {
        let mut state = FieldState::agreed(Value::Null, at(0));
        for (second, (who, value)) in (1..).zip(steps) {
            say(&mut state, &rule, *who, json!(value), second);
        }
        state
    };
    // Another CRM that says the same stays in force; what one clears would be followed, what it withdraws is not.
    let mut two = heard(&[(1, "EMEA"), (2, "EMEA")]);
    assert!(!withdraw(&mut two, 1));
    assert_eq!((&two.base, &two.by), (&json!("EMEA"), &Some(speaker(2))));
    assert!(withdraw(&mut two, 2));
    assert_eq!((&two.base, &two.by), (&Value::Null, &None));
    let mut below = heard(&[(3, "APAC"), (1, "EMEA")]);
    assert!(withdraw(&mut below, 1));
    assert_eq!(below.base, json!("APAC"), "billing is next in the order");
    let mut other = heard(&[(3, "APAC"), (1, "EMEA")]);
    assert!(!withdraw(&mut other, 3), "it was not the one that is followed");
    assert!(!withdraw(&mut other, 4), "it never spoke");
    assert_eq!(other.base, json!("EMEA"));
    let no_say = Authority::Authoritative { arm: Arm::Crm };
    let mut left = heard(&[(1, "EMEA"), (3, "APAC")]);
    left.withdraw(&speaker(1), &|speaker| no_say.rank(&arms(speaker)));
    assert_eq!((&left.base, left.voices.len()), (&Value::Null, 1), "who has no say is not asked");
}
