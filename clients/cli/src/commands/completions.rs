//! `qpc completions`: what a shell needs to complete command lines.

use std::process::ExitCode;

use clap::Args;
use clap_complete::{Shell, generate};

use crate::{
    args::shown,
    engine::{Cli, Row, Run, args, program},
    settings::Settings,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "completions",
        about: "Write the completions of a shell to standard output",
        after: "Examples:\n  qpc completions bash > ~/.local/share/bash-completion/completions/qpc\n  \
            qpc completions zsh > ~/.zfunc/_qpc\n  qpc completions fish > ~/.config/fish/completions/qpc.fish\n\n\
            Commands and options are completed. Names of users and groups are not: they are in the encrypted store, and the\n\
            Tab key asks for no password. The chat (qpc repl) completes them.",
        args: args::<Completions>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

async fn run(args: Completions, _: Settings) -> anyhow::Result<ExitCode> {
    // All at once: a reader that went away is no error.
    let mut script = Vec::new();
    generate(args.shell, &mut shown(), "qpc", &mut script);
    crate::console::say(String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}
