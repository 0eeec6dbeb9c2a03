//! Mapping as data: what a connection is told at run time, what another mapping would change, and history mapped anew.

use async_graphql::{Context, Enum, ID, InputObject, Json, MergedObject, Object, Result, SimpleObject};
use crosstie_app::{
    ConnectionMapping, FieldDifference, MappingPreview, PreviewMapping, RemapHistory, RevertMapping, RowDifference,
    RowOutcome, SaveMapping, UnaskedField,
};
use crosstie_domain::{
    Instant, Refusal,
    access::{Permission, Sensitivity},
    integration::{Entity, RemapRecord},
};
use crosstie_store::integration::{KeptMapping, remaps};
use serde_json::Value;

use super::{ConnectedSystem, outbound::MappingLine};
use crate::{
    access::{access, app, app_failed, financial, requires, sensitivity, store_failed},
    contracts::read_id,
    edge::level,
    request_headers::idempotency_key,
    sources::tells_of_money,
};

/// How many remappings of a connection are shown.
const SHOWN_REMAPS: i64 = 25;

/// One version of a connection's mapping.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct MappingVersion {
    /// Its number: 1, 2, 3.
    version: i32,
    /// What is merged into the configured settings.
    document: Json<Value>,
    /// Who saved it: a person, a program's token, or `system` for the command line.
    actor: String,
    /// Why, in words.
    reason: Option<String>,
    /// When it was saved.
    created_at: Instant,
}

impl From<KeptMapping> for MappingVersion {
    fn from(kept: KeptMapping) -> Self {
        let KeptMapping { version, document, actor, reason, created_at } = kept;
        Self { version, document: Json(document), actor, reason, created_at }
    }
}

/// A mapping of history anew.
pub(crate) struct Remap(RemapRecord);

/// A mapping of history anew, from the rows as they once came and without asking the vendor.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Remap {
    #[graphql(flatten)]
    async fn record(&self) -> &RemapRecord {
        &self.0
    }

    /// Identifies the job.
    async fn id(&self) -> ID {
        self.0.id.into()
    }
}

/// A connection's mapping.
pub(crate) struct Mapping(ConnectionMapping);

/// A connection's mapping: its configured settings with the newest document merged into them.
#[Object(name = "ConnectionMapping", directive = sensitivity::apply(Sensitivity::Internal))]
impl Mapping {
    /// The connection.
    async fn connection(&self) -> Option<ConnectedSystem> {
        level(vec![self.0.connection.clone()]).next().map(ConnectedSystem)
    }

    /// The version in force; 0 while there is none but the configuration. Send it back as `expectedVersion`.
    async fn version(&self) -> i32 {
        self.0.version
    }

    /// What is merged into the configured settings: objects key by key, null removes a key (a JSON merge patch).
    async fn document(&self) -> Json<&Value> {
        Json(&self.0.document)
    }

    /// The settings of the configuration; null while the connection is not configured.
    async fn configured(&self) -> Option<Json<&Value>> {
        self.0.configured.as_ref().map(Json)
    }

    /// The settings in force; null while the connection is not configured.
    async fn effective(&self) -> Option<Json<&Value>> {
        self.0.effective.as_ref().map(Json)
    }

    /// What the connector understands, as a JSON schema; null while the connection is not configured.
    async fn schema(&self) -> Option<Json<&Value>> {
        self.0.schema.as_ref().map(Json)
    }

    /// The newest 25 versions, the newest first.
    async fn versions(&self) -> Vec<MappingVersion> {
        self.0.versions.iter().cloned().map(MappingVersion::from).collect()
    }

    /// The newest 25 times that history was mapped anew, the newest first.
    async fn remaps(&self, ctx: &Context<'_>) -> Result<Option<Vec<Remap>>> {
        let found = access(ctx, Permission::IntegrationRead)?;
        let jobs = remaps(found.store, self.0.connection.id, SHOWN_REMAPS).await.map_err(store_failed)?;
        Ok(Some(jobs.into_iter().map(Remap).collect()))
    }
}

/// Queries for mappings.
#[derive(Default)]
pub(crate) struct MappingQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl MappingQueries {
    /// What a connection is told of its vendor's data; null when there is no such connection.
    #[graphql(directive = requires::apply(Permission::IntegrationRead.as_str().to_owned()))]
    async fn connection_mapping(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection.")] connection_id: ID,
    ) -> Result<Option<Mapping>> {
        access(ctx, Permission::IntegrationRead)?;
        let Ok(id) = connection_id.parse() else { return Ok(None) };
        Ok(app(ctx)?.connection_mapping(id).await.map_err(app_failed)?.map(Mapping))
    }
}

/// What would become of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "RowOutcome")]
pub(crate) enum MappingOutcome {
    /// It would say something else.
    Changes,
    /// It could not be mapped any more, and would wait.
    Parks,
    /// It waits, and could be mapped.
    Unparks,
}

/// A field that would be another one.
pub(crate) struct MappingFieldDifference {
    entity: Entity,
    field: FieldDifference,
}

/// What a row would say otherwise of one field.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl MappingFieldDifference {
    /// The name of the field in the hub.
    async fn name(&self) -> &str {
        &self.field.name
    }

    /// What the row says now, as JSON; null when it says nothing. Amounts of invoices are financial.
    #[graphql(directive = sensitivity::apply(Sensitivity::Financial))]
    async fn old(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        self.shown(ctx, &self.field.old)
    }

    /// What it would say, as JSON; null when it would say nothing.
    #[graphql(name = "new", directive = sensitivity::apply(Sensitivity::Financial))]
    async fn new_value(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        self.shown(ctx, &self.field.new)
    }
}

impl MappingFieldDifference {
    fn shown(&self, ctx: &Context<'_>, value: &Value) -> Result<Option<String>> {
        let value = (!value.is_null()).then(|| value.to_string());
        if tells_of_money(self.entity, &self.field.name) { financial(ctx, value) } else { Ok(value) }
    }
}

/// A row that a mapping would make something else of.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct MappingDifference {
    /// The kind of record.
    entity: Entity,
    /// Its id at the vendor.
    remote_id: String,
    /// The record in the hub; null while the row waits.
    record_id: Option<ID>,
    /// What would become of it.
    outcome: MappingOutcome,
    /// Why it could not be mapped.
    why: Option<String>,
    /// What it would say otherwise.
    fields: Vec<MappingFieldDifference>,
}

impl From<RowDifference> for MappingDifference {
    fn from(difference: RowDifference) -> Self {
        let RowDifference { entity, remote_id, record_id, outcome, why, fields } = difference;
        let fields = fields.into_iter().map(|field| MappingFieldDifference { entity, field }).collect();
        Self { entity, remote_id, record_id: record_id.map(ID), outcome: outcome.into(), why, fields }
    }
}

/// A custom field of which rows do not tell: the vendor was not asked for its property when they were read, or has none
/// of that name.
#[derive(SimpleObject)]
#[graphql(name = "MappingMissingProperty", directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct MissingProperty {
    /// The kind of record.
    entity: Entity,
    /// The name of the custom field.
    name: String,
    /// What the vendor calls it.
    property: String,
    /// In how many of the rows that were looked at it is missing.
    rows: i32,
}

impl From<UnaskedField> for MissingProperty {
    fn from(field: UnaskedField) -> Self {
        let UnaskedField { entity, name, property, rows } = field;
        Self { entity, name, property, rows }
    }
}

/// What a mapping would change, as far as one look goes: 2,000 rows, 100 differences or 100 lines.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct MappingLook {
    /// Rows that were looked at.
    rows_seen: i32,
    /// Rows that would say something else.
    rows_changed: i32,
    /// Rows that could not be mapped any more.
    rows_parked: i32,
    /// Rows that wait and could be mapped.
    rows_unparked: i32,
    /// Rows of which nothing is kept that could be mapped.
    rows_skipped: i32,
    /// Custom fields of which rows do not tell, since they were read before the property was asked for. `refresh` reads
    /// them again.
    missing_properties: Vec<MissingProperty>,
    /// The rows that would become something else.
    differences: Vec<MappingDifference>,
    /// Lines that are to be billed and were looked at: of milestones that nobody has asked an invoice for, and of orders
    /// and invoices that wait to be sent or were refused. Only `previewMapping` looks at them.
    lines_seen: i32,
    /// Lines that would go out with something else than now.
    lines_changed: i32,
    /// Lines that would be refused.
    lines_refused: i32,
    /// The lines, with what they would go out with. The vendor is not asked whether it knows what is named.
    lines: Vec<MappingLine>,
    /// Where the next look goes on, as `after`; null when everything was looked at.
    end_cursor: Option<String>,
}

impl From<MappingPreview> for MappingLook {
    fn from(preview: MappingPreview) -> Self {
        Self {
            rows_seen: preview.rows_seen,
            rows_changed: preview.rows_changed,
            rows_parked: preview.rows_parked,
            rows_unparked: preview.rows_unparked,
            rows_skipped: preview.rows_skipped,
            missing_properties: preview.unasked.into_iter().map(MissingProperty::from).collect(),
            differences: preview.differences.into_iter().map(MappingDifference::from).collect(),
            lines_seen: preview.lines_seen,
            lines_changed: preview.lines_changed,
            lines_refused: preview.lines_refused,
            lines: preview.lines.into_iter().map(MappingLine::from).collect(),
            end_cursor: preview.end,
        }
    }
}

/// A mapping to look at.
#[derive(InputObject)]
pub(crate) struct PreviewMappingInput {
    /// The connection.
    connection_id: ID,
    /// What would be merged into the configured settings: a JSON merge patch, at most 100,000 bytes.
    mapping: Json<Value>,
    /// Only this kind of record.
    entity: Option<Entity>,
    /// Where an earlier look ended.
    after: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What a mapping would change.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct PreviewMappingPayload {
    /// What it would change; null when it was refused.
    preview: Option<MappingLook>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// A mapping to be saved.
#[derive(InputObject)]
pub(crate) struct SaveMappingInput {
    /// The connection.
    connection_id: ID,
    /// What to merge into the configured settings: a JSON merge patch, at most 100,000 bytes. It takes the place of the
    /// document before.
    mapping: Json<Value>,
    /// The version that was read; 0 for none. When it has changed since, nothing is saved.
    expected_version: i32,
    /// Why, in words: at most 500 characters. It is kept with the version.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// A mapping to be put back.
#[derive(InputObject)]
pub(crate) struct RevertMappingInput {
    /// The connection.
    connection_id: ID,
    /// The version whose document counts again; 0 for the configuration alone.
    to_version: i32,
    /// The version that was read. When it has changed since, nothing is saved.
    expected_version: i32,
    /// Why, in words: at most 500 characters. It is kept with the version.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a mapping.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct SaveMappingPayload {
    /// The connection's mapping, as it stands now; null when it was refused.
    mapping: Option<Mapping>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// What became of putting a mapping back.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct RevertMappingPayload {
    /// The connection's mapping, as it stands now; null when it was refused.
    mapping: Option<Mapping>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Which history to map anew.
#[derive(InputObject)]
pub(crate) struct RemapHistoryInput {
    /// The connection.
    connection_id: ID,
    /// Only this kind of record.
    entity: Option<Entity>,
    /// Only says what it would change, and changes nothing.
    #[graphql(default)]
    dry_run: bool,
    /// With `dryRun`: where an earlier look ended.
    after: Option<String>,
    /// Why, in words: at most 500 characters. It is kept with the job.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a wish to map history anew.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct RemapHistoryPayload {
    /// The job, which is done in the background; null when it was refused or only looked at.
    remap: Option<Remap>,
    /// With `dryRun`: what it would change.
    preview: Option<MappingLook>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Changes of mappings.
#[derive(Default)]
pub(crate) struct SavedMappingMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl SavedMappingMutations {
    /// Saves what a connection is told. Every process takes it up within seconds, and history is mapped anew by it.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn save_mapping(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to save.")] input: SaveMappingInput,
    ) -> Result<Option<SaveMappingPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let SaveMappingInput { mapping, expected_version, reason, client_mutation_id, .. } = input;
        let decision = match read_id(&input.connection_id, "connectionId") {
            Ok(connection_id) => {
                let idempotency_key = idempotency_key(ctx, input.idempotency_key);
                let input =
                    SaveMapping { connection_id, document: mapping.0, expected_version, reason, idempotency_key };
                app(ctx)?.save_mapping(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (mapping, user_errors) = apart(decision);
        Ok(Some(SaveMappingPayload { mapping: mapping.map(Mapping), user_errors, client_mutation_id }))
    }

    /// Puts an earlier version back into force, as a new version.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn revert_mapping(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to put back.")] input: RevertMappingInput,
    ) -> Result<Option<RevertMappingPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let RevertMappingInput { to_version, expected_version, reason, client_mutation_id, .. } = input;
        let decision = match read_id(&input.connection_id, "connectionId") {
            Ok(connection_id) => {
                let idempotency_key = idempotency_key(ctx, input.idempotency_key);
                let input = RevertMapping { connection_id, to_version, expected_version, reason, idempotency_key };
                app(ctx)?.revert_mapping(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (mapping, user_errors) = apart(decision);
        Ok(Some(RevertMappingPayload { mapping: mapping.map(Mapping), user_errors, client_mutation_id }))
    }
}

/// Looks at mappings, and history mapped anew.
#[derive(Default)]
pub(crate) struct RemapMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl RemapMutations {
    /// Says what a mapping would change, from the rows as they once came, and what lines that are to be billed would go
    /// out with: without asking the vendor and without changing anything.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn preview_mapping(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to look at.")] input: PreviewMappingInput,
    ) -> Result<Option<PreviewMappingPayload>> {
        access(ctx, Permission::IntegrationWrite)?;
        let PreviewMappingInput { connection_id, mapping, entity, after, client_mutation_id } = input;
        let decision = match read_id(&connection_id, "connectionId") {
            Ok(connection_id) => {
                let input = PreviewMapping { connection_id, document: Some(mapping.0), entity, after };
                app(ctx)?.preview_mapping(input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (preview, user_errors) = apart(decision);
        let preview = preview.map(MappingLook::from);
        Ok(Some(PreviewMappingPayload { preview, user_errors, client_mutation_id }))
    }

    /// Has a connection's history mapped anew by the mapping in force, from the rows as they once came and without
    /// asking the vendor.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn remap_history(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which history.")] input: RemapHistoryInput,
    ) -> Result<Option<RemapHistoryPayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let RemapHistoryInput { entity, dry_run, after, reason, client_mutation_id, .. } = input;
        let (mut remap, mut preview, mut user_errors) = (None, None, Vec::new());
        match read_id(&input.connection_id, "connectionId") {
            Ok(connection_id) if dry_run => {
                let input = PreviewMapping { connection_id, document: None, entity, after };
                let decision = app(ctx)?.preview_mapping(input).await.map_err(app_failed)?;
                let found;
                (found, user_errors) = apart(decision);
                preview = found.map(MappingLook::from);
            }
            Ok(connection_id) => {
                let idempotency_key = idempotency_key(ctx, input.idempotency_key);
                let input = RemapHistory { connection_id, entity, reason, idempotency_key };
                let decision = app(ctx)?.remap_history(found.auth, input).await.map_err(app_failed)?;
                let job;
                (job, user_errors) = apart(decision);
                remap = job.map(Remap);
            }
            Err(refusal) => user_errors.push(refusal),
        }
        Ok(Some(RemapHistoryPayload { remap, preview, user_errors, client_mutation_id }))
    }
}

/// All changes that have to do with mappings.
#[derive(MergedObject, Default)]
pub(crate) struct MappingMutations(SavedMappingMutations, RemapMutations);

fn apart<T>(decision: crosstie_app::Decision<T>) -> (Option<T>, Vec<Refusal>) {
    match decision {
        Ok(done) => (Some(done), Vec::new()),
        Err(refusals) => (None, refusals),
    }
}
