//! `qpc`: quicprochat on a terminal.
//!
//! [`args`] is the command line; `ping`, `whoami`, [`admin`], [`discover`], [`repl`], [`link`], [`devices`], [`receipts`] and [`demo`] are its
//! commands. [`exit`] turns errors into exit codes, [`text`] makes what others wrote safe to print, [`qr`] draws codes.

mod admin;
mod args;
mod console;
#[cfg(feature = "embedded")]
mod demo;
mod devices;
mod discover;
mod exit;
mod link;
mod password;
mod ping;
mod qr;
mod receipts;
mod repl;
mod text;
mod whoami;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};

/// Longest wait for work in progress at the end.
const EXIT_GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into()),
    };
    let result = runtime.block_on(run(cli));
    // Threads at work in the store must not meet the exit handlers of OpenSSL.
    runtime.shutdown_timeout(EXIT_GRACE);
    match result {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        #[cfg(feature = "embedded")]
        Command::Demo(args) => demo::run(args).await,
        Command::Repl(args) => repl::run(args).await,
        Command::Link(args) => link::run(args).await,
        Command::Devices(args) => devices::run(args).await,
        Command::Receipts(args) => receipts::run(args).await,
        Command::Admin(args) => admin::run(args).await,
        Command::Discover(args) => discover::run(args).await,
        Command::Ping(args) => ping::run(args).await,
        Command::Whoami(args) => whoami::run(args).await,
    }
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
