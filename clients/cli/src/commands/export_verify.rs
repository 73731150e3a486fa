//! `qpc export-verify`, `/export-verify`: whether the file of a conversation is as it was signed, and what stands in it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use qpc_sdk::{
    ArchiveError, Damage, TranscriptEntry, TranscriptMessage, TranscriptReport, read_transcript, verify_transcript,
};
use serde::Serialize;

use super::archive::PassphraseArgs;
use crate::{
    engine::{Act, Cli, Item, Needs, On, Outcome, Row, Run, Said, Slash, args, program},
    exit,
    password::Asked,
    render::Render,
    settings::Settings,
    text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "export-verify",
        about: "Check the file of qpc export; needs no account, no server and no passphrase",
        after: "Examples:\n  qpc export-verify bob.qpct\n  qpc export-verify bob.qpct --decrypt --json | jq .text\n\n\
            It tells that nothing was changed since a device of that account signed it, not that others wrote what the\n\
            device says: compare the account key. What is damaged is named by its record and byte.\n\n\
            Exit codes: 0 it is whole, 3 wrong passphrase, 8 it is damaged, 10 it is no such file",
        args: args::<Verify>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: true,
    }),
    slash: &[Slash {
        names: &["export-verify"],
        form: "/export-verify FILE",
        about: "whether FILE of /export is as it was signed",
        parse: |words| match words {
            [] => None,
            words => Said::act(Verify {
                file: PathBuf::from(words.join(" ")),
                decrypt: false,
                passphrase: PassphraseArgs::default(),
            }),
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Verify {
    /// The file
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Open it with its passphrase, and print what stands in it
    #[arg(long)]
    decrypt: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

async fn run(args: Verify, settings: Settings) -> anyhow::Result<ExitCode> {
    let render = Render::new(&settings);
    let outcome = if args.decrypt {
        let file = open(&args.file)?;
        let passphrase = args.passphrase.find(!settings.globals.no_input, Asked::Known)?;
        let print = |entry| -> Result<(), ArchiveError> { Ok(render.try_item(&item(&entry))?) };
        judge(&args.file, read_transcript(file, &passphrase, print))?
    } else {
        verify(&args.file)?
    };
    render.outcome(&outcome);
    Ok(ExitCode::from(outcome.code))
}

impl Act for Verify {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, _: &On) -> anyhow::Result<Outcome> {
        verify(&self.file)
    }
}

fn verify(path: &Path) -> anyhow::Result<Outcome> {
    judge(path, verify_transcript(open(path)?))
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).map_err(ArchiveError::from).with_context(|| path.display().to_string())
}

/// Where a file is not as it was written.
#[derive(Serialize)]
struct Damaged {
    part: &'static str,
    record: Option<u64>,
    offset: u64,
    what: String,
}

#[derive(Serialize)]
struct Verdict<'a> {
    file: &'a Path,
    whole: bool,
    damage: Vec<Damaged>,
    #[serde(flatten)]
    report: Option<&'a TranscriptReport>,
}

fn judge(path: &Path, read: Result<TranscriptReport, ArchiveError>) -> anyhow::Result<Outcome> {
    let shown = text::safe(&path.display().to_string());
    match read {
        Ok(report) => {
            let verdict = Verdict { file: path, whole: true, damage: Vec::new(), report: Some(&report) };
            Ok(Outcome::item("qpc.export_report/1", &verdict, whole(&shown, &report)))
        }
        Err(ArchiveError::Damaged { records, offset, what }) => {
            let part = part(what, offset);
            let record = (part == "record").then_some(records);
            let place = record.map_or_else(|| format!("its {part}"), |record| format!("record {record}"));
            let line = format!("⚠ {shown} is damaged: {place}, at byte {offset}: {what}");
            let damage = vec![Damaged { part, record, offset, what: what.to_string() }];
            let verdict = Verdict { file: path, whole: false, damage, report: None };
            let outcome = Outcome::item("qpc.export_report/1", &verdict, line);
            Ok(Outcome { code: exit::VERIFICATION, ..outcome })
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Which part of a file a damage is in.
fn part(what: Damage, offset: u64) -> &'static str {
    match what {
        Damage::Cut if offset == 0 => "head",
        Damage::Head | Damage::Certificate(_) => "head",
        Damage::Count | Damage::Root | Damage::Proof | Damage::Tail => "end",
        Damage::Cut | Damage::Length | Damage::Chain | Damage::Sealed => "record",
    }
}

fn whole(path: &str, report: &TranscriptReport) -> String {
    [
        format!("{path} is whole: {} records · {}", report.records, text::size(report.bytes)),
        format!("made      {}, by the clock of who made it", text::time(report.made_at_ms)),
        format!("account   {}", report.account),
        format!("key       {}", report.account_key),
        format!("device    {}", report.device),
        format!("root      {}", report.root),
    ]
    .join("\n")
}

/// A record of a transcript.
fn item(entry: &TranscriptEntry) -> Item {
    let line = match entry {
        TranscriptEntry::Conversation { kind, name, told_by, messages, .. } => {
            format!("{} · {kind} · {messages} messages, as {} has them", text::label(name), text::label(told_by))
        }
        TranscriptEntry::Message(message) => line(message),
        TranscriptEntry::Unknown => "(a record of a later version)".to_owned(),
    };
    Item::new("qpc.export_entry/1", entry, line)
}

fn line(message: &TranscriptMessage) -> String {
    let name = message.name.as_deref().map(text::label);
    let mut line = format!("{} {}: ", text::time(message.sent_at_ms), text::name(name.as_deref(), &message.account));
    match message.kind.as_str() {
        "deleted" => line.push_str("(deleted)"),
        "unknown" => line.push_str("(of a later version)"),
        _ => line.push_str(&text::safe(&message.text)),
    }
    if message.edited_at_ms.is_some() {
        line.push_str(" (edited)");
    }
    for file in &message.files {
        line.push_str(&format!(" [{}, {}]", text::label(&file.name), text::size(file.size)));
    }
    for (sign, accounts) in &message.reactions {
        line.push_str(&format!(" {} {}", text::label(sign), accounts.len()));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_named_by_its_place() {
        let read = |what| Err(ArchiveError::Damaged { records: 3, offset: 1234, what });
        let outcome = judge(Path::new("a.qpct"), read(Damage::Chain)).unwrap();
        assert_eq!(outcome.code, exit::VERIFICATION);
        let (item, damage) = (&outcome.items[0], &outcome.items[0].fields["damage"][0]);
        assert_eq!(item.text, "⚠ a.qpct is damaged: record 3, at byte 1234: it is not what was written there");
        assert_eq!((damage["record"].as_u64(), damage["offset"].as_u64()), (Some(3), Some(1234)));
        let end = judge(Path::new("a.qpct"), read(Damage::Proof)).unwrap();
        assert!(end.items[0].text.contains("its end, at byte 1234"), "{}", end.items[0].text);
        assert!(end.items[0].fields["damage"][0]["record"].is_null());
    }

    #[test]
    fn a_file_that_is_none_has_another_code() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "dear bob, this is a letter and no transcript").unwrap();
        for path in [file.path(), Path::new("/nowhere/at/all")] {
            let error = verify(path).unwrap_err();
            assert_eq!(exit::code(&error), 10, "{error:#}");
        }
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let conversation = TranscriptEntry::Conversation {
            id: String::new(),
            kind: "group",
            name: "a\u{1b}[2J".into(),
            told_by: "b\u{202e}".into(),
            messages: 2,
        };
        assert_eq!(item(&conversation).text, "a·[2J · group · 2 messages, as b· has them");
    }
}
