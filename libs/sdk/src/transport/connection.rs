//! Calls over one connection: each on a stream of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use qpc_trace::Stop;
use qpc_wire::{
    Code, CorrelationId, Method, Status,
    frame::{self, ErrorCode, RESPONSE_HEADER, ResponseHeader},
    proofs::{BINDING_EXPORTER_LABEL, BINDING_LEN, ChannelBinding},
    status::Detail,
};
use quinn::{ReadError, ReadExactError, WriteError};
use tokio::time::Instant;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tracing::Instrument as _;

use super::carrier;

/// Added to the time that the server gives itself for a call, for the way there and back.
const DEADLINE_SLACK: Duration = Duration::from_secs(3);

/// Why a call has no response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server says no.
    #[error(transparent)]
    Status(#[from] Status),
    /// No answer in time; whether the call took effect is unknown.
    #[error("no answer in time")]
    Deadline,
    /// The connection is gone; whether the call took effect is unknown.
    #[error("connection lost: {0}")]
    Connection(#[from] quinn::ConnectionError),
    /// The server reset the stream.
    #[error("server reset the call: {0:?}")]
    Reset(Option<ErrorCode>),
    /// Larger than a frame may be, in either direction.
    #[error(transparent)]
    Oversized(#[from] frame::Oversized),
    /// The response is no frame, or not of this call.
    #[error("malformed response")]
    Malformed,
    /// The response is no message of the expected type.
    #[error("malformed response: {0}")]
    Decode(#[from] prost::DecodeError),
}

impl CallError {
    /// Whether the same call with the same idempotency key may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status(status) => status.is_transient(),
            Self::Deadline | Self::Connection(_) => true,
            Self::Reset(code) => {
                !matches!(code, Some(ErrorCode::UnknownMethod | ErrorCode::Oversized | ErrorCode::Malformed))
            }
            Self::Oversized(_) | Self::Malformed | Self::Decode(_) => false,
        }
    }

    /// Code of the server's refusal, if that is what it is.
    pub fn code(&self) -> Option<Code> {
        self.status().map(|status| status.code)
    }

    /// What a program needs to go on after the server's refusal.
    pub fn detail(&self) -> Option<&Detail> {
        self.status()?.detail.as_ref()
    }

    /// The epoch that the group is in, if the call came too late for its own.
    pub fn wrong_epoch(&self) -> Option<u64> {
        match self.detail()? {
            Detail::WrongEpoch(detail) => Some(detail.current_epoch),
            _ => None,
        }
    }

    /// The server's refusal, if that is what it is.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }
}

/// A connection. Cheap to clone; [`Self::close`] ends it for all clones. Each clone counts as a call in flight: whoever has
/// one may be between two calls that belong together.
#[derive(Clone)]
pub struct Connection(Arc<Shared>, TaskTrackerToken);

struct Shared {
    carrier: carrier::Connection,
    binding: ChannelBinding,
    correlation: [u8; 8],
    /// Whether the server may know that a call is recorded here.
    tells: bool,
    next_request: AtomicU32,
    /// Counts calls in flight, and those who have the connection.
    calls: TaskTracker,
}

impl Connection {
    /// `None` if TLS exports no keying material. `tells` the server which calls are recorded here, or has nothing by which one
    /// client looks different from another.
    pub(super) fn new(carrier: carrier::Connection, tells: bool) -> Option<Self> {
        let (mut binding, mut correlation) = ([0; BINDING_LEN], [0; 8]);
        carrier.export(&mut binding, BINDING_EXPORTER_LABEL)?;
        carrier.export(&mut correlation, CorrelationId::EXPORTER_LABEL)?;
        let calls = TaskTracker::new();
        // Closed means only that waiting for none is possible; calls are still counted.
        calls.close();
        let held = calls.token();
        let next_request = AtomicU32::new(1);
        Some(Self(Arc::new(Shared { carrier, binding, correlation, tells, next_request, calls }), held))
    }

    /// A new call of method `M`, and what counts it while it is in flight.
    pub(super) fn begin<M: Method>(&self) -> (CorrelationId, Stop, TaskTrackerToken) {
        let request = self.0.next_request.fetch_add(1, Ordering::Relaxed);
        let (correlation, stop) = qpc_trace::outgoing(self.0.correlation, request, self.0.tells, M::INFO.name);
        (correlation, stop, self.0.calls.token())
    }

    pub(super) fn carrier(&self) -> &carrier::Connection {
        &self.0.carrier
    }

    /// TLS exporter that proofs of keys are bound to.
    pub fn binding(&self) -> &ChannelBinding {
        &self.0.binding
    }

    /// One call. Dropping the future abandons it; the server may have done it all the same.
    pub async fn call<M: Method>(&self, request: &M::Request) -> Result<M::Response, CallError> {
        let (correlation, stop, _counted) = self.begin::<M>();
        let id = correlation.request();
        let deadline = Duration::from_millis(M::INFO.deadline_ms.into()) + DEADLINE_SLACK;
        let started = Instant::now();
        let result = match frame::request(M::INFO.id, id, request) {
            Ok(frame) => {
                let exchange = self.exchange(id, frame).instrument(stop.span().clone());
                tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(CallError::Deadline))
            }
            Err(oversized) => Err(oversized.into()),
        };
        let response = result.and_then(|payload| Ok(M::Response::decode(payload)?));
        stop.ended(response.as_ref().err().map_or(Code::Ok, |error| error.code().unwrap_or(Code::Unavailable)));
        let (method, micros) = (M::INFO.name, started.elapsed().as_micros() as u64);
        match &response {
            Ok(_) => tracing::debug!(method, %correlation, micros, "call"),
            Err(error) => tracing::debug!(method, %correlation, micros, %error, "call failed"),
        }
        response
    }

    async fn exchange(&self, id: u32, frame: Bytes) -> Result<Bytes, CallError> {
        let (mut send, mut receive) = self.0.carrier.open_bi().await?;
        write(&mut send, frame).await?;
        send.finish();
        read_response(&mut receive, id).await
    }

    /// Returns when the connection is gone, with the reason.
    pub async fn closed(&self) -> quinn::ConnectionError {
        self.0.carrier.closed().await
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.0.carrier.is_closed()
    }

    /// Ends the connection at once; calls in flight fail.
    pub fn close(&self) {
        self.0.carrier.close(ErrorCode::Closed as u32);
    }

    /// Ends the connection when no call is in flight and nobody else has it, after `within` at the latest.
    pub async fn close_when_idle(self, within: Duration) {
        let Self(shared, held) = self;
        drop(held);
        // Either way it is closed.
        let _ = tokio::time::timeout(within, shared.calls.wait()).await;
        shared.carrier.close(ErrorCode::Closed as u32);
    }
}

/// False when the server wants no more: one that refuses early stops reading, and its answer says why.
pub(super) async fn write(send: &mut carrier::SendStream, bytes: Bytes) -> Result<bool, CallError> {
    match send.write_chunk(bytes).await {
        Ok(()) => Ok(true),
        Err(WriteError::Stopped(_)) => Ok(false),
        Err(WriteError::ConnectionLost(error)) => Err(error.into()),
        Err(WriteError::ClosedStream | WriteError::ZeroRttRejected) => Err(CallError::Malformed),
    }
}

/// The payload of the response to call `id`.
pub(super) async fn read_response(receive: &mut carrier::RecvStream, id: u32) -> Result<Bytes, CallError> {
    let mut header = [0; RESPONSE_HEADER];
    receive.read_exact(&mut header).await.map_err(read_failed)?;
    let header = ResponseHeader::decode(&header)?;
    if header.request_id != id {
        return Err(CallError::Malformed);
    }
    let mut payload = vec![0; header.payload_len];
    receive.read_exact(&mut payload).await.map_err(read_failed)?;
    match header.status {
        0 => Ok(payload.into()),
        status => Err(Status::decode(status, payload.into()).into()),
    }
}

pub(super) fn read_failed(error: ReadExactError) -> CallError {
    match error {
        ReadExactError::ReadError(ReadError::Reset(code)) => CallError::Reset(ErrorCode::from_u64(code.into_inner())),
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => error.into(),
        ReadExactError::ReadError(_) | ReadExactError::FinishedEarly(_) => CallError::Malformed,
    }
}
