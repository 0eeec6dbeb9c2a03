//! What is known of how well another system was read, straight into the store.

use crosstie_domain::{
    ids::ConnectionId,
    integration::{
        BackfillRecord, BackfillStatus, DeleteClaimRecord, DeleteEvidence, DriftReportRecord, DriftScope, Entity,
        RunStatus, RunTrigger, ShapeChangeKind, ShapeChangeRecord, SweepRecord, SweepStatus,
        adoption::{AdoptionEvidence, AdoptionRecord},
        erasure::{ErasedPlace, ErasureRecord, ErasureStatus},
    },
};
use crosstie_store::Store;

/// One of each, by the field of the root that shows it.
pub(crate) async fn save_readings(store: &Store, connection_id: ConnectionId) -> Vec<(&'static str, String)> {
    let tx = store.begin().await.expect("a transaction begins");
    let claim = DeleteClaimRecord {
        id: tx.new_id(),
        connection_id,
        entity: Entity::Invoice,
        remote_id: "in_gone".to_owned(),
        record_id: "inv_gone".to_owned(),
        evidence: DeleteEvidence::Announced,
        inbound_event_id: None,
        run_id: None,
        sweep_id: None,
        merged_into: None,
        claimed_at: tx.now(),
        withdrawn_at: None,
    };
    tx.claim_deleted(&claim).await.expect("the claim is saved");
    let now = tx.now();
    let sweep = SweepRecord {
        id: tx.new_id(),
        connection_id,
        entity: Entity::Invoice,
        status: SweepStatus::Braked,
        window_until: now,
        more: None,
        pages: 1,
        rows_seen: 1,
        known: 8,
        missing: 7,
        deleted: 0,
        confirmed_by: None,
        error_code: Some("SWEEP_BRAKE".to_owned()),
        error_message: None,
        started_at: now,
        finished_at: Some(now),
    };
    tx.save_sweep(&sweep).await.expect("the sweep is saved");
    let backfill = BackfillRecord {
        id: tx.new_id(),
        connection_id,
        entity: Entity::Invoice,
        trigger: RunTrigger::Refresh,
        remote_id: None,
        since: None,
        until: now,
        status: BackfillStatus::Waiting,
        requested_by: "system".to_owned(),
        created_at: now,
        finished_at: None,
    };
    tx.save_backfill(&backfill).await.expect("the back-fill is saved");
    tx.save_slice(&crosstie_app::new_slice(&backfill, 0, None, now)).await.expect("its slice is saved");
    let report = DriftReportRecord {
        id: tx.new_id(),
        connection_id,
        entity: Entity::Invoice,
        scope: DriftScope::Sample,
        status: RunStatus::Succeeded,
        compared: 10,
        differing: 1,
        healed: 1,
        error_code: None,
        error_message: None,
        started_at: now,
        finished_at: Some(now),
    };
    tx.save_drift_report(&report).await.expect("the report is saved");
    let change = ShapeChangeRecord {
        id: tx.new_id(),
        connection_id,
        entity: Entity::Invoice,
        kind: ShapeChangeKind::Retyped,
        path: "total".to_owned(),
        before: Some("number".to_owned()),
        after: Some("text".to_owned()),
        seen_at: now,
    };
    tx.append_shape_change(&change).await.expect("the change is saved");
    let adoption = AdoptionRecord {
        id: tx.new_id(),
        connection_id,
        entity: Entity::Invoice,
        remote_id: "in_adopted".to_owned(),
        target_id: "ms_adopted".to_owned(),
        record_id: "inv_adopted".to_owned(),
        from_id: "inv_before".to_owned(),
        effect_key: None,
        was_rejected: false,
        score: 100,
        evidence: vec![AdoptionEvidence::OwnId],
        accepted: None,
        actor: "system".to_owned(),
        reason: None,
        adopted_at: now,
        undone_at: None,
        undone_by: None,
        undo_reason: None,
        version: 1,
    };
    tx.save_adoption(&adoption, tx.new_id()).await.expect("the adoption is saved");
    tx.save_freshness_objective(connection_id, Entity::Invoice, 900).await.expect("the objective is saved");
    let erasure = ErasureRecord {
        id: tx.new_id(),
        status: ErasureStatus::Done,
        requested_by: "system".to_owned(),
        reason: "asked for".to_owned(),
        emails: 1,
        names: 0,
        pass: 2,
        at_table: None,
        at_key: None,
        rows_seen: 10,
        rows_in_pass: 0,
        rows_erased: 1,
        places: vec![ErasedPlace { table: "accounts".to_owned(), rows: 1 }],
        created_at: now,
        finished_at: Some(now),
        lifted_at: None,
        lifted_by: None,
    };
    tx.save_erasure(&erasure).await.expect("the erasure is saved");
    tx.commit().await.expect("it commits");
    vec![
        ("erasure", erasure.id.to_string()),
        ("deleteClaim", claim.id.to_string()),
        ("sweep", sweep.id.to_string()),
        ("backfill", backfill.id.to_string()),
        ("driftReport", report.id.to_string()),
        ("shapeChange", change.id.to_string()),
        ("adoption", adoption.id.to_string()),
    ]
}
