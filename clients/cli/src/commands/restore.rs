//! `qpc restore`: a new device of an account, from its backup.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use qpc_sdk::{BackupReport, Client, ClientOptions, restore_backup};
use serde_json::json;

use super::{archive::PassphraseArgs, connect, progress::Shown};
use crate::{
    engine::{Cli, Outcome, Row, Run, args, program},
    exit::{self, Usage},
    password::{self, Asked},
    render::Render,
    settings::{Settings, is_device},
    text,
};

/// Exit code of a login that is refused.
const LOGIN: u8 = 3;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "restore",
        about: "Make this a new device of an account, from the file of qpc backup",
        after: "Examples:\n  qpc restore alice.qpcb -u alice\n  qpc restore alice.qpcb -u alice --passphrase-file words.txt --data-dir here\n\n\
            It takes the passphrase of the file, and the password of the account for the server. What was written since the\n\
            backup comes from the other devices; the device that made it, if it is lost, is to be revoked (qpc devices rm).\n\n\
            Exit codes: 3 wrong passphrase or password, 6 there is a device already, or the backup is of another account,\n\
            8 the file is damaged, 10 it is no backup",
        args: args::<Restore>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Restore {
    /// The file
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

async fn run(args: Restore, settings: Settings) -> anyhow::Result<ExitCode> {
    let username = settings.username()?;
    let folder = settings.folder(&username)?;
    if is_device(&folder) {
        return Err(Usage::DeviceExists(folder).into());
    }
    let place = settings.place()?;
    let file = File::open(&args.file).with_context(|| args.file.display().to_string())?;
    let passphrase = args.passphrase.find(!settings.globals.no_input, Asked::Known)?;
    // The account has one, so that nobody is to choose it.
    let password = password::find(&settings, &username, Asked::Known)?;
    let options = settings.client_options(folder.clone(), &username, password, place);
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let restored = restore_backup(file, &passphrase, &options, Shown::by(&settings).messages()).await;
    let report = restored.with_context(|| args.file.display().to_string())?;
    let done = begin(options, &settings).await;
    // A store that the server knows nothing of, under a password that is not its, would be in the way of the next try.
    if done.as_ref().is_err_and(|error| exit::code(error) == LOGIN) {
        fs::remove_dir_all(&folder)?;
        done?;
        return Ok(ExitCode::from(LOGIN));
    }
    Render::new(&settings).outcome(&tell(&report, &folder, done.as_ref().ok().map(String::as_str)));
    done?;
    Ok(ExitCode::SUCCESS)
}

/// Logs in, and lets the device come into its groups. Returns its id.
async fn begin(options: ClientOptions, settings: &Settings) -> anyhow::Result<String> {
    let client = Client::open(options).await?;
    let done = match connect(&client, settings).await {
        Ok(()) => {
            client.settle(settings.timeout()).await;
            client.whoami().await.map(|who| who.device.to_string()).map_err(Into::into)
        }
        Err(error) => Err(error),
    };
    client.close().await;
    done
}

fn tell(report: &BackupReport, folder: &Path, device: Option<&str>) -> Outcome {
    let fields = json!({
        "username": report.username, "account": report.account.to_string(), "device": device, "store": folder,
        "made_at_ms": report.made_at_ms, "messages": report.messages, "bytes": report.bytes,
    });
    let line = format!("{}: {} messages as of {}", report.username, report.messages, text::time(report.made_at_ms));
    let outcome = Outcome::item("qpc.restored/1", &fields, line).note(format!("store     {}", folder.display()));
    match device {
        Some(_) => outcome,
        None => outcome.note("it is all here; the next command that reaches the server logs this device in"),
    }
}
