//! `qpc delete-account`, `qpc export-account`: the end of an account, and all that is kept of it.

use std::{fs::File, io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use qpc_sdk::{Client, ExportOptions};
use serde_json::json;

use super::connect;
use crate::{
    console,
    engine::{Cli, Outcome, Row, Run, args, program},
    exit::Usage,
    render::Render,
    settings::Settings,
};

pub(crate) const DELETE: Row = Row {
    cli: Some(Cli {
        name: "delete-account",
        aliases: &[],
        about: "Delete the account for good, with everything that the server keeps of it",
        after: "Example:\n  qpc delete-account -u alice --yes-delete alice\n\n\
            All devices are logged out within seconds, conversations are left, and the name is given to nobody again. The\n\
            store of this device stays: qpc logout --wipe removes it.",
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
            The file holds messages in clear. Without --keys it holds no key.",
        args: args::<Export>,
        run: Run::Program(|matches, settings| program(&matches, settings, export)),
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Delete {
    /// The name of the account, so that it is no slip
    #[arg(long, value_name = "NAME")]
    yes_delete: String,
}

/// Its arguments.
#[derive(Args, Debug)]
struct Export {
    /// Where to; - for standard output
    file: PathBuf,
    /// The account key as well: whoever has it is this account
    #[arg(long)]
    keys: bool,
}

async fn delete(args: Delete, settings: Settings) -> anyhow::Result<ExitCode> {
    let options = settings.existing()?;
    if args.yes_delete != options.username {
        return Err(Usage::OtherName { given: args.yes_delete, of: options.username }.into());
    }
    let password = options.password.clone();
    let client = Client::open(options).await?;
    let done = async {
        connect(&client, &settings).await?;
        client.delete_account(&password).await.map_err(anyhow::Error::from)
    };
    let (done, who) = (done.await, client.whoami().await);
    client.close().await;
    done?;
    let name = who?.username;
    Render::new(&settings).outcome(&Outcome::item(
        "qpc.deleted/1",
        &json!({ "username": name }),
        format!("{name} is deleted"),
    ));
    Ok(ExitCode::SUCCESS)
}

async fn export(args: Export, settings: Settings) -> anyhow::Result<ExitCode> {
    let client = Client::open(settings.existing()?).await?;
    let to_stdout = args.file.as_os_str() == "-";
    let done = async {
        connect(&client, &settings).await?;
        let options = ExportOptions { keys: args.keys };
        if to_stdout {
            client.export_account(options, &mut std::io::stdout()).await?;
        } else {
            let mut file = File::create_new(&args.file).with_context(|| args.file.display().to_string())?;
            client.export_account(options, &mut file).await?;
            file.flush()?;
        }
        anyhow::Ok(())
    };
    let done = done.await;
    client.close().await;
    done?;
    if !to_stdout {
        console::complain(format_args!("written to {}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}
