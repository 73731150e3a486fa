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
        };
        metrics.register("call_seconds", "Time from a call's arrival to its answer", metrics.calls.clone());
        metrics.refused = metrics.counters("limit_refusals", "Calls refused by a rate limit, by what is limited");
        metrics.connections = metrics.gauges("db_connections", "Connections to the database, by service");
        metrics.idle_connections =
            metrics.gauges("db_connections_idle", "Those of them that wait for work, by service");
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
