//! `adoption`: orders and invoices that billing systems hold already, and which of the hub's they are.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_app::{AdoptRecord, App, UndoAdoption};
use crosstie_domain::{
    Money,
    access::{AuthContext, RowScope},
    ids::{AdoptionId, ConnectionId},
    integration::{
        Entity,
        adoption::{AdoptionCandidate, obstacle},
    },
};
use crosstie_store::{
    Condition, Direction, Operand, Operator, PageRequest, Span,
    integration::{AdoptionCandidateColumn, AdoptionColumn, adoption_candidates, adoptions},
};

use super::{CommandError, ConfigArgs, entity, or_none, refused, word};
use crate::hub::open;

/// How many candidates are read at once.
const PAGE: u32 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum AdoptionCommand {
    /// List what a billing system holds and may be an order or a milestone of the hub
    Candidates {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
    },
    /// Take an order or invoice at billing for a service order, or for the invoice of a milestone
    Adopt {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// service_order or invoice
        #[arg(value_parser = entity)]
        entity: Entity,
        /// The document's id at the billing system
        remote_id: String,
        /// The service order that it is, or the milestone that it bills
        record_id: String,
        /// The document's amount where the hub expects another one, such as `400.00 USD`
        #[arg(long, value_parser = money)]
        accept_amount: Option<Money>,
        /// Why; it is kept with the adoption
        #[arg(long)]
        reason: Option<String>,
    },
    /// Undo an adoption: what waited to be sent waits again, and goes out where the connection sends
    Undo {
        #[command(flatten)]
        config: ConfigArgs,
        /// The adoption, as `adoption list` prints it
        id: AdoptionId,
        /// Why; it is kept with the adoption
        #[arg(long)]
        reason: Option<String>,
    },
    /// List the newest adoptions of a connection
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// The connection
        connection: String,
        /// How many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

fn money(text: &str) -> Result<Money, String> {
    let (amount, currency) =
        text.trim().split_once(' ').ok_or("give an amount and a currency, such as `400.00 USD`")?;
    let currency = currency.trim().parse().map_err(|error| format!("{error}"))?;
    Money::parse(amount, currency).map_err(|error| error.to_string())
}

pub(super) async fn run(command: AdoptionCommand) -> Result<ExitCode, CommandError> {
    match command {
        AdoptionCommand::Candidates { config, connection } => {
            let (app, id) = find(&config, &connection).await?;
            candidates(&app, id).await?;
        }
        AdoptionCommand::Adopt { config, connection, entity, remote_id, record_id, accept_amount, reason } => {
            let (app, connection_id) = find(&config, &connection).await?;
            let idempotency_key = None;
            let input =
                AdoptRecord { connection_id, entity, remote_id, record_id, accept_amount, reason, idempotency_key };
            let adoption = app.adopt_record(&AuthContext::system(), input).await?;
            let adoption = adoption.map_err(|refusals| refused(&refusals))?;
            let settled = adoption.effect_key.as_deref().unwrap_or("nothing waited");
            println!("{}  {} is {}; settled: {settled}", adoption.id, adoption.remote_id, adoption.target_id);
        }
        AdoptionCommand::Undo { config, id, reason } => {
            let (app, _) = open(&config.load()?).await?;
            let input = UndoAdoption { adoption_id: id, expected_version: None, reason, idempotency_key: None };
            let undone = app.undo_adoption(&AuthContext::system(), input).await?;
            let undone = undone.map_err(|refusals| refused(&refusals))?;
            let waits = undone.effect_key.as_deref().unwrap_or("nothing");
            println!("{}  {} is by itself again; waits again: {waits}", undone.id, undone.remote_id);
        }
        AdoptionCommand::List { config, connection, limit } => {
            let (app, id) = find(&config, &connection).await?;
            let request = PageRequest {
                condition: Condition::Is(AdoptionColumn::Connection, Operator::Eq, Operand::Text(id.to_string())),
                order: vec![(AdoptionColumn::Id, Direction::Descending)],
                span: Span::First(limit, None),
            };
            for (adoption, _) in adoptions(app.store(), &RowScope::All, &request).await?.rows {
                let stands = adoption.undone_at.map_or_else(|| "stands".to_owned(), |at| format!("undone {at}"));
                println!(
                    "{}  {}  {} {} is {}  {stands}  by {}",
                    adoption.id,
                    adoption.adopted_at,
                    adoption.entity.as_str(),
                    adoption.remote_id,
                    adoption.target_id,
                    adoption.actor
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(config: &ConfigArgs, name: &str) -> Result<(App, ConnectionId), CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let id = connections.named(name).ok_or("no such connection is configured")?.record.id;
    Ok((app, id))
}

/// Prints all candidates of a connection, the most likely first.
async fn candidates(app: &App, connection: ConnectionId) -> Result<(), CommandError> {
    let mut after = None;
    loop {
        let ours = Operand::Text(connection.to_string());
        let request = PageRequest {
            condition: Condition::Is(AdoptionCandidateColumn::Connection, Operator::Eq, ours),
            order: vec![(AdoptionCandidateColumn::Score, Direction::Descending)],
            span: Span::First(PAGE, after.take()),
        };
        let page = adoption_candidates(app.store(), &RowScope::All, &request).await?;
        for (candidate, _) in &page.rows {
            println!("{}", line(candidate));
        }
        after = page.rows.last().map(|(_, keys)| keys.clone()).filter(|_| page.has_next);
        if after.is_none() {
            return Ok(());
        }
    }
}

fn line(candidate: &AdoptionCandidate) -> String {
    let evidence: Vec<String> = candidate.evidence.iter().map(word).collect();
    let amount = candidate.amount.map_or_else(|| "-".to_owned(), |amount| amount.to_string());
    let obstacle = obstacle(candidate.state, candidate.amount, candidate.wanted);
    format!(
        "{} {}  {}  {amount} of {}  score {}  {}  {}",
        candidate.entity.as_str(),
        candidate.remote_id,
        candidate.target_id,
        candidate.wanted,
        candidate.score,
        or_none(&evidence, "-"),
        obstacle.map_or_else(|| "can be adopted".to_owned(), |obstacle| word(&obstacle)),
    )
}

#[cfg(test)]
mod tests {
    use super::money;

    #[test]
    fn an_amount_is_read_with_its_currency() {
        assert_eq!(money("400.00 USD").map(|money| money.to_string()), Ok("400.00 USD".to_owned()));
        assert!(money("400").is_err() && money("1 ZZZ").is_err() && money("a USD").is_err());
    }
}
