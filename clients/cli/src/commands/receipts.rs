//! `qpc receipts`: the server's word, taken away and checked.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use qpc_sdk::{
    ChainReport, Client, Error, Excused, Finding, ReceiptFile, ReceiptFileError, ReceiptReport, verify_receipts,
};
use serde_json::json;

use crate::{
    console::complain,
    engine::{Act, Cli, Item, Needs, On, Outcome, Row, Run, Said, Slash, args, program},
    exit,
    render::Render,
    settings::Settings,
};

/// Findings that are told; `--json` has all.
const MAX_TOLD: usize = 100;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "receipts",
        about: "Take the server's receipts away, and check them without it",
        after: "Examples:\n  qpc receipts export -u alice -o alice.receipts\n  \
            qpc receipts verify alice.receipts bob.receipts",
        args: args::<Receipts>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["receipts"],
        form: "/receipts FILE",
        about: "write the server's receipts to FILE, for qpc receipts verify",
        parse: |words| match words {
            [] => None,
            words => Said::act(Export { output: PathBuf::from(words.join(" ")) }),
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Receipts {
    #[command(subcommand)]
    action: ReceiptsAction,
}

/// What to do with receipts.
#[derive(Subcommand, Debug)]
enum ReceiptsAction {
    /// Write all receipts of this device: of what it sent, and of what it was given
    #[command(after_help = "Example:\n  qpc receipts export -u alice -o alice.receipts\n\n\
        A file tells who was in touch when; it holds nothing of what was written.")]
    Export {
        /// Where to write them [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check files of receipts, each alone and all against each other; needs no server and no password
    #[command(after_help = "Examples:\n  \
        qpc receipts verify alice.receipts bob.receipts\n  \
        qpc receipts verify --json alice.receipts | jq .findings\n\n\
        Exit codes: 0 nothing is wrong, 8 there are findings, 10 a file cannot be read")]
    Verify {
        /// Files that `qpc receipts export` wrote
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

async fn run(args: Receipts, settings: Settings) -> anyhow::Result<ExitCode> {
    match args.action {
        ReceiptsAction::Export { output } => export(output.as_deref(), &settings).await,
        ReceiptsAction::Verify { files } => verify(&files, &Render::new(&settings)),
    }
}

async fn export(output: Option<&Path>, settings: &Settings) -> anyhow::Result<ExitCode> {
    let client = Client::open(settings.existing()?).await?;
    let written = match output {
        Some(path) => to_file(&client, path).await,
        None => client.export_receipts(&mut io::stdout()).await.map_err(anyhow::Error::from),
    };
    client.close().await;
    let written = written?;
    match output {
        Some(path) => Render::new(settings).outcome(&exported(path, written)),
        None => complain(format_args!("{written} receipts written")),
    }
    Ok(ExitCode::SUCCESS)
}

fn exported(path: &Path, count: usize) -> Outcome {
    let fields = json!({"file": path, "receipts": count});
    Outcome::item("qpc.receipts_exported/1", &fields, format!("{count} receipts written to {}", path.display()))
}

/// What the chat does.
#[derive(Debug)]
struct Export {
    output: PathBuf,
}

impl Act for Export {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        Ok(exported(&self.output, to_file(&on.client, &self.output).await?))
    }
}

async fn to_file(client: &Client, path: &Path) -> anyhow::Result<usize> {
    let file_error = |source| Error::Io { path: path.to_owned(), source };
    let mut file = BufWriter::new(File::create(path).map_err(file_error)?);
    let count = client.export_receipts(&mut file).await.with_context(|| path.display().to_string())?;
    file.flush().map_err(file_error)?;
    Ok(count)
}

fn verify(files: &[PathBuf], render: &Render) -> anyhow::Result<ExitCode> {
    let files = files.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let report = verify_receipts(&files);
    render.item(&Item::new("qpc.receipts_report/1", &report, tell(files.len(), &report).join("\n")));
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::VERIFICATION) })
}

fn read(path: &Path) -> anyhow::Result<ReceiptFile> {
    let file = File::open(path).map_err(ReceiptFileError::from);
    file.and_then(|file| ReceiptFile::read(BufReader::new(file))).with_context(|| path.display().to_string())
}

/// What there is to say, a line each.
fn tell(files: usize, report: &ReceiptReport) -> Vec<String> {
    let mut lines = vec![format!("{files} files, {} receipts, {} groups", report.receipts, report.chains.len())];
    lines.extend(report.chains.iter().map(chain));
    lines.extend(report.excused.iter().take(MAX_TOLD).map(excused));
    lines.extend(report.findings.iter().take(MAX_TOLD).map(|finding| format!("⚠ {}", sentence(finding))));
    let more = report.findings.len().saturating_sub(MAX_TOLD);
    if more > 0 {
        lines.push(format!("… and {more} more; --json has all"));
    }
    lines.push(match report.findings.len() {
        0 => "Nothing is wrong: the server has kept its word, as far as these files go.".to_owned(),
        count => format!("{count} findings: the server, or whoever wrote a file, has not kept its word."),
    });
    lines
}

fn chain(chain: &ChainReport) -> String {
    let length = chain.last.saturating_sub(chain.first) + 1;
    let all = if chain.places as u64 == length { "all" } else { "not all" };
    let (group, first, last) = (short(&chain.group), chain.first, chain.last);
    format!("  group {group}: places {first} to {last}, {all} of them in some file ({})", chain.places)
}

fn excused(excused: &Excused) -> String {
    let (group, device) = (short(&excused.group), short(&excused.device));
    let Excused { first, last, .. } = excused;
    format!(
        "  group {group}: places {first} to {last} were gone from the mailbox of device {device}, because they had expired \
         or its store was put back to an older copy; the server says so, and nobody is blamed"
    )
}

/// A finding, explained.
fn sentence(finding: &Finding) -> String {
    match finding {
        Finding::Forged { device, line } => format!(
            "Line {line} of the file of device {} is a receipt that the server has not signed: whoever wrote the file did.",
            short(device)
        ),
        Finding::Two { group, seq } => format!(
            "Group {}, place {seq}: the server has signed two receipts for this place, so it tells devices different things.",
            short(group)
        ),
        Finding::Broken { group, seq } => format!(
            "Group {}, place {seq}: this receipt names another predecessor than the one the server gave out.",
            short(group)
        ),
        Finding::Missing { group, seq } => format!(
            "Group {}, place {seq}: the server has accepted something here, as the next receipt shows, and no file has it.",
            short(group)
        ),
        Finding::Withheld { group, seq, device, message_hash } => format!(
            "Group {}, place {seq}: the server has accepted message {} and never gave it to device {}, although it gave \
             that device what came after.",
            short(group),
            short(message_hash),
            short(device)
        ),
        Finding::ServerKeys => {
            "The files know different keys of the server: they are of different servers, or it shows a key of its own to \
             each device."
                .to_owned()
        }
    }
}

/// The beginning of an id.
fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        let (group, device, message_hash) = ("0123456789abcdef".to_owned(), "fedcba".to_owned(), "77".repeat(32));
        vec![
            Finding::Forged { device: device.clone(), line: 3 },
            Finding::Two { group: group.clone(), seq: 4 },
            Finding::Broken { group: group.clone(), seq: 5 },
            Finding::Missing { group: group.clone(), seq: 6 },
            Finding::Withheld { group, seq: 7, device, message_hash },
            Finding::ServerKeys,
        ]
    }

    #[test]
    fn every_finding_is_one_sentence_about_its_place() {
        for (finding, place) in findings().iter().zip(["Line 3", "place 4", "place 5", "place 6", "place 7", "keys"]) {
            let told = sentence(finding);
            assert!(told.contains(place) && told.ends_with('.') && !told.contains("  "), "{told}");
            assert_eq!(told.matches(". ").count(), 0, "{told}");
        }
    }

    #[test]
    fn only_no_finding_is_clean() {
        let chains = vec![ChainReport { group: "0123456789abcdef".into(), first: 2, last: 5, places: 3 }];
        let excused = vec![Excused { group: "0123456789abcdef".into(), first: 3, last: 4, device: "fedcba".into() }];
        let mut report = ReceiptReport { receipts: 3, chains, findings: Vec::new(), excused };
        let clean = tell(1, &report).join("\n");
        assert!(clean.contains("places 3 to 4 were gone from the mailbox of device fedcba"), "{clean}");
        assert!(clean.contains("Nothing is wrong") && clean.contains("group 0123456789ab: places 2 to 5, not all"));
        report.findings = (0..=MAX_TOLD as u64).map(|seq| Finding::Missing { group: "ab".into(), seq }).collect();
        let told = tell(1, &report);
        assert!(!told.join("\n").contains("Nothing is wrong"));
        assert!(told.contains(&"… and 1 more; --json has all".to_owned()), "{told:?}");
    }

    #[test]
    fn a_file_that_is_none_has_its_own_code() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path(), Path::new("/nowhere/at/all")] {
            let error = read(path).err().unwrap();
            assert_eq!(exit::code(&error), 10, "{error:#}");
            assert!(format!("{error:#}").starts_with(&path.display().to_string()));
        }
    }
}
