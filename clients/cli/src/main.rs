//! `qpc`: quicprochat on a terminal.
//!
//! [`args`] is the command line, whose subcommands stand in the table of [`commands`], each in a file of its own; [`engine`]
//! is what they have in common with the chat, [`repl`]; [`tui`] is the chat on the whole screen. [`settings`] puts flags, environment and [`config`] together,
//! [`records`] is what outcomes consist of, [`render`] prints them, [`exit`] turns errors into exit codes, [`text`] makes what others wrote safe to print,
//! [`show`] is how things look on a line, [`qr`] draws codes.

mod args;
mod commands;
mod config;
mod console;
#[cfg(feature = "embedded")]
mod demo;
mod engine;
mod exit;
mod password;
mod qr;
mod records;
mod render;
mod repl;
mod settings;
mod show;
mod style;
mod text;
mod tui;

use std::{io::IsTerminal as _, process::ExitCode, time::Duration};

use clap::{ArgMatches, FromArgMatches as _, parser::ValueSource};
use tracing_subscriber::EnvFilter;

use crate::{
    args::{Around, Globals},
    settings::Settings,
};

/// Longest wait for work in progress at the end.
const EXIT_GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let matches = args::root().get_matches();
    text::show_times_in(jiff::tz::TimeZone::system());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into()),
    };
    let result = runtime.block_on(run(matches));
    // Threads at work in the store must not meet the exit handlers of OpenSSL.
    runtime.shutdown_timeout(EXIT_GRACE);
    match result {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

async fn run(mut matches: ArgMatches) -> anyhow::Result<ExitCode> {
    let globals = Globals { around: Around::from_arg_matches(&matches)?, ..Globals::from_arg_matches(&matches)? };
    // Its own screen is no place for logs.
    if matches.subcommand_name() != Some("tui") || !std::io::stderr().is_terminal() {
        start_logging(globals.verbose);
    }
    let by_flag = matches.value_source("password") == Some(ValueSource::CommandLine);
    password::warn_of_flag(by_flag, globals.quiet);
    let (name, arguments) = matches.remove_subcommand().unwrap_or_default();
    let settings = Settings::new(globals)?;
    commands::run(&name, arguments, settings).await
}

/// Logs go to standard error; standard output is for what was asked for.
fn start_logging(verbose: u8) {
    let filter = match verbose {
        0 => "error",
        1 => "warn,qpc_sdk=info,qpc_cli=info",
        2 => "info,qpc_sdk=debug,qpc_cli=debug",
        _ => "debug",
    };
    tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr).init();
}
