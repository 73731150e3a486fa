//! Whether a commit may be accepted, as far as the public group says.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use qpc_chassis::rpc::Identity;
use qpc_crypto::{
    GroupView, Policy, Role,
    mls::{Applied, InviteTerms, SplitWelcome, split_welcome},
};
use qpc_wire::{
    AccountId, DeviceId, GroupId,
    limits::{MAX_ADDS, MAX_HANDSHAKE, MAX_STAGED},
    v1::CommitBundle,
};

use crate::{
    domain::welcome,
    error::Error,
    store::{Mark, Member},
};

/// Who brings a commit, and to whom.
pub(crate) struct Arrival {
    /// The caller.
    pub(crate) sender: Identity,
    /// Who gets messages before it.
    pub(crate) members: Vec<Member>,
    /// Leaves that wait for somebody to commit their leaving.
    pub(crate) leavers: BTreeSet<DeviceId>,
}

/// A commit that follows the rules of MLS and of its group.
pub(super) struct Checked {
    pub(super) view: GroupView,
    pub(super) applied: Applied,
    pub(super) commit: Bytes,
    pub(super) group_info: Bytes,
    pub(super) mark: Mark,
    pub(super) policy: Policy,
    pub(super) leaves: Vec<(DeviceId, AccountId)>,
    pub(super) added: Vec<Member>,
    pub(super) removed: Vec<DeviceId>,
    /// Those of them that get the commit: neither leavers nor revoked devices.
    pub(super) former: Vec<DeviceId>,
    pub(super) roles: Vec<(AccountId, u8)>,
    /// Who gets the commit and is still in the group.
    pub(super) others: Vec<DeviceId>,
    pub(super) joined: Vec<DeviceId>,
    pub(super) invite: Option<([u8; 32], InviteTerms)>,
    pub(super) welcome: Option<Split>,
}

/// The shared part of a Welcome, and a secret for each joiner.
pub(super) type Split = (SplitWelcome, Vec<(DeviceId, Vec<u8>)>);

/// Whether a commit says that its sender comes from outside. Nothing is verified.
pub(crate) fn claims_to_come_from_outside(commit: &[u8]) -> bool {
    // MLSMessage: version (2), wire format (2); FramedContent: group id (its length, 16 bytes), epoch (8), sender type.
    const SENDER_TYPE: usize = 2 + 2 + 1 + GroupId::LEN + 8;
    const NEW_MEMBER_COMMIT: u8 = 4;
    commit.get(SENDER_TYPE) == Some(&NEW_MEMBER_COMMIT)
}

pub(super) fn check(
    mut view: GroupView,
    bundle: CommitBundle,
    arrival: Arrival,
    limit: usize,
) -> Result<Checked, Error> {
    sizes(&bundle)?;
    let (before, policy_before) = (view.epoch(), view.policy().map_err(Error::StoredGroup)?);
    let applied = view.apply(&bundle.commit).map_err(Error::InvalidCommit)?;
    if applied.sender.device_id() != arrival.sender.device || applied.sender.account_id() != arrival.sender.account {
        return Err(Error::ForeignCommit);
    }
    if applied.added.len() > MAX_ADDS {
        return Err(Error::TooManyAdds(applied.added.len()));
    }
    let welcome = split(&bundle.welcome, &applied)?;
    view.check_group_info(&bundle.group_info).map_err(Error::GroupInfo)?;
    let mark = Mark {
        tag: view.epoch_tag().map_err(Error::StoredGroup)?,
        delivery_key: delivery_key(&bundle.delivery_key_hash)?,
    };
    let leaves: Vec<_> = view.members().iter().map(|leaf| (leaf.device_id(), leaf.account_id())).collect();
    if leaves.len() > limit {
        return Err(Error::GroupTooLarge { size: leaves.len(), limit });
    }

    let policy = view.policy().map_err(Error::StoredGroup)?;
    let staying = staying(&arrival, &applied, &leaves, &policy_before, before)?;
    let invite = applied.invite.and_then(|key| policy_before.invite(&key).map(|terms| (key, *terms)));
    let joined = joined(&applied);
    let removed: Vec<DeviceId> = applied.removed.iter().map(|leaf| leaf.device_id()).collect();
    let member = |device: DeviceId, account: AccountId| Member { device, account, role: policy.role(account) as u8 };
    let accounts: BTreeMap<DeviceId, AccountId> = leaves.iter().copied().collect();
    let added = joined.iter().chain(&staying).filter_map(|device| Some(member(*device, *accounts.get(device)?)));
    let added = added.collect();
    let gone: BTreeSet<DeviceId> = removed.iter().copied().collect();
    let others = arrival.members.iter().map(|member| member.device).chain(staying);
    let others = others.filter(|device| *device != arrival.sender.device && !gone.contains(device)).collect();
    let roles = changed_roles(&arrival.members, &policy);
    let (commit, group_info) = (bundle.commit, bundle.group_info);
    let former = arrival.members.iter().map(|member| member.device).filter(|device| gone.contains(device)).collect();
    Ok(Checked {
        view,
        applied,
        commit,
        group_info,
        mark,
        policy,
        leaves,
        added,
        removed,
        former,
        roles,
        others,
        joined,
        invite,
        welcome,
    })
}

fn sizes(bundle: &CommitBundle) -> Result<(), Error> {
    // What was staged had its own limit.
    let limit = if bundle.staged.is_empty() { MAX_HANDSHAKE } else { MAX_STAGED };
    for part in [&bundle.commit, &bundle.welcome, &bundle.group_info] {
        if part.len() > limit {
            return Err(Error::HandshakeTooLarge(part.len()));
        }
    }
    Ok(())
}

/// Nobody here can tell whether it is the hash of the epoch's key: a member that lies about it makes the others pay with tokens
/// until the next commit.
fn delivery_key(hash: &[u8]) -> Result<Option<[u8; 32]>, Error> {
    match hash.len() {
        0 => Ok(None),
        _ => Ok(Some(hash.try_into().map_err(|_| Error::DeliveryKeyHash)?)),
    }
}

fn split(bytes: &[u8], applied: &Applied) -> Result<Option<Split>, Error> {
    if applied.added.is_empty() {
        return match bytes.is_empty() {
            true => Ok(None),
            false => Err(Error::WelcomeMismatch { added: 0, welcomed: 1 }),
        };
    }
    if bytes.is_empty() {
        return Err(Error::WelcomeMismatch { added: applied.added.len(), welcomed: 0 });
    }
    let mut split = split_welcome(bytes).map_err(Error::InvalidCommit)?;
    let secrets = std::mem::take(&mut split.secrets);
    let secrets = welcome::secrets(secrets, &applied.added)?;
    Ok(Some((split, secrets)))
}

/// Devices that were no members and are now.
fn joined(applied: &Applied) -> Vec<DeviceId> {
    let from_outside = applied.external.then(|| applied.sender.device_id());
    applied.added.iter().map(|added| added.certificate.device_id()).chain(from_outside).collect()
}

/// Leavers whose proposal the commit did not take up, and who therefore stay. A commit from outside cannot take up all,
/// and an owner may be needed; everybody else has to be let go (RFC 9420 section 12.4): whoever did not, has not read the
/// proposal yet.
fn staying(
    arrival: &Arrival,
    applied: &Applied,
    leaves: &[(DeviceId, AccountId)],
    before: &Policy,
    epoch: u64,
) -> Result<Vec<DeviceId>, Error> {
    let staying: Vec<_> = leaves
        .iter()
        .filter(|(device, _)| arrival.leavers.contains(device) && *device != arrival.sender.device)
        .collect();
    if !applied.external && staying.iter().any(|(_, account)| before.role(*account) < Role::Owner) {
        return Err(Error::WrongEpoch { current: epoch });
    }
    Ok(staying.into_iter().map(|(device, _)| *device).collect())
}

/// Accounts whose role is not that of their rows.
fn changed_roles(members: &[Member], policy: &Policy) -> Vec<(AccountId, u8)> {
    let changed: BTreeMap<AccountId, u8> = members
        .iter()
        .map(|member| (member.account, policy.role(member.account) as u8, member.role))
        .filter(|(_, now, before)| now != before)
        .map(|(account, now, _)| (account, now))
        .collect();
    changed.into_iter().collect()
}
