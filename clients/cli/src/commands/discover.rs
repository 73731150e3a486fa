//! `qpc discover`: servers on the local network.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use qpc_sdk::{Found, discover};
use serde_json::{Value, json};

use crate::{
    console,
    engine::{Cli, Item, Row, Run, args, program},
    render::Render,
    settings::Settings,
    text,
};

/// Exit code when there is nobody.
const NOBODY: u8 = 5;

/// How long to listen.
#[derive(Args)]
struct DiscoverArgs {
    /// Seconds to listen
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
}

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "discover",
        about: "Servers that announce themselves on the local network",
        after: "Examples:\n  \
            qpc discover\n  \
            qpc discover --seconds 10 --json | jq -r .addresses[0]\n\n\
            Anybody can announce anything: compare the certificate (sha256sum of its DER form) before you trust it.",
        args: args::<DiscoverArgs>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

async fn run(args: DiscoverArgs, settings: Settings) -> anyhow::Result<ExitCode> {
    let render = Render::new(&settings);
    let found = discover(Duration::from_secs(args.seconds)).await?;
    for server in &found {
        render.item(&Item::new("qpc.server/1", &fields(server), line(server)));
    }
    if found.is_empty() {
        console::complain("no server has announced itself");
        return Ok(ExitCode::from(NOBODY));
    }
    Ok(ExitCode::SUCCESS)
}

fn fields(server: &Found) -> Value {
    json!({
        "name": server.name,
        "addresses": server.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "version": server.version,
        "domain": server.domain,
        "fingerprint": server.fingerprint,
    })
}

fn line(server: &Found) -> String {
    let addresses = server.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let said = |value: &Option<String>| value.as_deref().map_or_else(|| "?".to_owned(), text::label);
    let (name, domain) = (text::label(&server.name), said(&server.domain));
    let (version, fingerprint) = (said(&server.version), said(&server.fingerprint));
    format!("{addresses}  {domain}  {name}  version {version}  certificate {fingerprint}")
}
