//! Logs and metrics of the process.

use std::{io::IsTerminal, sync::OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::log_filter;

/// What of other people's code is left out of the log.
const QUIET: &str = "sqlx=warn";

/// Starts logging to standard error, in color if that is a terminal. `CROSSTIE_LOG` filters; without it, this level
/// does.
pub fn start_logs(level: &str) {
    let wanted = log_filter().map(EnvFilter::try_new).transpose();
    let default = || EnvFilter::new(format!("{level},{QUIET}"));
    let (filter, unread) = match wanted {
        Ok(filter) => (filter.unwrap_or_else(default), None),
        Err(error) => (default(), Some(error)),
    };
    // A log that cannot be written, as on a full disk, is no reason to fail a request: the library would say so on
    // standard error, too, and panic when that cannot be written either.
    let logs = tracing_subscriber::fmt().log_internal_errors(false);
    let logs = logs.with_env_filter(filter).with_writer(std::io::stderr);
    // On a terminal the library decides: it leaves colors out for NO_COLOR.
    let logs = if std::io::stderr().is_terminal() { logs } else { logs.with_ansi(false) };
    // A second start in one process keeps the first.
    let _ = logs.try_init();
    if let Some(error) = unread {
        tracing::warn!(%error, "CROSSTIE_LOG is no filter; the default one is used");
    }
}

/// The metrics of this process; they are counted from the first call on.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || PrometheusBuilder::new().install_recorder().expect("only this function installs a recorder");
    HANDLE.get_or_init(install).clone()
}
