//! The server's side of a group: who is in it, at which epoch, and whether a commit is right. No secrets.

use openmls::prelude::{
    CreationFromExternalError, LeafNodeIndex, MergeCommitError, MlsMessageBodyIn, OpenMlsSignaturePublicKey,
    ProcessedMessageContent, ProposalStore, PublicGroup, Verifiable as _, WireFormat,
};
use openmls_traits::crypto::OpenMlsCrypto as _;
use qpc_wire::{DeviceId, GroupId};

use super::commit::MAX_PROPOSALS;
use super::inspect::{Added, Leaver};
use super::policy::Policy;
use super::provider::Crypto;
use super::public_store::{PublicStore, Slots};
use super::{MlsError, Suite, inspect, parse, rules};
use crate::DeviceCertificate;

const SNAPSHOT_VERSION: u8 = 2;

/// What an accepted commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The new epoch.
    pub epoch: u64,
    /// The device that committed. After a commit from outside it is a new member, if it was none.
    pub sender: DeviceCertificate,
    /// New members that were added by another; who joined from outside is the sender.
    pub added: Vec<Added>,
    /// Former members, by removal or their own wish. A device that was replaced in one commit is among the added too; one
    /// that came back from outside is not here.
    pub removed: Vec<DeviceCertificate>,
    /// Those of the removed whose account the sender could not have removed: allowed when they are revoked, which the
    /// caller has to know.
    pub pruned: Vec<DeviceId>,
    /// Whether the sender came from outside.
    pub external: bool,
    /// The key of the invite by which the sender's account joined. Whether it has expired or been used up is for the caller.
    pub invite: Option<[u8; 32]>,
    /// Whether the sender came from outside in place of its own leaf.
    pub resync: bool,
    /// Whether the policy is another one.
    pub policy_changed: bool,
}

/// What an accepted proposal asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// The device that leaves with one of the next commits.
    pub sender: DeviceCertificate,
}

/// A group as the server has it. Everything in it was verified, except what needs the group's secrets: membership tag,
/// confirmation tag and the encrypted path. A member can thus make the server accept a commit that other members refuse.
pub struct GroupView {
    crypto: Crypto,
    store: PublicStore,
    group: PublicGroup,
    waiting: Vec<Waiting>,
    id: GroupId,
    suite: Suite,
}

/// A SelfRemove that waits for a commit. openmls keeps it too, and shows it to nobody.
struct Waiting {
    bytes: Vec<u8>,
    leaver: Leaver,
}

impl GroupView {
    /// Takes up a new group from its GroupInfo with ratchet tree (an MLSMessage): at epoch 0, with one member and a policy
    /// to found a group with.
    pub fn found(group_info_message: &[u8]) -> Result<Self, MlsError> {
        const KIND: &str = "group info with ratchet tree";
        let MlsMessageBodyIn::GroupInfo(info) = parse::body(group_info_message, KIND)? else {
            return Err(MlsError::Malformed(KIND));
        };
        if info.epoch().as_u64() != 0 {
            return Err(MlsError::WrongEpoch { message: info.epoch().as_u64(), group: 0 });
        }
        let policy = inspect::context(info.group_context())?;
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
        let founder = inspect::credential(&founder.credential, &founder.signature_key)?;
        rules::found(&policy, parse::group_id(group.group_id())?, founder.account_id())?;
        drop(members);
        Self::wrap(crypto, store, group)
    }

    /// Reads what [`Self::snapshot`] wrote. It is trusted: nothing is verified again, but the proposals on the way into
    /// their queue.
    pub fn restore(bytes: &[u8]) -> Result<Self, MlsError> {
        const KIND: &str = "snapshot of a group";
        let (id, slots, proposals) = read_snapshot(bytes).ok_or(MlsError::Malformed(KIND))?;
        let store = PublicStore::new(slots);
        let group = load(&store, id)?.ok_or(MlsError::Malformed(KIND))?;
        let mut view = Self::wrap(Crypto::default(), store, group)?;
        if view.id != id {
            return Err(MlsError::Malformed(KIND));
        }
        for proposal in proposals {
            view.enqueue(proposal, |_, _| Ok(()))?;
        }
        Ok(view)
    }

    /// The view as bytes: version (1) | group id (16) | tree, context, transcript hash and confirmation tag as CBOR, then
    /// each waiting proposal as it came, each with its length before it (4, big-endian). About as large as the ratchet
    /// tree.
    pub fn snapshot(&self) -> Result<Vec<u8>, MlsError> {
        let slots = self.store.slots();
        let mut bytes = vec![SNAPSHOT_VERSION];
        bytes.extend_from_slice(self.id.as_ref());
        let state = [&slots.tree, &slots.context, &slots.transcript, &slots.confirmation];
        for part in state.into_iter().chain(self.waiting.iter().map(|waiting| &waiting.bytes)) {
            let len = u32::try_from(part.len()).map_err(|_| MlsError::Malformed("group below 4 GiB"))?;
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Ok(bytes)
    }

    /// Checks a commit, of a member or from outside, against the current epoch and the group's rules, and follows it. What
    /// waited to be committed is committed or forgotten. On an error the view is as before.
    pub fn apply(&mut self, commit: &[u8]) -> Result<Applied, MlsError> {
        let message = parse::commit(commit)?;
        self.expect_here(message.group_id(), message.epoch().as_u64())?;
        let processed = self.group.process_message(&self.crypto, message)?;
        let (sender, aad) = (processed.sender().clone(), processed.aad().to_vec());
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err(MlsError::Malformed("commit of a member or joiner"));
        };
        let changes = inspect::commit(&self.group, &self.crypto, &sender, &aad, &staged)?;

        let before = self.snapshot()?;
        if let Err(error) = self.group.merge_commit(&self.store, *staged) {
            *self = Self::restore(&before)?;
            return Err(match error {
                MergeCommitError::StorageError(error) => MlsError::storage(error),
                error => error.into(),
            });
        }
        self.waiting.clear();
        Ok(Applied {
            epoch: self.epoch(),
            sender: changes.sender,
            added: changes.added,
            removed: changes.removed,
            pruned: changes.verdict.pruned,
            external: changes.external,
            invite: changes.verdict.invite,
            resync: changes.verdict.resync,
            policy_changed: changes.policy.is_some(),
        })
    }

    /// Takes in the SelfRemove of a member, an MLSMessage with a PublicMessage, for one of the next commits of this epoch.
    /// Refused when the group would be left without owner. On an error the view is as before.
    pub fn propose(&mut self, proposal: &[u8]) -> Result<Proposed, MlsError> {
        Ok(Proposed { sender: self.enqueue(proposal, Self::may_leave)? })
    }

    /// The proposals that wait, as they came and in that order, for those who join from outside.
    pub fn proposals(&self) -> Vec<Vec<u8>> {
        self.waiting.iter().map(|waiting| waiting.bytes.clone()).collect()
    }

    /// Checks the GroupInfo (an MLSMessage) that comes with a commit, after that was applied: it is of exactly this state,
    /// signed by a member, with an external public key and nothing else. Whether that key is right only members can know.
    pub fn check_group_info(&self, bytes: &[u8]) -> Result<(), MlsError> {
        const KIND: &str = "group info with external key and without ratchet tree";
        let info = parse::group_info(bytes, KIND)?;
        self.expect_here(info.group_id(), info.epoch().as_u64())?;
        let external = info.extensions().external_pub().ok_or(MlsError::Malformed(KIND))?.external_pub();
        if info.extensions().iter().count() != 1 {
            return Err(MlsError::Malformed(KIND));
        }
        // Nobody could ever join again by a key that is none.
        let hpke = self.group.ciphersuite().hpke_config();
        self.crypto.hpke_seal(hpke, external.as_slice(), b"", b"", b"").map_err(|_| MlsError::Malformed(KIND))?;
        // struct { GroupContext group_context; Extension extensions<V>; MAC confirmation_tag; uint32 signer; ... } GroupInfo;
        let context = inspect::encode(self.group.group_context())?;
        let rest = parse::body_of(bytes, WireFormat::GroupInfo, KIND)?;
        let rest = rest.strip_prefix(context.as_slice()).ok_or(MlsError::OtherState)?;
        let (_, rest) = parse::vector(rest, KIND)?;
        let tag = inspect::encode(self.group.confirmation_tag())?;
        let rest = rest.strip_prefix(tag.as_slice()).ok_or(MlsError::OtherState)?;
        let (signer, _) = rest.split_first_chunk().ok_or(MlsError::Malformed(KIND))?;

        let signer = LeafNodeIndex::new(u32::from_be_bytes(*signer));
        let key = self.group.leaf(signer).ok_or(MlsError::UnknownSender)?.signature_key().clone();
        let scheme = self.group.ciphersuite().signature_algorithm();
        let key = OpenMlsSignaturePublicKey::from_signature_key(key, scheme);
        info.verify(&self.crypto, &key).map(|_| ()).map_err(MlsError::invalid)
    }

    /// What members name to see whether they are in this group: first 16 bytes of SHA-256("qpc epoch tag v2" || group id (16)
    /// || epoch (8, big-endian) || confirmation_tag of the epoch).
    pub fn epoch_tag(&self) -> Result<[u8; 16], MlsError> {
        inspect::epoch_tag(&self.group)
    }

    /// The ratchet tree of the current epoch, for those who join.
    pub fn ratchet_tree(&self) -> Result<Vec<u8>, MlsError> {
        inspect::encode(&self.group.export_ratchet_tree())
    }

    /// The group's policy.
    pub fn policy(&self) -> Result<Policy, MlsError> {
        inspect::policy(self.group.group_context().extensions())
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
        inspect::members(&self.group).map(|(_, certificate)| certificate).collect()
    }

    /// The index of each leaf and whose it is, in ascending order.
    pub fn member_leaves(&self) -> Vec<(u32, DeviceCertificate)> {
        inspect::members(&self.group).map(|(index, certificate)| (index.u32(), certificate)).collect()
    }

    fn wrap(crypto: Crypto, store: PublicStore, group: PublicGroup) -> Result<Self, MlsError> {
        let id = parse::group_id(group.group_id())?;
        let suite = inspect::suite(group.ciphersuite())?;
        Ok(Self { crypto, store, group, waiting: Vec::new(), id, suite })
    }

    fn expect_here(&self, group: &openmls::prelude::GroupId, epoch: u64) -> Result<(), MlsError> {
        if parse::group_id(group)? != self.id {
            return Err(MlsError::UnknownGroup);
        }
        if epoch != self.epoch() {
            return Err(MlsError::WrongEpoch { message: epoch, group: self.epoch() });
        }
        Ok(())
    }

    /// Verifies a SelfRemove and queues it if `allowed`.
    fn enqueue(
        &mut self,
        bytes: &[u8],
        allowed: impl FnOnce(&Self, &Leaver) -> Result<(), MlsError>,
    ) -> Result<DeviceCertificate, MlsError> {
        let message = parse::proposal(bytes)?;
        self.expect_here(message.group_id(), message.epoch().as_u64())?;
        if self.waiting.len() >= MAX_PROPOSALS {
            return Err(MlsError::QueueFull);
        }
        let processed = self.group.process_message(&self.crypto, message)?;
        let aad = processed.aad().to_vec();
        let ProcessedMessageContent::ProposalMessage(proposal) = processed.into_content() else {
            return Err(MlsError::Malformed("proposal of a member"));
        };
        let leaver = inspect::self_remove(&self.group, &aad, &proposal)?;
        if self.waiting.iter().any(|waiting| waiting.leaver.index == leaver.index) {
            return Err(MlsError::AlreadyLeaving);
        }
        allowed(self, &leaver)?;
        self.group.add_proposal(&self.store, *proposal).map_err(MlsError::storage)?;
        let certificate = leaver.certificate.clone();
        self.waiting.push(Waiting { bytes: bytes.to_vec(), leaver });
        Ok(certificate)
    }

    fn may_leave(&self, leaver: &Leaver) -> Result<(), MlsError> {
        let waiting: Vec<_> = self.waiting.iter().map(|waiting| waiting.leaver.certificate.account_id()).collect();
        let leaves = inspect::leaves(&self.group);
        Ok(rules::leave(&self.policy()?, leaves, &waiting, leaver.certificate.account_id())?)
    }
}

fn load(store: &PublicStore, id: GroupId) -> Result<Option<PublicGroup>, MlsError> {
    PublicGroup::load(store, &openmls::prelude::GroupId::from_slice(id.as_ref())).map_err(MlsError::storage)
}

fn read_snapshot(bytes: &[u8]) -> Option<(GroupId, Slots, Vec<&[u8]>)> {
    let (version, rest) = bytes.split_first()?;
    if *version != SNAPSHOT_VERSION {
        return None;
    }
    let (id, rest) = rest.split_at_checked(GroupId::LEN)?;
    let (tree, rest) = part(rest)?;
    let (context, rest) = part(rest)?;
    let (transcript, rest) = part(rest)?;
    let (confirmation, mut rest) = part(rest)?;
    let mut proposals = Vec::new();
    while !rest.is_empty() && proposals.len() < MAX_PROPOSALS {
        let (proposal, tail) = part(rest)?;
        proposals.push(proposal);
        rest = tail;
    }
    let [tree, context, transcript, confirmation] = [tree, context, transcript, confirmation].map(<[u8]>::to_vec);
    let slots = Slots { tree, context, transcript, confirmation };
    rest.is_empty().then_some((GroupId::try_from(id).ok()?, slots, proposals))
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}
