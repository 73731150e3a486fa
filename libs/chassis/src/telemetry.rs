//! Logs on standard error.
//!
//! What may be logged: methods, codes, sizes, durations, correlation ids, device and group ids. Never payloads, tokens,
//! password material or whole keys (G13); the types that hold those have no `Debug`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Starts logging; the first call in a process wins. `filter` is in the syntax of `tracing_subscriber::EnvFilter`.
pub fn init(filter: &str, format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
