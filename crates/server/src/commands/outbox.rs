//! `outbox`: what is asked of other systems, and what a person does about what waits for one.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use crosstie_app::{App, EditEffect, SettleEffect};
use crosstie_domain::{
    access::{AuthContext, RowScope},
    integration::{EffectRecord, EffectStatus, Entity, IntentKind},
};
use crosstie_store::{
    Condition, Direction, Operand, Operator, PageRequest, Span, first_of,
    integration::{EffectColumn, effects},
};
use crosstie_sync::Connections;

use super::{
    CommandError, ConfigArgs,
    inbox::{named, request},
    refused,
    replay::{Columns, Filters, How, is, print_corrections, tell},
    word,
};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// List the newest effects: orders, invoices and values that other systems were asked for
    List {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        filters: Filters,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show an effect with all that it asks for
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Its key, as `outbox list` prints it, or its identifier
        key: String,
    },
    /// Send effects again that were refused or given up, after what was wrong has been put right
    Replay(ReplayArgs),
    /// Correct the texts of an effect that was refused or given up; to be sent it is replayed
    Edit(EditArgs),
    /// Say how an effect ended that nobody knows the outcome of
    Settle(SettleArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Keys, as `outbox list` prints them
    keys: Vec<String>,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(super) struct EditArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Its key, as `outbox list` prints it, or its identifier
    key: String,
    /// Name of the customer
    #[arg(long)]
    customer_name: Option<String>,
    /// The customer's e-mail address for invoices
    #[arg(long)]
    customer_email: Option<String>,
    /// Title of the statement of work
    #[arg(long)]
    title: Option<String>,
    /// What was delivered, of an invoice
    #[arg(long)]
    description: Option<String>,
    /// The customer's purchase order number, of an order
    #[arg(long)]
    po_number: Option<String>,
    /// The version that you read, as `outbox show` prints it
    #[arg(long)]
    expected_version: Option<i32>,
    /// Why, in words; it is kept with the correction
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "ended", required = true, multiple = false, args = ["happened", "not_happened"])]
pub(super) struct SettleArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Its key, as `outbox list` prints it, or its identifier
    key: String,
    /// It happened, and has this id at the other system
    #[arg(long, value_name = "ID")]
    happened: Option<String>,
    /// It did not happen; it is sent again
    #[arg(long)]
    not_happened: bool,
    /// How that is known, in words; it is kept with the effect
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn run(command: OutboxCommand) -> Result<ExitCode, CommandError> {
    match command {
        OutboxCommand::List { config, filters, limit } => list(&config, &filters, limit).await,
        OutboxCommand::Show { config, key } => show(&config, &key).await,
        OutboxCommand::Replay(args) => replay(args).await,
        OutboxCommand::Edit(args) => edit(args).await,
        OutboxCommand::Settle(args) => settle(args).await,
    }
}

fn wanted(
    (app, connections): (&App, &Connections),
    filters: &Filters,
) -> Result<Condition<EffectColumn>, CommandError> {
    let columns = Columns {
        status: Some(EffectColumn::Status),
        connection: EffectColumn::Connection,
        code: EffectColumn::Code,
        moment: EffectColumn::CreatedAt,
    };
    let statuses = EffectStatus::ALL.map(|(_, text)| text);
    let mut all = filters.conditions((app.store(), connections), (columns, &statuses))?;
    all.extend(filters.entity().map(about));
    Ok(Condition::All(all))
}

/// Effects about a kind of record.
fn about(entity: Entity) -> Condition<EffectColumn> {
    let asks = |kind: IntentKind| is(EffectColumn::Intent, kind.as_str());
    let sets = |prefix: &str| {
        let begins = Condition::Is(EffectColumn::Record, Operator::Contains, Operand::Text(format!("{prefix}_")));
        Condition::All(vec![asks(IntentKind::UpdateRecord), begins])
    };
    match entity {
        Entity::ServiceOrder => asks(IntentKind::PlaceOrder),
        Entity::Invoice => asks(IntentKind::IssueInvoice),
        Entity::Account => sets("acc"),
        Entity::Opportunity => sets("opp"),
        Entity::Sow | Entity::Milestone | Entity::Alert => Condition::Any(vec![]),
    }
}

async fn list(config: &ConfigArgs, filters: &Filters, limit: u32) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let request = PageRequest {
        condition: wanted((&app, &connections), filters)?,
        order: vec![(EffectColumn::Id, Direction::Descending)],
        span: Span::First(limit, None),
    };
    for (effect, _) in effects(app.store(), &RowScope::All, &request).await?.rows {
        println!("{}", line(&effect));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(effect: &EffectRecord) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let next = effect.next_attempt_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    format!(
        "{}  {}  attempts {}  {}  {}  next {next}",
        effect.key,
        effect.status.as_str(),
        effect.attempts,
        or_dash(&effect.remote_id),
        or_dash(&effect.error_code)
    )
}

/// The effect of this key or identifier.
async fn find(app: &App, key: &str) -> Result<EffectRecord, CommandError> {
    let condition = Condition::Any(vec![is(EffectColumn::Key, key), is(EffectColumn::Id, key)]);
    let found = first_of(app.store(), &RowScope::All, &condition, 1).await?.pop();
    Ok(found.ok_or("no effect has this key or identifier")?)
}

async fn show(config: &ConfigArgs, key: &str) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let effect = find(&app, key).await?;
    println!("{}", line(&effect));
    let connection = connections.get(effect.connection_id).map(|connection| connection.record.name.as_str());
    let safety = app.effect_safety(&effect).map_or("unknown", |safety| safety.name());
    println!(
        "{}  {}  for {}  version {}  {} at {}",
        effect.id,
        word(&effect.intent),
        effect.record_id,
        effect.version,
        safety,
        connection.unwrap_or("a connection that is not configured")
    );
    if let Some(message) = &effect.error_message {
        println!("{message}");
    }
    match &effect.payload {
        Some(payload) => println!("{}", serde_json::to_string_pretty(payload)?),
        None => println!("what it asked for is not kept any more"),
    }
    print_corrections(app.store(), &effect.id.to_string()).await?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(args: ReplayArgs) -> Result<ExitCode, CommandError> {
    let ReplayArgs { config, keys, filters, how } = args;
    let (app, connections) = open(&config.load()?).await?;
    if keys.is_empty() && filters.is_empty() && !how.all {
        return Err("name keys or filters, or `--all`".into());
    }
    let condition = named(EffectColumn::Key, &keys, wanted((&app, &connections), &filters)?);
    let decision = app.replay_outbound_effects(&AuthContext::system(), request(condition, &how)).await?;
    tell(&app, decision, &how).await
}

async fn edit(args: EditArgs) -> Result<ExitCode, CommandError> {
    let (app, _) = open(&args.config.load()?).await?;
    let effect = find(&app, &args.key).await?;
    let input = EditEffect {
        effect_id: effect.id,
        customer_name: args.customer_name,
        customer_email: args.customer_email,
        title: args.title,
        description: args.description,
        po_number: args.po_number,
        expected_version: args.expected_version,
        reason: args.reason,
        idempotency_key: None,
    };
    let effect = app.edit_effect(&AuthContext::system(), input).await?.map_err(|refusals| refused(&refusals))?;
    println!("{}", line(&effect));
    println!("version {}; `outbox replay {}` sends it again", effect.version, effect.key);
    Ok(ExitCode::SUCCESS)
}

async fn settle(args: SettleArgs) -> Result<ExitCode, CommandError> {
    let SettleArgs { config, key, happened, reason, .. } = args;
    let (app, _) = open(&config.load()?).await?;
    let effect_id = find(&app, &key).await?.id;
    let input =
        SettleEffect { effect_id, happened_as: happened, expected_version: None, reason, idempotency_key: None };
    let effect = app.settle_effect(&AuthContext::system(), input).await?.map_err(|refusals| refused(&refusals))?;
    println!("{}", line(&effect));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_record_leads_to_the_effects_that_are_about_it() {
        assert_eq!(about(Entity::Invoice), is(EffectColumn::Intent, "issue_invoice"));
        assert_eq!(about(Entity::ServiceOrder), is(EffectColumn::Intent, "place_order"));
        assert_eq!(about(Entity::Alert), Condition::Any(vec![]), "nothing is asked about alerts");
        assert!(matches!(about(Entity::Account), Condition::All(parts) if parts.len() == 2));
    }
}
