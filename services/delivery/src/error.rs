//! Everything that can go wrong in this service, and the one mapping to wire codes.

use qpc_chassis::{db::DbError, limits::Limited, outbound::InvalidDestination};
use qpc_crypto::{aead, mls::MlsError, queue, receipt::ReceiptError};
use qpc_wire::{Code, DeviceId, GroupId, Status, ids::InvalidId, limits, status::Detail, v1};

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
    /// Too many of something.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// Others have sent too much to a recipient.
    #[error("the mailbox of a recipient takes no more for now")]
    MailboxFull {
        /// Milliseconds until it does, 0 if never.
        retry_after_ms: u64,
    },
    /// The payload is above the limit.
    #[error("a message has at most {max} bytes, not {0}", max = limits::MAX_ENVELOPE)]
    TooLarge(usize),
    /// A part of a bundle is above the limit.
    #[error("a part of a commit bundle has at most {max} bytes, not {0}", max = limits::MAX_HANDSHAKE)]
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
    /// The GroupInfo that comes with a commit is not of the epoch that it begins.
    #[error("the group info is not that of the new epoch: {0}")]
    GroupInfo(#[source] MlsError),
    /// An epoch tag of a wrong length.
    #[error("an epoch tag has 16 bytes")]
    EpochTag,
    /// A commitment of a wrong length.
    #[error("a commitment has 32 bytes")]
    Commitment,
    /// More than is relayed.
    #[error("what is relayed has at most {max} bytes, not {0}", max = limits::MAX_RELAY)]
    RelayTooLarge(usize),
    /// A hash of a wrong length.
    #[error("the hash of a delivery key has 32 bytes")]
    DeliveryKeyHash,
    /// A sealed message came from somebody who said who that is.
    #[error("a sealed message is sent on a connection without a session")]
    NotAnonymous,
    /// A sealed message came with nothing that allows it.
    #[error("a sealed message needs the delivery key of its epoch, or a token")]
    NoPermit,
    /// The delivery key is not that of the epoch, or none is known.
    #[error("this is not known as the delivery key of that epoch")]
    DeliveryKey,
    /// Not a token that was issued here, or not any more.
    #[error("the token is not taken")]
    Token,
    /// The token has paid for another message.
    #[error("the token is spent")]
    TokenSpent,
    /// The policy is of another kind than the call says.
    #[error("the group is of another kind than its policy says")]
    Kind,
    /// The policy and its predecessor's do not go together.
    #[error("the group does not continue its predecessor")]
    Predecessor,
    /// Too many devices for one commit.
    #[error("a commit adds at most {max} devices, not {0}", max = limits::MAX_ADDS)]
    TooManyAdds(usize),
    /// Too many tags in one acknowledgement.
    #[error("an acknowledgement has at most {max} tags, not {0}", max = limits::MAX_TAGS)]
    TooManyTags(usize),
    /// The caller's account may read only.
    #[error("your role in this group is to read")]
    ReadOnly,
    /// What only admins may do.
    #[error("this takes an admin of the group")]
    NotAdmin,
    /// A device was removed by somebody who may remove it only once it is revoked.
    #[error("removing a device of another account takes an admin, unless it was revoked")]
    NotRevoked,
    /// Another group took the place of this one.
    #[error("the group was replaced")]
    Replaced(GroupId),
    /// The caller's group is another one under the same id and epoch.
    #[error("your state of the group is not that of the others")]
    Forked(GroupId),
    /// A commit must remove these devices, or must not add them.
    #[error("devices of the commit were revoked")]
    DevicesRevoked(Vec<DeviceId>),
    /// The invite is over.
    #[error("the invite has expired")]
    InviteExpired,
    /// The invite was used as often as it may be.
    #[error("the invite is used up")]
    InviteUsedUp,
    /// The group changed between reading and writing, though its epoch did not.
    #[error("the group is busy")]
    Moved,
    /// A part that does not follow the rules of its call.
    #[error("not a part of something staged: at most {max} bytes in parts of {part}", max = limits::MAX_STAGED, part = limits::PART)]
    StagedPart,
    /// Something staged of which parts are missing.
    #[error("what was staged is not complete")]
    StagedIncomplete,
    /// Nothing is shared under this id, or not any more.
    #[error("nothing is kept under this id")]
    NoSuchPart,
    /// A device wants to be woken at something that is not called.
    #[error(transparent)]
    Endpoint(InvalidDestination),
    /// Wake-ups are off.
    #[error("this server wakes nobody")]
    WakesNobody,
    /// The caller was revoked meanwhile.
    #[error("the device was revoked")]
    Revoked,
    /// A stored endpoint cannot be unsealed.
    #[error("stored endpoint: {0}")]
    SealedEndpoint(#[source] aead::AeadError),
    /// What was unsealed is no endpoint.
    #[error("stored endpoint is damaged")]
    DamagedEndpoint,
    /// A receipt that was made here is malformed.
    #[error("receipt: {0}")]
    Receipt(#[from] ReceiptError),
    /// The stored group cannot be read.
    #[error("stored group: {0}")]
    StoredGroup(#[source] MlsError),
    /// The stored group cannot be unsealed.
    #[error("stored group: {0}")]
    SealedGroup(#[from] aead::AeadError),
    /// What was unsealed is not laid out as it was written.
    #[error("stored group is damaged")]
    DamagedGroup,
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
        let message = match &error {
            Error::InvalidCommit(MlsError::Denied(denied)) => denied.to_string(),
            error => error.to_string(),
        };
        let failed = |detail| Self { detail: Some(detail), ..Self::new(Code::FailedPrecondition, message.clone()) };
        match error {
            Error::Refused(status) => status,
            Error::Db(error) => error.into(),
            Error::Limited(error) => error.into(),
            Error::MailboxFull { retry_after_ms } => {
                Self { retry_after_ms, ..Self::new(Code::ResourceExhausted, message) }
            }
            Error::InvalidCommit(MlsError::Denied(_))
            | Error::ForeignCommit
            | Error::ReadOnly
            | Error::DeliveryKey
            | Error::Token
            | Error::NotAdmin
            | Error::NotRevoked => Self::new(Code::PermissionDenied, message),
            Error::Id(_)
            | Error::TooLarge(_)
            | Error::HandshakeTooLarge(_)
            | Error::BatchSize(_)
            | Error::NotOfGroup
            | Error::InvalidCommit(_)
            | Error::GroupInfo(_)
            | Error::EpochTag
            | Error::Commitment
            | Error::RelayTooLarge(_)
            | Error::DeliveryKeyHash
            | Error::NoPermit
            | Error::Kind
            | Error::Predecessor
            | Error::TooManyAdds(_)
            | Error::TooManyTags(_)
            | Error::StagedPart
            | Error::Endpoint(_)
            | Error::NotDirect
            | Error::WelcomeMismatch { .. } => Self::invalid(message),
            Error::NoSuchGroup | Error::NoSuchPart => Self::new(Code::NotFound, message),
            Error::WrongEpoch { current } => Self::wrong_epoch(current),
            Error::ConversationExists(group_id) => Self {
                detail: Some(Detail::ConversationExists(v1::ConversationExists { group_id: group_id.to_bytes() })),
                ..Self::new(Code::AlreadyExists, message)
            },
            Error::Replaced(group) => failed(Detail::Replaced(v1::Replaced { successor: group.to_bytes() })),
            Error::Forked(group) => failed(Detail::Forked(v1::Forked { group_id: group.to_bytes() })),
            Error::DevicesRevoked(devices) => failed(Detail::DevicesRevoked(v1::DevicesRevoked {
                device_ids: devices.iter().map(|device| device.to_bytes()).collect(),
            })),
            Error::NotAnonymous | Error::WakesNobody => Self::new(Code::FailedPrecondition, message),
            Error::Revoked => Self::new(Code::PermissionDenied, message),
            Error::GroupExists | Error::TokenSpent => Self::new(Code::AlreadyExists, message),
            Error::GroupTooLarge { .. } => Self::new(Code::ResourceExhausted, message),
            Error::NoQueueKey(_) | Error::InviteExpired | Error::InviteUsedUp | Error::StagedIncomplete => {
                Self::new(Code::FailedPrecondition, message)
            }
            Error::AckBeyondHead { .. } => Self::new(Code::OutOfRange, message),
            Error::Stopping | Error::Moved => Self::unavailable(message, 100),
            Error::StoredGroup(_)
            | Error::SealedGroup(_)
            | Error::DamagedGroup
            | Error::SealedEndpoint(_)
            | Error::DamagedEndpoint
            | Error::Receipt(_)
            | Error::Seal(_) => Self::internal(),
        }
    }
}

#[cfg(test)]
mod tests {
    use qpc_crypto::Denied;

    use super::*;

    #[test]
    fn what_the_rules_of_a_group_deny_is_told_from_what_is_wrong() {
        let status = |error| Status::from(Error::InvalidCommit(error));
        assert_eq!(status(MlsError::Denied(Denied::RemovesOwner)).code, Code::PermissionDenied);
        assert_eq!(status(MlsError::Denied(Denied::RemovesOwner)).message, "an owner cannot be removed by others");
        assert_eq!(status(MlsError::Forbidden("x")).code, Code::InvalidArgument);
    }
}
