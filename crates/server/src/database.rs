//! The database as the configuration names it: what must be there before it is opened, and what is said when it
//! cannot be used.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use tokio::net::TcpStream;
use url::Url;

use crate::hub::StartError;

/// How long a server may take to answer before somebody looks why.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a connection to it may take then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const POSTGRES_PORT: u16 = 5432;
/// What the name of a file may hold as it is in the address of a database.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// The address of the SQLite database in this file, which is made when it is not there.
pub(crate) fn sqlite_url(file: &Path) -> String {
    format!("sqlite://{}?mode=rwc", percent_encode(file.as_os_str().as_encoded_bytes(), KEPT))
}

/// Whether the address is that of a database in memory, which ends with the connection that opened it.
pub(crate) fn is_in_memory(url: &str) -> bool {
    let Some((file, mode)) = sqlite_parts(url) else { return false };
    file == ":memory:" || mode.as_deref() == Some("memory")
}

/// How many migrations the database lacks. An SQLite file and its folder are made if the address says so.
///
/// # Errors
/// [`StartError::Database`], within a few seconds.
pub(crate) async fn missing(url: &str) -> Result<usize, StartError> {
    prepare(url).map_err(|error| StartError::Database(error.into()))?;
    tokio::select! {
        missing = crosstie_migrations::missing(url) => missing.map_err(|error| StartError::Database(error.into())),
        // The pool takes a server that refuses for one that is starting, and waits for it.
        error = refusal(url) => Err(StartError::Database(error.into())),
    }
}

/// Applies the migrations that the database lacks, and says how many these were.
///
/// # Errors
/// [`StartError::Database`].
pub(crate) async fn migrate(url: &str) -> Result<usize, StartError> {
    let missing = missing(url).await?;
    crosstie_migrations::migrate(url).await.map_err(|error| StartError::Database(error.into()))?;
    Ok(missing)
}

/// The file of an SQLite database.
pub(crate) fn file(url: &str) -> Option<PathBuf> {
    sqlite_parts(url).map(|(file, _)| PathBuf::from(file))
}

fn prepare(url: &str) -> io::Result<()> {
    let Some((file, mode)) = sqlite_parts(url) else { return Ok(()) };
    let file = PathBuf::from(file);
    if mode.as_deref() != Some("rwc") {
        let hint = "there is no such file; ?mode=rwc at the end of the address makes it";
        return if file.exists() { Ok(()) } else { Err(about(&file, io::Error::new(io::ErrorKind::NotFound, hint))) };
    }
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder).map_err(|error| about(folder, error)),
        None => Ok(()),
    }
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The file of an SQLite address, and its mode.
fn sqlite_parts(url: &str) -> Option<(String, Option<String>)> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (file, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let mode = parameters.split('&').find_map(|parameter| parameter.strip_prefix("mode=")).map(str::to_owned);
    Some((percent_decode_str(file).decode_utf8_lossy().into_owned(), mode))
}

/// Waits for a while, and ends if nobody listens where the server should be.
async fn refusal(url: &str) -> io::Error {
    tokio::time::sleep(PATIENCE).await;
    let Some((host, port)) = server(url) else { return std::future::pending().await };
    let error = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(_)) => return std::future::pending().await,
        Ok(Err(error)) => error,
        Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no answer"),
    };
    io::Error::new(error.kind(), format!("{host}:{port}: {error}"))
}

/// Where a PostgreSQL server is; `None` for one that is reached by a socket in the file system.
fn server(url: &str) -> Option<(String, u16)> {
    let url = Url::parse(url).ok().filter(|url| url.scheme().starts_with("postgres"))?;
    let mut host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let mut port = url.port().unwrap_or(POSTGRES_PORT);
    for (key, value) in url.query_pairs() {
        match &*key {
            "host" | "hostaddr" => host = value.into_owned(),
            "port" => port = value.parse().ok()?,
            _ => {}
        }
    }
    let is_path = host.starts_with('/') || host.to_ascii_lowercase().starts_with("%2f");
    (!host.is_empty() && !is_path).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_back_to_the_file_it_was_made_of() {
        for file in ["crosstie-data/crosstie.db", "/a b/50%/what?/#1/ü.db", "%20/x&y=z.db"] {
            let url = sqlite_url(Path::new(file));
            assert_eq!(sqlite_parts(&url), Some((file.to_owned(), Some("rwc".to_owned()))), "{url}");
        }
        assert_eq!(sqlite_url(Path::new("data/crosstie.db")), "sqlite://data/crosstie.db?mode=rwc");
    }

    #[test]
    fn knows_a_database_in_memory() {
        for (url, expected) in [
            ("sqlite::memory:", true),
            ("sqlite://:memory:", true),
            ("sqlite://x.db?mode=memory&cache=shared", true),
            ("sqlite://memory.db?mode=rwc", false),
            ("postgres://h/:memory:", false),
        ] {
            assert_eq!(is_in_memory(url), expected, "{url}");
        }
    }

    #[test]
    fn knows_where_a_server_listens() {
        for (url, expected) in [
            ("postgres://crosstie:secret@db.example.com/crosstie", Some(("db.example.com", 5432))),
            ("postgresql://db:6000/x", Some(("db", 6000))),
            ("postgres://[::1]:6000/x", Some(("::1", 6000))),
            ("postgres:///x?host=db&port=6001", Some(("db", 6001))),
            ("postgres://%2Fvar%2Frun%2Fpostgresql/x", None),
            ("postgres:///x?host=/tmp", None),
            ("sqlite://x.db", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(server(url), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn makes_the_folder_of_a_database_that_may_be_made() {
        let folder = std::env::temp_dir().join(format!("crosstie database {}", std::process::id()));
        let file = folder.join("a/b%?.db");
        let url = sqlite_url(&file);
        let error = missing(url.trim_end_matches("?mode=rwc")).await.expect_err("there is no file");
        assert!(error.to_string().contains("`database.url`"), "{error}");
        assert!(!folder.exists());
        assert!(missing(&url).await.expect("the database is made") > 0);
        assert!(file.exists());
        assert_eq!(migrate(&url).await.expect("migrated"), missing(&sqlite_url(&folder.join("new.db"))).await.unwrap());
        std::fs::remove_dir_all(folder).expect("the folder is removed");
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_named_within_seconds() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let begun = std::time::Instant::now();
        let error = missing(&format!("postgres://x:secret@{address}/x")).await.expect_err("nobody listens");
        assert!(begun.elapsed() < PATIENCE + CONNECT_TIMEOUT + Duration::from_secs(2));
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains(&address.to_string()) && cause.contains("refused"), "{cause}");
        assert!(!cause.contains("secret"));
    }
}
