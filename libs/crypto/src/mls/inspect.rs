//! Our rules about leaves and commits, the same on the server and at a member: what openmls read and verified, brought into
//! the terms of [`rules`].

use openmls::prelude::{
    Ciphersuite, Credential, CredentialType, Extension, ExtensionType, Extensions, GroupContext, LeafNode,
    LeafNodeIndex, Proposal, ProposalOrRefType, ProposalType, PublicGroup, QueuedProposal,
    RequiredCapabilitiesExtension, Sender, StagedCommit, UnknownExtension,
};
use qpc_wire::AccountId;

use super::policy::{POLICY_EXTENSION, Policy};
use super::provider::Crypto;
use super::rules::{self, Change, Committer, Denied, Leaf, Leaves, State, Verdict};
use super::{MlsError, Suite, parse};
use crate::{DeviceCertificate, identity};

/// A device that a commit adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The new member.
    pub certificate: DeviceCertificate,
    /// The hash of its KeyPackage (RFC 9420 section 5.2), by which the Welcome names the secret that is for it; 32 bytes.
    pub key_package_ref: Vec<u8>,
}

/// What a commit does, and who sent it.
pub(super) struct Changes {
    pub(super) sender: DeviceCertificate,
    pub(super) external: bool,
    pub(super) added: Vec<Added>,
    pub(super) removed: Vec<DeviceCertificate>,
    pub(super) policy: Option<Policy>,
    pub(super) verdict: Verdict,
}

/// Checks a commit, which openmls has verified and not merged, against our rules.
pub(super) fn commit(
    group: &PublicGroup,
    crypto: &Crypto,
    sender: &Sender,
    aad: &[u8],
    staged: &StagedCommit,
) -> Result<Changes, MlsError> {
    let (certificate, external) = match sender {
        Sender::Member(index) => (member_at(group, *index)?, false),
        Sender::NewMemberCommit => {
            (leaf(staged.update_path_leaf_node().ok_or(MlsError::Malformed("external commit with a path"))?)?, true)
        }
        _ => return Err(MlsError::Forbidden("a commit of neither a member nor a new one")),
    };
    if !external {
        unchanged_leaf(&certificate, staged)?;
        no_data(aad)?;
    }
    let proposals = proposals(group, crypto, external, staged)?;
    let (accounts, removed, left) = proposals.in_terms_of_rules();
    // openmls compares keys for Adds alone: a second leaf of a device would keep everybody from joining ever after.
    if external {
        let joiner = certificate.device_id();
        let present = members(group).any(|(_, member)| member.device_id() == joiner);
        if present && removed.iter().all(|leaf| leaf.device != joiner) {
            return Err(Denied::ExternalRemoves.into());
        }
    }
    let committer = match external {
        false => Committer::Member(leaf_of(&certificate)),
        true => Committer::Joiner(leaf_of(&certificate), aad),
    };
    let change =
        Change { committer, added: &accounts, removed: &removed, left: &left, policy: proposals.policy.as_ref() };
    let policy = policy(group.group_context().extensions())?;
    let epoch = group.group_context().epoch().as_u64();
    let state = State { group: parse::group_id(group.group_id())?, epoch, policy: &policy };
    let verdict = rules::check(&state, || leaves(group), &change)?;
    // Whoever comes back in place of an old leaf has not gone.
    let removed = if verdict.resync { Vec::new() } else { proposals.removed };
    Ok(Changes {
        sender: certificate,
        external,
        added: proposals.added,
        removed: removed.into_iter().chain(proposals.left).collect(),
        policy: proposals.policy,
        verdict,
    })
}

/// The device that proposes to leave by this proposal, which openmls has verified; nothing else may be proposed.
pub(super) fn self_remove(group: &PublicGroup, aad: &[u8], proposal: &QueuedProposal) -> Result<Leaver, MlsError> {
    no_data(aad)?;
    match (proposal.proposal(), proposal.sender()) {
        (Proposal::SelfRemove, Sender::Member(index)) => {
            Ok(Leaver { index: *index, certificate: member_at(group, *index)? })
        }
        _ => Err(MlsError::Forbidden("a proposal other than to leave")),
    }
}

/// A leaf whose SelfRemove came by reference.
pub(super) struct Leaver {
    pub(super) index: LeafNodeIndex,
    pub(super) certificate: DeviceCertificate,
}

#[derive(Default)]
struct Proposals {
    added: Vec<Added>,
    removed: Vec<DeviceCertificate>,
    left: Vec<DeviceCertificate>,
    policy: Option<Policy>,
}

impl Proposals {
    fn in_terms_of_rules(&self) -> (Vec<AccountId>, Vec<Leaf>, Vec<AccountId>) {
        (
            self.added.iter().map(|added| added.certificate.account_id()).collect(),
            self.removed.iter().map(leaf_of).collect(),
            self.left.iter().map(DeviceCertificate::account_id).collect(),
        )
    }
}

fn proposals(
    group: &PublicGroup,
    crypto: &Crypto,
    external: bool,
    staged: &StagedCommit,
) -> Result<Proposals, MlsError> {
    let mut found = Proposals::default();
    let mut added = Vec::new();
    for proposal in staged.queued_proposals() {
        let by_value = proposal.proposal_or_ref_type() == ProposalOrRefType::Proposal;
        match proposal.proposal() {
            Proposal::SelfRemove if !by_value => {
                found.left.push(self_remove(group, &[], proposal)?.certificate);
            }
            _ if !by_value => return Err(MlsError::Forbidden("a proposal by reference")),
            Proposal::Add(add) => added.push(add.key_package()),
            Proposal::Remove(remove) => found.removed.push(member_at(group, remove.removed())?),
            Proposal::GroupContextExtensions(change) => found.policy = Some(policy(change.extensions())?),
            Proposal::ExternalInit(_) if external => {}
            _ => return Err(MlsError::Forbidden("a proposal other than add, remove, leave and policy")),
        }
    }
    let leaves = added.iter().map(|package| package.leaf_node());
    let certificates = credentials(leaves.map(|leaf| (leaf.credential(), leaf.signature_key().as_slice())))?;
    let refs = || added.iter().map(|package| package.hash_ref(crypto)).collect::<Result<Vec<_>, _>>();
    let (certificates, refs) = certificates.verify_beside(refs)?;
    found.added = certificates
        .into_iter()
        .zip(refs?)
        .map(|(certificate, reference)| Added { certificate, key_package_ref: reference.as_slice().to_vec() })
        .collect();
    Ok(found)
}

fn unchanged_leaf(sender: &DeviceCertificate, staged: &StagedCommit) -> Result<(), MlsError> {
    let Some(path_leaf) = staged.update_path_leaf_node() else {
        return Ok(());
    };
    let renewed = leaf(path_leaf)?;
    // A new certificate of the same device is fine, another device is not: it would be an add in disguise.
    if renewed.device_key() != sender.device_key() || renewed.account_key() != sender.account_key() {
        return Err(MlsError::Forbidden("an update to another device"));
    }
    Ok(())
}

fn no_data(aad: &[u8]) -> Result<(), MlsError> {
    if aad.is_empty() { Ok(()) } else { Err(MlsError::Forbidden("authenticated data beside a change")) }
}

/// The verified certificate of a leaf.
pub(super) fn leaf(leaf: &LeafNode) -> Result<DeviceCertificate, MlsError> {
    credential(leaf.credential(), leaf.signature_key().as_slice())
}

/// The verified certificate in a credential of a leaf that signs with `signature_key`.
pub(super) fn credential(credential: &Credential, signature_key: &[u8]) -> Result<DeviceCertificate, MlsError> {
    let certificate = DeviceCertificate::parse(content(credential)?)?;
    expect_key(&certificate, signature_key)?;
    Ok(certificate)
}

/// The certificates of the leaves of a tree that comes in, whose signatures are still to be verified.
pub(super) fn credentials<'a>(
    leaves: impl Iterator<Item = (&'a Credential, &'a [u8])>,
) -> Result<Unverified, MlsError> {
    let certificate = |(credential, key): (&'a Credential, &'a [u8])| {
        let certificate = known(credential)?;
        expect_key(&certificate, key)?;
        Ok(certificate)
    };
    leaves.map(certificate).collect::<Result<_, MlsError>>().map(Unverified)
}

/// Certificates as somebody says they are.
pub(super) struct Unverified(Vec<DeviceCertificate>);

impl Unverified {
    /// What they say.
    pub(super) fn claims(&self) -> &[DeviceCertificate] {
        &self.0
    }

    /// Verifies them all on other processors while `work` runs on this one. A tree has as many signatures for openmls to
    /// verify, which so hides the time of ours.
    pub(super) fn verify_beside<T>(self, work: impl FnOnce() -> T) -> Result<(Vec<DeviceCertificate>, T), MlsError> {
        if self.0.len() <= identity::FEW {
            DeviceCertificate::verify_all(&self.0)?;
            return Ok((self.0, work()));
        }
        let mut verified = Ok(());
        let value = rayon::in_place_scope(|scope| {
            scope.spawn(|_| verified = DeviceCertificate::verify_all(&self.0));
            work()
        });
        verified?;
        Ok((self.0, value))
    }
}

fn content(credential: &Credential) -> Result<&[u8], MlsError> {
    match credential.credential_type() {
        CredentialType::Basic => Ok(credential.serialized_content()),
        _ => Err(MlsError::Forbidden("a credential other than basic")),
    }
}

fn expect_key(certificate: &DeviceCertificate, signature_key: &[u8]) -> Result<(), MlsError> {
    if certificate.device_key() == signature_key { Ok(()) } else { Err(MlsError::KeyMismatch) }
}

/// The certificate of a member, whose leaf was checked when it came in.
pub(super) fn known(credential: &Credential) -> Result<DeviceCertificate, MlsError> {
    Ok(DeviceCertificate::parse_unverified(content(credential)?)?)
}

/// All members in the order of their leaves. None is lost: every leaf passed [`credential`] when it came in.
pub(super) fn members(group: &PublicGroup) -> impl Iterator<Item = (LeafNodeIndex, DeviceCertificate)> + '_ {
    group.treesync().full_leaves().filter_map(|(index, leaf)| Some((index, known(leaf.credential()).ok()?)))
}

pub(super) fn leaf_of(certificate: &DeviceCertificate) -> Leaf {
    Leaf { account: certificate.account_id(), device: certificate.device_id() }
}

/// How many leaves each account has: one hash for each leaf.
pub(super) fn leaves(group: &PublicGroup) -> Leaves {
    let mut leaves = Leaves::new();
    for (_, certificate) in members(group) {
        *leaves.entry(certificate.account_id()).or_default() += 1;
    }
    leaves
}

pub(super) fn member_at(group: &PublicGroup, index: LeafNodeIndex) -> Result<DeviceCertificate, MlsError> {
    known(group.leaf(index).ok_or(MlsError::UnknownSender)?.credential())
}

/// The tag of the group's epoch, see [`super::GroupView::epoch_tag`].
pub(super) fn epoch_tag(group: &PublicGroup) -> Result<[u8; 16], MlsError> {
    let context = group.group_context();
    let (id, epoch) = (parse::group_id(context.group_id())?, context.epoch().as_u64().to_be_bytes());
    let (confirmation, _) = parse::vector(&encode(group.confirmation_tag())?, "confirmation tag")?;
    let hash = identity::sha256(&[b"qpc epoch tag v2", id.as_ref(), &epoch, &confirmation]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&hash[..16]);
    Ok(tag)
}

/// The policy in a context that comes in, and that the suite is one of ours.
pub(super) fn context(context: &GroupContext) -> Result<Policy, MlsError> {
    suite(context.ciphersuite())?;
    policy(context.extensions())
}

/// The extensions of a group with this policy: it, and that every leaf must know it and how to leave. openmls changes the
/// first only where the second is.
pub(super) fn extensions(policy: &Policy) -> Result<Extensions<GroupContext>, MlsError> {
    let required =
        RequiredCapabilitiesExtension::new(&[EXTENSION], &[ProposalType::SelfRemove], &[CredentialType::Basic]);
    let policy = Extension::Unknown(POLICY_EXTENSION, UnknownExtension(policy.to_bytes()));
    Extensions::from_vec(vec![Extension::RequiredCapabilities(required), policy]).map_err(MlsError::invalid)
}

/// The policy in these extensions, which must be exactly those of [`extensions`], so nobody outside can be granted anything.
pub(super) fn policy(found: &Extensions<GroupContext>) -> Result<Policy, MlsError> {
    let bytes = found.unknown(POLICY_EXTENSION).ok_or(MlsError::Forbidden("a group without policy"))?;
    let policy = Policy::parse(&bytes.0)?;
    if *found != extensions(&policy)? {
        return Err(MlsError::Forbidden("an extension of the group context"));
    }
    Ok(policy)
}

/// The type of the policy's extension.
pub(super) const EXTENSION: ExtensionType = ExtensionType::Unknown(POLICY_EXTENSION);

pub(super) fn suite(ciphersuite: Ciphersuite) -> Result<Suite, MlsError> {
    let id = u16::from(ciphersuite);
    Suite::from_id(id).ok_or(MlsError::Suite(id))
}

/// The TLS encoding (RFC 8446 section 3) of a value of openmls.
pub(super) fn encode(value: &impl openmls::prelude::tls_codec::Serialize) -> Result<Vec<u8>, MlsError> {
    value.tls_serialize_detached().map_err(MlsError::invalid)
}
