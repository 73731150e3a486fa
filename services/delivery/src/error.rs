//! Everything that can go wrong in this service, and the one mapping to wire codes.

use qpc_chassis::db::DbError;
use qpc_crypto::{aead, mls::MlsError, queue};
use qpc_wire::{Code, GroupId, Status, ids::InvalidId, limits, status::Detail, v1};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller or the request is not as it must be; the answer was made where that was seen.
    #[error(transparent)]
    Refused(#[from] Status),
    /// A malformed id.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The payload is above the limit.
    #[error("a message has at most {max} bytes, not {0}", max = limits::MAX_ENVELOPE)]
    TooLarge(usize),
    /// A commit or Welcome is above the limit.
    #[error("a commit and a Welcome have at most {max} bytes each, not {0}", max = limits::MAX_HANDSHAKE)]
    HandshakeTooLarge(usize),
    /// Too many items in one call.
    #[error("a batch has 1 to {max} items, not {0}", max = limits::MAX_BATCH)]
    BatchSize(usize),
    /// The payload is not what the method carries.
    #[error("not an MLS message of this group and epoch")]
    NotOfGroup,
    /// The MLS layer refuses a handshake message.
    #[error("the commit is not valid: {0}")]
    InvalidCommit(#[source] MlsError),
    /// The stored group cannot be read.
    #[error("stored group: {0}")]
    StoredGroup(#[source] MlsError),
    /// The stored group cannot be unsealed.
    #[error("stored group: {0}")]
    SealedGroup(#[from] aead::AeadError),
    /// A payload cannot be sealed to a queue key.
    #[error("sealing: {0}")]
    Seal(#[from] queue::QueueError),
    /// No such group, or the caller is not in it: the two look alike to whoever is outside.
    #[error("no such group, or you are not a member")]
    NoSuchGroup,
    /// The group is in another epoch.
    #[error("the group is in epoch {current}")]
    WrongEpoch {
        /// Its epoch.
        current: u64,
    },
    /// The commit was made by another device than the one that sends it.
    #[error("the commit is another device's")]
    ForeignCommit,
    /// A direct conversation has two accounts.
    #[error("a direct conversation has exactly two accounts, the caller's and another")]
    NotDirect,
    /// The pair has a direct conversation.
    #[error("the two accounts have a conversation")]
    ConversationExists(GroupId),
    /// The group id is taken.
    #[error("the group exists")]
    GroupExists,
    /// The group would grow beyond the limit.
    #[error("a group has at most {limit} devices, not {size}")]
    GroupTooLarge {
        /// What it would grow to.
        size: usize,
        /// The setting.
        limit: usize,
    },
    /// A Welcome must be for the devices that the commit adds.
    #[error("the commit adds {added} devices, the Welcome is for {welcomed}")]
    WelcomeMismatch {
        /// Devices added.
        added: usize,
        /// Devices that the Welcome is for.
        welcomed: usize,
    },
    /// Handshakes are stored sealed, so every recipient needs a queue key.
    #[error("{0} recipients have no queue key")]
    NoQueueKey(usize),
    /// An acknowledgement beyond the mailbox.
    #[error("the mailbox ends at {head}")]
    AckBeyondHead {
        /// Its newest sequence.
        head: u64,
    },
    /// The process is stopping.
    #[error("the service is stopping")]
    Stopping,
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Refused(status) => status,
            Error::Db(error) => error.into(),
            Error::Id(_)
            | Error::TooLarge(_)
            | Error::HandshakeTooLarge(_)
            | Error::BatchSize(_)
            | Error::NotOfGroup
            | Error::InvalidCommit(_)
            | Error::NotDirect
            | Error::WelcomeMismatch { .. } => Self::invalid(message),
            Error::ForeignCommit => Self::new(Code::PermissionDenied, message),
            Error::NoSuchGroup => Self::new(Code::NotFound, message),
            Error::WrongEpoch { current } => Self::wrong_epoch(current),
            Error::ConversationExists(group_id) => Self {
                detail: Some(Detail::ConversationExists(v1::ConversationExists { group_id: group_id.to_bytes() })),
                ..Self::new(Code::AlreadyExists, message)
            },
            Error::GroupExists => Self::new(Code::AlreadyExists, message),
            Error::GroupTooLarge { .. } => Self::new(Code::ResourceExhausted, message),
            Error::NoQueueKey(_) => Self::new(Code::FailedPrecondition, message),
            Error::AckBeyondHead { .. } => Self::new(Code::OutOfRange, message),
            Error::Stopping => Self::unavailable(message, 100),
            Error::StoredGroup(_) | Error::SealedGroup(_) | Error::Seal(_) => Self::internal(),
        }
    }
}
