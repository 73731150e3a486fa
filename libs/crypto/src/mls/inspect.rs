//! Our rules about leaves and commits, the same on the server and at a member.

use openmls::prelude::{
    Ciphersuite, Credential, CredentialType, GroupContext, LeafNode, LeafNodeIndex, Proposal, ProposalOrRefType,
    PublicGroup, Sender, StagedCommit,
};

use super::{MlsError, Suite};
use crate::DeviceCertificate;

/// Whom a commit adds and removes, and who sent it.
pub(super) struct Changes {
    pub(super) sender: DeviceCertificate,
    pub(super) added: Vec<DeviceCertificate>,
    pub(super) removed: Vec<DeviceCertificate>,
}

/// Checks a commit, which openmls has verified and not merged, against our rules.
pub(super) fn commit(group: &PublicGroup, sender: &Sender, staged: &StagedCommit) -> Result<Changes, MlsError> {
    let Sender::Member(sender) = sender else {
        return Err(MlsError::Forbidden("a commit from outside"));
    };
    let mut changes = Changes { sender: member_at(group, *sender)?, added: Vec::new(), removed: Vec::new() };
    for proposal in staged.queued_proposals() {
        if proposal.proposal_or_ref_type() != ProposalOrRefType::Proposal {
            return Err(MlsError::Forbidden("a proposal by reference"));
        }
        match proposal.proposal() {
            Proposal::Add(add) => changes.added.push(leaf(add.key_package().leaf_node())?),
            Proposal::Remove(remove) => changes.removed.push(member_at(group, remove.removed())?),
            _ => return Err(MlsError::Forbidden("a proposal other than add and remove")),
        }
    }
    if let Some(path_leaf) = staged.update_path_leaf_node() {
        let renewed = leaf(path_leaf)?;
        // A new certificate of the same device is fine, another device is not: it would be an add in disguise.
        if renewed.device_key() != changes.sender.device_key() || renewed.account_key() != changes.sender.account_key()
        {
            return Err(MlsError::Forbidden("an update to another device"));
        }
    }
    Ok(changes)
}

/// The verified certificate of a leaf.
pub(super) fn leaf(leaf: &LeafNode) -> Result<DeviceCertificate, MlsError> {
    credential(leaf.credential(), leaf.signature_key().as_slice())
}

/// The verified certificate in a credential of a leaf that signs with `signature_key`.
pub(super) fn credential(credential: &Credential, signature_key: &[u8]) -> Result<DeviceCertificate, MlsError> {
    if credential.credential_type() != CredentialType::Basic {
        return Err(MlsError::Forbidden("a credential other than basic"));
    }
    let certificate = DeviceCertificate::parse(credential.serialized_content())?;
    if certificate.device_key() != signature_key {
        return Err(MlsError::KeyMismatch);
    }
    Ok(certificate)
}

/// The certificate of a member, whose leaf was checked when it came in.
pub(super) fn known(credential: &Credential) -> Result<DeviceCertificate, MlsError> {
    Ok(DeviceCertificate::parse_verified_before(credential.serialized_content())?)
}

/// The certificates of all members, in the order of their leaves.
pub(super) fn members(group: &PublicGroup) -> Vec<DeviceCertificate> {
    // None is lost: every leaf passed `credential` when it came in.
    group.members().filter_map(|member| known(&member.credential).ok()).collect()
}

fn member_at(group: &PublicGroup, index: LeafNodeIndex) -> Result<DeviceCertificate, MlsError> {
    known(group.leaf(index).ok_or(MlsError::UnknownSender)?.credential())
}

/// The context of a group that comes in: a suite of ours and no extensions, so nobody outside can be granted anything.
pub(super) fn context(context: &GroupContext) -> Result<(), MlsError> {
    suite(context.ciphersuite())?;
    if context.extensions().iter().next().is_some() {
        return Err(MlsError::Forbidden("an extension of the group context"));
    }
    Ok(())
}

pub(super) fn suite(ciphersuite: Ciphersuite) -> Result<Suite, MlsError> {
    let id = u16::from(ciphersuite);
    Suite::from_id(id).ok_or(MlsError::Suite(id))
}
