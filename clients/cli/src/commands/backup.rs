//! `qpc backup`, `/backup`: the account as an encrypted file.

use std::process::ExitCode;

use clap::Args;
use qpc_sdk::Client;
use serde_json::json;

use super::{
    archive::FileArgs,
    progress::{Shown, unless_interrupted},
};
use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, args, program},
    render::Render,
    settings::Settings,
    text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "backup",
        about: "Write the account to an encrypted file: its key, people, conversations and notes",
        after: "Examples:\n  qpc backup alice.qpcb\n  qpc backup alice.qpcb --passphrase-file words.txt\n\n\
            Whoever has the file and its passphrase is this account. qpc restore makes a further device of it. Nobody else\n\
            on this machine can read it.",
        args: args::<Backup>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["backup"],
        form: "/backup FILE [--passphrase-file FILE] [--force]",
        about: "write this account to FILE, encrypted under a passphrase, which is asked for at a terminal",
        parse: |words| Said::act(Backup { to: FileArgs::typed(words)? }),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Backup {
    #[command(flatten)]
    to: FileArgs,
}

async fn run(args: Backup, settings: Settings) -> anyhow::Result<ExitCode> {
    args.to.check()?;
    let client = Client::open(settings.existing()?).await?;
    let work = async {
        let passphrase = args.to.passphrase(!settings.globals.no_input)?;
        unless_interrupted(args.write(&client, &passphrase, Shown::by(&settings))).await
    };
    let done = work.await;
    client.close().await;
    Render::new(&settings).outcome(&done?);
    Ok(ExitCode::SUCCESS)
}

impl Act for Backup {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        self.to.check()?;
        let passphrase = self.to.passphrase(on.asks)?;
        self.write(&on.client, &passphrase, Shown::Nothing).await
    }
}

impl Backup {
    async fn write(&self, client: &Client, passphrase: &str, shown: Shown) -> anyhow::Result<Outcome> {
        let mut whole = self.to.begin()?;
        let report = client.backup(passphrase, whole.out(), &mut shown.messages()).await?;
        whole.finish()?;
        let fields = json!({
            "file": self.to.file, "username": report.username, "account": report.account.to_string(),
            "made_at_ms": report.made_at_ms, "messages": report.messages, "bytes": report.bytes,
        });
        let path = text::safe(&self.to.file.display().to_string());
        let line = format!("{}: {} messages · {} · {path}", report.username, report.messages, text::size(report.bytes));
        Ok(Outcome::item("qpc.backup/1", &fields, line))
    }
}
