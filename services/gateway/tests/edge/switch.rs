//! A client's socket with a balancer in it: what goes to the one address that the client knows arrives at the gateway of the
//! moment, and only what that one answers comes back.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

/// Where the balancer sends what comes; `None`: nowhere.
#[derive(Debug, Clone)]
pub(crate) struct Balancer {
    /// What the client knows.
    pub(crate) known: SocketAddr,
    current: Arc<Mutex<Option<SocketAddr>>>,
    /// Where the first packets of a connection go, if not to that of the moment. Answers come from both.
    first: Option<SocketAddr>,
}

/// Bytes of a connection id that a gateway has made.
const ID: u8 = 17;

impl Balancer {
    pub(crate) fn to(gateway: SocketAddr) -> Self {
        Self { known: gateway, current: Arc::new(Mutex::new(Some(gateway))), first: None }
    }

    /// One that sends what begins a connection to `first`, and all that goes on with it to `then`.
    pub(crate) fn parting(first: SocketAddr, then: SocketAddr) -> Self {
        Self { first: Some(first), current: Arc::new(Mutex::new(Some(then))), ..Self::to(first) }
    }

    pub(crate) fn switch(&self, to: Option<SocketAddr>) {
        *self.current.lock().unwrap() = to;
    }

    /// A new socket of a client behind it.
    pub(crate) fn socket(&self) -> Arc<dyn AsyncUdpSocket> {
        let any = if self.known.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
        let inner = TokioRuntime.wrap_udp_socket(UdpSocket::bind(any).unwrap()).unwrap();
        Arc::new(Switched { inner, balancer: self.clone() })
    }

    fn current(&self) -> Option<SocketAddr> {
        *self.current.lock().unwrap()
    }

    fn way_of(&self, packet: &[u8]) -> Option<SocketAddr> {
        // A long header, and in it an id that the client has made.
        let begins = packet[0] & 0x80 != 0 && packet[5] != ID;
        self.first.filter(|_| begins).or_else(|| self.current())
    }
}

#[derive(Debug)]
struct Switched {
    inner: Arc<dyn AsyncUdpSocket>,
    balancer: Balancer,
}

impl AsyncUdpSocket for Switched {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        assert_eq!(transmit.destination, self.balancer.known);
        match self.balancer.way_of(transmit.contents) {
            Some(destination) => self.inner.try_send(&Transmit { destination, ..transmit.clone() }),
            None => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let polled = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = &polled {
            for meta in &mut meta[..*count] {
                if [self.balancer.current(), self.balancer.first].contains(&Some(meta.addr)) {
                    meta.addr = self.balancer.known;
                } else {
                    meta.len = 0;
                }
            }
        }
        polled
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
