//! `qpc exit-codes`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::{
    engine::{Cli, Item, Row, Run, args, program},
    exit::CODES,
    render::Render,
    settings::Settings,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "exit-codes",
        about: "List the exit codes and what they mean",
        after: "Example:\n  qpc exit-codes --json",
        args: args::<ExitCodes>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct ExitCodes {}

async fn run(_: ExitCodes, settings: Settings) -> anyhow::Result<ExitCode> {
    let render = Render::new(&settings);
    for (code, name, meaning) in CODES {
        let fields = json!({"code": code, "name": name, "meaning": meaning});
        render.item(&Item::new("qpc.exit_code/1", &fields, format!("{code:>3}  {name:<20} {meaning}")));
    }
    Ok(ExitCode::SUCCESS)
}
