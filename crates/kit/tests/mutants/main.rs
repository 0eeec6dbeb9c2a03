//! The kit itself: a sound connector passes everything, and each way of being broken is found by the check that looks
//! for it.

mod ledger;
mod vendor;

use crosstie_kit::{CHECKS, Effect, Ended, Kind, Report, Subject, check, requests};
use crosstie_sdk::{Credentials, Secret, domain::integration::Entity};
use serde_json::json;

use self::{
    ledger::{Flaw, connector},
    vendor::LedgerVendor,
};

/// The check that finds each flaw.
const MUTANTS: [(&str, Flaw); 34] = [
    ("descriptor.identity", Flaw::IdOfTwoWords),
    ("descriptor.identity", Flaw::NothingCanBeCalled),
    ("descriptor.reads", Flaw::DeclaresWhatItDoesNotRead),
    ("descriptor.writes", Flaw::DeclaresWhatItDoesNotWrite),
    ("descriptor.settings", Flaw::TakesAnySetting),
    ("reading.every_row", Flaw::LosesTheRowAtTheBorder),
    ("reading.one_moment", Flaw::PlaceIsOnlyATime),
    ("reading.goes_on_from_every_place", Flaw::KeepsThePlaceToItself),
    ("reading.window", Flaw::LeavesOutTheBeginning),
    ("reading.window", Flaw::LeavesOutTheEnd),
    ("reading.change_is_found", Flaw::OneVersionForAll),
    ("reading.while_rows_change", Flaw::CountsRows),
    ("reading.one", Flaw::SaysOtherwiseByItsId),
    ("reading.deleted", Flaw::HidesWhatIsDeleted),
    ("reading.deleted", Flaw::ShowsWhatIsDeleted),
    ("reading.mapping_alone", Flaw::MapsByHowOften),
    ("reading.unknown_place", Flaw::BeginsAnewAtAnUnknownPlace),
    ("shape.more_members", Flaw::RefusesMoreMembers),
    ("shape.one_odd_row", Flaw::PageFallsWithItsRow),
    ("shape.one_odd_row", Flaw::BelievesAnything),
    ("shape.no_page", Flaw::WhatIsNoPageIsEmpty),
    ("faults.unauthorized", Flaw::TriesARefusedCredentialAgain),
    ("faults.slow_down", Flaw::HidesHowLongToWait),
    ("faults.outage", Flaw::AnOutageIsTheEnd),
    ("faults.lost_answer", Flaw::AReadingMayHaveHappened),
    ("inbound.genuine", Flaw::PointsAtAnotherRecord),
    ("inbound.forged", Flaw::DoesNotSignTheBody),
    ("inbound.same_key", Flaw::KeyIsTheKindOfEvent),
    ("inbound.odd_body", Flaw::AnyBodyIsEmpty),
    ("writes.shown", Flaw::DeclaresWhatItDoesNotWrite),
    ("writes.once", Flaw::MakesAnotherOne),
    ("writes.at_once", Flaw::LooksBeforeItMakes),
    ("writes.lost_answer", Flaw::MakesAnotherOne),
    ("writes.find", Flaw::FindsNothing),
];

fn subject(flaw: Option<Flaw>) -> Subject<LedgerVendor> {
    Subject {
        connector: connector(flaw),
        settings: json!({ "book": "main" }),
        base_url: None,
        credentials: Credentials::Bearer(Secret::new("key")),
        vendor: if flaw == Some(Flaw::DoesNotSignTheBody) { LedgerVendor::lax } else { LedgerVendor::new },
        kinds: vec![Kind {
            entity: Entity::Account,
            create: |vendor, number, now| vendor.create(&format!("Account {number}"), now),
            change: |vendor, id, number, now| vendor.rename(id, &format!("Renamed {number}"), now),
            delete: Some(|vendor, id, now| vendor.delete(id, now)),
        }],
        effects: if flaw == Some(Flaw::DeclaresWhatItDoesNotWrite) {
            vec![]
        } else {
            vec![Effect {
                entity: Entity::ServiceOrder,
                request: |_, _| requests::order(),
                count: |vendor, _| vendor.orders(),
            }]
        },
        bypasses: &[],
    }
}

async fn report(flaw: Option<Flaw>) -> Report {
    check(&subject(flaw)).await
}

#[tokio::test(start_paused = true)]
async fn a_sound_connector_passes_everything() {
    let report = report(None).await;
    let told: Vec<_> = report.checks.iter().filter(|(_, ended)| *ended != Ended::Passed).collect();
    assert!(told.is_empty(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn every_flaw_is_found_by_the_check_that_looks_for_it() {
    for (name, flaw) in MUTANTS {
        let report = report(Some(flaw)).await;
        assert!(report.failed().contains(&name), "{flaw:?} passes {name}:\n{report}");
    }
}

#[test]
fn every_check_has_a_flaw_that_it_finds() {
    for name in CHECKS {
        let found = MUTANTS.iter().any(|(other, _)| other == name);
        assert!(found, "nothing shows that {name} can fail");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bypass_has_a_reason_and_goes_when_it_is_not_needed_any_more() {
    let name = "descriptor.settings";
    let with = async |flaw, bypasses| {
        let report = check(&Subject { bypasses, ..subject(flaw) }).await;
        report.checks.into_iter().find(|(other, _)| *other == name).map(|(_, ended)| ended)
    };
    let flawed = Some(Flaw::TakesAnySetting);
    let why = "the vendor has settings without number";
    assert_eq!(
        with(flawed, &[("descriptor.settings", "the vendor has settings without number")]).await,
        Some(Ended::PassedOver(why))
    );
    assert!(matches!(with(flawed, &[("descriptor.settings", " ")]).await, Some(Ended::Failed(_))));
    assert!(matches!(with(None, &[("descriptor.settings", "not needed")]).await, Some(Ended::Failed(_))));
}
