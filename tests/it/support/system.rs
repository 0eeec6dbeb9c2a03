//! Systems that say things of records, as a reading or a webhook brings it.

use std::collections::BTreeMap;

use crosstie_app::{App, Cause, Ingested, Observation, Origin};
use crosstie_domain::{
    Instant,
    access::RowScope,
    ids::ConnectionId,
    integration::{Arm, AssertedField, Claim, ConnectionMode},
};
use crosstie_store::Store;
use serde_json::Value as Json;

use super::{Database, connection};

/// What one system says of one record.
pub(crate) struct Said<'a> {
    pub(crate) remote_id: &'a str,
    pub(crate) version: Option<&'a str>,
    pub(crate) asked_at: Instant,
    pub(crate) claim: Claim,
    pub(crate) fields: Json,
}

/// Where it comes from.
pub(crate) struct System {
    pub(crate) app: App,
    pub(crate) connection: ConnectionId,
    pub(crate) arms: Vec<Arm>,
    pub(crate) mode: ConnectionMode,
}

impl System {
    pub(crate) async fn new(database: &Database, name: &str, arms: &[Arm]) -> Self {
        let store = database.open().await;
        let connection = connection(&store, name).await;
        let tx = store.begin().await.expect("a transaction begins");
        let everything = &RowScope::All;
        let mut record = crosstie_store::integration::connections_by_ids(&tx, everything, &[connection])
            .await
            .expect("it can be read")
            .remove(0);
        record.arms = arms.to_vec();
        tx.save_connection(&record).await.expect("it is saved");
        tx.commit().await.expect("it commits");
        Self { app: App::new(store), connection, arms: arms.to_vec(), mode: ConnectionMode::TwoWay }
    }

    pub(crate) async fn say(&self, said: Said<'_>) -> Ingested {
        let fields: BTreeMap<String, AssertedField> = said
            .fields
            .as_object()
            .expect("fields by their names")
            .iter()
            .map(|(name, value)| {
                let (value, source_path) = (value.clone(), format!("properties.{name}"));
                (name.clone(), AssertedField { value, source_path, changed: false, problem: None })
            })
            .collect();
        let (connection, arms) = (self.connection, self.arms.as_slice());
        let origin = Origin {
            connection,
            run: None,
            event: None,
            exchange: None,
            arms,
            mode: self.mode,
            cause: Cause::Reading,
            mapping_version: "1.0.0",
        };
        let tx = self.app.store().begin().await.expect("a transaction begins");
        let observation = Observation {
            remote_id: said.remote_id,
            remote_version: said.version,
            asked_at: said.asked_at,
            claim: &said.claim,
            fields: &fields,
            raw: &said.fields.to_string(),
        };
        let taken = self.app.ingest(&tx, origin, observation).await.expect("the database takes it");
        tx.commit().await.expect("it commits");
        taken
    }

    pub(crate) fn store(&self) -> &Store {
        self.app.store()
    }
}

pub(crate) fn id_of<T: std::str::FromStr>(taken: &Ingested) -> T {
    match taken {
        Ingested::Taken { record_id, .. } => record_id.parse().ok().expect("an identifier"),
        other => panic!("{other:?}"),
    }
}
