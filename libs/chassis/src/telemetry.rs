//! Logs on standard error, and spans to a collector.
//!
//! What may be logged: methods, codes, sizes, durations, correlation ids, device and group ids. Never payloads, tokens,
//! password material or whole keys (G13); the types that hold those have no `Debug`. Spans hold less (`libs/trace`).

use std::{io::IsTerminal as _, time::Duration};

use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    Runtime,
    config::Process,
    trace::{
        TARGET,
        export::{ExportError, Exporter, Settings},
    },
};

/// Time that the last spans get to leave.
const FAREWELL: Duration = Duration::from_secs(3);

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// What was started.
pub struct Telemetry(Option<Exporter>);

/// Starts logging, and sending spans if `process` says where to; the first call in a process wins. Within a tokio runtime.
pub fn init(name: &'static str, process: &Process) -> Result<Telemetry, ExportError> {
    let exporter = match &process.otlp {
        Some(endpoint) => Some(Exporter::start(Settings {
            endpoint: endpoint.clone(),
            ca: process.otlp_ca.clone(),
            name,
            ratio: process.trace_ratio,
            key: Runtime::system().random(),
        })?),
        None => None,
    };
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let lines = match process.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // In the syntax of `EnvFilter`; spans of traces are not for lines.
    let filter = EnvFilter::new(format!("{},{TARGET}=off", process.log));
    let started = tracing_subscriber::registry()
        .with(exporter.as_ref().map(Exporter::layer))
        .with(lines.with_filter(filter))
        .try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
    Ok(Telemetry(exporter))
}

impl Telemetry {
    /// Sends what waits.
    pub async fn stop(self) {
        let Some(exporter) = self.0 else { return };
        if tokio::task::spawn_blocking(move || exporter.stop(FAREWELL)).await.is_err() {
            tracing::warn!("the last spans were not sent");
        }
    }
}
