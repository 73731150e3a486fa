//! `qpc discover`: servers on the local network.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use qpc_sdk::{Found, discover};
use serde_json::json;

use crate::{console, text};

/// Exit code when there is nobody.
const NOBODY: u8 = 5;

/// How long to listen.
#[derive(Args)]
pub(crate) struct DiscoverArgs {
    /// Seconds to listen
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// One JSON object for each server, a line each
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: DiscoverArgs) -> anyhow::Result<ExitCode> {
    let found = discover(Duration::from_secs(args.seconds)).await?;
    for server in &found {
        if args.json { console::say(as_json(server)) } else { console::say(line(server)) }
    }
    if found.is_empty() {
        console::complain("no server has announced itself");
        return Ok(ExitCode::from(NOBODY));
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(server: &Found) -> String {
    json!({
        "name": server.name,
        "addresses": server.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "version": server.version,
        "domain": server.domain,
        "fingerprint": server.fingerprint,
    })
    .to_string()
}

fn line(server: &Found) -> String {
    let addresses = server.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let said = |value: &Option<String>| value.as_deref().map_or_else(|| "?".to_owned(), text::label);
    let (name, domain) = (text::label(&server.name), said(&server.domain));
    let (version, fingerprint) = (said(&server.version), said(&server.fingerprint));
    format!("{addresses}  {domain}  {name}  version {version}  certificate {fingerprint}")
}
