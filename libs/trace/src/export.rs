//! The way to a collector: OTLP over gRPC, in batches, from a thread of its own. A collector that is away or slow costs spans,
//! never calls.

use std::{io, path::PathBuf, time::Duration};

use opentelemetry::{
    KeyValue,
    trace::{SpanId, TraceId, TracerProvider as _},
};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
    tonic_types::transport::{Certificate, ClientTlsConfig},
};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, Sampler, SdkTracerProvider},
};
use tracing::{Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
    registry::LookupSpan,
};

use crate::{TARGET, place::NEXT, sampling::Sampling, spans::ENTRY};

/// Spans that wait to be sent; more are dropped.
const QUEUE: usize = 4096;
/// Spans of one request.
const BATCH: usize = 512;
/// Time between two requests.
const EVERY: Duration = Duration::from_secs(1);
/// Longest time for one.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where to, and how much.
#[derive(Debug, Clone)]
pub struct Settings {
    /// URL of the collector.
    pub endpoint: String,
    /// Authority of its certificate, PEM.
    pub ca: Option<PathBuf>,
    /// Name of the process.
    pub name: &'static str,
    /// Part of the calls that is traced, 0 to 1.
    pub ratio: f64,
    /// Random: decides which.
    pub key: [u8; 16],
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The authority cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// TLS trusts nobody by itself.
    #[error("{0} needs the authority of its certificate (--otlp-ca)")]
    NoAuthority(String),
    /// No such endpoint can be.
    #[error("traces cannot be sent to {endpoint}: {source}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// Why not.
        source: ExporterBuildError,
    },
}

/// Sends what is recorded.
#[derive(Debug, Clone)]
pub struct Exporter {
    provider: SdkTracerProvider,
}

impl Exporter {
    /// From now on calls are sampled. Within a tokio runtime, which has to live as long as this does.
    pub fn start(settings: Settings) -> Result<Self, ExportError> {
        let Settings { endpoint, ca, name, ratio, key } = settings;
        let mut builder = SpanExporter::builder().with_tonic().with_endpoint(&endpoint).with_timeout(TIMEOUT);
        if endpoint.starts_with("https") {
            let path = ca.ok_or_else(|| ExportError::NoAuthority(endpoint.clone()))?;
            let pem = std::fs::read(&path).map_err(|source| ExportError::Authority { path, source })?;
            builder = builder.with_tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)));
        }
        let exporter = builder.build().map_err(|source| ExportError::Endpoint { endpoint, source })?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(EVERY)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(config).build())
            // Who begins a trace has decided that before; everybody else follows.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_id_generator(Ids(RandomIdGenerator::default()))
            // What the environment says of the process is not looked at.
            .with_resource(
                Resource::builder_empty()
                    .with_service_name(name)
                    .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                    .build(),
            )
            .build();
        Sampling::new(key, ratio).install();
        Ok(Self { provider })
    }

    /// Takes the spans of this crate, and nothing else.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("qpc"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_level(false)
            .with_target(false)
            .with_filter(Recorded)
    }

    /// Sends what waits. Blocks the thread.
    pub fn flush(&self) {
        if let Err(error) = self.provider.force_flush() {
            tracing::debug!(%error, "spans not sent");
        }
    }

    /// Sends what waits, within `limit`, and ends. Blocks the thread.
    pub fn stop(&self, limit: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(limit) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// A client and a gateway begin a trace with ids that both know; all other ids are random.
#[derive(Debug)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().trace.map_or_else(|| self.0.new_trace_id(), TraceId::from_bytes)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().span.map_or_else(|| self.0.new_span_id(), SpanId::from_bytes)
    }
}

/// Spans of this crate that were made for a sampled call, and those below them.
struct Recorded;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Filter<S> for Recorded {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        is_ours(metadata) && (metadata.name() == ENTRY || context.lookup_current().is_some())
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TARGET
}
