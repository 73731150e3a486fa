//! `qpc export`, `/export`: a conversation as an encrypted and signed file.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use qpc_sdk::{Client, ConversationInfo, TranscriptReport};
use serde::Serialize;

use super::{
    archive::{PassphraseArgs, Whole, check_free},
    progress::{Shown, unless_interrupted},
};
use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, Target, args, program},
    password::Asked,
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
        form: "/export FILE",
        about: "write this conversation to FILE, encrypted under a passphrase that is asked for",
        parse: |words| match words {
            [] => None,
            words => Said::act(Export {
                target: Target::Open,
                file: PathBuf::from(words.join(" ")),
                passphrase: PassphraseArgs::default(),
                force: false,
            }),
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Export {
    /// The conversation: #name, @user, title or id
    target: Target,
    /// Where to write it
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Replace a file of that name
    #[arg(long)]
    force: bool,
}

async fn run(args: Export, settings: Settings) -> anyhow::Result<ExitCode> {
    check_free(&args.file, args.force)?;
    let client = Client::open(settings.existing()?).await?;
    let work = async {
        let on = On::new(client.clone(), settings.place()?).await?;
        let info = args.target.find(&on).await?;
        let passphrase = args.passphrase.find(!settings.globals.no_input, Asked::New)?;
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
        check_free(&self.file, self.force)?;
        let info = self.target.find(on).await?;
        let passphrase = self.passphrase.find(true, Asked::New)?;
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
        let mut whole = Whole::begin(&self.file, self.force)?;
        let report = client.export_transcript(info.id, passphrase, whole.out(), &mut shown.messages()).await?;
        whole.finish()?;
        let fields = Exported { file: &self.file, conversation: info.id.to_string(), report: &report };
        let line = format!(
            "{}: {} records · {} · {}\nroot    {}",
            show::title(info),
            report.records,
            text::size(report.bytes),
            text::safe(&self.file.display().to_string()),
            report.root
        );
        Ok(Outcome::item("qpc.exported/1", &fields, line))
    }
}
