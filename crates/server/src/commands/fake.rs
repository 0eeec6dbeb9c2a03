//! `fake`: the stand-in of a vendor on a port of its own, for whoever builds against the hub or against the vendor.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use crosstie_connectors::{connector, connectors, fakes};
use crosstie_sdk::Secret;

use super::{CommandError, serve::StopSignal};
use crate::{
    fakes::{FAULTS, HostedFake},
    hub::listen,
};

#[derive(Debug, Args)]
pub(super) struct FakeArgs {
    /// The connector whose vendor it stands in for
    #[arg(value_parser = vendor)]
    vendor: String,
    /// Address that it listens on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    /// Where its webhooks go, such as http://127.0.0.1:8080/webhooks/crm; it sends none without
    #[arg(long)]
    webhooks: Option<String>,
    /// What its webhooks are signed with
    #[arg(long, default_value = "fake-webhook-secret")]
    webhook_secret: String,
    /// A file that keeps what it was told, so that the next start finds it again; without one it begins empty
    #[arg(long)]
    data: Option<PathBuf>,
}

fn vendor(text: &str) -> Result<String, String> {
    let names: Vec<&str> = connectors().map(|connector| connector.descriptor().id).collect();
    if names.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("no such stand-in; there are {}", names.join(", ")))
}

pub(super) async fn run(args: FakeArgs) -> Result<ExitCode, CommandError> {
    let FakeArgs { vendor, listen: address, webhooks, webhook_secret, data } = args;
    let mut stop = StopSignal::listen()?;
    let listener = listen("--listen", &address).await?;
    let has_webhooks = connector(&vendor).is_some_and(|connector| connector.inbound().is_some());
    if webhooks.is_some() && !has_webhooks {
        return Err(format!("{vendor} sends no webhooks (--webhooks)").into());
    }
    let fake = fakes::fake(&vendor, webhooks, Secret::new(&webhook_secret)).ok_or("no such stand-in")?;
    let settings = toml::Value::try_from(fake.settings())?;
    let hosted = HostedFake::start(listener, fake, data.as_deref()).map_err(|cause| match &data {
        Some(file) => format!("cannot use the file {} (--data): {cause}", file.display()).into(),
        None => cause,
    })?;
    let url = &hosted.url;
    println!("{vendor} (stand-in): {url}");
    println!();
    println!("A connection of a hub to it:");
    println!();
    println!("[[connections]]");
    println!("name = {vendor:?}");
    println!("connector = {vendor:?}");
    println!("base_url = {url:?}");
    println!("token = \"anything\"");
    if has_webhooks {
        println!("webhook_secrets = [{webhook_secret:?}]");
    }
    println!("settings = {settings}");
    println!();
    println!("The next two requests are answered with a fault after:");
    println!();
    println!("curl {url}{FAULTS} -d '{{\"status\": 429, \"headers\": {{\"Retry-After\": \"5\"}}, \"times\": 2}}'");
    stop.received().await;
    hosted.stop();
    Ok(ExitCode::SUCCESS)
}
