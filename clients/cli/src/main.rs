//! `qpc`: quicprochat on a terminal.
//!
//! [`args`] is the command line, whose subcommands stand in the table of [`commands`], each in a file of its own; [`engine`]
//! is what they have in common with the chat, [`repl`]; [`tui`] is the chat on the whole screen. [`settings`] puts flags, environment and [`config`] together,
//! [`records`] is what outcomes consist of, [`render`] prints them, [`exit`] turns errors into exit codes, [`text`] makes what others wrote safe to print,
//! [`traces`] is the way to a collector, [`show`] is how things look on a line, [`qr`] draws codes.

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
mod traces;
mod tui;

use std::{io::IsTerminal as _, process::ExitCode, time::Duration};

use clap::{ArgMatches, FromArgMatches as _, parser::ValueSource};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    args::{Around, Globals},
    settings::Settings,
    traces::Traces,
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
    let traces = Traces::start(&globals)?;
    // Its own screen is no place for logs.
    let lines = matches.subcommand_name() != Some("tui") || !std::io::stderr().is_terminal();
    start_logging(lines.then_some(globals.verbose), &traces);
    let by_flag = matches.value_source("password") == Some(ValueSource::CommandLine);
    password::warn_of_flag(by_flag, globals.quiet);
    let (name, arguments) = matches.remove_subcommand().unwrap_or_default();
    let settings = Settings::new(globals)?;
    let result = commands::run(&name, arguments, settings).await;
    traces.stop().await;
    result
}

/// Logs go to standard error; standard output is for what was asked for.
fn start_logging(verbose: Option<u8>, traces: &Traces) {
    let lines = verbose.map(|verbose| {
        let filter = match verbose {
            0 => "error",
            1 => "warn,qpc_sdk=info,qpc_cli=info",
            2 => "info,qpc_sdk=debug,qpc_cli=debug",
            _ => "debug",
        };
        // Spans of traces are not for lines.
        let filter = EnvFilter::new(format!("{filter},{}=off", qpc_trace::TARGET));
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter)
    });
    tracing_subscriber::registry().with(traces.layer()).with(lines).init();
}
