//! The connections: whether each can sign in and hear, what waits at it, and what a person was told of.

use std::sync::Arc;

use crosstie_app::App;
use crosstie_domain::access::RowScope;
use crosstie_sdk::{Fault, Net, ReqwestTransport};
use crosstie_store::integration::{connection_by_name, connection_facts, inbound_backlogs, open_alerts};
use crosstie_sync::DriftOptions;

use super::{Findings, chain, database::clock};
use crate::{
    config::{Config, ConnectionConfig},
    credentials::{self, OAuthSignIn},
    hub,
};

/// How far the clock of a vendor may be from ours before somebody should look, in milliseconds.
const CLOCK_MS: i64 = 10_000;
/// How far at most, in milliseconds: signatures are believed for five minutes.
const CLOCK_MOST_MS: i64 = 240_000;
/// How long an effect may wait before somebody should look, in milliseconds.
const EFFECT_MS: i64 = 3_600_000;

/// Looks at each connection by itself: one that fails says nothing of the others.
pub(super) async fn look(app: &App, config: &Config, findings: &mut Findings) {
    let transport = match ReqwestTransport::new() {
        Ok(transport) => Arc::new(transport),
        Err(error) => return findings.failed("network", chain(&error), "See that the network can be used."),
    };
    for connection in &config.connections {
        let mut connection = connection.clone();
        let check = format!("connection {}", connection.name);
        if let Err(error) = credentials::give_sealed(app, &mut connection).await {
            findings.failed(&check, chain(&error), "Give the hub the master key that sealed its secrets.");
            continue;
        }
        if let Some(kind) = connection.missing_secret() {
            let advice = format!("Keep it with `crosstie secrets set {} {}`.", connection.name, kind.as_str());
            findings.failed(&check, format!("lacks its {}", kind.as_str()), &advice);
            continue;
        }
        sign_in(app, (&connection, &check), Arc::clone(&transport), findings).await;
        hears(&connection, &check, findings);
        waits(app, (&connection, &check), findings).await;
    }
}

async fn sign_in(
    app: &App,
    (connection, check): (&ConnectionConfig, &str),
    transport: Arc<ReqwestTransport>,
    findings: &mut Findings,
) {
    let sign_in = OAuthSignIn::of(app, connection);
    let setup = hub::setup(connection, sign_in.as_ref(), (DriftOptions::default(), transport));
    let connector = setup.connector;
    if let Err(error) = connector.check_settings(&setup.net.settings) {
        return findings.failed(
            check,
            error.to_string(),
            "Correct the settings; the connector's README tells of them.",
        );
    }
    let net = match Net::new(connector.descriptor(), setup.net) {
        Ok(net) => net,
        Err(error) => return findings.failed(check, error.to_string(), "Correct the key that is named."),
    };
    match connector.probe(&net).await {
        Ok(who) => findings.ok(check, format!("signs in as {}", who.account)),
        Err(fault) => {
            let text = format!("{} ({fault})", fault.code());
            match fault {
                Fault::Throttled { .. } => findings.warning(check, text, "Try again later."),
                Fault::NeedsReauth => {
                    findings.failed(check, text, "Renew its credential, or `crosstie connection authorize`.");
                }
                Fault::MissingScope { .. } => findings.failed(check, text, "Allow it there what is named."),
                Fault::Transient { .. } | Fault::Unknown { .. } => {
                    findings.failed(check, text, "See that the system runs and can be reached from here.");
                }
                _ => findings.failed(check, text, "See that `base_url` is that of this system."),
            }
        }
    }
    if let Some(ahead_ms) = net.clock_skew_ms() {
        let text = format!("the system is {} s ahead", ahead_ms / 1_000);
        clock(&format!("{check} clock"), (ahead_ms, (CLOCK_MS, CLOCK_MOST_MS)), text, findings);
    }
}

/// Whether its webhooks can be believed.
fn hears(connection: &ConnectionConfig, check: &str, findings: &mut Findings) {
    let check = format!("{check} webhooks");
    let connector = crosstie_connectors::connector(&connection.connector);
    match (connector.and_then(|connector| connector.inbound()), connection.webhook_secrets.len()) {
        (None, _) => findings.ok(&check, "the connector receives none"),
        (Some(_), 0) => {
            let advice = format!(
                "Keep the secret with `crosstie secrets set {} webhook_secret`, or go on by scheduled reading alone.",
                connection.name
            );
            findings.warning(&check, "there is no secret: every webhook is refused", &advice);
        }
        (Some(_), secrets) => findings.ok(&check, format!("{secrets} secret(s)")),
    }
}

/// What waits at it.
async fn waits(app: &App, (connection, check): (&ConnectionConfig, &str), findings: &mut Findings) {
    let store = app.store();
    let check = format!("{check} backlog");
    let looked = async {
        let Some(known) = connection_by_name(store, &RowScope::All, &connection.name).await? else { return Ok(None) };
        let events = inbound_backlogs(store, &[known.id]).await?.get(&known.id).copied().unwrap_or(0);
        let effects = connection_facts(store, &[known.id]).await?.effects.into_iter().next();
        Ok::<_, crosstie_store::StoreError>(Some((events, effects, known.mode)))
    };
    let (events, effects, mode) = match looked.await {
        Ok(Some(found)) => found,
        Ok(None) => return findings.ok(&check, "no hub has worked with it yet"),
        Err(error) => return findings.failed(&check, chain(&error), "See that the database runs."),
    };
    let explain = format!("`crosstie connection explain {}` says why.", connection.name);
    let most = i64::from(connection.inbound.backlog);
    let effects_old =
        effects.as_ref().is_some_and(|effects| mode.sends() && store.now().ms_since(effects.oldest_at) > EFFECT_MS);
    let waiting = effects.map_or(0, |effects| effects.waiting);
    let text = format!("{events} of at most {most} event(s) and {waiting} effect(s) wait");
    if events >= most {
        findings.failed(&check, text, &format!("Its webhooks are turned away. {explain}"));
    } else if events > most / 2 || effects_old {
        findings.warning(&check, text, &explain);
    } else {
        findings.ok(&check, text);
    }
}

/// What a person was told of and what is still so.
pub(super) async fn alerts(app: &App, findings: &mut Findings) {
    const CHECK: &str = "alerts";
    match open_alerts(app.store()).await {
        Ok(open) if open.is_empty() => findings.ok(CHECK, "none is open"),
        Ok(open) => {
            for alert in open {
                let text = format!("{} since {}: {}", alert.kind.as_str(), alert.opened_at, alert.message);
                findings.warning(CHECK, text, "It closes by itself when its cause is gone.");
            }
        }
        Err(error) => findings.failed(CHECK, chain(&error), "See that the database runs."),
    }
}
