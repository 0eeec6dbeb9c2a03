//! `connection explain`.

use std::process::ExitCode;

use crosstie_domain::{access::RowScope, integration::PlannedStep};

use super::{CommandError, ConfigArgs, word};
use crate::hub::open;

pub(super) async fn explain(config: &ConfigArgs, name: &str, json: bool) -> Result<ExitCode, CommandError> {
    let (app, connections) = open(&config.load()?).await?;
    let connection = connections.named(name).ok_or("no such connection is configured")?;
    let (store, id) = (app.store(), connection.record.id);
    let steps = crosstie_app::explain(store, &RowScope::All, store.now(), &[id]).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&steps)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{name} by {}, {}", connection.record.connector, connection.record.mode.as_str());
    for step in &steps {
        println!("  {}: {}", heading(step), step.text);
        for reason in &step.reasons {
            println!("    {}: {}", word(&reason.code), reason.text);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a step is about and how it stands, such as `reading account SCHEDULED`.
fn heading(step: &PlannedStep) -> String {
    let kind = word(&step.kind).to_lowercase().replace('_', " ");
    let entity = step.entity.map(|entity| format!(" {}", entity.as_str())).unwrap_or_default();
    format!("{kind}{entity} {}", word(&step.state))
}
