//! Why an operation on a group failed.

use std::error::Error;

use openmls::prelude::{
    CommitBuilderStageError, CreateCommitError, CreateMessageError, ExportGroupInfoError, ExportSecretError,
    ExternalCommitBuilderError, ExternalCommitBuilderFinalizeError, LeaveGroupError, LibraryError, MergeCommitError,
    MergePendingCommitError, MlsGroupStateError, NewGroupError, PublicProcessMessageError, RemoveProposalError,
    StageCommitError, ValidationError, WelcomeError,
};
use qpc_wire::DeviceId;

use super::policy::PolicyError;
use super::rules::Denied;
use crate::certificate::CertificateError;
use crate::padding::PaddingError;

type Source = Box<dyn Error + Send + Sync>;

/// Why an operation on a group failed. Nothing was merged, unless it is [`MlsError::Storage`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MlsError {
    /// The message is of another epoch: a commit that lost or came late, or a message from before we joined or too long
    /// ago.
    #[error("message is of epoch {message}, the group at {group}")]
    WrongEpoch {
        /// Epoch of the message.
        message: u64,
        /// Epoch of the group.
        group: u64,
    },
    /// The message was decrypted before; its key is gone.
    #[error("message was processed before")]
    AlreadyProcessed,
    /// A message this device sent. Nobody can decrypt their own.
    #[error("message is our own")]
    OwnMessage,
    /// The commit this device has pending came back, so it was accepted: merge it.
    #[error("commit is our own pending one")]
    OwnPendingCommit,
    /// The message belongs to another group.
    #[error("message belongs to another group")]
    UnknownGroup,
    /// No KeyPackage of ours is named in the Welcome: it is for someone else, or was used before.
    #[error("welcome is not for this device")]
    NotForUs,
    /// This storage holds the group already.
    #[error("group exists already")]
    GroupExists,
    /// This device is no longer a member.
    #[error("this device is no member of the group")]
    NotMember,
    /// The sender is no member.
    #[error("sender is no member of the group")]
    UnknownSender,
    /// A device to be removed is no member.
    #[error("device {0} is no member of the group")]
    UnknownDevice(DeviceId),
    /// A commit is pending: merge or clear it first.
    #[error("a commit is pending")]
    CommitPending,
    /// No commit is pending.
    #[error("no commit is pending")]
    NothingPending,
    /// Somebody waits to leave: commit first, writing goes on in the next epoch.
    #[error("proposals are pending")]
    ProposalsPending,
    /// This device waits to leave already.
    #[error("this device is leaving already")]
    AlreadyLeaving,
    /// As many proposals wait as are kept; the next commit makes room.
    #[error("too many proposals are pending")]
    QueueFull,
    /// A commit names a proposal that was never seen.
    #[error("commit names an unknown proposal")]
    MissingProposal,
    /// Confirmation or membership tag does not hold (RFC 9420 sections 6.2 and 8.1): the sender has other secrets of the
    /// group than this device, so following it would be a fork.
    #[error("sender has other secrets of the group")]
    WrongTag,
    /// A GroupInfo that is not of the group's current state.
    #[error("group info is not of the current state")]
    OtherState,
    /// The group's rules do not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The group's policy is none.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A suite we do not speak, or not the group's.
    #[error("cipher suite {0:#06x} does not fit")]
    Suite(u16),
    /// Bytes that are not the kind of message named.
    #[error("not a {0}")]
    Malformed(&'static str),
    /// Allowed by the RFC, not by us.
    #[error("{0} is not allowed")]
    Forbidden(&'static str),
    /// A credential is no valid device certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A leaf signs with another key than its certificate names.
    #[error("leaf does not belong to the device of its certificate")]
    KeyMismatch,
    /// The plaintext is not padded as it must.
    #[error(transparent)]
    Padding(#[from] PaddingError),
    /// A check of RFC 9420 failed.
    #[error("MLS: {0}")]
    Invalid(#[source] Source),
    /// The storage failed; what it holds is undefined until the transaction is rolled back.
    #[error("storage of groups: {0}")]
    Storage(#[source] Source),
}

impl MlsError {
    pub(super) fn invalid(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Invalid(Box::new(error))
    }

    pub(super) fn storage(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Storage(Box::new(error))
    }
}

impl From<LibraryError> for MlsError {
    fn from(error: LibraryError) -> Self {
        Self::invalid(error)
    }
}

impl From<MlsGroupStateError> for MlsError {
    fn from(error: MlsGroupStateError) -> Self {
        match error {
            MlsGroupStateError::UseAfterEviction => Self::NotMember,
            MlsGroupStateError::PendingCommit => Self::CommitPending,
            MlsGroupStateError::NoPendingCommit => Self::NothingPending,
            MlsGroupStateError::PendingProposal => Self::ProposalsPending,
            error => Self::invalid(error),
        }
    }
}

impl From<ValidationError> for MlsError {
    fn from(error: ValidationError) -> Self {
        match error {
            ValidationError::WrongGroupId => Self::UnknownGroup,
            ValidationError::UnknownMember => Self::UnknownSender,
            ValidationError::InvalidMembershipTag => Self::WrongTag,
            error => Self::invalid(error),
        }
    }
}

impl From<StageCommitError> for MlsError {
    fn from(error: StageCommitError) -> Self {
        match error {
            StageCommitError::ConfirmationTagMismatch => Self::WrongTag,
            StageCommitError::MissingProposal => Self::MissingProposal,
            error => Self::invalid(error),
        }
    }
}

impl From<CreateCommitError> for MlsError {
    fn from(error: CreateCommitError) -> Self {
        Self::invalid(error)
    }
}

impl From<ExportSecretError> for MlsError {
    fn from(error: ExportSecretError) -> Self {
        match error {
            ExportSecretError::GroupStateError(error) => error.into(),
            error => Self::invalid(error),
        }
    }
}

impl From<PublicProcessMessageError> for MlsError {
    fn from(error: PublicProcessMessageError) -> Self {
        match error {
            PublicProcessMessageError::ValidationError(error) => error.into(),
            PublicProcessMessageError::InvalidCommit(error) => error.into(),
            error => Self::invalid(error),
        }
    }
}

impl From<ExportGroupInfoError> for MlsError {
    fn from(error: ExportGroupInfoError) -> Self {
        match error {
            ExportGroupInfoError::GroupStateError(error) => error.into(),
            error => Self::invalid(error),
        }
    }
}

impl From<CreateMessageError> for MlsError {
    fn from(error: CreateMessageError) -> Self {
        match error {
            CreateMessageError::GroupStateError(error) => error.into(),
            error => Self::invalid(error),
        }
    }
}

/// The errors of openmls that carry the storage's error.
macro_rules! from_openmls {
    ($($error:ident { $($pattern:pat => $value:expr),* $(,)? })*) => {$(
        impl<E: Error + Send + Sync + 'static> From<$error<E>> for MlsError {
            fn from(error: $error<E>) -> Self {
                match error {
                    $($pattern => $value,)*
                    error => Self::invalid(error),
                }
            }
        }
    )*};
}

from_openmls! {
    NewGroupError {
        NewGroupError::StorageError(error) => Self::storage(error),
        NewGroupError::GroupAlreadyExists => Self::GroupExists,
    }
    WelcomeError {
        WelcomeError::StorageError(error) => Self::storage(error),
        WelcomeError::GroupAlreadyExists => Self::GroupExists,
        WelcomeError::NoMatchingKeyPackage | WelcomeError::JoinerSecretNotFound => Self::NotForUs,
    }
    CommitBuilderStageError {
        CommitBuilderStageError::KeyStoreError(error) => Self::storage(error),
    }
    ExternalCommitBuilderError {
        ExternalCommitBuilderError::StorageError(error) => Self::storage(error),
        ExternalCommitBuilderError::InvalidProposal(error) => error.into(),
    }
    ExternalCommitBuilderFinalizeError {
        ExternalCommitBuilderFinalizeError::StorageError(error) => Self::storage(error),
        ExternalCommitBuilderFinalizeError::MergeCommitError(error) => error.into(),
    }
    LeaveGroupError {
        LeaveGroupError::StorageError(error) => Self::storage(error),
        LeaveGroupError::GroupStateError(error) => error.into(),
    }
    RemoveProposalError {
        RemoveProposalError::Storage(error) => Self::storage(error),
    }
    MergeCommitError {
        MergeCommitError::StorageError(error) => Self::storage(error),
    }
    MergePendingCommitError {
        MergePendingCommitError::MlsGroupStateError(error) => error.into(),
        MergePendingCommitError::MergeCommitError(MergeCommitError::StorageError(error)) => Self::storage(error),
    }
}
