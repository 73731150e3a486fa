//! A member's side of a group: making, loading, joining, looking.

use openmls::prelude::{
    MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroup, MlsGroupJoinConfig, MlsMessageBodyIn, SenderRatchetConfiguration,
    StagedWelcome,
};
use qpc_wire::{DeviceId, GroupId};

use super::{MlsError, MlsStore, Provider, Suite, inspect, key_package, parse};
use crate::{DeviceCertificate, DeviceKey};

/// Epochs whose messages can still be decrypted: those in flight while a commit was accepted.
const MAX_PAST_EPOCHS: usize = 5;
/// Messages of one sender that may come later than their successors.
const OUT_OF_ORDER: u32 = 64;
/// Messages of one sender that may be missing before one that is accepted.
const FORWARD: u32 = 2_000;

/// A group as one of its members has it.
///
/// Each operation is one step of MLS and leaves group and storage at the same state; after an error of the storage, or a
/// rollback, load it again. At most one commit is pending: made by [`Self::add`], [`Self::update`] or [`Self::remove`],
/// sent to the server, then merged or cleared by its answer.
pub struct Conversation {
    pub(super) group: MlsGroup,
    id: GroupId,
    suite: Suite,
}

impl Conversation {
    /// Founds a group with this device as its only member, at epoch 0.
    pub fn create<S: MlsStore>(
        provider: &Provider<S>,
        key: &DeviceKey,
        certificate: &DeviceCertificate,
        suite: Suite,
        group_id: GroupId,
    ) -> Result<Self, MlsError> {
        let group = MlsGroup::builder()
            .with_group_id(openmls::prelude::GroupId::from_slice(group_id.as_ref()))
            .ciphersuite(suite.ciphersuite())
            .with_capabilities(key_package::capabilities())
            .with_wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
            .max_past_epochs(MAX_PAST_EPOCHS)
            .sender_ratchet_configuration(ratchet())
            .padding_size(0)
            .use_ratchet_tree_extension(true)
            .build(provider, key, key_package::leaf_identity(key, certificate)?)?;
        Self::wrap(group)
    }

    /// Loads a group from the storage; none when it is not there.
    pub fn load<S: MlsStore>(provider: &Provider<S>, group_id: GroupId) -> Result<Option<Self>, MlsError> {
        let id = openmls::prelude::GroupId::from_slice(group_id.as_ref());
        MlsGroup::load(provider.storage(), &id).map_err(MlsError::storage)?.map(Self::wrap).transpose()
    }

    /// Joins a group by a Welcome and uses up the KeyPackage it names, unless that is one of last resort. Every member's
    /// certificate is verified. A group that this device was removed from is replaced.
    ///
    /// Lifetimes of the others' leaves are not checked: they bound when a KeyPackage may be used, and groups outlive them.
    pub fn join<S: MlsStore>(provider: &Provider<S>, welcome: &[u8]) -> Result<Self, MlsError> {
        const KIND: &str = "welcome";
        let MlsMessageBodyIn::Welcome(welcome) = parse::body(welcome, KIND)? else {
            return Err(MlsError::Malformed(KIND));
        };
        let mut builder =
            StagedWelcome::build_from_welcome(provider, &join_config(), welcome)?.skip_lifetime_validation();
        let id = parse::group_id(builder.processed_welcome().unverified_group_info().group_id())?;
        match Self::load(provider, id)? {
            Some(old) if old.is_active() => return Err(MlsError::GroupExists),
            Some(_) => builder = builder.replace_old_group(),
            None => {}
        }
        let staged = builder.build()?;
        for member in staged.members() {
            inspect::credential(&member.credential, &member.signature_key)?;
        }
        inspect::context(staged.group_context())?;
        Self::wrap(staged.into_group(provider)?)
    }

    /// Removes the group and its secrets from the storage.
    pub fn delete<S: MlsStore>(mut self, provider: &Provider<S>) -> Result<(), MlsError> {
        self.group.delete(provider.storage()).map_err(MlsError::storage)
    }

    /// The GroupInfo with the ratchet tree, an MLSMessage: at epoch 0 it is what the server founds its view on. A pending
    /// commit is not part of it.
    pub fn group_info<S: MlsStore>(&self, provider: &Provider<S>, key: &DeviceKey) -> Result<Vec<u8>, MlsError> {
        let message = self.group.export_group_info(provider.crypto(), key, true)?;
        message.to_bytes().map_err(MlsError::invalid)
    }

    /// The current epoch.
    pub fn epoch(&self) -> u64 {
        self.group.epoch().as_u64()
    }

    /// The cipher suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The group's id.
    pub fn group_id(&self) -> GroupId {
        self.id
    }

    /// The certificates of all members, this device's too, in the order of their leaves.
    pub fn members(&self) -> Vec<DeviceCertificate> {
        inspect::members(self.group.public_group())
    }

    /// A secret of the epoch, 32 bytes, that members compare to see whether they are in the same group (RFC 9420 section
    /// 8.7).
    pub fn epoch_authenticator(&self) -> Vec<u8> {
        self.group.epoch_authenticator().as_slice().to_vec()
    }

    /// This device; none after it was removed.
    pub fn own_device(&self) -> Option<DeviceId> {
        let leaf = self.group.own_leaf().filter(|_| self.is_active())?;
        inspect::known(leaf.credential()).ok().map(|certificate| certificate.device_id())
    }

    /// Whether this device is still a member.
    pub fn is_active(&self) -> bool {
        self.group.is_active()
    }

    fn wrap(group: MlsGroup) -> Result<Self, MlsError> {
        let id = parse::group_id(group.group_id())?;
        let suite = inspect::suite(group.ciphersuite())?;
        Ok(Self { group, id, suite })
    }
}

fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(MAX_PAST_EPOCHS)
        .sender_ratchet_configuration(ratchet())
        .padding_size(0)
        .use_ratchet_tree_extension(true)
        .build()
}

fn ratchet() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD)
}
