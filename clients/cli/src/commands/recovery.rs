//! `qpc recovery`, `/recovery`: codes by which an account comes back when all devices are lost.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use qpc_sdk::{Client, Recovery, RecoveryCode};
use serde_json::json;

use super::connect;
use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, args, program},
    exit::Usage,
    password::{self, Asked},
    render::Render,
    settings::{Settings, is_device},
    text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "recovery",
        aliases: &[],
        about: "Make codes by which the account comes back when all its devices are lost, or use one",
        after: "Examples:\n  qpc recovery setup              shows 8 codes, once: write them down\n  qpc recovery status\n  \
            qpc recovery rotate             makes 8 others; the old ones are void\n  \
            qpc recovery restore -u alice --code-file code.txt\n\n\
            restore makes a new device in a new store and asks for a new password. Each code works once. What the other\n\
            devices had is theirs: revoke them with qpc devices rm.",
        args: args::<Arguments>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        mends: false,
    }),
    slash: &[Slash {
        names: &["recovery"],
        form: "/recovery status",
        about: "how many recovery codes are left (qpc recovery setup makes some)",
        parse: |words| match words {
            ["status"] => Said::act(Status),
            _ => None,
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make 8 codes, if there are none
    Setup,
    /// Make 8 others; the ones before are void
    Rotate,
    /// Say how many are left
    Status,
    /// Make a new device of an account by a code
    Restore {
        /// File whose first line is the code [default: asked for]
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
    },
}

async fn run(args: Arguments, settings: Settings) -> anyhow::Result<ExitCode> {
    let render = Render::new(&settings);
    let outcome = match args.action {
        Action::Restore { code_file } => restore(code_file, &settings).await?,
        action => {
            let client = Client::open(settings.existing()?).await?;
            let done = of_account(&client, &action, &settings).await;
            client.close().await;
            done?
        }
    };
    render.outcome(&outcome);
    Ok(ExitCode::SUCCESS)
}

async fn of_account(client: &Client, action: &Action, settings: &Settings) -> anyhow::Result<Outcome> {
    connect(client, settings).await?;
    match action {
        Action::Setup => Ok(codes(&client.recovery_setup().await?)),
        Action::Rotate => Ok(codes(&client.recovery_rotate().await?)),
        Action::Status | Action::Restore { .. } => status(client).await,
    }
}

fn codes(codes: &[RecoveryCode]) -> Outcome {
    let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
    let outcome = Outcome::item("qpc.recovery_codes/1", &json!({ "codes": codes }), codes.join("\n"));
    outcome.note("each of these works once, and brings back the whole account: keep them apart from your devices")
}

async fn status(client: &Client) -> anyhow::Result<Outcome> {
    Ok(match client.recovery_status().await? {
        Some(status) => {
            let fields = json!({
                "codes_left": status.codes_left, "created_at_ms": status.created_at_ms,
                "updated_at_ms": status.updated_at_ms,
            });
            let line = format!("{} codes left, made {}", status.codes_left, text::time(status.created_at_ms));
            Outcome::item("qpc.recovery/1", &fields, line)
        }
        None => {
            let outcome = Outcome::item("qpc.recovery/1", &json!({"codes_left": 0}), "no codes");
            outcome.note("qpc recovery setup makes some")
        }
    })
}

async fn restore(code_file: Option<PathBuf>, settings: &Settings) -> anyhow::Result<Outcome> {
    let username = settings.username()?;
    let folder = settings.folder(&username)?;
    if is_device(&folder) {
        return Err(Usage::DeviceExists(folder).into());
    }
    let typed = match &code_file {
        Some(path) => fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => {
            password::can_ask(settings).map_err(|_| Usage::NoCode)?;
            rpassword::prompt_password("Recovery code: ")?
        }
    };
    let code: RecoveryCode = typed.lines().next().unwrap_or_default().trim().parse().map_err(qpc_sdk::Error::from)?;
    let password = password::find(settings, &username, Asked::New)?;
    let options = settings.client_options(folder, &username, password.clone(), settings.place()?);
    let restored = Recovery::restore(options, &code, password.as_str()).await?;
    let connected = connect(&restored.client, settings).await;
    restored.client.settle(settings.timeout()).await;
    let who = restored.client.whoami().await?;
    restored.client.close().await;
    let fields = json!({
        "username": who.username, "account": who.account.to_string(), "device": who.device.to_string(),
        "codes_left": restored.codes_left,
    });
    let line = format!("{} is back on this device; {} codes left", who.username, restored.codes_left);
    let outcome = Outcome::item("qpc.recovered/1", &fields, line);
    Ok(match connected {
        Ok(()) => outcome,
        Err(error) => outcome.note(format!("not connected yet ({error}); the next command goes on with it")),
    })
}

/// What the chat does.
#[derive(Debug)]
struct Status;

impl Act for Status {
    const NEEDS: Needs = Needs::Connection;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        status(&on.client).await
    }
}
