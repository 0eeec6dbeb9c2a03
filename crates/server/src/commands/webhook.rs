//! `webhook`: subscriptions by which other systems hear of changes.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use crosstie_app::{
    App, Decision,
    subscriptions::{CreateWebhookSubscription, Doing, OfSubscription, WithSecret},
};
use crosstie_domain::{
    access::AuthContext,
    ids::{AccountId, WebhookSubscriptionId},
    integration::{DeliveryStatus, Entity, WebhookDeliveryRecord, WebhookSubscriptionRecord},
};
use crosstie_store::{
    Condition, Direction, Operand, Operator, PageRequest, Span,
    integration::{DeliveryColumn, first_subscriptions, webhook_deliveries, webhook_subscriptions},
};

use super::{CommandError, ConfigArgs, no_such, or_none, word};
use crate::hub::open;

const STATUSES: [(DeliveryStatus, &str); 4] = [
    (DeliveryStatus::Waiting, "WAITING"),
    (DeliveryStatus::Delivered, "DELIVERED"),
    (DeliveryStatus::Exhausted, "EXHAUSTED"),
    (DeliveryStatus::Withheld, "WITHHELD"),
];

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Make a subscription; the secret that its deliveries are signed with is printed once
    Create(CreateArgs),
    /// List the subscriptions
    List {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Make a new secret; it is printed once
    Rotate {
        #[command(flatten)]
        config: ConfigArgs,
        /// The subscription, as `webhook list` prints it
        id: WebhookSubscriptionId,
        /// For how many hours the secret before signs as well
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i32).range(0..=168))]
        overlap_hours: i32,
    },
    /// Send nothing until it is resumed; what changes meanwhile waits
    Pause(OneArgs),
    /// Send again, beginning with what waits
    Resume(OneArgs),
    /// Delete a subscription, with what waits for it
    Delete(OneArgs),
    /// Put something in line that tells of no change, to try whether the receiver takes it
    Test(OneArgs),
    /// List the newest deliveries
    Deliveries {
        #[command(flatten)]
        config: ConfigArgs,
        /// The subscription; all when left out
        id: Option<WebhookSubscriptionId>,
        /// Only deliveries that stand so, such as `EXHAUSTED`
        #[arg(long, value_parser = status)]
        status: Option<DeliveryStatus>,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Send what was sent or given up between two numbers again
    Replay {
        #[command(flatten)]
        config: ConfigArgs,
        /// The subscription
        id: WebhookSubscriptionId,
        /// The first number
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        from: i64,
        /// The last number
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        to: i64,
        /// Only count what would be sent again
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where changes are sent, such as `https://receiver.example.com/hooks`
    #[arg(long)]
    url: String,
    /// What it is for
    #[arg(long, default_value = "")]
    description: String,
    /// A kind of record, such as `invoice`; may be repeated; all when left out
    #[arg(long = "entity", value_parser = entity)]
    entities: Vec<Entity>,
    /// An event, such as `sow_signed`; may be repeated; all when left out
    #[arg(long = "event")]
    event_types: Vec<String>,
    /// An account whose records are sent; may be repeated; all when left out
    #[arg(long = "account")]
    accounts: Vec<AccountId>,
    /// Let a failing delivery hold up nothing, not even later ones of the same record
    #[arg(long)]
    unordered: bool,
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The subscription, as `webhook list` prints it
    id: WebhookSubscriptionId,
}

fn entity(text: &str) -> Result<Entity, String> {
    Entity::parse(&text.to_lowercase()).ok_or_else(|| no_such("kind of record", &Entity::ALL))
}

fn status(text: &str) -> Result<DeliveryStatus, String> {
    let found = STATUSES.iter().find(|(_, word)| word.eq_ignore_ascii_case(text));
    found.map(|(status, _)| *status).ok_or_else(|| no_such("status", &STATUSES))
}

pub(super) async fn run(command: WebhookCommand) -> Result<ExitCode, CommandError> {
    let system = AuthContext::system();
    match command {
        WebhookCommand::Create(args) => create(args).await?,
        WebhookCommand::List { config } => {
            let app = app(&config).await?;
            let page = webhook_subscriptions(app.store(), &system, &first_subscriptions(1_000)).await?;
            page.rows.iter().for_each(|(subscription, _)| println!("{}", line(subscription)));
        }
        WebhookCommand::Rotate { config, id, overlap_hours } => {
            let rotated = app(&config).await?.rotate_webhook_secret(&system, of(id), overlap_hours).await?;
            print_secret(done(rotated)?);
        }
        WebhookCommand::Pause(OneArgs { config, id }) => {
            let paused = app(&config).await?.pause_webhook_subscription(&system, of(id)).await?;
            println!("{}", line(&done(paused)?));
        }
        WebhookCommand::Resume(OneArgs { config, id }) => {
            let resumed = app(&config).await?.resume_webhook_subscription(&system, of(id)).await?;
            println!("{}", line(&done(resumed)?));
        }
        WebhookCommand::Delete(OneArgs { config, id }) => {
            let deleted = app(&config).await?.delete_webhook_subscription(&system, of(id)).await?;
            println!("{} is deleted", done(deleted)?);
        }
        WebhookCommand::Test(OneArgs { config, id }) => {
            let test = app(&config).await?.send_test_webhook(&system, of(id)).await?;
            println!("{}: a hub that runs sends it", done(test)?.id);
        }
        WebhookCommand::Deliveries { config, id, status, limit } => deliveries(&config, id, status, limit).await?,
        WebhookCommand::Replay { config, id, from, to, dry_run } => {
            let doing = if dry_run { Doing::DryRun } else { Doing::Really };
            let again = app(&config).await?.replay_webhook_deliveries(&system, of(id), (from, to), doing).await?;
            let what = if dry_run { "would be sent again" } else { "are sent again by a hub that runs" };
            println!("{} deliveries {what}", done(again)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn app(config: &ConfigArgs) -> Result<App, CommandError> {
    Ok(open(&config.load()?).await?.0)
}

fn of(id: WebhookSubscriptionId) -> OfSubscription {
    OfSubscription { id, expected_version: None, idempotency_key: None }
}

fn done<T>(decision: Decision<T>) -> Result<T, CommandError> {
    decision.map_err(|refusals| {
        let reasons: Vec<String> = refusals.into_iter().map(|refusal| refusal.message).collect();
        reasons.join(" ").into()
    })
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let CreateArgs { config, url, description, entities, event_types, accounts, unordered } = args;
    let (ordered, idempotency_key) = (!unordered, None);
    let input =
        CreateWebhookSubscription { url, description, entities, event_types, accounts, ordered, idempotency_key };
    let made = app(&config).await?.create_webhook_subscription(&AuthContext::system(), input).await?;
    print_secret(done(made)?);
    Ok(())
}

fn print_secret(made: WithSecret) {
    eprintln!("{}\nKeep the secret now: it is not shown again.", line(&made.subscription));
    println!("{}", made.secret.as_ref().map_or("", |secret| secret.expose()));
}

async fn deliveries(
    config: &ConfigArgs,
    id: Option<WebhookSubscriptionId>,
    status: Option<DeliveryStatus>,
    limit: u32,
) -> Result<(), CommandError> {
    let app = app(config).await?;
    let is = |column, text| Condition::Is(column, Operator::Eq, Operand::Text(text));
    let of = id.map(|id| is(DeliveryColumn::Subscription, id.to_string()));
    let status = status.map(|status| is(DeliveryColumn::Status, word(&status)));
    let request = PageRequest {
        condition: Condition::All(of.into_iter().chain(status).collect()),
        order: vec![(DeliveryColumn::Id, Direction::Descending)],
        span: Span::First(limit, None),
    };
    for (delivery, _) in webhook_deliveries(app.store(), &AuthContext::system(), &request).await?.rows {
        println!("{}", delivery_line(&delivery));
    }
    Ok(())
}

fn line(subscription: &WebhookSubscriptionRecord) -> String {
    let entities: Vec<&str> = subscription.entities.iter().map(|entity| entity.as_str()).collect();
    let reason = subscription.status_reason.as_ref().map_or_else(String::new, |reason| format!(" {}", word(reason)));
    let alone = subscription.left_alone_until.map_or_else(String::new, |at| format!("  left alone until {at}"));
    format!(
        "{}  {}{reason}  {}  kinds {}  events {}  last {}  failures {}{alone}  {}",
        subscription.id,
        word(&subscription.status),
        subscription.url,
        or_none(&entities, "none"),
        or_none(&subscription.event_types, "all"),
        subscription.last_sequence,
        subscription.failures_in_a_row,
        subscription.description
    )
}

fn delivery_line(delivery: &WebhookDeliveryRecord) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    format!(
        "{}  {}  {}  {} {}  {}  attempts {}  answer {}  {} ms  {}  next {}",
        delivery.id,
        delivery.subscription_id,
        or_dash(delivery.sequence.map(|sequence| sequence.to_string())),
        delivery.message_type(),
        or_dash(delivery.record_id.clone()),
        word(&delivery.status),
        delivery.attempts,
        or_dash(delivery.response_status.map(|status| status.to_string())),
        or_dash(delivery.duration_ms.map(|ms| ms.to_string())),
        or_dash(delivery.error_code.clone()),
        or_dash(delivery.next_attempt_at.map(|at| at.to_string()))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_either_case() {
        for (kind, text) in STATUSES {
            assert_eq!(word(&kind), text);
            assert_eq!(status(&text.to_lowercase()), Ok(kind));
        }
        assert!(status("gone").is_err());
        assert_eq!(entity("Service_Order"), Ok(Entity::ServiceOrder));
        assert!(entity("order").expect_err("no such kind").contains("service_order"));
    }
}
