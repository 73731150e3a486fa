//! A member's side of a group: making, loading, joining, looking.

use openmls::prelude::{
    MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroup, MlsGroupJoinConfig, MlsMessageBodyIn, SenderRatchetConfiguration,
    StagedWelcome,
};
use qpc_wire::{DeviceId, GroupId};
use zeroize::Zeroizing;

use super::policy::{Policy, Role};
use super::rules::{self, Leaves};
use super::{MlsError, MlsStore, Provider, Suite, external, inspect, key_package, parse, warm};
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
/// rollback, load it again. At most one commit is pending: made by [`Self::change`] or [`Self::join_external`], sent to the
/// server, then merged or cleared by its answer.
pub struct Conversation {
    pub(super) group: MlsGroup,
    pub(super) standing: Standing,
    id: GroupId,
    suite: Suite,
}

/// How this device stands to the group, as far as openmls does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// In the group, or removed from it.
    In,
    /// Joined from outside; the server has not answered yet.
    Joining,
    /// Tried to join from outside and was refused.
    Out,
}

impl Conversation {
    /// Founds a group with this device as its only member, at epoch 0. The policy must be one to found a group with: owned
    /// by this account if it is of kind group, of this conversation or continuing another.
    pub fn create<S: MlsStore>(
        provider: &Provider<S>,
        key: &DeviceKey,
        certificate: &DeviceCertificate,
        suite: Suite,
        group_id: GroupId,
        policy: &Policy,
    ) -> Result<Self, MlsError> {
        // Also makes sure that it is one.
        let policy = Policy::parse(&policy.to_bytes())?;
        rules::found(&policy, group_id, certificate.account_id())?;
        let group = MlsGroup::builder()
            .with_group_id(openmls::prelude::GroupId::from_slice(group_id.as_ref()))
            .ciphersuite(suite.ciphersuite())
            .with_capabilities(key_package::capabilities())
            .with_wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
            .max_past_epochs(MAX_PAST_EPOCHS)
            .sender_ratchet_configuration(ratchet())
            .padding_size(0)
            .use_ratchet_tree_extension(false)
            .with_group_context_extensions(inspect::extensions(&policy)?)
            .build(provider, key, key_package::leaf_identity(key, certificate)?)?;
        Self::wrap(group, Standing::In)
    }

    /// Loads a group from the storage; none when it is not there.
    pub fn load<S: MlsStore>(provider: &Provider<S>, group_id: GroupId) -> Result<Option<Self>, MlsError> {
        let id = openmls::prelude::GroupId::from_slice(group_id.as_ref());
        let Some(group) = MlsGroup::load(provider.storage(), &id).map_err(MlsError::storage)? else {
            return Ok(None);
        };
        let standing = if external::is_joining(provider, group_id)? { Standing::Joining } else { Standing::In };
        Self::wrap(group, standing).map(Some)
    }

    /// Joins a group by a Welcome and the ratchet tree of its epoch, and uses up the KeyPackage it names, unless that is one
    /// of last resort. Every member's certificate is verified. A group that this device was removed from is replaced, and
    /// one that it tries to join from outside.
    ///
    /// Lifetimes of the others' leaves are not checked: they bound when a KeyPackage may be used, and groups outlive them.
    pub fn join<S: MlsStore>(provider: &Provider<S>, welcome: &[u8], ratchet_tree: &[u8]) -> Result<Self, MlsError> {
        const KIND: &str = "welcome";
        let MlsMessageBodyIn::Welcome(welcome) = parse::body(welcome, KIND)? else {
            return Err(MlsError::Malformed(KIND));
        };
        let ratchet_tree = parse::ratchet_tree(ratchet_tree)?;
        let leaves = ratchet_tree.leaves().map(|leaf| (leaf.credential(), leaf.signature_key().as_slice()));
        let certificates = inspect::credentials(leaves)?;
        let mut builder = StagedWelcome::build_from_welcome(provider, &join_config(), welcome)?
            .with_ratchet_tree(ratchet_tree)
            .skip_lifetime_validation();
        let id = parse::group_id(builder.processed_welcome().unverified_group_info().group_id())?;
        match Self::load(provider, id)? {
            Some(old) if old.is_active() && !old.joining() => return Err(MlsError::GroupExists),
            Some(_) => builder = builder.replace_old_group(),
            None => {}
        }
        let (certificates, staged) = certificates.verify_beside(|| builder.build())?;
        let staged = staged?;
        let mut leaves = Leaves::new();
        for certificate in certificates {
            *leaves.entry(certificate.account_id()).or_default() += 1;
        }
        rules::sound(&inspect::context(staged.group_context())?, &leaves)?;
        external::unmark(provider, id)?;
        Self::wrap(staged.into_group(provider)?, Standing::In)
    }

    /// Removes the group and its secrets from the storage.
    pub fn delete<S: MlsStore>(mut self, provider: &Provider<S>) -> Result<(), MlsError> {
        external::unmark(provider, self.id)?;
        self.group.delete(provider.storage()).map_err(MlsError::storage)
    }

    /// The GroupInfo with the ratchet tree, an MLSMessage: at epoch 0 it is what the server founds its view on. A pending
    /// commit is not part of it.
    pub fn group_info<S: MlsStore>(&self, provider: &Provider<S>, key: &DeviceKey) -> Result<Vec<u8>, MlsError> {
        let message = self.group.export_group_info(provider.crypto(), key, true)?;
        message.to_bytes().map_err(MlsError::invalid)
    }

    /// The GroupInfo of the current epoch as it comes with a commit, an MLSMessage: with the external public key, without
    /// the ratchet tree.
    pub fn group_info_now<S: MlsStore>(&self, provider: &Provider<S>, key: &DeviceKey) -> Result<Vec<u8>, MlsError> {
        let message = self.group.export_group_info(provider.crypto(), key, false)?;
        message.to_bytes().map_err(MlsError::invalid)
    }

    /// The ratchet tree of the current epoch, for [`Self::join`] and [`Self::join_external`].
    pub fn ratchet_tree(&self) -> Result<Vec<u8>, MlsError> {
        inspect::encode(&self.group.export_ratchet_tree())
    }

    /// The group's policy.
    pub fn policy(&self) -> Result<Policy, MlsError> {
        inspect::policy(self.group.extensions())
    }

    /// The role of this device's account; none after it was removed.
    pub fn role_of_self(&self) -> Result<Option<Role>, MlsError> {
        if !self.is_active() {
            return Ok(None);
        }
        let own = inspect::member_at(self.group.public_group(), self.group.own_leaf_index())?;
        Ok(Some(self.policy()?.role(own.account_id())))
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
        inspect::members(self.group.public_group()).map(|(_, certificate)| certificate).collect()
    }

    /// The index of each leaf and whose it is, in ascending order.
    pub fn member_leaves(&self) -> Vec<(u32, DeviceCertificate)> {
        inspect::members(self.group.public_group()).map(|(index, certificate)| (index.u32(), certificate)).collect()
    }

    /// The index of this device's leaf.
    pub fn own_leaf(&self) -> u32 {
        self.group.own_leaf_index().u32()
    }

    /// Whether a node above this device's leaf is blank or incomplete, so that an update of this device would make the
    /// commits of all smaller.
    pub fn path_is_cold(&self) -> Result<bool, MlsError> {
        warm::path_is_cold(self.group.treesync(), self.group.own_leaf_index())
    }

    /// What a member puts in the open to see whether it is in the same group as the server and so the others:
    /// [`super::GroupView::epoch_tag`] of the same epoch. The confirmation tag is a MAC under a secret of the epoch over all
    /// that led to it (RFC 9420 section 8.1), so whoever has the same tag has the same secrets.
    pub fn epoch_tag(&self) -> Result<[u8; 16], MlsError> {
        inspect::epoch_tag(self.group.public_group())
    }

    /// A secret of the epoch that only its members have, for use beside MLS (RFC 9420 section 8.5); `len` in bytes.
    pub fn export<S: MlsStore>(
        &self,
        provider: &Provider<S>,
        label: &str,
        context: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, MlsError> {
        Ok(Zeroizing::new(self.group.export_secret(provider.crypto(), label, context, len)?))
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
        self.standing != Standing::Out && self.group.is_active()
    }

    /// Whether the commit by which this device joined is not accepted yet.
    pub(super) fn joining(&self) -> bool {
        self.standing == Standing::Joining
    }

    /// Whether something new can be made.
    pub(super) fn expect_ready(&self) -> Result<(), MlsError> {
        if !self.is_active() {
            return Err(MlsError::NotMember);
        }
        if self.has_pending() { Err(MlsError::CommitPending) } else { Ok(()) }
    }

    pub(super) fn wrap(group: MlsGroup, standing: Standing) -> Result<Self, MlsError> {
        let id = parse::group_id(group.group_id())?;
        let suite = inspect::suite(group.ciphersuite())?;
        Ok(Self { group, standing, id, suite })
    }
}

pub(super) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(MAX_PAST_EPOCHS)
        .sender_ratchet_configuration(ratchet())
        .padding_size(0)
        .use_ratchet_tree_extension(false)
        .build()
}

fn ratchet() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD)
}
