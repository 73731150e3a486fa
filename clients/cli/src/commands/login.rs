//! `qpc login`: a new session of this device.

use std::process::ExitCode;

use clap::Args;
use qpc_sdk::Client;

use super::connect;
use crate::{
    engine::{Cli, Row, Run, args, program},
    records,
    render::Render,
    settings::Settings,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "login",
        about: "Prove the password to the server, and begin a new session of this device",
        after: "Examples:\n  qpc login alice\n  qpc login -u alice --password-file pw.txt\n\n\
            Every command logs in by itself when it has to. On a machine that has no device of the account yet, qpc link\n\
            makes one.",
        args: args::<Login>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Login {
    /// Name of the account [default: --username]
    user: Option<String>,
}

async fn run(args: Login, mut settings: Settings) -> anyhow::Result<ExitCode> {
    if args.user.is_some() {
        settings.globals.username = args.user;
    }
    let client = Client::open(settings.existing()?).await?;
    let done = log_in(&client, &settings).await;
    client.close().await;
    done?;
    Ok(ExitCode::SUCCESS)
}

async fn log_in(client: &Client, settings: &Settings) -> anyhow::Result<()> {
    client.login().await?;
    connect(client, settings).await?;
    let (who, stats) = (client.whoami().await?, client.stats().await?);
    Render::new(settings).item(&records::identification(&who, &stats, &settings.server()));
    Ok(())
}
