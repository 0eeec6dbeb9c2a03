//! Configuration: one TOML file, overridden by environment variables. The one home of `std::env::var`.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use crosstie_domain::integration::{
    Arm, ConnectionMode, EgressRules, Entity, InboundLimits,
    authority::{Authority, FieldRules, OnConflict},
};
use crosstie_sdk::{ClientAuth, Grant};
use crosstie_sync::ExchangeSettings;
use serde::Deserialize;
use url::Url;

pub use crate::credentials::SecretKind;
use crate::database::is_in_memory;

/// How the hub is set up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address that the hub listens on.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// Address under which other systems reach the hub, without a path; webhook signatures may cover it.
    pub public_url: Option<String>,
    /// Address for `/metrics`; the main one when none is given.
    pub metrics_listen: Option<String>,
    /// Origins whose pages may read the hub's answers, such as `https://app.example.com`.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// The database.
    #[serde(default)]
    pub database: Database,
    /// The master keys, with which secrets are kept in the database.
    #[serde(default)]
    pub secrets: SecretsConfig,
    /// Who has the say over fields that several systems share, where that differs from the usual.
    #[serde(default)]
    pub authority: Vec<AuthorityConfig>,
    /// What is kept of exchanges with other systems.
    #[serde(default)]
    pub exchanges: ExchangeSettings,
    /// Where webhooks may be sent.
    #[serde(default)]
    pub webhooks: WebhooksConfig,
    /// When what systems say is compared with what the hub believes.
    #[serde(default)]
    pub drift: DriftConfig,
    /// The systems around the hub.
    #[serde(default)]
    pub connections: Vec<ConnectionConfig>,
}

/// Who has the say over one field.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityConfig {
    /// The kind of record: `account`, `opportunity`, `invoice`.
    pub entity: Entity,
    /// The field, as `fieldAuthorities` lists it.
    pub field: String,
    /// Who has the say.
    pub policy: Policy,
    /// The arms that have it, the first one in front: one for `authoritative`, one or more for `preferred`.
    #[serde(default)]
    pub arms: Vec<Arm>,
    /// What becomes of a conflict: `newest` or `held`.
    pub conflicts: Option<OnConflict>,
}

/// Who has the say over a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Systems of one arm alone.
    Authoritative,
    /// The first arm of an order that says anything.
    Preferred,
    /// Every system alike.
    Shared,
    /// The hub computes it.
    Derived,
    /// The hub alone keeps it.
    Local,
}

impl AuthorityConfig {
    fn authority(&self) -> Result<Authority, String> {
        match (self.policy, self.arms.as_slice()) {
            (Policy::Authoritative, [arm]) => Ok(Authority::Authoritative { arm: *arm }),
            (Policy::Authoritative, _) => Err("`authoritative` needs one arm in `arms`".to_owned()),
            (Policy::Preferred, []) => Err("`preferred` needs `arms`, the first one in front".to_owned()),
            (Policy::Preferred, arms) => Ok(Authority::Preferred { order: arms.to_vec() }),
            (_, [_, ..]) => Err("`arms` goes with `authoritative` and `preferred` alone".to_owned()),
            (Policy::Shared, []) => Ok(Authority::Shared),
            (Policy::Derived, []) => Ok(Authority::Derived),
            (Policy::Local, []) => Ok(Authority::Local),
        }
    }
}

/// Where webhooks may be sent beyond public addresses over TLS.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Over plain http as well.
    #[serde(default)]
    pub allow_http: bool,
    /// To this machine and private networks as well.
    #[serde(default)]
    pub allow_private: bool,
}

impl From<WebhooksConfig> for EgressRules {
    fn from(config: WebhooksConfig) -> Self {
        Self { allow_http: config.allow_http, allow_private: config.allow_private }
    }
}

/// Where records are kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://path?mode=rwc` or `postgres://user:password@host/database`; the environment may give it as well.
    #[serde(default)]
    pub url: String,
}

/// The master keys.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsConfig {
    /// A file with a key of 32 bytes in base64 on each line; the first one seals, all of them open.
    pub key_file: Option<PathBuf>,
    /// The keys themselves, which only the environment gives; parted by commas.
    #[serde(skip)]
    pub keys: Option<String>,
}

/// Shows no key.
impl std::fmt::Debug for SecretsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretsConfig").field("key_file", &self.key_file).finish_non_exhaustive()
    }
}

/// A system around the hub.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionConfig {
    /// Its name: lower case letters, digits and `-`.
    pub name: String,
    /// What serves it: `hubspot`, `stripe`, `tryton`.
    pub connector: String,
    /// Where its API is, where that differs from the vendor's own address.
    pub base_url: Option<String>,
    /// Which arms of it are used; all when empty.
    #[serde(default)]
    pub arms: Vec<Arm>,
    /// How far it goes when it is first configured: `observe`, `pull` or `two-way`. Later its mode is what it was
    /// switched to.
    #[serde(default)]
    pub mode: ConnectionMode,
    /// The fields that are written there whenever the hub shows another value, such as `account.name`.
    #[serde(default)]
    pub push: Vec<String>,
    /// A key that does not expire.
    pub token: Option<String>,
    /// An OAuth 2.0 client, instead of a key.
    pub oauth: Option<OAuthConfig>,
    /// What its webhooks are signed with; several while one is being replaced.
    #[serde(default)]
    pub webhook_secrets: Vec<String>,
    /// How fresh what is read from it is to be.
    #[serde(default)]
    pub freshness: FreshnessConfig,
    /// How much of it is taken in by webhook.
    #[serde(default)]
    pub inbound: InboundLimits,
    /// What only its connector understands.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Which of its secrets the environment gave: these come before those that the database keeps.
    #[serde(skip)]
    pub from_environment: Vec<SecretKind>,
}

/// When what systems say is compared with what the hub believes, and how much of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftConfig {
    /// The time of day, in UTC, such as `02:00`; `never` for only when somebody asks.
    #[serde(default = "default_drift_at")]
    pub at: String,
    /// Records of each kind that a nightly comparison draws; once a week everything is compared.
    #[serde(default = "default_drift_sample")]
    pub sample: u32,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self { at: default_drift_at(), sample: default_drift_sample() }
    }
}

impl DriftConfig {
    /// The minute of the day; none when it is only compared when somebody asks.
    ///
    /// # Errors
    /// Why it is no time of day.
    pub fn at_minute(&self) -> Result<Option<u32>, &'static str> {
        const WRONG: &str = "not a time of day such as 02:00, and not `never`";
        if self.at == "never" {
            return Ok(None);
        }
        let (hours, minutes) = self.at.split_once(':').ok_or(WRONG)?;
        let (hours, minutes): (u32, u32) = (hours.parse().map_err(|_| WRONG)?, minutes.parse().map_err(|_| WRONG)?);
        if hours < 24 && minutes < 60 { Ok(Some(hours * 60 + minutes)) } else { Err(WRONG) }
    }
}

fn default_drift_at() -> String {
    "02:00".to_owned()
}

fn default_drift_sample() -> u32 {
    100
}

/// How fresh what is read from a system is to be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshnessConfig {
    /// How old the newest proof that everything was read may be, in seconds.
    pub objective_seconds: Option<u32>,
}

/// An OAuth 2.0 client.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthConfig {
    /// The application.
    pub client_id: String,
    /// Its secret.
    #[serde(default)]
    pub client_secret: String,
    /// What access tokens are asked for with, by the grant `refresh_token`.
    #[serde(default)]
    pub refresh_token: String,
    /// The key that it signs assertions with, as PEM.
    #[serde(default)]
    pub private_key: String,
    /// How it comes by access tokens.
    #[serde(default)]
    pub grant: Grant,
    /// How it proves who it is.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// What it asks for; what the connector asks for when empty.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Where a person authorizes it, when not at the vendor's own address.
    pub authorize_url: Option<String>,
    /// Where it asks for tokens, when not at the vendor's own address.
    pub token_url: Option<String>,
    /// On whose behalf it makes an assertion; its own when left out.
    pub subject: Option<String>,
    /// Whom its assertions are for; the token endpoint when left out.
    pub audience: Option<String>,
    /// What the vendor calls its private key.
    pub key_id: Option<String>,
}

/// Shows no secret.
impl std::fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectionConfig({} by {})", self.name, self.connector)
    }
}

/// Why the hub does not start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// It is not TOML, or a key is missing, unknown or of another type.
    #[error("{path}: {why}")]
    Toml {
        /// Which file.
        path: String,
        /// Which key, and why.
        why: String,
    },
    /// A key has a value that cannot be used.
    #[error("configuration key `{key}`: {why}")]
    Key {
        /// The key.
        key: String,
        /// Why.
        why: String,
    },
}

/// What is logged, as `CROSSTIE_LOG` says it.
pub(crate) fn log_filter() -> Option<String> {
    variable("CROSSTIE_LOG")
}

/// A variable of the environment that is not empty.
fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one home of the environment")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The largest of the numbers that say how much a connection takes in.
const MOST_INBOUND: u32 = 1_000_000_000;

fn default_listen() -> String {
    "127.0.0.1:8080".to_owned()
}

impl Config {
    /// Reads a file and what the environment overrides.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| ConfigError::File { path: shown.clone(), error })?;
        Self::parse(&text, &shown, variable)
    }

    /// Reads the text of a file; `env` looks up what overrides it.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key.
    pub fn parse(text: &str, path: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)
            .map_err(|error| ConfigError::Toml { path: path.to_owned(), why: error.to_string() })?;
        config.listen = env("CROSSTIE_LISTEN").unwrap_or(config.listen);
        config.public_url = env("CROSSTIE_PUBLIC_URL").or(config.public_url);
        config.metrics_listen = env("CROSSTIE_METRICS_LISTEN").or(config.metrics_listen);
        config.database.url = env("CROSSTIE_DATABASE_URL").unwrap_or(config.database.url);
        config.secrets.keys = env("CROSSTIE_SECRETS_KEY");
        for connection in &mut config.connections {
            let prefix = format!("CROSSTIE_CONNECTIONS_{}", connection.name.to_uppercase().replace('-', "_"));
            connection.base_url = env(&format!("{prefix}_BASE_URL")).or(connection.base_url.take());
            for kind in SecretKind::ALL {
                if let Some(text) = env(&format!("{prefix}_{}", kind.variable())) {
                    let text = if kind == SecretKind::WebhookSecret { text.replace(',', "\n") } else { text };
                    connection.give(kind, &text);
                    connection.from_environment.push(kind);
                }
            }
        }
        config.check()?;
        Ok(config)
    }

    /// Who has the say over which field.
    ///
    /// # Errors
    /// [`ConfigError::Key`], naming the rule that cannot be used.
    pub fn rules(&self) -> Result<FieldRules, ConfigError> {
        let mut rules = FieldRules::default();
        for (index, config) in self.authority.iter().enumerate() {
            let wrong = |part: &str, why: String| key(&format!("authority[{index}].{part}"), &why);
            let authority = config.authority().map_err(|why| wrong("arms", why))?;
            let field = (config.entity, config.field.as_str());
            rules.set(field, authority, config.conflicts).map_err(|error| wrong("field", error.to_string()))?;
        }
        Ok(rules)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.listen.parse::<std::net::SocketAddr>().is_err() {
            return Err(key("listen", "not an address with a port, such as 127.0.0.1:8080"));
        }
        if self.metrics_listen.as_ref().is_some_and(|listen| listen.parse::<std::net::SocketAddr>().is_err()) {
            return Err(key("metrics_listen", "not an address with a port, such as 127.0.0.1:9090"));
        }
        self.database.check()?;
        self.drift.at_minute().map_err(|why| key("drift.at", why))?;
        if self.drift.sample > 10_000 {
            return Err(key("drift.sample", "at most 10000"));
        }
        if self.public_url.as_ref().is_some_and(|url| !is_origin(url.strip_suffix('/').unwrap_or(url))) {
            let why = "not an address such as https://hub.example.com: http or https and a host, perhaps a port, and \
                       no path, query, fragment or user";
            return Err(key("public_url", why));
        }
        for (index, origin) in self.cors_origins.iter().enumerate() {
            if !is_origin(origin) {
                let why = "not an origin, such as https://app.example.com: a scheme and a host, and no path";
                return Err(key(&format!("cors_origins[{index}]"), why));
            }
        }
        self.rules()?;
        let mut names = HashSet::new();
        for (index, connection) in self.connections.iter().enumerate() {
            let at = |part: &str| format!("connections[{index}].{part}");
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if connection.name.is_empty() || connection.name.len() > 63 || !connection.name.chars().all(fits) {
                return Err(key(&at("name"), "1 to 63 lower case letters, digits and -"));
            }
            if !names.insert(&connection.name) {
                return Err(key(&at("name"), "another connection has this name"));
            }
            if crosstie_connectors::connector(&connection.connector).is_none() {
                let known: Vec<_> = crosstie_connectors::connectors().map(|one| one.descriptor().id).collect();
                return Err(key(&at("connector"), &format!("no such connector; there are {}", known.join(", "))));
            }
            if connection.freshness.objective_seconds == Some(0) {
                return Err(key(&at("freshness.objective_seconds"), "at least 1"));
            }
            let inbound = connection.inbound;
            let numbers = [("per_second", inbound.per_second), ("burst", inbound.burst), ("backlog", inbound.backlog)];
            if let Some((part, _)) = numbers.into_iter().find(|(_, number)| !(1..=MOST_INBOUND).contains(number)) {
                return Err(key(&at(&format!("inbound.{part}")), &format!("between 1 and {MOST_INBOUND}")));
            }
            connection.check_credentials().map_err(|(part, why)| key(&at(part), why))?;
        }
        Ok(())
    }

    /// Checks that every connection has what it signs in with, once what the database keeps has been given as well.
    ///
    /// # Errors
    /// [`ConfigError::Key`].
    pub fn check_complete(&self) -> Result<(), ConfigError> {
        for (index, connection) in self.connections.iter().enumerate() {
            if let Some(kind) = connection.missing_secret() {
                let (name, word) = (&connection.name, kind.as_str());
                let path = format!("connections[{index}].{}", kind.key());
                let instead = if kind == SecretKind::Token { ", give an oauth table" } else { "" };
                let why =
                    format!("missing: give it here{instead}, or keep it with `crosstie secrets set {name} {word}`");
                return Err(key(&path, &why));
            }
        }
        Ok(())
    }
}

impl Database {
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |why: &str| Err(key("database.url", why));
        if self.url.trim().is_empty() {
            return wrong("missing: give it here or as CROSSTIE_DATABASE_URL");
        }
        if is_in_memory(&self.url) {
            return wrong(
                "a database in memory ends with the connection that opened it, so what `migrate` makes would \
                          be gone: name a file, such as sqlite://folder/crosstie.db?mode=rwc",
            );
        }
        let schemes = ["sqlite:", "postgres://", "postgresql://"];
        if !schemes.iter().any(|scheme| self.url.starts_with(scheme)) {
            return wrong("begins with neither sqlite: nor postgres://");
        }
        // Said here, because the library's words repeat the address with its password.
        match Url::parse(&self.url) {
            Ok(_) => Ok(()),
            Err(error) => wrong(&format!("{error}; write spaces and the like as %20")),
        }
    }
}

fn key(key: &str, why: &str) -> ConfigError {
    ConfigError::Key { key: key.to_owned(), why: why.to_owned() }
}

/// Whether this is a scheme, a host and perhaps a port, and nothing else.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let odd = |c: char| matches!(c, '/' | '\\' | '?' | '#' | '@' | '*') || c.is_whitespace() || c.is_control();
    matches!(scheme, "http" | "https") && !host.contains(odd) && Url::parse(text).is_ok_and(|url| url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [database]
        url = "sqlite://x.db"
        [[connections]]
        name = "crm-eu"
        connector = "hubspot"
        token = "t"
        [connections.settings]
        default_currency = "EUR"
    "#;

    fn check(text: &str, env: &[(&str, &str)], expected: &str) {
        let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let parsed = Config::parse(text, "crosstie.toml", lookup);
        match parsed.and_then(|config| config.check_complete()) {
            Ok(()) => assert_eq!(expected, "", "{text}"),
            Err(error) => assert!(!expected.is_empty() && error.to_string().contains(expected), "{error}"),
        }
    }

    #[test]
    fn names_the_key_that_is_wrong() {
        check(GOOD, &[], "");
        check(GOOD, &[("CROSSTIE_LISTEN", "somewhere")], "`listen`");
        check(GOOD, &[("CROSSTIE_DATABASE_URL", "mysql://x")], "`database.url`");
        check(GOOD, &[("CROSSTIE_DATABASE_URL", "sqlite://hub data/x.db")], "`database.url`");
        check(GOOD, &[("CROSSTIE_DATABASE_URL", "sqlite://hub%20data/x.db")], "");
        let origins = |origin: &str| format!("cors_origins = [\"{origin}\"]\n{GOOD}");
        check(&origins("https://app.example.com:8443"), &[], "");
        check(&origins("https://app.example.com/"), &[], "`cors_origins[0]`");
        check(&origins("*"), &[], "`cors_origins[0]`");
        check("listen = 1", &[], "listen");
        check("[database]\nurl = \"sqlite://x\"\nspeed = 9", &[], "speed");
        check(&format!("exchanges = {{ keep_days = 3, bodies = \"all\" }}\n{GOOD}"), &[], "");
        check(&format!("exchanges = {{ bodies = \"some\" }}\n{GOOD}"), &[], "some");
        let inbound = |rest: &str| format!("{GOOD}[connections.inbound]\n{rest}");
        check(&inbound("per_second = 5\nburst = 10"), &[], "");
        check(&inbound("burst = 0"), &[], "`connections[0].inbound.burst`: between 1 and");
        check(&inbound("backlog = 2000000000"), &[], "`connections[0].inbound.backlog`");
        check(&inbound("speed = 5"), &[], "speed");
        check(&GOOD.replace("hubspot", "hubspit"), &[], "`connections[0].connector`");
        check(&GOOD.replace("crm-eu", "CRM EU"), &[], "`connections[0].name`");
        check(&GOOD.replace("token = \"t\"", ""), &[], "`connections[0].token`: missing");
        check(&GOOD.replace("token = \"t\"", ""), &[("CROSSTIE_CONNECTIONS_CRM_EU_TOKEN", "t")], "");
        check(&GOOD.replace("\"t\"", "\" \""), &[], "`connections[0].token`");
    }

    #[test]
    fn an_oauth_client_needs_what_its_grant_needs() {
        let oauth = |rest: &str| GOOD.replace("token = \"t\"", &format!("oauth = {{ client_id = \"i\"{rest} }}"));
        for (rest, missing) in [
            (", client_secret = \"s\", refresh_token = \"r\"", ""),
            (", client_secret = \"\", refresh_token = \"r\"", "`connections[0].oauth.client_secret`: missing"),
            (", client_secret = \"s\"", "`connections[0].oauth.refresh_token`: missing"),
            (", grant = \"client_credentials\", client_secret = \"s\"", ""),
            (", grant = \"client_credentials\"", "`connections[0].oauth.client_secret`: missing"),
            (", grant = \"client_credentials\", client_auth = \"private_key_jwt\", private_key = \"k\"", ""),
            (", grant = \"authorization_code\"", ""),
            (", grant = \"jwt_bearer\", private_key = \"k\"", ""),
            (", grant = \"jwt_bearer\"", "`connections[0].oauth.private_key`: missing"),
            (", grant = \"password\"", "grant"),
        ] {
            check(&oauth(rest), &[], missing);
        }
        check(&oauth("").replace("\"i\"", "\"\""), &[], "`connections[0].oauth.client_id`: empty");
        let env = [("CROSSTIE_CONNECTIONS_CRM_EU_PRIVATE_KEY", "k")];
        check(&oauth(", grant = \"jwt_bearer\""), &env, "");
    }

    #[test]
    fn the_environment_alone_may_name_the_database() {
        let env = [("CROSSTIE_DATABASE_URL", "sqlite://x.db")];
        for text in ["", "[database]", "listen = \"127.0.0.1:0\""] {
            check(text, &env, "");
            check(text, &[], "`database.url`: missing");
        }
    }

    #[test]
    fn a_database_in_memory_is_refused_with_a_reason() {
        for url in ["sqlite::memory:", "sqlite://x?mode=memory"] {
            check(GOOD, &[("CROSSTIE_DATABASE_URL", url)], "`database.url`: a database in memory ends");
        }
    }

    #[test]
    fn the_public_address_is_a_host_and_nothing_more() {
        for good in ["https://hub.example.com", "http://127.0.0.1:8080", "https://hub.example.com/", "http://[::1]:80"]
        {
            check(GOOD, &[("CROSSTIE_PUBLIC_URL", good)], "");
        }
        let hosts = ["", "/", "//", "hub example", "hub/crosstie", "hub?x", "hub#x", "me@hub", "hub:port", "hub\\x"];
        for wrong in hosts.map(|host| format!("https://{host}")) {
            check(GOOD, &[("CROSSTIE_PUBLIC_URL", &wrong)], "`public_url`");
        }
        for wrong in ["hub.example.com", "ftp://hub.example.com", "https:hub.example.com"] {
            check(GOOD, &[("CROSSTIE_PUBLIC_URL", wrong)], "`public_url`");
        }
    }
}
