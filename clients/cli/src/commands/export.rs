//! `qpc export`, `/export`: a conversation as an encrypted and signed file.

use std::{path::Path, process::ExitCode};

use clap::Args;
use qpc_sdk::{Client, ConversationInfo, TranscriptReport};
use serde::Serialize;

use super::{
    archive::FileArgs,
    progress::{Shown, unless_interrupted},
};
use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, Target, args, program},
    render::Render,
    settings::Settings,
    show, text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "export",
        about: "Write a conversation to an encrypted file that this device signs",
        after: "Examples:\n  qpc export @bob bob.qpct\n  qpc export club club.qpct --passphrase-file words.txt --json\n\n\
            The passphrase opens the file; without it qpc export-verify still tells whether it is whole and who signed it.\n\
            It has the messages and the names of files, not their content. Nobody else on this machine can read it.",
        args: args::<Export>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["export"],
        form: "/export FILE [--passphrase-file FILE] [--force]",
        about: "write this conversation to FILE, encrypted under a passphrase, which is asked for at a terminal",
        parse: |words| Said::act(Export { target: Target::Open, to: FileArgs::typed(words)? }),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Export {
    /// The conversation: #name, @user, title or id
    target: Target,
    #[command(flatten)]
    to: FileArgs,
}

async fn run(args: Export, settings: Settings) -> anyhow::Result<ExitCode> {
    args.to.check()?;
    let client = Client::open(settings.existing()?).await?;
    let work = async {
        let on = On::new(client.clone(), settings.place()?).await?;
        let info = args.target.find(&on).await?;
        let passphrase = args.to.passphrase(!settings.globals.no_input)?;
        unless_interrupted(args.write(&client, &info, &passphrase, Shown::by(&settings))).await
    };
    let done = work.await;
    client.close().await;
    Render::new(&settings).outcome(&done?);
    Ok(ExitCode::SUCCESS)
}

impl Act for Export {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        self.to.check()?;
        let info = self.target.find(on).await?;
        let passphrase = self.to.passphrase(on.asks)?;
        self.write(&on.client, &info, &passphrase, Shown::Nothing).await
    }
}

#[derive(Serialize)]
struct Exported<'a> {
    file: &'a Path,
    conversation: String,
    #[serde(flatten)]
    report: &'a TranscriptReport,
}

impl Export {
    async fn write(
        &self,
        client: &Client,
        info: &ConversationInfo,
        passphrase: &str,
        shown: Shown,
    ) -> anyhow::Result<Outcome> {
        let mut whole = self.to.begin()?;
        let report = client.export_transcript(info.id, passphrase, whole.out(), &mut shown.messages()).await?;
        whole.finish()?;
        let fields = Exported { file: &self.to.file, conversation: info.id.to_string(), report: &report };
        let line = format!(
            "{}: {} records · {} · {}\nroot    {}",
            show::title(info),
            report.records,
            text::size(report.bytes),
            text::safe(&self.to.file.display().to_string()),
            report.root
        );
        Ok(Outcome::item("qpc.exported/1", &fields, line))
    }
}
