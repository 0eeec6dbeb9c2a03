//! `connection authorize`: a person lets a connection sign in.

use std::process::ExitCode;

use crosstie_app::StartConnectionAuthorization;
use crosstie_domain::access::{AuthContext, RowScope};
use crosstie_store::integration::connection_by_name;

use super::{CommandError, ConfigArgs};
use crate::hub::open_app;

/// Prints the address that the person opens. The hub takes the answer.
pub(super) async fn authorize(config: &ConfigArgs, name: &str) -> Result<ExitCode, CommandError> {
    let app = open_app(&config.load()?).await?;
    let connection = connection_by_name(app.store(), &RowScope::All, name).await?;
    let connection = connection.ok_or_else(|| format!("no hub has started with a connection {name:?}"))?;
    let input = StartConnectionAuthorization { connection_id: connection.id, idempotency_key: None };
    match app.start_connection_authorization(&AuthContext::system(), input).await? {
        Ok(started) => {
            eprintln!("Open this address in a browser before {}; it is good once.", started.expires_at);
            println!("{}", started.url);
            Ok(ExitCode::SUCCESS)
        }
        Err(refusals) => {
            let reasons: Vec<_> = refusals.into_iter().map(|refusal| refusal.message).collect();
            Err(format!("{name}: {}", reasons.join(" ")).into())
        }
    }
}
