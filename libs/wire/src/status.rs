//! How a call fails: a closed list of codes with the meaning of gRPC's.

use bytes::Bytes;
use prost::Message;

use crate::v1;
pub use crate::v1::{Code, error::Detail};

/// A failed call: what the `Error` message of the protocol says, without the correlation id, which the chassis adds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {message}", code.as_str_name().trim_start_matches("CODE_"))]
pub struct Status {
    /// Never `Ok`.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Milliseconds after which the same call can succeed; 0 when waiting does not help.
    pub retry_after_ms: u64,
    /// What a program needs to go on.
    pub detail: Option<Detail>,
    /// Log reference, empty where it was never set.
    pub correlation_id: String,
}

impl Status {
    /// A failure without further detail.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: 0, detail: None, correlation_id: String::new() }
    }

    /// `INVALID_ARGUMENT`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// `INTERNAL`, without a word about the inside; the cause belongs in the log.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "internal error")
    }

    /// `UNAVAILABLE`, worth another try after `retry_after_ms`.
    pub fn unavailable(message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self { retry_after_ms, ..Self::new(Code::Unavailable, message) }
    }

    /// `ABORTED` with the epoch that the group is in.
    pub fn wrong_epoch(current_epoch: u64) -> Self {
        Self {
            detail: Some(Detail::WrongEpoch(v1::WrongEpoch { current_epoch })),
            ..Self::new(Code::Aborted, format!("the group is in epoch {current_epoch}"))
        }
    }

    /// Whether the same call with the same idempotency key may succeed later.
    pub fn is_transient(&self) -> bool {
        match self.code {
            Code::Unavailable | Code::DeadlineExceeded => true,
            // A limit that waiting does not lift says so by naming no time.
            Code::ResourceExhausted => self.retry_after_ms > 0,
            _ => false,
        }
    }

    /// The wire form.
    pub fn encode(&self) -> Bytes {
        v1::Error {
            code: self.code as i32,
            message: self.message.clone(),
            retry_after_ms: self.retry_after_ms,
            correlation_id: self.correlation_id.clone(),
            detail: self.detail.clone(),
        }
        .encode_to_vec()
        .into()
    }

    /// From a status byte that is not 0 and its payload. A payload that does not decode still gives the code.
    pub fn decode(status: u8, payload: Bytes) -> Self {
        let code = Code::try_from(i32::from(status)).ok().filter(|code| *code != Code::Ok).unwrap_or(Code::Unknown);
        match v1::Error::decode(payload) {
            Ok(error) => Self {
                code,
                message: error.message,
                retry_after_ms: error.retry_after_ms,
                detail: error.detail,
                correlation_id: error.correlation_id,
            },
            Err(_) => Self::new(code, "the error did not decode"),
        }
    }
}

impl From<crate::ids::InvalidId> for Status {
    fn from(error: crate::ids::InvalidId) -> Self {
        Self::invalid(error.to_string())
    }
}
