//! `qpc logout`: the end of a session, and with `--wipe` of everything here.

use std::{fs, io::Write as _, path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use qpc_sdk::Client;
use serde_json::json;

use super::connect;
use crate::{
    console::complain,
    engine::{Cli, Item, Row, Run, args, program},
    exit::Usage,
    password,
    render::Render,
    settings::Settings,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "logout",
        about: "End the session of this device at the server",
        after: "Examples:\n  qpc logout\n  qpc logout --wipe\n\n\
            Without --wipe everything stays here, and the next command logs in again. With it, conversations, keys and what\n\
            was not sent yet are gone from this device; other devices of the account keep theirs (qpc devices rm also\n\
            takes this one out of the groups).",
        args: args::<Logout>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Logout {
    /// Delete the store of this device
    #[arg(long)]
    wipe: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

async fn run(args: Logout, settings: Settings) -> anyhow::Result<ExitCode> {
    let options = settings.existing()?;
    let (username, folder) = (options.username.clone(), options.data.clone());
    if args.wipe && !args.yes {
        confirm(&settings, &username)?;
    }
    let client = Client::open(options).await?;
    let ended = log_out(&client, &settings).await;
    client.close().await;
    if args.wipe {
        if let Err(error) = &ended {
            complain(format_args!("qpc: the session at the server stays until it expires: {error:#}"));
        }
        wipe(&folder)?;
    } else {
        ended?;
    }
    let done =
        if args.wipe { "logged out, and nothing is left here" } else { "logged out; what was written stays here" };
    let fields = json!({"username": username, "wiped": args.wipe});
    Render::new(&settings).item(&Item::new("qpc.logout/1", &fields, format!("{username}: {done}")));
    Ok(ExitCode::SUCCESS)
}

async fn log_out(client: &Client, settings: &Settings) -> anyhow::Result<()> {
    connect(client, settings).await?;
    Ok(client.log_out().await?)
}

fn confirm(settings: &Settings, username: &str) -> anyhow::Result<()> {
    const WHAT: &str = "everything of this device would be deleted";
    let question = format!("Delete all that this device has of {username}? It cannot be undone. Type the name: ");
    let answer = typed(settings, &question).map_err(|_| Usage::NotConfirmed(WHAT))?;
    if answer == username { Ok(()) } else { Err(Usage::NotConfirmed(WHAT).into()) }
}

/// What a person at a terminal answers to a question.
pub(super) fn typed(settings: &Settings, question: &str) -> anyhow::Result<String> {
    password::can_ask(settings)?;
    let mut err = std::io::stderr();
    write!(err, "{question}")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Deletes a store and nothing else that may be in its folder.
pub(super) fn wipe(folder: &Path) -> anyhow::Result<()> {
    // The key first: without it the rest is noise, should this be interrupted.
    for name in ["store.key", "store.db", "store.db-wal", "store.db-shm", "store.lock"] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot delete {}", folder.join(name).display()));
            }
            _ => {}
        }
    }
    // Whatever else is in it was not ours.
    let _ = fs::remove_dir(folder);
    Ok(())
}
