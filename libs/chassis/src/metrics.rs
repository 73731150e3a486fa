//! Metrics in the OpenMetrics text format. Labels are closed lists: never an account, a device or an address.

use std::{
    sync::{Mutex, PoisonError, atomic::AtomicI64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry},
};
use qpc_wire::Code;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    service: &'static str,
    method: &'static str,
    code: &'static str,
}

/// The registry of a process.
pub struct Metrics {
    registry: Mutex<Registry>,
    calls: Family<CallLabels, Histogram, fn() -> Histogram>,
}

/// 0.1 ms to 13 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("qpc");
        let calls = Family::new_with_constructor(seconds as fn() -> Histogram);
        registry.register("call_seconds", "Time from a call's arrival to its answer", calls.clone());
        Self { registry: Mutex::new(registry), calls }
    }
}

impl Metrics {
    /// Records one call.
    pub fn call(&self, service: &'static str, method: &'static str, code: Code, took: Duration) {
        let labels = CallLabels { service, method, code: code.as_str_name() };
        self.calls.get_or_create(&labels).observe(took.as_secs_f64());
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

    /// A registered histogram of counts (1 to 4096).
    pub fn sizes(&self, name: &str, help: &str) -> Histogram {
        let histogram = Histogram::new(exponential_buckets(1.0, 2.0, 13));
        self.register(name, help, histogram.clone());
        histogram
    }

    /// OpenMetrics text.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let written = encode(&mut out, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        debug_assert!(written.is_ok());
        out
    }
}
