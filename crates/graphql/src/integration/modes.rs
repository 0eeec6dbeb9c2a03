//! How far connections go, and what waits because one does not send.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::{ModeSwitch, SwitchConnectionMode};
use crosstie_domain::{
    Instant, Refusal,
    access::{Permission, Sensitivity},
    integration::ConnectionMode,
};
use crosstie_store::integration::ModeChange;

use super::{ConnectedSystem, Effect, differences::DifferenceSummary};
use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    contracts::read_id,
    edge::level,
    request_headers,
};

/// A change of how far a connection goes.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ConnectionModeChange {
    /// How far it went before.
    was: ConnectionMode,
    /// How far it goes since.
    mode: ConnectionMode,
    /// Who changed it: a person, a program's token, or `system` for the command line.
    actor: String,
    /// Why, in words.
    reason: Option<String>,
    /// When.
    changed_at: Instant,
}

impl From<ModeChange> for ConnectionModeChange {
    fn from(change: ModeChange) -> Self {
        let ModeChange { was, mode, actor, reason, changed_at } = change;
        Self { was, mode, actor, reason, changed_at }
    }
}

/// What switching a connection sends.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ConnectionModeSwitch {
    /// How far the connection went before.
    was: ConnectionMode,
    /// How far it was asked to go.
    mode: ConnectionMode,
    /// Whether it was switched; false when it was only asked what that would do.
    done: bool,
    /// How many effects wait for the connection. They go out, in order for each customer, when it sends.
    waiting_effect_count: i32,
    /// The first 100 of them, in the order in which they were asked for.
    waiting_effects: Vec<Effect>,
    /// With `dryRun`, what the hub and the system hold differently in short, with what the switch would do about it:
    /// values that would be pushed, conflicts that would open. Null when it was switched.
    differences: Option<DifferenceSummary>,
}

/// Which connection to switch, and to what.
#[derive(InputObject)]
pub(crate) struct SwitchConnectionModeInput {
    /// The connection.
    connection_id: ID,
    /// How far it shall go.
    mode: ConnectionMode,
    /// Only says what it would do, and changes nothing.
    #[graphql(default)]
    dry_run: bool,
    /// How far you think that it goes now; when it goes another way, nothing is switched.
    expected_mode: Option<ConnectionMode>,
    /// Why, in words: at most 500 characters. It is kept with the change.
    reason: Option<String>,
    /// The same key with the same input gives the same answer for 24 hours, and changes nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of a switch.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct SwitchConnectionModePayload {
    /// The connection, as it stands now; null when it was refused.
    connection: Option<ConnectedSystem>,
    /// What it sends, or would send; null when it was refused.
    switch: Option<ConnectionModeSwitch>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Changes of how far connections go.
#[derive(Default)]
pub(crate) struct ModeMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ModeMutations {
    /// Switches how far a connection goes, or says with `dryRun` what that would send first.
    #[graphql(directive = requires::apply(Permission::IntegrationWrite.as_str().to_owned()))]
    async fn switch_connection_mode(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection, and to what.")] input: SwitchConnectionModeInput,
    ) -> Result<Option<SwitchConnectionModePayload>> {
        let found = access(ctx, Permission::IntegrationWrite)?;
        let SwitchConnectionModeInput { mode, dry_run, expected_mode, reason, client_mutation_id, .. } = input;
        let decision = match read_id(&input.connection_id, "connectionId") {
            Ok(connection_id) => {
                let idempotency_key = request_headers::idempotency_key(ctx, input.idempotency_key);
                let input =
                    SwitchConnectionMode { connection_id, mode, expected_mode, dry_run, reason, idempotency_key };
                app(ctx)?.switch_connection_mode(found.auth, input).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        Ok(Some(match decision {
            Ok(switch) => {
                let ModeSwitch { connection, was, mode, done, waiting, effects, differences } = switch;
                let waiting_effect_count = i32::try_from(waiting).unwrap_or(i32::MAX);
                let waiting_effects = level(effects).map(Effect).collect();
                let differences = differences.map(DifferenceSummary::from);
                let switch =
                    ConnectionModeSwitch { was, mode, done, waiting_effect_count, waiting_effects, differences };
                SwitchConnectionModePayload {
                    connection: level(vec![connection]).next().map(ConnectedSystem),
                    switch: Some(switch),
                    user_errors: Vec::new(),
                    client_mutation_id,
                }
            }
            Err(user_errors) => {
                SwitchConnectionModePayload { connection: None, switch: None, user_errors, client_mutation_id }
            }
        }))
    }
}
