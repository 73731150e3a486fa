//! Spans of this client's calls, sent to a collector whom the person has named. Off without `--otlp`, for which there is
//! deliberately no variable: one that was set for a server must not make clients tell when they do what.

use std::time::Duration;

use qpc_sdk::Runtime;
use qpc_trace::export::{Exporter, Settings};
use tracing_subscriber::{Layer, registry::Registry};

use crate::args::Globals;

/// Time that the last spans get to leave.
const FAREWELL: Duration = Duration::from_secs(3);

/// See the module.
pub(crate) struct Traces(Option<Exporter>);

impl Traces {
    /// Within the runtime. Who names a collector wants to see every call.
    pub(crate) fn start(globals: &Globals) -> anyhow::Result<Self> {
        let Some(endpoint) = globals.otlp.clone() else { return Ok(Self(None)) };
        let key = Runtime::system().random();
        let settings = Settings { endpoint, ca: globals.otlp_ca.clone(), name: "qpc", ratio: 1.0, key };
        Ok(Self(Some(Exporter::start(settings)?)))
    }

    /// Takes the spans and nothing else.
    pub(crate) fn layer(&self) -> Option<impl Layer<Registry> + Send + Sync + 'static> {
        self.0.as_ref().map(Exporter::layer)
    }

    /// Sends what waits.
    pub(crate) async fn stop(self) {
        let Some(exporter) = self.0 else { return };
        if tokio::task::spawn_blocking(move || exporter.stop(FAREWELL)).await.is_err() {
            tracing::warn!("the last spans were not sent");
        }
    }
}
