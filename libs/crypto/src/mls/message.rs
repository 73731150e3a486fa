//! A member's side of a group: what is sent and what comes in.

use std::error::Error;

use openmls::framing::errors::MessageDecryptionError;
use openmls::prelude::{
    ProcessMessageError, ProcessedMessageContent, ProtocolMessage, QueuedProposal, ValidationError,
};

use super::{Conversation, MlsError, MlsStore, Provider, inspect, parse};
use crate::{DeviceCertificate, DeviceKey, padding};

/// What a message from the group was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Somebody wrote.
    Message {
        /// The device that wrote.
        sender: DeviceCertificate,
        /// Epoch in which it was written, the current one or one of the last five.
        epoch: u64,
        /// Without padding.
        plaintext: Vec<u8>,
    },
    /// The group changed, and this device followed.
    Commit {
        /// The device that changed it, or that joined by this commit.
        sender: Option<DeviceCertificate>,
        /// New members, also one that joined from outside.
        added: Vec<DeviceCertificate>,
        /// Former members. A device that was replaced in one commit is among the new ones too.
        removed: Vec<DeviceCertificate>,
        /// The new epoch.
        epoch: u64,
        /// This device was removed and can follow no further.
        self_removed: bool,
        /// The sender came from outside: a new member, or one that was stuck and is none.
        external: bool,
        /// The policy is another one.
        policy_changed: bool,
    },
    /// A device wants to leave. That is kept for the next commit, and until then nobody can write.
    Leave {
        /// The device that leaves.
        sender: DeviceCertificate,
    },
}

impl Conversation {
    /// Encrypts `plaintext`, padded, for the current epoch: an MLSMessage with a PrivateMessage.
    pub fn encrypt<S: MlsStore>(
        &mut self,
        provider: &Provider<S>,
        key: &DeviceKey,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, MlsError> {
        self.expect_ready()?;
        let message = self.group.create_message(provider, key, &padding::pad(plaintext))?;
        message.to_bytes().map_err(MlsError::invalid)
    }

    /// Takes in a message. A commit is checked and merged, which drops a pending commit of this device. Errors that call
    /// for no alarm: [`MlsError::WrongEpoch`], [`MlsError::AlreadyProcessed`], [`MlsError::OwnMessage`],
    /// [`MlsError::OwnPendingCommit`], [`MlsError::AlreadyLeaving`]. After any error but [`MlsError::Storage`] the group is as
    /// before.
    pub fn process<S: MlsStore>(&mut self, provider: &Provider<S>, bytes: &[u8]) -> Result<Incoming, MlsError> {
        let message = parse::protocol_message(bytes, "message of a group")?;
        self.check_place(&message)?;
        let epoch = message.epoch().as_u64();
        let processed = match self.group.process_message(provider, message) {
            Ok(processed) => processed,
            Err(error) => return Err(self.refine(error, epoch)),
        };
        let sender = processed.sender().clone();
        let credential = processed.credential().clone();
        let aad = processed.aad().to_vec();
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => Ok(Incoming::Message {
                sender: inspect::known(&credential)?,
                epoch,
                plaintext: padding::unpad(&message.into_bytes())?.to_vec(),
            }),
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let changes = inspect::commit(self.group.public_group(), provider.crypto(), &sender, &aad, &staged)?;
                let self_removed = staged.self_removed();
                self.group.merge_staged_commit(provider, *staged)?;
                let joined = (changes.external && !changes.verdict.resync).then(|| changes.sender.clone());
                let added = changes.added.into_iter().map(|added| added.certificate);
                Ok(Incoming::Commit {
                    added: added.chain(joined).collect(),
                    sender: Some(changes.sender),
                    removed: changes.removed,
                    epoch: epoch + 1,
                    self_removed,
                    external: changes.external,
                    policy_changed: changes.policy.is_some(),
                })
            }
            ProcessedMessageContent::ProposalMessage(proposal) => self.keep(provider, &aad, *proposal),
            ProcessedMessageContent::ExternalJoinProposalMessage(_) => {
                Err(MlsError::Forbidden("a proposal other than to leave"))
            }
            ProcessedMessageContent::OwnPendingCommit => Err(MlsError::OwnPendingCommit),
            ProcessedMessageContent::OwnPrivateMessage => Err(MlsError::OwnMessage),
        }
    }

    /// Keeps a SelfRemove for the next commit.
    fn keep<S: MlsStore>(
        &mut self,
        provider: &Provider<S>,
        aad: &[u8],
        proposal: QueuedProposal,
    ) -> Result<Incoming, MlsError> {
        let leaver = inspect::self_remove(self.group.public_group(), aad, &proposal)?;
        if leaver.index == self.group.own_leaf_index() {
            return Err(MlsError::OwnMessage);
        }
        self.may_leave(leaver.index, leaver.certificate.account_id())?;
        self.group.store_pending_proposal(provider.storage(), proposal).map_err(MlsError::storage)?;
        Ok(Incoming::Leave { sender: leaver.certificate })
    }

    /// Whether the message is for this group, and for an epoch that can be had.
    fn check_place(&self, message: &ProtocolMessage) -> Result<(), MlsError> {
        if message.group_id() != self.group.group_id() {
            return Err(MlsError::UnknownGroup);
        }
        if !self.is_active() {
            return Err(MlsError::NotMember);
        }
        if self.joining() {
            return Err(MlsError::CommitPending);
        }
        let (of_message, of_group) = (message.epoch().as_u64(), self.epoch());
        if of_message > of_group || message.is_handshake_message() && of_message != of_group {
            return Err(MlsError::WrongEpoch { message: of_message, group: of_group });
        }
        Ok(())
    }

    /// Tells apart what is normal in an error of openmls.
    fn refine<E: Error + Send + Sync + 'static>(&self, error: ProcessMessageError<E>, epoch: u64) -> MlsError {
        match error {
            ProcessMessageError::StorageError(error) => MlsError::storage(error),
            ProcessMessageError::GroupStateError(error) => error.into(),
            ProcessMessageError::InvalidCommit(error) => error.into(),
            ProcessMessageError::ValidationError(error) => match tree_error(&error).as_deref() {
                Some("SecretReuseError") => MlsError::AlreadyProcessed,
                // The secrets of the epoch are gone, or were never ours.
                Some("TooDistantInThePast") if epoch < self.epoch() => self.wrong_epoch(epoch),
                _ if error == ValidationError::NoPastEpochData => self.wrong_epoch(epoch),
                _ => error.into(),
            },
            error => MlsError::invalid(error),
        }
    }

    fn wrong_epoch(&self, message: u64) -> MlsError {
        MlsError::WrongEpoch { message, group: self.epoch() }
    }
}

/// The variant of openmls' SecretTreeError in `error`. Its type is not exported, so its name is all there is to go by; the
/// test for a duplicate fails when it changes.
fn tree_error(error: &ValidationError) -> Option<String> {
    match error {
        ValidationError::UnableToDecrypt(MessageDecryptionError::SecretTreeError(error)) => Some(format!("{error:?}")),
        _ => None,
    }
}
