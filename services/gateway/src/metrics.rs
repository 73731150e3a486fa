//! What the gateway counts besides the calls, which the chassis does.

use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use qpc_chassis::metrics::Metrics;

#[derive(Clone)]
pub(crate) struct GatewayMetrics {
    pub(crate) connections: Gauge<i64, AtomicI64>,
    pub(crate) sessions: Gauge<i64, AtomicI64>,
    pub(crate) streams: Gauge<i64, AtomicI64>,
    pub(crate) handshakes: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) refused: Counter,
    pub(crate) bad_frames: Counter,
    pub(crate) pushes: Counter,
    pub(crate) pushes_dropped: Counter,
    pub(crate) draining: Gauge<i64, AtomicI64>,
    /// Packets passed on to other gateways, or back.
    pub(crate) relayed_out: Counter,
    /// Packets from other gateways.
    pub(crate) relayed_in: Counter,
    pub(crate) resets: Counter,
}

impl GatewayMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let relayed = metrics.counters("gateway_relayed_packets", "Packets from and to other gateways");
        // One after the other: each holds the family locked to the end of its statement.
        let relayed_out = relayed.get_or_create(&[("direction", "out")]).clone();
        let relayed_in = relayed.get_or_create(&[("direction", "in")]).clone();
        Self {
            relayed_out,
            relayed_in,
            resets: metrics.counter("gateway_stateless_resets", "Resets for connections that are gone"),
            connections: metrics.gauge("gateway_connections", "Open client connections"),
            sessions: metrics.gauge("gateway_sessions", "Connections attached to a device"),
            streams: metrics.gauge("gateway_streams", "Calls in flight"),
            handshakes: metrics.counter("gateway_handshakes", "Handshakes that made a connection"),
            handshakes_failed: metrics.counter("gateway_handshakes_failed", "Handshakes that failed or took too long"),
            refused: metrics.counter("gateway_connections_refused", "Connections refused by a limit"),
            bad_frames: metrics.counter("gateway_bad_frames", "Streams reset for a bad frame"),
            pushes: metrics.counter("gateway_pushes", "Pushes written"),
            pushes_dropped: metrics.counter("gateway_pushes_dropped", "Pushes dropped at full queues"),
            draining: metrics.gauge("gateway_draining", "1 once clients are told to leave"),
        }
    }
}
