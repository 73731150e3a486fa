//! What all tasks of a gateway share.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use prost::Message;
use qpc_chassis::{
    bulk::{BulkClient, BulkError},
    push::Push as Doorbells,
    run::Deps,
};
use qpc_wire::v1::{DrainEvent, EventType};
use rand::{RngCore, seq::SliceRandom};
use tokio::time::{Instant, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, admission::Admission, metrics::GatewayMetrics, presence::Registry, revocations::Revocations, session::Push,
};

/// Time between two clients that are told to leave. Another gateway resumes several thousand connections a second.
const TOLD_EVERY: Duration = Duration::from_millis(2);

pub(crate) struct Core {
    pub(crate) deps: Deps,
    pub(crate) config: Config,
    /// Random, new with every process, so that doorbells for a former one reach nobody.
    pub(crate) id: String,
    pub(crate) address_key: [u8; 32],
    pub(crate) doorbells: Doorbells,
    pub(crate) bulk: BulkClient,
    pub(crate) registry: Registry,
    pub(crate) revocations: Revocations,
    pub(crate) admission: Arc<Admission>,
    pub(crate) metrics: GatewayMetrics,
    /// Handshakes and connections.
    pub(crate) connections: TaskTracker,
    /// Cancelled when this gateway is to take no more connections and to send away those that it has: on shutdown, or on the
    /// word of an admin.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when the last connection has left a draining gateway.
    pub(crate) empty: CancellationToken,
    drain_until: OnceLock<Instant>,
}

impl Core {
    pub(crate) fn new(deps: Deps, config: Config) -> Result<Arc<Self>, BulkError> {
        let mut id = [0; 8];
        deps.runtime.rng().fill_bytes(&mut id);
        Ok(Arc::new(Self {
            id: hex::encode(id),
            address_key: deps.secrets.derive("gateway/address"),
            doorbells: deps.push(),
            bulk: BulkClient::new(&deps, &config.bulk_tls)?,
            registry: Registry::new(config.limits.max_connections_per_device),
            revocations: Revocations::new(deps.client()),
            admission: Admission::new(config.limits.clone()),
            metrics: GatewayMetrics::new(&deps.metrics),
            connections: TaskTracker::new(),
            leaving: deps.runtime.shutdown().child_token(),
            empty: CancellationToken::new(),
            drain_until: OnceLock::new(),
            deps,
            config,
        }))
    }

    /// Tells all clients to leave: one after the other, in random order, so that they do not all come to the other gateways
    /// at once, and within half of the time that they have.
    pub(crate) fn begin_drain(self: &Arc<Self>) {
        self.drain_until.get_or_init(|| Instant::now() + self.config.drain_grace());
        self.metrics.draining.set(1);
        let mut links = self.registry.connections();
        links.shuffle(&mut self.deps.runtime.rng());
        let count = u32::try_from(links.len()).unwrap_or(u32::MAX).max(1);
        let spread = (self.config.drain_grace() / 2).min(TOLD_EVERY * count);
        let started = Instant::now();
        self.deps.runtime.spawn(async move {
            for (link, told) in links.into_iter().zip(0..) {
                sleep_until(started + spread * told / count).await;
                link.drain();
            }
        });
    }

    /// When clients must have left; `None` while nobody asked them to.
    pub(crate) fn drain_until(&self) -> Option<Instant> {
        self.drain_until.get().copied()
    }

    /// The push that announces the drain, with the time that is left.
    pub(crate) fn drain_push(&self) -> Push {
        let left = self.drain_until().map_or(Duration::ZERO, |until| until - Instant::now());
        let within_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        Push { event: EventType::Drain, body: DrainEvent { within_ms }.encode_to_vec().into() }
    }
}
