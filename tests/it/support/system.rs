//! Systems that say things of records, as a reading or a webhook brings it.

use std::collections::BTreeMap;

use crosstie_app::{App, AppError, Cause, Ingested, KnownVersion, Observation, Origin};
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
        self.say_page(&[said], KnownVersion::TakenAgain).await.expect("the database takes it").remove(0)
    }

    /// Says all of it in one page, in one transaction.
    pub(crate) async fn say_page(
        &self,
        said: &[Said<'_>],
        known_version: KnownVersion,
    ) -> Result<Vec<Ingested>, AppError> {
        let field = |(name, value): (&String, &Json)| {
            let (value, source_path) = (value.clone(), format!("properties.{name}"));
            (name.clone(), AssertedField { value, source_path, changed: false, problem: None })
        };
        let fields: Vec<BTreeMap<String, AssertedField>> = said
            .iter()
            .map(|said| said.fields.as_object().expect("fields by their names").iter().map(field).collect())
            .collect();
        let raw: Vec<String> = said.iter().map(|said| said.fields.to_string()).collect();
        let page: Vec<Observation<'_>> = said
            .iter()
            .zip(fields.iter().zip(&raw))
            .map(|(said, (fields, raw))| Observation {
                remote_id: said.remote_id,
                remote_version: said.version,
                asked_at: said.asked_at,
                exchange: None,
                known_version,
                claim: &said.claim,
                fields,
                raw,
            })
            .collect();
        let (connection, arms) = (self.connection, self.arms.as_slice());
        let origin = Origin {
            connection,
            run: None,
            event: None,
            arms,
            mode: self.mode,
            cause: Cause::Reading,
            mapping_version: "1.0.0",
        };
        let tx = self.app.store().begin().await.expect("a transaction begins");
        let taken = self.app.ingest_page(&tx, origin, &page).await?;
        tx.commit().await.expect("it commits");
        Ok(taken)
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
