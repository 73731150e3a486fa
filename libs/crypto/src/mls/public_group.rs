//! The server's side of a group: who is in it, at which epoch, and whether a commit is right. No secrets.

use openmls::prelude::{
    CreationFromExternalError, MergeCommitError, MlsMessageBodyIn, ProcessedMessageContent, ProposalStore, PublicGroup,
};
use qpc_wire::GroupId;

use super::provider::Crypto;
use super::public_store::{PublicStore, Slots};
use super::{MlsError, Suite, inspect, parse};
use crate::DeviceCertificate;

const SNAPSHOT_VERSION: u8 = 1;

/// What an accepted commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The new epoch.
    pub epoch: u64,
    /// The device that committed.
    pub sender: DeviceCertificate,
    /// New members.
    pub added: Vec<DeviceCertificate>,
    /// Former members.
    pub removed: Vec<DeviceCertificate>,
}

/// A group as the server has it. Everything in it was verified, except what needs the group's secrets: membership tag,
/// confirmation tag and the encrypted path. A member can thus make the server accept a commit that other members refuse.
pub struct GroupView {
    crypto: Crypto,
    store: PublicStore,
    group: PublicGroup,
    id: GroupId,
    suite: Suite,
}

impl GroupView {
    /// Takes up a new group from its GroupInfo with ratchet tree (an MLSMessage): at epoch 0, with one member.
    pub fn found(group_info_message: &[u8]) -> Result<Self, MlsError> {
        const KIND: &str = "group info with ratchet tree";
        let MlsMessageBodyIn::GroupInfo(info) = parse::body(group_info_message, KIND)? else {
            return Err(MlsError::Malformed(KIND));
        };
        if info.epoch().as_u64() != 0 {
            return Err(MlsError::WrongEpoch { message: info.epoch().as_u64(), group: 0 });
        }
        inspect::context(info.group_context())?;
        let tree = info.extensions().ratchet_tree().ok_or(MlsError::Malformed(KIND))?.ratchet_tree().clone();
        let (crypto, store) = (Crypto::default(), PublicStore::default());
        let (group, _) = PublicGroup::from_external(&crypto, &store, tree, info, ProposalStore::new()).map_err(
            |error| match error {
                CreationFromExternalError::WriteToStorageError(error) => MlsError::storage(error),
                error => MlsError::invalid(error),
            },
        )?;
        let mut members = group.members();
        let (Some(founder), None) = (members.next(), members.next()) else {
            return Err(MlsError::Forbidden("a new group of more than its founder"));
        };
        inspect::credential(&founder.credential, &founder.signature_key)?;
        drop(members);
        Self::wrap(crypto, store, group)
    }

    /// Reads what [`Self::snapshot`] wrote. It is trusted: nothing is verified again.
    pub fn restore(bytes: &[u8]) -> Result<Self, MlsError> {
        const KIND: &str = "snapshot of a group";
        let (id, slots) = read_snapshot(bytes).ok_or(MlsError::Malformed(KIND))?;
        let store = PublicStore::new(slots);
        let group = load(&store, id)?.ok_or(MlsError::Malformed(KIND))?;
        let view = Self::wrap(Crypto::default(), store, group)?;
        if view.id != id {
            return Err(MlsError::Malformed(KIND));
        }
        Ok(view)
    }

    /// The view as bytes: version (1) | group id (16) | tree, context, transcript hash and confirmation tag as CBOR, each
    /// with its length before it (4, big-endian). About as large as the ratchet tree.
    pub fn snapshot(&self) -> Result<Vec<u8>, MlsError> {
        let slots = self.store.slots();
        let mut bytes = vec![SNAPSHOT_VERSION];
        bytes.extend_from_slice(self.id.as_ref());
        for slot in [&slots.tree, &slots.context, &slots.transcript, &slots.confirmation] {
            let len = u32::try_from(slot.len()).map_err(|_| MlsError::Malformed("group below 4 GiB"))?;
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(slot);
        }
        Ok(bytes)
    }

    /// Checks a commit against the current epoch and follows it. On an error the view is as before.
    pub fn apply(&mut self, commit: &[u8]) -> Result<Applied, MlsError> {
        let message = parse::commit(commit)?;
        if parse::group_id(message.group_id())? != self.id {
            return Err(MlsError::UnknownGroup);
        }
        let of_message = message.epoch().as_u64();
        if of_message != self.epoch() {
            return Err(MlsError::WrongEpoch { message: of_message, group: self.epoch() });
        }
        let processed = self.group.process_message(&self.crypto, message)?;
        let sender = processed.sender().clone();
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err(MlsError::Malformed("commit of a member"));
        };
        let changes = inspect::commit(&self.group, &sender, &staged)?;

        let before = self.store.slots().clone();
        if let Err(error) = self.group.merge_commit(&self.store, *staged) {
            self.store = PublicStore::new(before);
            if let Some(group) = load(&self.store, self.id)? {
                self.group = group;
            }
            return Err(match error {
                MergeCommitError::StorageError(error) => MlsError::storage(error),
                error => error.into(),
            });
        }
        Ok(Applied { epoch: self.epoch(), sender: changes.sender, added: changes.added, removed: changes.removed })
    }

    /// The group's id.
    pub fn group_id(&self) -> GroupId {
        self.id
    }

    /// The current epoch.
    pub fn epoch(&self) -> u64 {
        self.group.group_context().epoch().as_u64()
    }

    /// The cipher suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The certificates of all members, in the order of their leaves.
    pub fn members(&self) -> Vec<DeviceCertificate> {
        inspect::members(&self.group)
    }

    fn wrap(crypto: Crypto, store: PublicStore, group: PublicGroup) -> Result<Self, MlsError> {
        let id = parse::group_id(group.group_id())?;
        let suite = inspect::suite(group.ciphersuite())?;
        Ok(Self { crypto, store, group, id, suite })
    }
}

fn load(store: &PublicStore, id: GroupId) -> Result<Option<PublicGroup>, MlsError> {
    PublicGroup::load(store, &openmls::prelude::GroupId::from_slice(id.as_ref())).map_err(MlsError::storage)
}

fn read_snapshot(bytes: &[u8]) -> Option<(GroupId, Slots)> {
    let (version, rest) = bytes.split_first()?;
    if *version != SNAPSHOT_VERSION {
        return None;
    }
    let (id, mut rest) = rest.split_at_checked(GroupId::LEN)?;
    let mut slot = || {
        let (len, tail) = rest.split_first_chunk::<4>()?;
        let (value, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
        rest = tail;
        Some(value.to_vec())
    };
    let slots = Slots { tree: slot()?, context: slot()?, transcript: slot()?, confirmation: slot()? };
    rest.is_empty().then_some((GroupId::try_from(id).ok()?, slots))
}
