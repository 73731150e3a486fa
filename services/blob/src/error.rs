//! Why a call to this service fails.

use qpc_chassis::{bulk::BodyError, db::DbError, objects::ObjectsError};
use qpc_wire::{Code, Status, ids::InvalidId};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("a blob has 1 to {max} bytes here, not {size}")]
    Size { size: u64, max: u64 },
    #[error("an account may bring {daily} bytes a day")]
    Quota { daily: u64, retry_after_ms: u64 },
    #[error("at most {0} parts at a time of one device")]
    Busy(u32),
    #[error("no such upload of this device")]
    NoUpload,
    #[error("the upload has no part {0}")]
    NoPart(u32),
    #[error("hash_before has 32 bytes")]
    HashBefore,
    #[error("the part has {expected} bytes, not {actual}")]
    PartLength { expected: u64, actual: u64 },
    #[error("{0} parts are missing")]
    Incomplete(u64),
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("a blob id has 32 bytes")]
    BlobId,
    #[error("what has arrived has another SHA-256")]
    Hash,
    #[error("no such blob")]
    NoBlob,
    #[error("the blob ends before")]
    Beyond,
    #[error("the blob is another account's")]
    NotYours,
    #[error("the body of a part is gone")]
    Lost,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    #[error(transparent)]
    Store(#[from] DbError),
    /// The call lacks what every call of its kind has.
    #[error(transparent)]
    Call(#[from] Status),
}

/// Pause that a device is asked for which sends too many parts at a time, milliseconds.
const BUSY_MS: u64 = 500;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Size { .. }
            | Error::NoPart(_)
            | Error::HashBefore
            | Error::PartLength { .. }
            | Error::Id(_)
            | Error::BlobId
            | Error::Hash
            | Error::Body(_) => Code::InvalidArgument,
            Error::Quota { .. } | Error::Busy(_) => Code::ResourceExhausted,
            Error::NoUpload | Error::NoBlob => Code::NotFound,
            Error::Incomplete(_) => Code::FailedPrecondition,
            Error::Beyond => Code::OutOfRange,
            Error::NotYours => Code::PermissionDenied,
            Error::Lost => Code::DataLoss,
            Error::Objects(_) | Error::Store(_) | Error::Call(_) => {
                return match error {
                    Error::Objects(error) => error.into(),
                    Error::Store(error) => error.into(),
                    Error::Call(status) => status,
                    _ => Self::internal(),
                };
            }
        };
        let retry_after_ms = match &error {
            Error::Quota { retry_after_ms, .. } => *retry_after_ms,
            Error::Busy(_) => BUSY_MS,
            _ => 0,
        };
        Self { retry_after_ms, ..Self::new(code, error.to_string()) }
    }
}
