//! What the operator counts.

use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use qpc_chassis::metrics::{Label, Metrics};

#[derive(Clone)]
pub(crate) struct OperatorMetrics {
    reconciliations: Family<Label, Counter>,
    /// 1 while this process works, 0 while another one does.
    pub(crate) leader: Gauge<i64, AtomicI64>,
    /// Steps of rollouts that were held back.
    pub(crate) held: Counter,
    /// Steps of key replacements.
    pub(crate) key_steps: Counter,
}

impl OperatorMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            reconciliations: metrics.counters("operator_reconciliations", "Objects looked at, by outcome"),
            leader: metrics.gauge("operator_leader", "Whether this replica holds the Lease"),
            held: metrics.counter("operator_rollouts_held", "Times that the replacement of gateways was held back"),
            key_steps: metrics.counter("operator_key_steps", "Steps of replacements of keys"),
        }
    }

    pub(crate) fn reconciled(&self, outcome: &'static str) {
        self.reconciliations.get_or_create(&[("outcome", outcome)]).inc();
    }
}
