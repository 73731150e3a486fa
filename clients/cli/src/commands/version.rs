//! `qpc version`, `/version`.

use std::process::ExitCode;

use clap::Args;
use qpc_sdk::Suite;
use serde_json::json;

use crate::{
    engine::{Act, Cli, Item, Needs, On, Outcome, Row, Run, Said, Slash, args, program},
    render::Render,
    settings::Settings,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "version",
        about: "Say which version this is, and what it speaks",
        after: "Example:\n  qpc version --json",
        args: args::<Version>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["version"],
        form: "/version",
        about: "which version this is",
        parse: |words| words.is_empty().then(|| Said::act(Version {})).flatten(),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Version {}

async fn run(_: Version, settings: Settings) -> anyhow::Result<ExitCode> {
    Render::new(&settings).item(&item());
    Ok(ExitCode::SUCCESS)
}

impl Act for Version {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, _: &On) -> anyhow::Result<Outcome> {
        Ok(item().into())
    }
}

fn item() -> Item {
    let version = env!("CARGO_PKG_VERSION");
    let suites = [Suite::Hybrid, Suite::Classic].map(|suite| suite.to_string());
    let line = format!("qpc {version}\nsuites    {}", suites.join(", "));
    Item::new("qpc.version/1", &json!({"version": version, "suites": suites}), line)
}
