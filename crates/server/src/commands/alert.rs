//! `alert`: what at the border to other systems a person should know of.

use std::process::ExitCode;

use clap::Subcommand;
use crosstie_domain::{
    access::RowScope,
    integration::{AlertRecord, AlertState, Entity},
};
use crosstie_store::{
    Condition, Direction, Operand, Operator, PageRequest, Span,
    integration::{AlertColumn, alerts},
};

use super::{CommandError, ConfigArgs, word};
use crate::hub::open;

#[derive(Debug, Subcommand)]
pub(super) enum AlertCommand {
    /// List the open alerts, newest first
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Those that closed as well
        #[arg(long)]
        all: bool,
        /// How many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

pub(super) async fn run(command: AlertCommand) -> Result<ExitCode, CommandError> {
    let AlertCommand::List { config, all, limit } = command;
    let (app, connections) = open(&config.load()?).await?;
    let open_only = Condition::Is(AlertColumn::State, Operator::Eq, Operand::Text(word(&AlertState::Open)));
    let request = PageRequest {
        condition: if all { Condition::All(vec![]) } else { open_only },
        order: vec![(AlertColumn::Id, Direction::Descending)],
        span: Span::First(limit, None),
    };
    for (alert, _) in alerts(app.store(), &RowScope::All, &request).await?.rows {
        let connection = alert.connection_id.and_then(|id| connections.get(id));
        println!("{}", line(&alert, connection.map(|connection| connection.record.name.as_str())));
    }
    Ok(ExitCode::SUCCESS)
}

/// An alert as it is listed; a connection that left the configuration by its identifier.
fn line(alert: &AlertRecord, connection: Option<&str>) -> String {
    let connection_id = alert.connection_id.map(|id| id.to_string());
    let subscription = alert.subscription_id.map(|id| id.to_string());
    let about = connection.map(str::to_owned).or(connection_id).or(subscription).unwrap_or_else(|| "-".to_owned());
    let entity = alert.entity.map_or("-", Entity::as_str);
    let state = alert.closed_at.map_or_else(|| word(&alert.state), |at| format!("{} {at}", word(&alert.state)));
    format!(
        "{}  {}  {}  {about}  {entity}  {state}  count {}  {}",
        alert.id,
        alert.opened_at,
        alert.kind.as_str(),
        alert.count,
        alert.message
    )
}

#[cfg(test)]
mod tests {
    use crosstie_domain::{Instant, integration::AlertKind};

    use super::*;

    #[test]
    fn a_listed_alert_says_what_it_is_about_and_whether_it_closed() {
        let at = Instant::from_micros(0).expect("an instant");
        let alert = AlertRecord {
            id: "alr_00000000000000000000000001".parse().expect("an identifier"),
            kind: AlertKind::FreshnessLate,
            connection_id: Some("con_00000000000000000000000001".parse().expect("an identifier")),
            entity: Some(Entity::Invoice),
            subscription_id: None,
            state: AlertState::Open,
            count: 1,
            message: "late".to_owned(),
            version: 1,
            opened_at: at,
            updated_at: at,
            closed_at: None,
        };
        let said = line(&alert, Some("books"));
        assert!(said.contains("FRESHNESS_LATE  books  invoice  OPEN  count 1  late"), "{said}");
        let closed = AlertRecord { state: AlertState::Closed, closed_at: Some(at), entity: None, ..alert };
        let said = line(&closed, None);
        assert!(said.contains("con_00000000000000000000000001  -  CLOSED 1970-01-01T00:00:00Z"), "{said}");
    }
}
