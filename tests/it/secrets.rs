//! Secrets in the database: sealed there, opened with the hub's master keys, and shown nowhere.

use std::process::Stdio;

use crosstie_app::{
    App,
    secrets::{Keyring, Plain, SecretsError},
};
use crosstie_domain::secrets::SecretPlace;
use crosstie_store::secrets::{secret, secrets_after};
use sea_orm::ConnectionTrait;
use tokio::io::AsyncWriteExt;

use crate::support::{Binary, Database, on_each_database};

async fn app(database: &Database, keys: &[&str]) -> App {
    let keyring = (!keys.is_empty()).then(|| Keyring::parse(&keys.join("\n")).expect("keys"));
    App::new(database.open().await).with_keyring(keyring)
}

async fn keep(app: &App, place: &SecretPlace, text: &str) -> Result<(), SecretsError> {
    let tx = app.store().begin().await?;
    app.seal_secret(&tx, place, &Plain::new(text)).await?;
    Ok(tx.commit().await?)
}

async fn kept(app: &App, place: &SecretPlace) -> Option<String> {
    let plain = app.open_secret(app.store(), place).await.expect("it opens");
    plain.map(|plain| plain.expose().to_owned())
}

#[tokio::test]
async fn secrets_are_sealed_at_rest_and_open_for_their_place_alone() {
    on_each_database(async |database| {
        let key = Keyring::new_key();
        let app = app(database, &[&key]).await;
        let [token, other] = ["token", "client_secret"].map(|name| SecretPlace::connection("crm", name));
        assert_eq!(kept(&app, &token).await, None);
        for text in ["hush-1", "hush-2"] {
            keep(&app, &token, text).await.expect("sealed");
            assert_eq!(kept(&app, &token).await.as_deref(), Some(text));
        }
        keep(&app, &other, "other").await.expect("sealed");
        let sealed = secret(app.store(), &token).await.expect("read").expect("it is there");
        assert_eq!(sealed.version, 2);
        assert!(!format!("{:?}", sealed.envelope).contains("hush"));

        // What somebody with the database alone moves from one place to another stays closed.
        let swap = "UPDATE secrets SET name = CASE name WHEN 'token' THEN 'client_secret' ELSE 'token' END || '-'";
        let back = "UPDATE secrets SET name = substr(name, 1, length(name) - 1)";
        let raw = database.raw().await;
        for sql in [swap, back] {
            raw.execute_unprepared(sql).await.expect("changed");
        }
        for place in [&token, &other] {
            let refused = app.open_secret(app.store(), place).await.expect_err("it belongs elsewhere");
            assert!(matches!(&refused, SecretsError::Damaged(damaged) if damaged == place), "{refused}");
        }
        raw.close().await.expect("it closes");
    })
    .await;
}

#[tokio::test]
async fn without_a_master_key_nothing_is_sealed_and_the_key_is_named() {
    on_each_database(async |database| {
        let keyless = app(database, &[]).await;
        let place = SecretPlace::connection("crm", "token");
        let refused = keep(&keyless, &place, "hush").await.expect_err("there is no key");
        assert!(refused.to_string().contains("`secrets.key_file`"), "{refused}");
        assert!(keyless.open_secret(keyless.store(), &place).await.expect("nothing is there to open").is_none());

        let key = Keyring::new_key();
        keep(&app(database, &[&key]).await, &place, "hush").await.expect("sealed");
        let refused = keyless.open_secret(keyless.store(), &place).await.expect_err("there is no key");
        assert!(matches!(refused, SecretsError::NoKey), "{refused}");
        let stranger = app(database, &[&Keyring::new_key()]).await;
        let refused = stranger.open_secret(stranger.store(), &place).await.expect_err("it is another key");
        assert!(matches!(refused, SecretsError::UnknownKey { .. }), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn master_keys_rotate_while_a_hub_seals_and_a_rotation_goes_on_where_it_stopped() {
    on_each_database(async |database| {
        let (old, new) = (Keyring::new_key(), Keyring::new_key());
        let before = app(database, &[&old]).await;
        let places: Vec<_> = (0..120).map(|n| SecretPlace::connection(&format!("c-{n:03}"), "token")).collect();
        for place in &places {
            keep(&before, place, &format!("hush of {place}")).await.expect("sealed");
        }
        // A hub that has both keys and still seals with the old one works on meanwhile.
        let hub = app(database, &[&old, &new]).await;
        let rotating = app(database, &[&new, &old]).await;
        let (rotated, ()) = tokio::join!(rotating.rotate_secrets(), async {
            for place in places.iter().step_by(7) {
                keep(&hub, place, &format!("hush of {place}")).await.expect("sealed");
                assert!(kept(&hub, place).await.is_some());
            }
        });
        assert!(rotated.expect("rotated").failed.is_empty());
        let rest = rotating.rotate_secrets().await.expect("rotated");
        assert_eq!((rest.sealed + rest.kept, rest.failed.len()), (120, 0));
        let again = rotating.rotate_secrets().await.expect("rotated");
        assert_eq!((again.sealed, again.kept), (0, 120), "nothing is left to do");

        let after = app(database, &[&new]).await;
        for place in &places {
            assert_eq!(kept(&after, place).await, Some(format!("hush of {place}")));
        }
        // Without the old key what it sealed is named, and stays.
        keep(&before, &places[0], "again").await.expect("sealed");
        let rotated = after.rotate_secrets().await.expect("rotated");
        assert_eq!((rotated.kept, rotated.failed.len()), (119, 1));
        assert!(rotated.failed[0].to_string().contains("c-000"), "{}", rotated.failed[0]);
        let page = secrets_after(after.store(), Some(&places[117]), 10).await.expect("read");
        assert_eq!(page.len(), 2);
    })
    .await;
}

/// Runs a command with this on its standard input.
async fn say(binary: &Binary, arguments: &[&str], text: &str) -> (bool, String) {
    let mut command = binary.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    // A command that refuses does not read to the end.
    let _ = child.stdin.take().expect("it has an input").write_all(text.as_bytes()).await;
    let output = child.wait_with_output().await.expect("it ends");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
    (output.status.success(), said.concat())
}

#[tokio::test]
async fn the_command_line_keeps_secrets_and_changes_the_key() {
    on_each_database(async |database| {
        let config = format!(
            "[database]\nurl = {:?}\n[secrets]\nkey_file = \"keys\"\n[[connections]]\nname = \"books\"\n\
             connector = \"stripe\"\n[connections.settings]\n",
            database.url
        );
        let Some(binary) = Binary::find("secrets", &config) else { return };
        let set = ["secrets", "set", "books", "token"];
        let refused = binary.refused(&["connection", "list"]).await;
        assert!(refused.contains("`secrets.key_file`: cannot read keys"), "{refused}");
        binary.write("keys", &binary.done(&["secrets", "new-key"]).await);
        let refused = binary.refused(&["connection", "list"]).await;
        assert!(refused.contains("`connections[0].token`: missing"), "{refused}");
        assert!(refused.contains("`crosstie secrets set books token`"), "{refused}");

        for (arguments, input) in [(set, ""), (["secrets", "set", "nobody", "token"], "hush")] {
            let (done, said) = say(&binary, &arguments, input).await;
            assert!(!done && !said.contains("hush"), "{said}");
        }
        let (done, said) = say(&binary, &set, "hush-hush\n").await;
        assert!(done && said.contains("token is kept") && !said.contains("hush"), "{said}");
        let listed = binary.done(&["connection", "list"]).await;
        assert!(listed.contains("books"), "{listed}");
        let listed = binary.done(&["secrets", "list"]).await;
        assert!(listed.contains("connection books token  version 1") && !listed.contains("hush"), "{listed}");

        let old = std::fs::read_to_string(binary.folder().join("keys")).expect("the file is there");
        let new = binary.done(&["secrets", "new-key"]).await;
        binary.write("keys", &new);
        let refused = binary.refused(&["secrets", "rotate"]).await;
        assert!(refused.contains("sealed with the master key") && !refused.contains(old.trim()), "{refused}");
        binary.write("keys", &format!("{new}\n{old}"));
        let rotated = binary.done(&["secrets", "rotate"]).await;
        assert!(rotated.starts_with("1 secret(s) sealed with the key"), "{rotated}");
        binary.write("keys", &new);
        assert!(binary.done(&["connection", "list"]).await.contains("books"));

        binary.done(&["secrets", "remove", "books", "token"]).await;
        binary.refused(&["secrets", "remove", "books", "token"]).await;
        let refused = binary.refused(&["connection", "list"]).await;
        assert!(refused.contains("`connections[0].token`: missing"), "{refused}");
    })
    .await;
}
