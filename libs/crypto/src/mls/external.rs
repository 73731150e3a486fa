//! Joining from outside (RFC 9420 section 12.4.3.2): a new device of an account in the group, a device that is stuck and
//! comes back, somebody with an invite.

use openmls::prelude::tls_codec::Size as _;
use openmls::prelude::{LeafNodeParameters, MlsGroup, PublicMessageIn, RatchetTreeIn, Sender};
use openmls_traits::storage::{CURRENT_VERSION, Entity, Key, traits};
use qpc_wire::{AccountId, GroupId};
use serde::{Deserialize, Serialize};

use super::commit::messages;
use super::group::{Standing, join_config};
use super::invite::InviteSecret;
use super::policy::{Kind, Policy};
use super::rules::{self, Change, Committer, Leaf, Leaves, State};
use super::{Conversation, MlsError, MlsStore, PendingCommit, Provider, inspect, key_package, parse};
use crate::{DeviceCertificate, DeviceKey};

impl Conversation {
    /// Joins a group from outside, by a commit that the server has yet to accept: then [`Self::merge_pending`], else
    /// [`Self::clear_pending`], which deletes the group. Until then nothing can be written or processed. A group of this id
    /// in the storage is replaced, so a stuck device loses what it could still decrypt of older epochs.
    ///
    /// `group_info` (an MLSMessage) and `ratchet_tree` are of the current epoch, `proposals` the SelfRemoves (MLSMessages)
    /// that wait in it. `invite` is needed when no other device of the account is in the group, and not used otherwise.
    /// Every member's certificate is verified.
    pub fn join_external<S: MlsStore>(
        provider: &Provider<S>,
        key: &DeviceKey,
        certificate: &DeviceCertificate,
        group_info: &[u8],
        ratchet_tree: &[u8],
        proposals: &[Vec<u8>],
        invite: Option<&InviteSecret>,
    ) -> Result<(Self, PendingCommit), MlsError> {
        let identity = key_package::leaf_identity(key, certificate)?;
        let info = parse::group_info(group_info, "group info")?;
        let policy = inspect::context(info.group_context())?;
        let tree = parse::ratchet_tree(ratchet_tree)?;
        let leaves = tree.leaves().map(|leaf| (leaf.credential(), leaf.signature_key().as_slice()));
        let certificates = inspect::credentials(leaves)?;
        let outside = Outside {
            group: parse::group_id(info.group_id())?,
            epoch: info.epoch().as_u64(),
            policy,
            members: members(&tree, ratchet_tree, certificates.claims())?,
            own: inspect::leaf_of(certificate),
        };
        let proof = outside.proof(invite);
        let proposals = outside.departures(proposals, &proof)?;

        let builder = MlsGroup::external_commit_builder()
            .with_proposals(proposals)
            .with_ratchet_tree(tree)
            .with_config(join_config())
            .with_aad(proof)
            .skip_lifetime_validation();
        let (_, builder) = certificates.verify_beside(|| builder.build_group(provider, info, identity))?;
        let builder = builder?
            .leaf_node_parameters(LeafNodeParameters::builder().with_capabilities(key_package::capabilities()).build())
            .load_psks(provider.storage())?
            .create_group_info(true)
            .use_ratchet_tree_extension(false)
            .build(provider.crypto(), provider.crypto(), key, |_| true)?;
        if let Some(old) = Self::load(provider, outside.group)? {
            old.delete(provider)?;
        }
        let (group, bundle) = builder.finalize(provider)?;
        let mark = JoiningKey::of(outside.group);
        provider.storage().write_psk(&mark, &Joining(true)).map_err(MlsError::storage)?;
        let conversation = Self::wrap(group, Standing::Joining)?;
        let pending = messages(bundle, &*conversation.delivery_key(provider)?)?;
        Ok((conversation, pending))
    }

    pub(super) fn joined<S: MlsStore>(&mut self, provider: &Provider<S>) -> Result<(), MlsError> {
        unmark(provider, self.group_id())?;
        self.standing = Standing::In;
        Ok(())
    }

    pub(super) fn not_joined<S: MlsStore>(&mut self, provider: &Provider<S>) -> Result<(), MlsError> {
        unmark(provider, self.group_id())?;
        self.group.delete(provider.storage()).map_err(MlsError::storage)?;
        self.standing = Standing::Out;
        Ok(())
    }
}

/// What somebody outside knows of a group, and who that is.
struct Outside {
    group: GroupId,
    epoch: u64,
    policy: Policy,
    /// By index of the leaf.
    members: Vec<Option<Leaf>>,
    own: Leaf,
}

impl Outside {
    fn proof(&self, invite: Option<&InviteSecret>) -> Vec<u8> {
        let inside = self.members.iter().flatten().any(|leaf| leaf.account == self.own.account);
        match invite {
            Some(invite) if !inside => invite.proof(self.group, self.epoch, self.own.device),
            _ => Vec::new(),
        }
    }

    /// The proposals that can be committed from outside; fails when joining itself is not allowed. An external commit
    /// cannot change the policy, so whoever takes a role along has to wait for a member's commit.
    fn departures(&self, proposals: &[Vec<u8>], proof: &[u8]) -> Result<Vec<PublicMessageIn>, MlsError> {
        let removed: Vec<Leaf> =
            self.members.iter().flatten().copied().filter(|leaf| leaf.device == self.own.device).collect();
        let mut leaves = Leaves::new();
        self.members.iter().flatten().for_each(|leaf| *leaves.entry(leaf.account).or_default() += 1);
        let committer = Committer::Joiner(self.own, proof);
        let mut change = Change { committer, added: &[], removed: &removed, left: &[], policy: None };
        let mut after = change.after(&leaves);

        let (mut kept, mut left): (Vec<_>, Vec<AccountId>) = Default::default();
        for bytes in proposals {
            let message = parse::proposal(bytes)?;
            let leaf = self.leaf_of(message.sender())?;
            if leaf.device == self.own.device || self.takes_a_role(leaf.account, &after) {
                continue;
            }
            if rules::departures(&self.policy, &mut after, &[leaf.account]) == [true] {
                kept.push(message);
                left.push(leaf.account);
            }
        }
        change.left = &left;
        let state = State { group: self.group, epoch: self.epoch, policy: &self.policy };
        rules::check(&state, || leaves, &change)?;
        Ok(kept)
    }

    fn leaf_of(&self, sender: &Sender) -> Result<Leaf, MlsError> {
        let Sender::Member(index) = sender else { return Err(MlsError::UnknownSender) };
        self.members.get(index.usize()).copied().flatten().ok_or(MlsError::UnknownSender)
    }

    fn takes_a_role(&self, account: AccountId, leaves: &Leaves) -> bool {
        let written = self.policy.roles().any(|(named, _)| named == account);
        self.policy.kind == Kind::Group && written && leaves.get(&account) == Some(&1)
    }
}

/// The members by index of their leaves. openmls lists the nodes of a tree that came in, and leaves out which places are
/// empty, so those are read from the bytes.
fn members(
    tree: &RatchetTreeIn,
    bytes: &[u8],
    certificates: &[DeviceCertificate],
) -> Result<Vec<Option<Leaf>>, MlsError> {
    const KIND: &str = "ratchet tree";
    // optional<Node> ratchet_tree<V>; leaves stand at even places.
    let (places, _) = parse::vector(bytes, KIND)?;
    let mut places = places.as_slice();
    let (mut nodes, mut leaves) = (tree.nodes(), certificates.iter().map(inspect::leaf_of));
    let (mut members, mut is_leaf) = (Vec::new(), true);
    while let Some((present, rest)) = places.split_first() {
        let len = match present {
            0 => 0,
            _ => nodes.next().ok_or(MlsError::Malformed(KIND))?.tls_serialized_len(),
        };
        places = rest.get(len..).ok_or(MlsError::Malformed(KIND))?;
        if is_leaf {
            members.push((*present != 0).then(|| leaves.next().ok_or(MlsError::Malformed(KIND))).transpose()?);
        }
        is_leaf = !is_leaf;
    }
    Ok(members)
}

/// The mark of a group that was joined from outside and not yet accepted. openmls calls such a group joined at once and
/// has no place for it; a pre-shared key is the one thing whose key and value are the application's, and our groups use
/// none.
#[derive(Serialize)]
struct JoiningKey {
    purpose: &'static str,
    group: [u8; GroupId::LEN],
}

#[derive(Serialize, Deserialize)]
struct Joining(bool);

impl Key<CURRENT_VERSION> for JoiningKey {}
impl traits::PskId<CURRENT_VERSION> for JoiningKey {}
impl Entity<CURRENT_VERSION> for Joining {}
impl traits::PskBundle<CURRENT_VERSION> for Joining {}

impl JoiningKey {
    fn of(group: GroupId) -> Self {
        Self { purpose: "qpc external join", group: group.0 }
    }
}

/// Whether the group in the storage is joined but not accepted.
pub(super) fn is_joining<S: MlsStore>(provider: &Provider<S>, group: GroupId) -> Result<bool, MlsError> {
    let mark: Option<Joining> = provider.storage().psk(&JoiningKey::of(group)).map_err(MlsError::storage)?;
    Ok(mark.is_some_and(|mark| mark.0))
}

pub(super) fn unmark<S: MlsStore>(provider: &Provider<S>, group: GroupId) -> Result<(), MlsError> {
    provider.storage().delete_psk(&JoiningKey::of(group)).map_err(MlsError::storage)
}
