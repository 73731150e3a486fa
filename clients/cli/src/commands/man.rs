//! `qpc man`: manual pages.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_mangen::Man;

use crate::{
    args::shown,
    console::say,
    engine::{Cli, Row, Run, args, program},
    exit::{CODES, Usage},
    settings::Settings,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "man",
        about: "Write the manual page of qpc or of a command, or all of them into a folder",
        after: "Examples:\n  qpc man | man -l -\n  qpc man send | man -l -\n  qpc man --dir ~/.local/share/man/man1",
        args: args::<Pages>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Pages {
    /// Of which command [default: qpc itself]
    command: Option<String>,
    /// Write qpc.1, qpc-send.1 and so on into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

async fn run(args: Pages, _: Settings) -> anyhow::Result<ExitCode> {
    let mut root = shown();
    root.build();
    if let Some(folder) = &args.dir {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        write(folder, &root, "qpc")?;
        for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
            write(folder, command, &format!("qpc-{}", command.get_name()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let command = match &args.command {
        None => &root,
        Some(name) => root.find_subcommand(name).ok_or(Usage::NoCommand)?,
    };
    let name = args.command.as_ref().map_or("qpc".to_owned(), |_| format!("qpc-{}", command.get_name()));
    say(page(command, &name)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &std::path::Path, command: &Command, name: &str) -> anyhow::Result<()> {
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, page(command, name)?).with_context(|| format!("cannot write {}", path.display()))
}

fn page(command: &Command, name: &str) -> anyhow::Result<String> {
    let mut roff = Vec::new();
    Man::new(command.clone()).title(name).render(&mut roff)?;
    let mut page = String::from_utf8(roff).context("the page is no text")?;
    page.push_str(".SH \"EXIT STATUS\"\n");
    for (code, name, meaning) in CODES {
        page.push_str(&format!(".TP\n\\fB{code}\\fR\n{name}: {meaning}\n"));
    }
    Ok(page)
}
