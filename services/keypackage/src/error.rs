//! Why a call to this service fails.

use qpc_chassis::{db::DbError, limits::Limited};
use qpc_crypto::{BadSignature, CertificateError, MlsError, queue::QueueError};
use qpc_wire::{Code, Status, ids::InvalidId};

use crate::domain::MAX_PACKAGE;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cipher suite {0:#06x} is not known")]
    Suite(u32),
    #[error("at most {limit} {what} a call, not {actual}")]
    TooMany { what: &'static str, limit: usize, actual: usize },
    #[error("a key package has at most {MAX_PACKAGE} bytes, not {0}")]
    TooLarge(usize),
    #[error("key package: {0}")]
    Invalid(#[from] MlsError),
    #[error("a key package is of another suite than the call says")]
    OtherSuite,
    #[error("a key package does not belong to the attached device")]
    OtherDevice,
    #[error("a single-use key package is marked as last resort")]
    MarkedLastResort,
    #[error("the last resort is not marked as such")]
    UnmarkedLastResort,
    #[error("a key package was uploaded before")]
    Duplicate,
    #[error("at most {limit} key packages of this suite are kept for a device, {available} are there")]
    Full { limit: u32, available: u32 },
    #[error("a device is named twice")]
    NamedTwice,
    #[error("queue key: {0}")]
    QueueKey(#[from] QueueError),
    #[error("the device did not sign the queue key: {0}")]
    Signature(#[from] BadSignature),
    #[error("the device is not one of its account")]
    UnlistedDevice,
    #[error("the certificate of the device: {0}")]
    Certificate(#[from] CertificateError),
    #[error("the device was revoked")]
    Forgotten,
    #[error("the device has no queue key")]
    NoQueueKey,
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("validation was cut short")]
    Validation(#[source] tokio::task::JoinError),
    #[error(transparent)]
    Limited(#[from] Limited),
    #[error(transparent)]
    Store(#[from] DbError),
    /// The call lacks what every call of its kind has, or auth refused to answer.
    #[error(transparent)]
    Call(#[from] Status),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Suite(_)
            | Error::TooMany { .. }
            | Error::TooLarge(_)
            | Error::Invalid(_)
            | Error::OtherSuite
            | Error::MarkedLastResort
            | Error::UnmarkedLastResort
            | Error::NamedTwice
            | Error::QueueKey(_)
            | Error::Signature(_)
            | Error::Id(_) => Code::InvalidArgument,
            Error::OtherDevice | Error::UnlistedDevice | Error::Forgotten => Code::PermissionDenied,
            Error::Duplicate => Code::AlreadyExists,
            Error::Full { .. } => Code::ResourceExhausted,
            Error::NoQueueKey => Code::NotFound,
            // Auth hands out only certificates that it has checked.
            Error::Certificate(_) | Error::Validation(_) => return Self::internal(),
            Error::Limited(_) | Error::Store(_) | Error::Call(_) => {
                return match error {
                    Error::Limited(error) => error.into(),
                    Error::Store(error) => error.into(),
                    Error::Call(status) => status,
                    _ => Self::internal(),
                };
            }
        };
        Self::new(code, error.to_string())
    }
}
