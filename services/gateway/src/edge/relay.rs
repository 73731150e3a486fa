//! Packets that come to the wrong gateway go to the right one, and its answers come back the same way.
//!
//! A balancer sends the packets of a connection elsewhere when the client's address changes, or when it has lost its table.
//! The gateway where they arrive reads in the connection id whose they are ([`super::cid`]), finds out where that one is
//! ([`super::owners`]) and passes them on with the client's address ([`super::packet`]). The owner takes them as coming from an
//! address that stands for the whole way ([`super::flows`]), and what it sends there goes back to the gateway between.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use qpc_chassis::{bus::BusError, push::subject, run::Deps};
use quinn::{
    AsyncUdpSocket,
    udp::{RecvMeta, Transmit},
};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    cid::{self, Claim, ServerId},
    flows::Flows,
    keys::EdgeKeys,
    long,
    owners::{DAWN, Fate, Heard, Owners, RENEW, Verdict},
    packet::{Direction, Ends, Packet, Relayed},
};
use crate::metrics::GatewayMetrics;

/// Packets of clients that are passed on in a second, and at once.
const RATE: u32 = 100_000;
const BURST: u32 = 10_000;
/// Packets from other gateways that wait to be taken up.
const QUEUE: usize = 1_024;
/// A datagram of UDP is no longer.
const MAX_DATAGRAM: usize = 65_535;
/// Time that an owner has to say on the bus that it is there.
const PROBE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Relay {
    keys: Arc<EdgeKeys>,
    own: ServerId,
    /// For clients.
    socket: Arc<dyn AsyncUdpSocket>,
    /// For gateways.
    port: UdpSocket,
    flows: Flows,
    owners: Owners,
    allowance: Allowance,
    arrived: mpsc::Sender<Packet>,
    deps: Deps,
    metrics: GatewayMetrics,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("own", &self.own).field("port", &self.port).finish_non_exhaustive()
    }
}

/// What a relay is made of.
pub(super) struct Parts {
    pub(super) keys: Arc<EdgeKeys>,
    pub(super) own: ServerId,
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
    pub(super) port: UdpSocket,
    /// Where other gateways reach `port`.
    pub(super) announce: SocketAddr,
}

impl Relay {
    /// And the packets that arrive from other gateways for this one.
    pub(super) fn new(
        parts: Parts,
        name: &str,
        deps: &Deps,
        metrics: &GatewayMetrics,
    ) -> (Arc<Self>, mpsc::Receiver<Packet>) {
        let Parts { keys, own, socket, port, announce } = parts;
        let (arrived, receiver) = mpsc::channel(QUEUE);
        let relay = Self {
            owners: Owners::new(deps.cache.clone(), own, announce, name),
            flows: Flows::new(deps.runtime.random()),
            allowance: Allowance::new(Instant::now()),
            metrics: metrics.clone(),
            deps: deps.clone(),
            keys,
            own,
            socket,
            port,
            arrived,
        };
        (Arc::new(relay), receiver)
    }

    /// Takes what other gateways send and keeps the lease, until the last connection has left. Returns when this gateway may
    /// take connections.
    pub(super) async fn start(self: &Arc<Self>, empty: &CancellationToken) {
        let (relay, until) = (self.clone(), empty.clone());
        self.deps.runtime.spawn(async move {
            tokio::select! {
                () = until.cancelled() => {}
                () = relay.listen() => {}
            }
        });
        self.renew().await;
        sleep(DAWN).await;
        let (relay, until) = (self.clone(), empty.clone());
        self.deps.runtime.spawn(async move {
            loop {
                relay.renew().await;
                tokio::select! {
                    () = until.cancelled() => break,
                    () = sleep(RENEW) => {}
                }
            }
            if let Err(error) = relay.owners.leave().await {
                tracing::debug!(%error, "the lease lapses by itself");
            }
        });
    }

    async fn renew(&self) {
        if let Err(error) = self.owners.renew().await {
            tracing::warn!(%error, "lease not renewed, the next time tries again");
        }
    }

    async fn listen(&self) {
        let mut bytes = vec![0; MAX_DATAGRAM];
        loop {
            match self.port.recv_from(&mut bytes).await {
                Ok((len, from)) => self.take(&bytes[..len], from),
                // Of a gateway that is gone, say; the socket lives.
                Err(error) => tracing::debug!(%error, "relay port"),
            }
        }
    }

    /// What another gateway has sent.
    fn take(&self, bytes: &[u8], from: SocketAddr) {
        let Some(Relayed { direction, ends, ecn, packet }) = Relayed::decode(bytes, &self.keys) else {
            return tracing::debug!(bytes = bytes.len(), "not of a gateway");
        };
        match direction {
            Direction::Forward => {
                // Never passed on a second time.
                if cid::claim(packet).is_some_and(|claim| claim.server == self.own) {
                    self.metrics.relayed_in.inc();
                    // QUIC lets nobody move before the handshake is done. Until then the client is answered where it began.
                    let from = if long::is_long(packet) { ends.client } else { self.flows.enter(from, ends) };
                    self.hand_over(Packet { from, local: None, ecn, bytes: Bytes::copy_from_slice(packet) });
                }
            }
            Direction::Answer => {
                self.metrics.relayed_in.inc();
                let transmit = Transmit {
                    destination: ends.client,
                    ecn,
                    contents: packet,
                    segment_size: None,
                    src_ip: ends.local,
                };
                // What does not go out now is lost, as on any way.
                if let Err(error) = self.socket.try_send(&transmit) {
                    tracing::debug!(%error, "answer not sent");
                }
            }
        }
    }

    /// Gives a packet to QUIC. What is too much is lost, as at any socket.
    fn hand_over(&self, packet: Packet) {
        drop(self.arrived.try_send(packet));
    }

    /// What came over the socket for clients. True for a packet of another gateway, which was seen to.
    pub(super) fn passes_on(self: &Arc<Self>, datagram: &[u8], meta: &RecvMeta) -> bool {
        let Some(Claim { server, id, packet }) = cid::claim(datagram) else { return false };
        if server == self.own || !cid::split(id).is_some_and(|(shown, tag)| self.keys.knows_cid(shown, tag)) {
            return false;
        }
        let now = Instant::now();
        if !self.allowance.take(now) {
            return true;
        }
        let held =
            || Packet { from: meta.addr, local: meta.dst_ip, ecn: meta.ecn, bytes: Bytes::copy_from_slice(packet) };
        let (verdict, ask) = self.owners.judge(server, now, held);
        if ask {
            let relay = self.clone();
            self.deps.runtime.spawn(async move { relay.look(server).await });
        }
        match verdict {
            Verdict::Forward(to) => {
                let ends = Ends { client: meta.addr, local: meta.dst_ip };
                self.send(to, &Relayed { direction: Direction::Forward, ends, ecn: meta.ecn, packet });
                true
            }
            // QUIC finds no such connection and sends the reset.
            Verdict::Reset => false,
            Verdict::Nothing => true,
        }
    }

    async fn look(&self, server: ServerId) {
        let asked_at = Instant::now();
        let probe = async {
            let heard = self.deps.bus.request(subject(&server.to_string()), Bytes::new(), PROBE).await;
            if matches!(heard, Err(BusError::NoResponders(_))) { Heard::Nobody } else { Heard::Something }
        };
        let fate = self.owners.look(server, probe).await;
        tracing::debug!(%server, ?fate, "owner of packets");
        for packet in self.owners.learn(server, fate, asked_at) {
            let Packet { from: client, local, ecn, bytes } = &packet;
            match fate {
                Fate::Lives(to) => {
                    let ends = Ends { client: *client, local: *local };
                    self.send(to, &Relayed { direction: Direction::Forward, ends, ecn: *ecn, packet: bytes });
                }
                Fate::Gone => self.hand_over(packet),
                Fate::Unknown => {}
            }
        }
    }

    /// What QUIC sends to an address that stands for a way.
    pub(super) fn answer(&self, transmit: &Transmit<'_>) {
        let Some((via, ends)) = self.flows.way(transmit.destination) else { return };
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for packet in transmit.contents.chunks(segment) {
            self.send(via, &Relayed { direction: Direction::Answer, ends, ecn: transmit.ecn, packet });
        }
    }

    /// What does not go out now is lost, as on any way.
    fn send(&self, to: SocketAddr, message: &Relayed<'_>) {
        match self.port.try_send_to(&message.encode(&self.keys), to) {
            Ok(_) => drop(self.metrics.relayed_out.inc()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => tracing::debug!(%error, "not passed on"),
        }
    }
}

/// How many packets may still be passed on, as the moment at which that is [`BURST`] again (GCRA, ITU-T I.371 annex A).
struct Allowance(Mutex<Instant>);

impl Allowance {
    fn new(now: Instant) -> Self {
        Self(Mutex::new(now))
    }

    fn take(&self, now: Instant) -> bool {
        let mut full = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = Duration::from_secs(1) / RATE;
        if full.saturating_duration_since(now) > each * (BURST - 1) {
            return false;
        }
        *full = (*full).max(now) + each;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_passed_on_and_then_the_rate() {
        let start = Instant::now();
        let allowance = Allowance::new(start);
        assert_eq!((0..2 * BURST).filter(|_| allowance.take(start)).count() as u32, BURST);
        let later = start + Duration::from_millis(10);
        assert_eq!((0..2 * BURST).filter(|_| allowance.take(later)).count() as u32, RATE / 100);
        let full = later + Duration::from_secs(60);
        assert_eq!((0..2 * BURST).filter(|_| allowance.take(full)).count() as u32, BURST);
    }
}
