//! What carries connections and streams: QUIC or, in a simulation, a network in memory. Errors are QUIC's either way.

use bytes::{Bytes, BytesMut};
#[cfg(feature = "sim")]
use qpc_chassis::runtime::sim::net;
use quinn::{ConnectionError, WriteError};

/// A connection of a client.
pub(crate) enum Connection {
    Quic(quinn::Connection),
    #[cfg(feature = "sim")]
    Sim(net::Connection),
}

/// Where an answer or a push goes.
pub(crate) enum SendStream {
    Quic(quinn::SendStream),
    #[cfg(feature = "sim")]
    Sim(net::SendStream),
}

/// Where a request comes from.
pub(crate) enum RecvStream {
    Quic(quinn::RecvStream),
    #[cfg(feature = "sim")]
    Sim(net::RecvStream),
}

/// Packets whose content is passed on at once, as far as they have arrived.
const GATHERED: usize = 64;

/// Nothing more comes: the client took it back, or the connection is gone.
pub(crate) struct Gone;

impl Connection {
    pub(crate) async fn accept_bi(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        match self {
            Self::Quic(quic) => {
                quic.accept_bi().await.map(|(send, recv)| (SendStream::Quic(send), RecvStream::Quic(recv)))
            }
            #[cfg(feature = "sim")]
            Self::Sim(sim) => {
                let (send, recv) = sim.accept_bi().await.map_err(sim::ended)?;
                Ok((SendStream::Sim(send), RecvStream::Sim(recv)))
            }
        }
    }

    pub(crate) async fn open_uni(&self) -> Result<SendStream, ConnectionError> {
        match self {
            Self::Quic(quic) => quic.open_uni().await.map(SendStream::Quic),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.open_uni().map(SendStream::Sim).map_err(sim::ended),
        }
    }

    /// TLS exporter (RFC 8446 section 7.5). `None` when the connection is gone already.
    pub(crate) fn export(&self, out: &mut [u8], label: &[u8]) -> Option<()> {
        match self {
            Self::Quic(quic) => quic.export_keying_material(out, label, b"").ok(),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => {
                sim.export(out, label);
                Some(())
            }
        }
    }

    pub(crate) fn close(&self, code: u32, reason: &[u8]) {
        match self {
            Self::Quic(quic) => quic.close(code.into(), reason),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.close(code),
        }
    }

    /// Differs between the connections of a gateway.
    pub(crate) fn stable_id(&self) -> usize {
        match self {
            Self::Quic(quic) => quic.stable_id(),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.stable_id(),
        }
    }
}

impl SendStream {
    pub(crate) async fn write_all_chunks(&mut self, chunks: &mut [Bytes]) -> Result<(), WriteError> {
        match self {
            Self::Quic(quic) => quic.write_all_chunks(chunks).await,
            #[cfg(feature = "sim")]
            Self::Sim(sim) => chunks.iter().try_for_each(|chunk| sim.write(chunk.clone()).map_err(sim::not_written)),
        }
    }

    /// What is ready on streams of a higher one is sent first.
    pub(crate) fn set_priority(&mut self, priority: i32) {
        match self {
            // Fails only on a stream that is over already.
            Self::Quic(quic) => drop(quic.set_priority(priority)),
            #[cfg(feature = "sim")]
            Self::Sim(_) => {}
        }
    }

    /// Fails only on a stream that is over already.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Quic(quic) => drop(quic.finish()),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.finish(),
        }
    }

    /// Fails only on a stream that is over already.
    pub(crate) fn reset(&mut self, code: u32) {
        match self {
            Self::Quic(quic) => drop(quic.reset(code.into())),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.reset(code),
        }
    }

    /// Returns when nobody waits for what is written here.
    pub(crate) async fn stopped(&self) {
        match self {
            Self::Quic(quic) => drop(quic.stopped().await),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.stopped().await,
        }
    }
}

impl RecvStream {
    /// The next bytes; `None` at the end of the stream.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Gone> {
        match self {
            Self::Quic(quic) => match quic.read_chunk(usize::MAX, true).await {
                Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
                Err(_) => Err(Gone),
            },
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.chunk().await.map_err(|_| Gone),
        }
    }

    /// Appends what has arrived, some of it at least; false at the end of the stream.
    pub(crate) async fn gather(&mut self, into: &mut BytesMut) -> Result<bool, Gone> {
        match self {
            Self::Quic(quic) => {
                let mut chunks = [const { Bytes::new() }; GATHERED];
                let Some(count) = quic.read_chunks(&mut chunks).await.map_err(|_| Gone)? else { return Ok(false) };
                chunks[..count].iter().for_each(|chunk| into.extend_from_slice(chunk));
            }
            #[cfg(feature = "sim")]
            Self::Sim(sim) => {
                let Some(chunk) = sim.chunk().await.map_err(|_| Gone)? else { return Ok(false) };
                into.extend_from_slice(&chunk);
            }
        }
        Ok(true)
    }

    /// Fails only on a stream that is over already.
    pub(crate) fn stop(&mut self, code: u32) {
        match self {
            Self::Quic(quic) => drop(quic.stop(code.into())),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.stop(code),
        }
    }
}

#[cfg(feature = "sim")]
mod sim {
    use qpc_chassis::runtime::sim::net::{Cut, End};
    use quinn::{ApplicationClose, ConnectionError, WriteError};

    pub(super) fn ended(end: End) -> ConnectionError {
        match end {
            End::Local => ConnectionError::LocallyClosed,
            End::Closed(code) => ConnectionError::ApplicationClosed(ApplicationClose {
                error_code: code.into(),
                reason: Default::default(),
            }),
            End::TimedOut => ConnectionError::TimedOut,
            End::Reset => ConnectionError::Reset,
        }
    }

    pub(super) fn not_written(cut: Cut) -> WriteError {
        match cut {
            Cut::Stream(code) => WriteError::Stopped(code.into()),
            Cut::Connection(end) => WriteError::ConnectionLost(ended(end)),
            Cut::Early | Cut::Ended => WriteError::ClosedStream,
        }
    }
}
