//! Commits, and proposals of members who leave.

use std::collections::BTreeSet;

use qpc_crypto::{
    Conversation, DeviceCertificate, MlsError,
    mls::{Incoming, Kind, Role},
};
use qpc_wire::{AccountId, DeviceId, GroupId, v1};

use super::{Received, stick};
use crate::{
    Error, Event,
    devices::ACCOUNT,
    store::{ChoreKind, Identity, Tx},
};

/// Leaves from which on it matters how large commits are.
const WARM_FROM: usize = 8;
/// Time that each member leaves to those before it, to do what one of them has to do.
const TURN_MS: u64 = 400;
/// Members that wait for their turn; all others wait as long as the last of them.
const MAX_TURNS: usize = 20;

/// The handshake message in an envelope.
pub(super) fn unseal(
    identity: &Identity,
    group: GroupId,
    envelope: &v1::Envelope,
    shared: Option<&[u8]>,
) -> Result<Vec<u8>, Error> {
    let sealed = match &envelope.shared {
        Some(_) => shared.ok_or(Error::Expired("a commit"))?,
        None => &envelope.payload,
    };
    Ok(identity.queue_key.open_for(identity.device(), group, &envelope.sealed_key, sealed)?)
}

pub(super) fn open(tx: &Tx<'_>, identity: &Identity, id: GroupId, message: &[u8]) -> Result<Vec<Received>, Error> {
    let conversation = tx.conversation_of(id)?.ok_or(Error::UnknownConversation(id))?;
    // What cannot be followed is joined again as it is then; a group that was replaced needs not be followed any more.
    if tx.is_stuck(id)? || tx.current_group(conversation)? != id {
        return Ok(Vec::new());
    }
    let mut group = tx.load_group(id)?;
    let leavers = group.pending_leaves();
    let processed = group.process(&tx.mls(), message);
    if processed.is_err() {
        group.spoil();
    }
    match processed {
        Ok(Incoming::Commit { sender: Some(by), added, removed, policy_changed, external, .. }) => {
            tx.note_epoch(&group, identity)?;
            tx.drop_chore(conversation, ChoreKind::CommitLeaves)?;
            if group.is_active() && tx.conversation(conversation)?.is_some_and(|info| info.left) {
                tx.put_chore(conversation, ChoreKind::Leave, 0)?;
                return Ok(Vec::new());
            }
            let changed = Changed { conversation, by, leavers, added, removed, policy_changed, external };
            followed(tx, identity, &group, changed)
        }
        Ok(Incoming::Leave { sender }) => {
            tx.note_leaver(id, group.epoch(), sender.device_id())?;
            tx.put_chore(conversation, ChoreKind::CommitLeaves, turn_ms(&group))?;
            Ok(Vec::new())
        }
        Ok(Incoming::Commit { .. } | Incoming::Message { .. }) => Err(MlsError::Malformed("handshake message").into()),
        Err(MlsError::OwnPendingCommit) => {
            group.merge_pending(&tx.mls())?;
            tx.note_epoch(&group, identity)?;
            Ok(vec![Received::Event(Event::EpochChanged { conversation, epoch: group.epoch() })])
        }
        // An echo of this device's own leaving, or a second one of somebody.
        Err(MlsError::AlreadyLeaving | MlsError::OwnMessage) => Ok(Vec::new()),
        // What this device has followed already, by an answer to a commit of its own.
        Err(MlsError::WrongEpoch { message, group }) if message < group => Ok(Vec::new()),
        // Removed: whoever was is not told what happened after.
        Err(MlsError::NotMember) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// What a commit has changed.
struct Changed {
    conversation: GroupId,
    by: DeviceCertificate,
    /// Devices that had said that they leave.
    leavers: Vec<DeviceId>,
    added: Vec<DeviceCertificate>,
    removed: Vec<DeviceCertificate>,
    policy_changed: bool,
    external: bool,
}

/// What follows from a commit that was merged.
fn followed(tx: &Tx<'_>, identity: &Identity, group: &Conversation, changed: Changed) -> Result<Vec<Received>, Error> {
    let conversation = changed.conversation;
    if !group.is_active() {
        tx.drop_chore(conversation, ChoreKind::Heal)?;
        // Its secrets have no use any more; what is still in the mailbox may be of an epoch before.
        tx.put_chore(conversation, ChoreKind::Retire, super::RETIRE_AFTER_MS)?;
        return Ok(vec![Received::Event(Event::Removed(conversation))]);
    }
    let mut received = vec![Received::Event(Event::EpochChanged { conversation, epoch: group.epoch() })];
    if !changed.added.is_empty() || !changed.removed.is_empty() {
        received.extend(members_changed(tx, identity, group, &changed)?);
    }
    if changed.policy_changed {
        received.push(Received::Event(Event::RolesChanged { conversation, by: changed.by.account_id() }));
    }
    if changed.external && group.policy()?.kind == Kind::Own {
        received.extend(came_by_itself(tx, group, &changed.added)?);
    }
    keep_warm(tx, group, conversation)?;
    Ok(received)
}

/// Who is new and who is gone, if anybody is: not a further device of somebody, nor one of several.
fn members_changed(
    tx: &Tx<'_>,
    identity: &Identity,
    group: &Conversation,
    changed: &Changed,
) -> Result<Option<Received>, Error> {
    let conversation = changed.conversation;
    let members = group.members();
    let accounts = |certificates: &[DeviceCertificate]| -> BTreeSet<AccountId> {
        certificates.iter().map(DeviceCertificate::account_id).collect()
    };
    let (now, added) = (accounts(&members), accounts(&changed.added));
    let gone: Vec<AccountId> = accounts(&changed.removed).difference(&now).copied().collect();
    let new: Vec<AccountId> = added
        .into_iter()
        .filter(|account| {
            let of = |certificates: &[DeviceCertificate]| {
                certificates.iter().filter(|certificate| certificate.account_id() == *account).count()
            };
            of(&members) == of(&changed.added)
        })
        .collect();
    if new.is_empty() && gone.is_empty() {
        return Ok(None);
    }
    // Whoever was let in by somebody is told the name by them; whoever came by an invite, by the first admin.
    if changed.external && !new.is_empty() && group.policy()?.role(identity.account()) >= Role::Admin {
        tx.put_chore(conversation, ChoreKind::Name, turn_ms(group))?;
    }
    let by = changed.by.account_id();
    let leaver = |account: &AccountId| {
        let of = |removed: &&DeviceCertificate| removed.account_id() == *account;
        changed.removed.iter().filter(of).all(|removed| changed.leavers.contains(&removed.device_id()))
    };
    let (left, removed) = gone.into_iter().partition(leaver);
    Ok(Some(Received::Event(Event::MembersChanged { conversation, by, added: new, removed, left })))
}

/// A device of this account that nobody has let in is in the group of the own ones. The first of the others sees to it that
/// it gets the history and is let into every conversation.
fn came_by_itself(tx: &Tx<'_>, group: &Conversation, added: &[DeviceCertificate]) -> Result<Vec<Received>, Error> {
    let others = group.member_leaves().into_iter().filter(|(_, device)| !added.contains(device));
    if others.map(|(leaf, _)| leaf).min() != Some(group.own_leaf()) || added.is_empty() {
        return Ok(Vec::new());
    }
    tx.put_chore(ACCOUNT, ChoreKind::History, 0)?;
    tx.put_chore(ACCOUNT, ChoreKind::Devices, 0)?;
    let linked = |device: &DeviceCertificate| Received::Event(Event::DeviceLinked(device.device_id()));
    Ok(added.iter().map(linked).collect())
}

/// In a group that has grown, a commit is as large as the tree is cold. Members renew their leaves one after the other, in
/// an order in which the first few fill most of the tree.
pub(crate) fn keep_warm(tx: &Tx<'_>, group: &Conversation, conversation: GroupId) -> Result<(), Error> {
    if group.members().len() < WARM_FROM || !group.path_is_cold()? {
        return tx.drop_chore(conversation, ChoreKind::Warm);
    }
    // Once planned, further commits do not put it off.
    tx.put_chore_if_none(conversation, ChoreKind::Warm)
}

/// How long this device waits before it does what any member could, so that they do not all do it at once.
fn turn_ms(group: &Conversation) -> u64 {
    let own = group.own_leaf();
    let before = group.member_leaves().iter().filter(|(leaf, _)| *leaf < own).count();
    before.min(MAX_TURNS) as u64 * TURN_MS
}

/// The server says that the group is another one than this device's.
pub(crate) fn forked(tx: &Tx<'_>, group: GroupId) -> Result<Option<Event>, Error> {
    let Some(conversation) = tx.conversation_of(group)? else { return Ok(None) };
    if tx.is_stuck(group)? {
        return Ok(None);
    }
    stick(tx, conversation, group)?;
    Ok(Some(Event::Stuck(conversation)))
}
