//! The socket for clients as QUIC sees it: packets of other gateways' connections are taken out, those that come from other
//! gateways are put in.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::sync::mpsc;

use super::{flows, packet::Packet, relay::Relay};

/// See the module.
#[derive(Debug)]
pub(super) struct RelayedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    relay: Arc<Relay>,
    arrived: Mutex<mpsc::Receiver<Packet>>,
}

impl RelayedSocket {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>, relay: Arc<Relay>, arrived: mpsc::Receiver<Packet>) -> Self {
        Self { inner, relay, arrived: Mutex::new(arrived) }
    }

    /// Puts packets from other gateways into the first buffers; tells into how many.
    fn put_in(&self, cx: &mut Context<'_>, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        while count < bufs.len().min(meta.len()) {
            let Poll::Ready(Some(Packet { from, local, ecn, bytes })) = arrived.poll_recv(cx) else { break };
            // Longer than this endpoint takes.
            let Some(buf) = bufs[count].get_mut(..bytes.len()) else { continue };
            buf.copy_from_slice(&bytes);
            meta[count] = RecvMeta { addr: from, len: bytes.len(), stride: bytes.len(), ecn, dst_ip: local };
            count += 1;
        }
        count
    }

    /// Takes packets of other gateways' connections out of a buffer, which may hold several of one client (GRO): all as
    /// long as the first but the last.
    fn take_out(&self, buf: &mut [u8], meta: &mut RecvMeta) {
        let (stride, mut kept, mut at) = (meta.stride.max(1), 0, 0);
        while at < meta.len {
            let end = meta.len.min(at + stride);
            if !self.relay.passes_on(&buf[at..end], meta) {
                if kept != at {
                    buf.copy_within(at..end, kept);
                }
                kept += end - at;
            }
            at = end;
        }
        meta.len = kept;
    }
}

impl AsyncUdpSocket for RelayedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if flows::is_way(transmit.destination) {
            self.relay.answer(transmit);
            return Ok(());
        }
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // Half of the buffers at the most, so that neither side has to wait for the other.
        let half = bufs.len().div_ceil(2);
        let count = self.put_in(cx, &mut bufs[..half], meta);
        if count == bufs.len() {
            return Poll::Ready(Ok(count));
        }
        match self.inner.poll_recv(cx, &mut bufs[count..], &mut meta[count..]) {
            Poll::Ready(Ok(received)) => {
                for (buf, meta) in bufs[count..].iter_mut().zip(&mut meta[count..]).take(received) {
                    self.take_out(buf, meta);
                }
                Poll::Ready(Ok(count + received))
            }
            _ if count > 0 => Poll::Ready(Ok(count)),
            other => other,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
