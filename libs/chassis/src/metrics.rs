//! Metrics in the OpenMetrics text format. Labels are closed lists: never an account, a device or an address.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        exemplar::HistogramWithExemplars,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Metric, Registry},
};
use qpc_wire::Code;

use crate::{db::Db, trace::Place};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    service: &'static str,
    method: &'static str,
    code: &'static str,
}

/// Name and value of the one label of a family.
pub type Label = [(&'static str, &'static str); 1];

/// A histogram whose buckets name a trace each.
type Traced = HistogramWithExemplars<[(&'static str, String); 1]>;

type Reading = Arc<dyn Fn() + Send + Sync>;

/// The registry of a process.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// What is only known when somebody asks.
    readings: Mutex<Vec<Reading>>,
    calls: Family<CallLabels, Traced, fn() -> Traced>,
    refused: Family<Label, Counter>,
    connections: Family<Label, Gauge<i64, AtomicI64>>,
    idle_connections: Family<Label, Gauge<i64, AtomicI64>>,
    most_connections: Family<Label, Gauge<i64, AtomicI64>>,
    ready: Family<Label, Gauge<i64, AtomicI64>>,
    certificates: Family<Label, Gauge<i64, AtomicI64>>,
}

/// 0.1 ms to 13 s.
fn seconds() -> Traced {
    Traced::new(exponential_buckets(0.000_1, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Mutex::new(Registry::with_prefix("qpc")),
            readings: Mutex::default(),
            calls: Family::new_with_constructor(seconds as fn() -> Traced),
            refused: Family::default(),
            connections: Family::default(),
            idle_connections: Family::default(),
            most_connections: Family::default(),
            ready: Family::default(),
            certificates: Family::default(),
        };
        metrics.register("call_seconds", "Time from a call's arrival to its answer", metrics.calls.clone());
        metrics.refused = metrics.counters("limit_refusals", "Calls refused by a rate limit, by what is limited");
        metrics.connections = metrics.gauges("db_connections", "Connections to the database, by service");
        metrics.idle_connections =
            metrics.gauges("db_connections_idle", "Those of them that wait for work, by service");
        metrics.most_connections = metrics.gauges("db_connections_max", "As many may be open, by service");
        metrics.ready = metrics.gauges("ready", "1 when a readiness check passes, by check");
        let help = "When a certificate that is shown to others ends, Unix time, by certificate";
        metrics.certificates = metrics.gauges("certificate_not_after_seconds", help);
        metrics.info("build", "What runs, by version", [("version", env!("CARGO_PKG_VERSION"))]);
        metrics
    }
}

impl Metrics {
    /// Records one call, and of a sampled one where it is found in its trace.
    pub fn call(&self, service: &'static str, method: &'static str, code: Code, took: Duration, place: Option<Place>) {
        let labels = CallLabels { service, method, code: code.as_str_name() };
        let exemplar = place.map(|place| [("trace_id", place.trace())]);
        self.calls.get_or_create(&labels).observe(took.as_secs_f64(), exemplar, None);
    }

    /// Records that a rate limit has refused something.
    pub(crate) fn refused(&self, what: &'static str) {
        self.refused.get_or_create(&[("what", what)]).inc();
    }

    /// Shows how the connections of `service` are used.
    pub(crate) fn pool(&self, service: &'static str, db: Db) {
        let label = [("service", service)];
        let (connections, idle) = (self.connections.clone(), self.idle_connections.clone());
        self.most_connections.get_or_create(&label).set(db.pool().max.into());
        self.before_render(move || {
            let used = db.pool();
            connections.get_or_create(&label).set(used.connections.into());
            idle.get_or_create(&label).set(i64::try_from(used.idle).unwrap_or(i64::MAX));
        });
    }

    /// Runs `read` whenever somebody asks for the figures.
    pub fn before_render(&self, read: impl Fn() + Send + Sync + 'static) {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(read));
    }

    /// Adds a metric of a service; `name` without the `qpc_` prefix.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric);
    }

    /// A registered counter.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.register(name, help, counter.clone());
        counter
    }

    /// A registered gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge<i64, AtomicI64> {
        let gauge = Gauge::default();
        self.register(name, help, gauge.clone());
        gauge
    }

    /// A registered gauge of seconds.
    pub fn age(&self, name: &str, help: &str) -> Gauge<f64, AtomicU64> {
        let gauge = Gauge::default();
        self.register(name, help, gauge.clone());
        gauge
    }

    /// Registered counters that one label tells apart, whose values are a closed list.
    pub fn counters(&self, name: &str, help: &str) -> Family<Label, Counter> {
        let family = Family::default();
        self.register(name, help, family.clone());
        family
    }

    /// Registered gauges, likewise.
    pub fn gauges(&self, name: &str, help: &str) -> Family<Label, Gauge<i64, AtomicI64>> {
        let family = Family::default();
        self.register(name, help, family.clone());
        family
    }

    /// Registers what is always so.
    fn info(&self, name: &str, help: &str, label: Label) {
        self.register(name, help, Info::new(label));
    }

    /// How the readiness checks ended; several of one name are one.
    pub(crate) fn ready(&self, results: &[(&'static str, bool)]) {
        for (check, _) in results {
            let ok = results.iter().all(|(name, ok)| name != check || *ok);
            self.ready.get_or_create(&[("check", *check)]).set(ok.into());
        }
    }

    /// Shows until when the certificate (DER) is good that this process shows to others.
    pub fn certificate(&self, certificate: &'static str, der: &[u8]) {
        // What cannot be read here, TLS does not take either.
        if let Ok((_, parsed)) = x509_parser::parse_x509_certificate(der) {
            let not_after = parsed.validity().not_after.timestamp();
            self.certificates.get_or_create(&[("certificate", certificate)]).set(not_after);
        }
    }

    /// A registered histogram of counts (1 to 4096).
    pub fn sizes(&self, name: &str, help: &str) -> Histogram {
        let histogram = Histogram::new(exponential_buckets(1.0, 2.0, 13));
        self.register(name, help, histogram.clone());
        histogram
    }

    /// OpenMetrics text.
    pub fn render(&self) -> String {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        readings.iter().for_each(|read| read());
        let mut out = String::new();
        // Writing to a string does not fail.
        let written = encode(&mut out, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        debug_assert!(written.is_ok());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_of_one_name_are_one_check() {
        let metrics = Metrics::default();
        metrics.ready(&[("database", true), ("bus", true), ("database", false)]);
        let text = metrics.render();
        let version = concat!(r#"qpc_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#);
        for line in [r#"qpc_ready{check="database"} 0"#, r#"qpc_ready{check="bus"} 1"#, version] {
            assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
        }
    }
}
