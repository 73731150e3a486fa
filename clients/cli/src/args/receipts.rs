//! What is asked of receipts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{AccountArgs, required};

/// Settings of `qpc receipts`.
#[derive(Args)]
pub(crate) struct ReceiptsArgs {
    #[command(subcommand)]
    pub(crate) action: ReceiptsAction,
}

/// What to do with receipts.
#[derive(Subcommand)]
pub(crate) enum ReceiptsAction {
    /// Write all receipts of this device: of what it sent, and of what it was given
    #[command(
        mut_arg("username", required),
        after_help = "Example:\n  qpc receipts export -u alice -o alice.receipts\n\n\
        A file tells who was in touch when; it holds nothing of what was written."
    )]
    Export(Box<ExportArgs>),
    /// Check files of receipts, each alone and all against each other; needs no server and no password
    #[command(after_help = "Examples:\n  \
        qpc receipts verify alice.receipts bob.receipts\n  \
        qpc receipts verify --json alice.receipts | jq .findings\n\n\
        Exit codes: 0 nothing is wrong, 8 there are findings, 10 a file cannot be read")]
    Verify(VerifyArgs),
}

/// Settings of the export.
#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,
    /// Where to write them [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Settings of the check.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// Files that `qpc receipts export` wrote
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// One JSON object instead of sentences
    #[arg(long)]
    pub(crate) json: bool,
}
