//! What carries connections and streams: QUIC or, in a simulation, a network in memory. Errors are QUIC's either way.

use bytes::Bytes;
use quinn::{ConnectionError, ReadExactError, WriteError};

#[cfg(feature = "sim")]
use crate::runtime::sim::net;

/// A connection to a gateway. Cheap to clone.
#[derive(Clone)]
pub(super) enum Connection {
    Quic(quinn::Connection),
    #[cfg(feature = "sim")]
    Sim(net::Connection),
}

/// Where a request goes.
pub(super) enum SendStream {
    Quic(quinn::SendStream),
    #[cfg(feature = "sim")]
    Sim(net::SendStream),
}

/// Where an answer or a push comes from.
pub(super) enum RecvStream {
    Quic(quinn::RecvStream),
    #[cfg(feature = "sim")]
    Sim(net::RecvStream, Bytes),
}

impl Connection {
    pub(super) async fn open_bi(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        match self {
            Self::Quic(quic) => {
                quic.open_bi().await.map(|(send, recv)| (SendStream::Quic(send), RecvStream::Quic(recv)))
            }
            #[cfg(feature = "sim")]
            Self::Sim(sim) => {
                let (send, recv) = sim.open_bi().map_err(sim::ended)?;
                Ok((SendStream::Sim(send), RecvStream::Sim(recv, Bytes::new())))
            }
        }
    }

    pub(super) async fn accept_uni(&self) -> Result<RecvStream, ConnectionError> {
        match self {
            Self::Quic(quic) => quic.accept_uni().await.map(RecvStream::Quic),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => {
                sim.accept_uni().await.map(|recv| RecvStream::Sim(recv, Bytes::new())).map_err(sim::ended)
            }
        }
    }

    /// TLS exporter (RFC 8446 section 7.5). `None` if TLS exports no keying material.
    pub(super) fn export(&self, out: &mut [u8], label: &[u8]) -> Option<()> {
        match self {
            Self::Quic(quic) => quic.export_keying_material(out, label, b"").ok(),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => {
                sim.export(out, label);
                Some(())
            }
        }
    }

    pub(super) async fn closed(&self) -> ConnectionError {
        match self {
            Self::Quic(quic) => quic.closed().await,
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim::ended(sim.closed().await),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Quic(quic) => quic.close_reason().is_some(),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.close_reason().is_some(),
        }
    }

    pub(super) fn close(&self, code: u32) {
        match self {
            Self::Quic(quic) => quic.close(code.into(), b""),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.close(code),
        }
    }
}

impl SendStream {
    pub(super) async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), WriteError> {
        match self {
            Self::Quic(quic) => quic.write_chunk(chunk).await,
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.write(chunk).map_err(sim::not_written),
        }
    }

    /// What is ready on streams of a higher one is sent first.
    pub(super) fn set_priority(&mut self, priority: i32) {
        match self {
            // Fails only on a stream that is over already.
            Self::Quic(quic) => drop(quic.set_priority(priority)),
            #[cfg(feature = "sim")]
            Self::Sim(_) => {}
        }
    }

    /// Fails only if the server stopped the stream.
    pub(super) fn finish(&mut self) {
        match self {
            Self::Quic(quic) => drop(quic.finish()),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.finish(),
        }
    }
}

impl RecvStream {
    /// Fills `out`.
    pub(super) async fn read_exact(&mut self, out: &mut [u8]) -> Result<(), ReadExactError> {
        match self {
            Self::Quic(quic) => quic.read_exact(out).await,
            #[cfg(feature = "sim")]
            Self::Sim(sim, rest) => sim::read_exact(sim, rest, out).await,
        }
    }

    /// The next bytes, one at least and `most` at most; none at the end.
    pub(super) async fn read_chunk(&mut self, most: usize) -> Result<Option<Bytes>, ReadExactError> {
        match self {
            Self::Quic(quic) => Ok(quic.read_chunk(most, true).await?.map(|chunk| chunk.bytes)),
            #[cfg(feature = "sim")]
            Self::Sim(sim, rest) => {
                if rest.is_empty() {
                    *rest = sim::read_chunk(sim).await?.unwrap_or_default();
                }
                let chunk = rest.split_to(rest.len().min(most));
                Ok((!chunk.is_empty()).then_some(chunk))
            }
        }
    }
}

#[cfg(feature = "sim")]
mod sim {
    use bytes::{Buf as _, Bytes};
    use quinn::{ApplicationClose, ConnectionError, ReadError, ReadExactError, WriteError};

    use crate::runtime::sim::net::{Cut, End, RecvStream};

    pub(super) fn ended(end: End) -> ConnectionError {
        match end {
            End::Local => ConnectionError::LocallyClosed,
            End::Closed(code) => {
                ConnectionError::ApplicationClosed(ApplicationClose { error_code: code.into(), reason: Bytes::new() })
            }
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

    pub(super) async fn read_chunk(stream: &mut RecvStream) -> Result<Option<Bytes>, ReadError> {
        match stream.chunk().await {
            Ok(chunk) => Ok(chunk),
            Err(Cut::Stream(code)) => Err(ReadError::Reset(code.into())),
            Err(Cut::Connection(end)) => Err(ReadError::ConnectionLost(ended(end))),
            Err(Cut::Early | Cut::Ended) => Err(ReadError::ClosedStream),
        }
    }

    /// `rest` is what was read and not asked for yet.
    pub(super) async fn read_exact(
        stream: &mut RecvStream,
        rest: &mut Bytes,
        mut out: &mut [u8],
    ) -> Result<(), ReadExactError> {
        while !out.is_empty() {
            if rest.is_empty() {
                *rest = read_chunk(stream).await?.ok_or(ReadExactError::FinishedEarly(out.len()))?;
            }
            let taken = out.len().min(rest.len());
            let (head, tail) = out.split_at_mut(taken);
            rest.copy_to_slice(head);
            out = tail;
        }
        Ok(())
    }
}
