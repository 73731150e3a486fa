//! Bodies between a gateway and a service: what is too large, and too much, for the bus.
//!
//! A [`Pipe`] is a stream of bytes to one replica and back, for one call. What goes over it is the same in one process and
//! in a cluster:
//!
//! ```text
//! service   challenge (16)
//! gateway   MAC (32) ‖ length: u32 ‖ Call   and the body of a call that brings one
//! service   length: u32 ‖ Reply             and the body of an answer that brings one
//! ```
//!
//! The MAC is HMAC-SHA256 of the challenge and the call under a key that all processes of an installation derive: whoever
//! else reaches the port gets nothing. Bodies are [`qpc_wire::pieces`], as on the client's stream. A writer waits until the
//! reader has taken what was written, all the way from the disk to the client. Over a network a pipe is TLS, if there are
//! certificates for it ([`BulkTls`]); such a pipe may hold what was written back until it is flushed.

mod client;
pub mod contract;
mod local;
mod serve;
mod tcp;
mod tls;

use std::{io, net::SocketAddr};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac};
use qpc_wire::{proofs, status::Status};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

pub use client::{BulkClient, BulkReceiver, BulkSender};
pub use local::LocalBulk;
pub use serve::{Body, BodyError, BulkRouter, Source, serve};
pub use tcp::TcpBulk;
pub(crate) use tcp::subject;
pub use tls::BulkTls;

use crate::{bus::BusError, tls::TlsError};

/// Bytes that one direction of a pipe holds in one process.
const PIPE_BYTES: usize = 256 << 10;
/// Bytes read at a time; and room that is too little to be read into, so that few bytes do not hold much memory.
const READ_BYTES: usize = 256 << 10;
const LEAST_ROOM: usize = 32 << 10;
/// Longest Call or Reply: a few ids, or an error.
const MAX_HEAD: usize = 64 << 10;
const CHALLENGE: usize = 16;
const MAC: usize = 32;

/// A pipe could not be had, or broke.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// Nobody serves.
    #[error("no replica of {0} takes bodies")]
    NoReplica(&'static str),
    /// The bus does not say who serves.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A replica said to be where no replica can be.
    #[error("{0:?} is no address of a replica")]
    Address(String),
    /// The listening address is of no use to others.
    #[error("{0} is no address that gateways can connect to: say which is (--bulk-announce)")]
    Unspecified(SocketAddr),
    /// Some of certificate, key and authority were given.
    #[error("--bulk-cert, --bulk-key and --bulk-ca belong together; one of them is missing")]
    HalfGiven,
    /// They are of no use.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// The other side shows no certificate of this installation, or takes none.
    #[error("pipe: {0}")]
    Tls(#[source] io::Error),
    /// It shows a certificate of something else.
    #[error("the other side of the pipe is something else")]
    Stranger,
    /// The connection failed.
    #[error("pipe: {0}")]
    Io(#[from] io::Error),
    /// The other side says something else.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

impl From<BulkError> for Status {
    fn from(error: BulkError) -> Self {
        tracing::warn!(%error, "no pipe");
        Self::unavailable("the service is not there", 500)
    }
}

/// One direction or both of a stream of bytes.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// See the module.
pub type Pipe = Box<dyn Io>;

/// Where a replica takes pipes, for those that come over a network.
#[derive(Debug, Clone)]
pub struct BulkAddress {
    /// Where it listens.
    pub listen: SocketAddr,
    /// HOST:PORT under which gateways find it, where that is not the same.
    pub announce: Option<String>,
}

/// See the module.
pub trait Bulk: Send + Sync {
    /// A pipe to one replica of `service`.
    fn connect(&self, service: &'static str) -> BoxFuture<'_, Result<Pipe, BulkError>>;

    /// Takes pipes as a replica of `service`. Active when this returns.
    fn listen<'a>(
        &'a self,
        service: &'static str,
        at: &'a BulkAddress,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, BulkError>>;
}

/// Pipes that arrive at a replica. Dropped, it takes no more.
pub trait Listener: Send {
    /// The next one; `None` when there will be none.
    fn accept(&mut self) -> BoxFuture<'_, Option<Pipe>>;
}

/// Proof that a call comes from this installation.
fn mac(key: &[u8; 32], challenge: &[u8; CHALLENGE], call: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length; ours has the one that needs no hashing.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
    mac.update(&proofs::bulk(challenge, call));
    mac
}

/// A length and so many bytes.
async fn read_head(from: &mut (impl AsyncRead + Unpin), what: &'static str) -> Result<Bytes, BulkError> {
    let len = from.read_u32().await? as usize;
    if len > MAX_HEAD {
        return Err(BulkError::Malformed(what));
    }
    let mut head = BytesMut::zeroed(len);
    from.read_exact(&mut head).await?;
    Ok(head.freeze())
}

/// The next bytes, `None` at the end. What is read stays in the memory of `buffer` while somebody holds it.
async fn read_some(from: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    if buffer.capacity() - buffer.len() < LEAST_ROOM {
        buffer.reserve(READ_BYTES);
    }
    let len = from.read_buf(buffer).await?;
    Ok((len > 0).then(|| buffer.split().freeze()))
}
