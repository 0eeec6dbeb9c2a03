//! `connection differences`: what the hub and a system hold differently.

use std::process::ExitCode;

use crosstie_app::App;
use crosstie_domain::{
    Money,
    access::RowScope,
    ids::ConnectionId,
    integration::differences::{Difference, DifferenceSummary, SwitchStep},
};
use crosstie_store::{Condition, Direction, Operand, Operator, PageRequest, Span, integration::DifferenceColumn};

use super::{CommandError, word};

/// How many are read at once.
const PAGE: u32 = 100;

/// Prints all differences of a connection, and what they come to.
pub(super) async fn differences(app: &App, connection: ConnectionId) -> Result<ExitCode, CommandError> {
    let (mut after, mut summary) = (None, DifferenceSummary::default());
    loop {
        let request = PageRequest {
            condition: Condition::Is(DifferenceColumn::Connection, Operator::Eq, Operand::Text(connection.to_string())),
            order: vec![
                (DifferenceColumn::Kind, Direction::Ascending),
                (DifferenceColumn::Entity, Direction::Ascending),
            ],
            span: Span::First(PAGE, after.take()),
        };
        let page = app.differences(app.store(), &RowScope::All, &request).await?;
        for (difference, _) in &page.rows {
            println!("{}", line(difference));
            summary.add(difference);
        }
        after = page.rows.last().map(|(_, keys)| keys.clone()).filter(|_| page.has_next);
        if after.is_none() {
            summary.is_whole = true;
            break;
        }
    }
    for total in &summary.totals {
        let [here, there] = [total.here_minor, total.there_minor].map(|minor| Money::new(minor, total.currency));
        println!("{} {}: {here} here, {there} there", total.entity.as_str(), word(&total.kind));
    }
    println!("{}", counts(&summary));
    Ok(ExitCode::SUCCESS)
}

/// What a switch to two-way would do about how many.
pub(super) fn counts(summary: &DifferenceSummary) -> String {
    let [send, push, follow, hold, nothing] = SwitchStep::ALL.map(|step| summary.count_of(step));
    let more = if summary.is_whole { "" } else { ", of what was counted" };
    format!(
        "a switch to two-way would{more}: send {send}, push {push}, follow {follow}, hold as a conflict {hold}, leave \
         {nothing}"
    )
}

fn line(difference: &Difference) -> String {
    let name = |id: &Option<String>| id.clone().unwrap_or_else(|| "-".to_owned());
    let side = |text: &Option<String>, amount: Option<Money>| match (amount, text) {
        (Some(amount), _) => amount.to_string(),
        (None, Some(text)) => text.clone(),
        (None, None) => "-".to_owned(),
    };
    format!(
        "{}  {} {}  {}  {}  here {}  there {}  {}",
        word(&difference.kind),
        difference.entity.as_str(),
        name(&difference.remote_id),
        name(&difference.record_id),
        difference.field.as_deref().unwrap_or("whole"),
        side(&difference.here, difference.here_amount),
        side(&difference.there, difference.there_amount),
        word(&difference.step.unwrap_or(SwitchStep::Nothing)),
    )
}
