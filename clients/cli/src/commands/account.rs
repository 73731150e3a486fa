//! `qpc delete-account`, `qpc export-account`: the end of an account, and all that is kept of it.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use qpc_sdk::{Client, ExportOptions};
use serde_json::json;

use super::{
    archive::{Whole, check_free},
    connect, logout,
    progress::unless_interrupted,
};
use crate::{
    engine::{Cli, Item, Outcome, Row, Run, args, program},
    exit::Usage,
    render::Render,
    settings::Settings,
    text,
};

pub(crate) const DELETE: Row = Row {
    cli: Some(Cli {
        name: "delete-account",
        aliases: &[],
        about: "Delete the account for good, with everything that the server keeps of it",
        after: "Examples:\n  qpc delete-account -u alice\n  qpc delete-account -u alice --yes-delete alice --wipe\n\n\
            All devices are logged out within seconds, conversations are left, and the name is given to nobody again. At a\n\
            terminal the name has to be typed, elsewhere --yes-delete has to say it. The store of this device stays and can\n\
            be read, unless --wipe removes it as well (or, later, qpc logout --wipe).",
        args: args::<Delete>,
        run: Run::Program(|matches, settings| program(&matches, settings, delete)),
        mends: false,
    }),
    slash: &[],
};

pub(crate) const EXPORT: Row = Row {
    cli: Some(Cli {
        name: "export-account",
        aliases: &[],
        about: "Write everything that this device and the server keep of the account, as JSON",
        after: "Examples:\n  qpc export-account alice.json\n  qpc export-account - | jq .server\n\n\
            The file holds messages in clear; nobody else on this machine can read it. Without --keys it holds no key.",
        args: args::<Export>,
        run: Run::Program(|matches, settings| program(&matches, settings, export)),
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Delete {
    /// The name of the account, so that it is no slip [default: ask]
    #[arg(long, value_name = "NAME")]
    yes_delete: Option<String>,
    /// Delete the store of this device, too
    #[arg(long)]
    wipe: bool,
}

/// Its arguments.
#[derive(Args, Debug)]
struct Export {
    /// Where to; - for standard output
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// The account key as well: whoever has it is this account
    #[arg(long)]
    keys: bool,
    /// Replace a file of that name
    #[arg(long)]
    force: bool,
}

async fn delete(args: Delete, settings: Settings) -> anyhow::Result<ExitCode> {
    let options = settings.existing()?;
    let (username, folder) = (options.username.clone(), options.data.clone());
    let given = match args.yes_delete {
        Some(given) => given,
        None => {
            let question = format!("Delete {username} for good, on all devices and at the server? Type the name: ");
            logout::typed(&settings, &question).map_err(|_| Usage::NotNamed)?
        }
    };
    if given != username {
        return Err(Usage::OtherName { given, of: username }.into());
    }
    let password = options.password.clone();
    let client = Client::open(options).await?;
    let done = async {
        connect(&client, &settings).await?;
        client.delete_account(&password).await.map_err(anyhow::Error::from)
    };
    let done = done.await;
    client.close().await;
    done?;
    if args.wipe {
        logout::wipe(&folder)?;
    }
    let left = if args.wipe { "nothing is left here" } else { "what was written stays here: qpc logout --wipe" };
    let fields = json!({ "username": username, "wiped": args.wipe });
    let line = format!("{username} is deleted; {left}");
    Render::new(&settings).outcome(&Outcome::item("qpc.deleted/1", &fields, line));
    Ok(ExitCode::SUCCESS)
}

async fn export(args: Export, settings: Settings) -> anyhow::Result<ExitCode> {
    let to_stdout = args.file.as_os_str() == "-";
    if !to_stdout {
        check_free(&args.file, args.force)?;
    }
    let client = Client::open(settings.existing()?).await?;
    let done = async {
        connect(&client, &settings).await?;
        let options = ExportOptions { keys: args.keys };
        if to_stdout {
            return Ok(client.export_account(options, &mut std::io::stdout()).await?);
        }
        let write = async {
            let mut whole = Whole::begin(&args.file, args.force)?;
            client.export_account(options, whole.out()).await?;
            Ok(whole.finish()?)
        };
        unless_interrupted(write).await
    };
    let done: anyhow::Result<()> = done.await;
    let who = client.whoami().await;
    client.close().await;
    done?;
    if !to_stdout {
        let fields = json!({ "file": args.file, "username": who?.username, "keys": args.keys });
        let path = text::safe(&args.file.display().to_string());
        let what = if args.keys { "with the keys: whoever has it is this account" } else { "without keys" };
        Render::new(&settings).item(&Item::new("qpc.account_export/1", &fields, format!("{path} · {what}")));
    }
    Ok(ExitCode::SUCCESS)
}
