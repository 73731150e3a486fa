//! A member's side of a group: changing it.

use openmls::ciphersuite::hash_ref::ProposalRef;
use openmls::prelude::{
    Ciphersuite, CommitMessageBundle, KeyPackage, LeafNodeIndex, MlsMessageOut, ProposalOrRefType, QueuedProposal,
    Sender,
};
use qpc_wire::{AccountId, DeviceId};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use super::policy::Policy;
use super::rules::{self, Change, Committer, Leaf, State};
use super::{Conversation, MlsError, MlsStore, Provider, delivery, inspect, key_package};
use crate::{DeviceCertificate, DeviceKey};

/// SelfRemoves that wait for a commit; the next one makes room.
pub(super) const MAX_PROPOSALS: usize = 64;

/// A commit that this device made and the server has not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCommit {
    /// For the server and the other members: an MLSMessage with a PublicMessage.
    pub commit: Vec<u8>,
    /// For those added, all the same bytes, without the ratchet tree: an MLSMessage with a Welcome. Empty when nobody was
    /// added.
    pub welcome: Vec<u8>,
    /// For those who join from outside at the new epoch: an MLSMessage with a GroupInfo that has the external public key
    /// and not the ratchet tree.
    pub group_info: Vec<u8>,
    /// What the server knows the delivery key of the new epoch by, see [`Conversation::delivery_key`].
    pub delivery_key_hash: [u8; 32],
}

/// What one commit is to change. All of it happens or nothing.
#[derive(Debug, Clone, Default)]
pub struct Changes<'a> {
    /// KeyPackages (MLSMessages) of devices to be added.
    pub add: &'a [Vec<u8>],
    /// Devices to be removed; this one cannot be.
    pub remove: &'a [DeviceId],
    /// The new policy. Roles of accounts that leave the group are dropped from it, also when there is no new one.
    pub policy: Option<Policy>,
    /// Replaces this device's secrets in the tree, which heals a past compromise and warms its path.
    pub update: bool,
}

impl Conversation {
    /// Makes a commit, which also lets go those who wait to leave, except as many as the group needs to keep an owner. It
    /// has a path only where MLS demands one (RFC 9420 section 12.4): with one it grows with the group. What the group's
    /// rules deny is refused here, before anything is made.
    pub fn change<S: MlsStore>(
        &mut self,
        provider: &Provider<S>,
        key: &DeviceKey,
        changes: Changes<'_>,
    ) -> Result<PendingCommit, MlsError> {
        self.expect_ready()?;
        let plan = self.plan(provider, &changes)?;
        let mut builder = self
            .group
            .commit_builder()
            .propose_adds(plan.adds)
            .propose_removals(plan.removes)
            .force_self_update(changes.update);
        if let Some(policy) = &plan.policy {
            builder = builder.propose_group_context_extensions(inspect::extensions(policy)?)?;
        }
        let goes = |proposal: &QueuedProposal| {
            proposal.proposal_or_ref_type() == ProposalOrRefType::Proposal
                || plan.leavers.contains(proposal.proposal_reference_ref())
        };
        let bundle = builder
            .load_psks(provider.storage())?
            .create_group_info(true)
            .use_ratchet_tree_extension(false)
            .build(provider.crypto(), provider.crypto(), key, goes)?
            .stage_commit(provider)?;
        let staged = self.group.pending_commit().ok_or(MlsError::NothingPending)?;
        messages(bundle, &*delivery::of_pending(provider, staged)?)
    }

    /// [`Self::change`] that adds the devices of these KeyPackages (MLSMessages). The commit has no path, so the next
    /// update brings the fresh secrets that it leaves out.
    pub fn add<S: MlsStore>(
        &mut self,
        provider: &Provider<S>,
        key: &DeviceKey,
        key_packages: &[Vec<u8>],
    ) -> Result<PendingCommit, MlsError> {
        self.change(provider, key, Changes { add: key_packages, ..Changes::default() })
    }

    /// [`Self::change`] that replaces this device's secrets in the tree.
    pub fn update<S: MlsStore>(&mut self, provider: &Provider<S>, key: &DeviceKey) -> Result<PendingCommit, MlsError> {
        self.change(provider, key, Changes { update: true, ..Changes::default() })
    }

    /// [`Self::change`] that removes these devices.
    pub fn remove<S: MlsStore>(
        &mut self,
        provider: &Provider<S>,
        key: &DeviceKey,
        devices: &[DeviceId],
    ) -> Result<PendingCommit, MlsError> {
        self.change(provider, key, Changes { remove: devices, ..Changes::default() })
    }

    /// Proposes that this device leaves: an MLSMessage with a PublicMessage, for the server and all members. It is out when
    /// another member has committed that; until then it cannot write.
    pub fn leave<S: MlsStore>(&mut self, provider: &Provider<S>, key: &DeviceKey) -> Result<Vec<u8>, MlsError> {
        self.expect_ready()?;
        let own = self.group.own_leaf_index();
        self.may_leave(own, inspect::member_at(self.group.public_group(), own)?.account_id())?;
        bytes(&self.group.leave_group_via_self_remove(provider, key)?)
    }

    /// Takes back a [`Self::leave`] that the server has refused. Without one nothing happens.
    pub fn stay<S: MlsStore>(&mut self, provider: &Provider<S>) -> Result<(), MlsError> {
        let own = Sender::Member(self.group.own_leaf_index());
        let proposal = self.group.pending_proposals().find(|proposal| *proposal.sender() == own);
        let Some(reference) = proposal.map(|proposal| proposal.proposal_reference_ref().clone()) else {
            return Ok(());
        };
        Ok(self.group.remove_pending_proposal(provider.storage(), &reference)?)
    }

    /// The devices that wait to leave, this one too if it does.
    pub fn pending_leaves(&self) -> Vec<DeviceId> {
        self.leavers().map(|(_, _, certificate)| certificate.device_id()).collect()
    }

    /// Whether a commit of this device is pending.
    pub fn has_pending(&self) -> bool {
        self.joining() || self.group.pending_commit().is_some()
    }

    /// The pending commit was accepted: makes its epoch the current one.
    pub fn merge_pending<S: MlsStore>(&mut self, provider: &Provider<S>) -> Result<(), MlsError> {
        if self.joining() {
            return self.joined(provider);
        }
        if !self.has_pending() {
            return Err(MlsError::NothingPending);
        }
        Ok(self.group.merge_pending_commit(provider)?)
    }

    /// The pending commit was refused: forgets it. Without one nothing happens. If it was accepted after all, this device
    /// can no longer follow the group. When it was the commit of [`Self::join_external`], the group is deleted from the
    /// storage and this value is of no more use.
    pub fn clear_pending<S: MlsStore>(&mut self, provider: &Provider<S>) -> Result<(), MlsError> {
        if self.joining() {
            return self.not_joined(provider);
        }
        self.group.clear_pending_commit(provider.storage()).map_err(MlsError::storage)
    }

    /// Whether a SelfRemove of the leaf may be kept beside those that wait.
    pub(super) fn may_leave(&self, leaf: LeafNodeIndex, account: AccountId) -> Result<(), MlsError> {
        let waiting: Vec<_> = self.leavers().collect();
        if waiting.iter().any(|(index, ..)| *index == leaf) {
            return Err(MlsError::AlreadyLeaving);
        }
        if waiting.len() >= MAX_PROPOSALS {
            return Err(MlsError::QueueFull);
        }
        let accounts: Vec<_> = waiting.iter().map(|(_, _, certificate)| certificate.account_id()).collect();
        Ok(rules::leave(&self.policy()?, inspect::leaves(self.group.public_group()), &accounts, account)?)
    }

    fn leavers(&self) -> impl Iterator<Item = (LeafNodeIndex, &ProposalRef, DeviceCertificate)> + '_ {
        // Nothing but SelfRemoves of members is kept.
        self.group.pending_proposals().filter_map(|proposal| {
            let Sender::Member(index) = *proposal.sender() else { return None };
            let certificate = inspect::member_at(self.group.public_group(), index).ok()?;
            Some((index, proposal.proposal_reference_ref(), certificate))
        })
    }

    /// Reads the changes, chooses who leaves with them, and asks the rules.
    fn plan<S: MlsStore>(&self, provider: &Provider<S>, changes: &Changes<'_>) -> Result<Plan, MlsError> {
        let (adds, added) = verified(provider, self.group.ciphersuite(), changes.add)?;
        let (removes, removed) = self.to_remove(changes.remove)?;
        let own = self.group.own_leaf_index();
        let sender = inspect::leaf_of(&inspect::member_at(self.group.public_group(), own)?);
        let current = self.policy()?;
        let mut policy = match &changes.policy {
            // Also makes sure that it is one.
            Some(policy) => Policy::parse(&policy.to_bytes())?,
            None => current.clone(),
        };
        let waiting: Vec<_> = self.leavers().filter(|(index, ..)| *index != own && !removes.contains(index)).collect();
        let accounts: Vec<_> = waiting.iter().map(|(_, _, certificate)| certificate.account_id()).collect();
        let mut change =
            Change { committer: Committer::Member(sender), added: &added, removed: &removed, left: &[], policy: None };
        let before = inspect::leaves(self.group.public_group());
        let mut after = change.after(&before);
        let goes = rules::departures(&policy, &mut after, &accounts);
        let pick = |index: &usize| goes[*index];
        let left: Vec<_> = (0..accounts.len()).filter(pick).map(|index| accounts[index]).collect();
        let leavers = (0..accounts.len()).filter(pick).map(|index| waiting[index].1.clone()).collect();

        // Roles go with the accounts that go; a role the caller gives to a stranger is for the rules to refuse.
        policy.retain_roles(|account| after.contains_key(account) || !before.contains_key(account));
        let policy = (policy != current).then_some(policy);
        (change.left, change.policy) = (&left, policy.as_ref());
        let state = State { group: self.group_id(), epoch: self.epoch(), policy: &current };
        rules::check(&state, || before, &change)?;
        Ok(Plan { adds, removes, leavers, policy })
    }

    fn to_remove(&self, devices: &[DeviceId]) -> Result<(Vec<LeafNodeIndex>, Vec<Leaf>), MlsError> {
        if devices.is_empty() {
            return Ok(Default::default());
        }
        let members: Vec<(LeafNodeIndex, Leaf)> = inspect::members(self.group.public_group())
            .map(|(index, certificate)| (index, inspect::leaf_of(&certificate)))
            .collect();
        if let Some(unknown) = devices.iter().find(|device| members.iter().all(|(_, leaf)| leaf.device != **device)) {
            return Err(MlsError::UnknownDevice(*unknown));
        }
        Ok(members.into_iter().filter(|(_, leaf)| devices.contains(&leaf.device)).unzip())
    }
}

/// A commit that is allowed.
struct Plan {
    adds: Vec<KeyPackage>,
    removes: Vec<LeafNodeIndex>,
    leavers: Vec<ProposalRef>,
    policy: Option<Policy>,
}

fn verified<S: MlsStore>(
    provider: &Provider<S>,
    ciphersuite: Ciphersuite,
    key_packages: &[Vec<u8>],
) -> Result<(Vec<KeyPackage>, Vec<AccountId>), MlsError> {
    let crypto = provider.crypto();
    let verified = |bytes: &Vec<u8>| {
        let (key_package, valid) = key_package::verify(crypto, bytes)?;
        if key_package.ciphersuite() != ciphersuite {
            return Err(MlsError::Suite(valid.suite.id()));
        }
        Ok((key_package, valid.certificate.account_id()))
    };
    // Three signatures each.
    let verified: Vec<_> = match key_packages {
        [one] => vec![verified(one)?],
        several => several.par_iter().map(verified).collect::<Result<_, MlsError>>()?,
    };
    Ok(verified.into_iter().unzip())
}

/// The messages of a commit that was made with a GroupInfo.
pub(super) fn messages(bundle: CommitMessageBundle, delivery_key: &[u8; 32]) -> Result<PendingCommit, MlsError> {
    let (commit, welcome, group_info) = bundle.into_messages();
    let welcome = welcome.as_ref().map(bytes).transpose()?.unwrap_or_default();
    let group_info = group_info.ok_or(MlsError::Malformed("commit with a group info"))?;
    let delivery_key_hash = delivery::delivery_key_hash(delivery_key);
    Ok(PendingCommit { commit: bytes(&commit)?, welcome, group_info: bytes(&group_info)?, delivery_key_hash })
}

fn bytes(message: &MlsMessageOut) -> Result<Vec<u8>, MlsError> {
    message.to_bytes().map_err(MlsError::invalid)
}
