//! `qpc register-user`: an account, and this device as its first one.

use std::process::ExitCode;

use clap::Args;
use qpc_sdk::{Client, ClientOptions, Error};

use super::connect;
use crate::{
    args::FirstRun,
    engine::{Cli, On, Row, Run, args, program},
    records,
    render::Render,
    settings::{Settings, is_device},
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "register-user",
        aliases: &["register"],
        about: "Make an account, with this device as its first one",
        after: "Examples:\n  qpc register-user alice\n  qpc register-user alice --password-file pw.txt --json\n  \
            qpc register-user alice --invite 05K2-…-8PQZ\n\n\
            The password never leaves this device. A name that is taken is exit code 6. A server may want a proof of work, which\n\
            takes some seconds, or an invite (exit code 5 if it is none or no longer one, 7 without), or take nobody (7).",
        args: args::<Register>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Register {
    /// Name of the account: 1 to 64 of a-z 0-9 . _ - and a letter or digit first [default: --username]
    user: Option<String>,
    #[command(flatten)]
    first: FirstRun,
}

async fn run(args: Register, settings: Settings) -> anyhow::Result<ExitCode> {
    let username = match args.user {
        Some(user) => user,
        None => settings.username()?,
    };
    let (folder, render) = (settings.folder(&username)?, Render::new(&settings));
    let new = !is_device(&folder);
    let options = ClientOptions { invite: args.first.invite, ..settings.options(&username)? };
    let client = Client::open(options).await?;
    let done = register(&client, &settings).await;
    if let Ok(on) = &done {
        let (who, stats) = (&on.who, client.stats().await?);
        render.item(&records::identification(who, &stats, &on.place.server));
        render.note(format_args!("store     {}", folder.display()));
        render.note("This device alone has the account: qpc link makes another one, qpc recovery setup codes that bring it back.");
    }
    client.close().await;
    // A store that nobody can use would be in the way of the next try.
    if new && matches!(&done, Err(error) if is_final(error)) {
        std::fs::remove_dir_all(&folder)?;
    }
    done?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the server has refused the name or whoever it is, so that nothing about this device is known to it.
fn is_final(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Error>()
        .is_some_and(|error| matches!(error.root(), Error::NameTaken(_) | Error::NotAdmitted(_)))
}

async fn register(client: &Client, settings: &Settings) -> anyhow::Result<On> {
    if client.whoami().await?.registered {
        return Err(Error::AlreadyRegistered.into());
    }
    connect(client, settings).await?;
    // Others can reach it when its keys are there.
    client.settle(settings.timeout()).await;
    Ok(On::new(client.clone(), settings.place()?).await?)
}
