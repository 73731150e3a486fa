//! Being let into a group: one that is new, one that this device was in before, or the successor of one.

use std::collections::BTreeSet;

use prost::Message as _;
use qpc_crypto::{
    Conversation, DeviceCertificate, MlsError, Policy,
    mls::{Kind, Role, join_welcome},
};
use qpc_wire::{AccountId, GroupId, v1};

use super::{Received, handshake};
use crate::{
    ConversationInfo, ConversationKind, Error, Event, Standing, own,
    store::{ChoreKind, ConversationState, Identity, Tx},
    strangers,
};

/// Time after which a new member looks whether its account's other devices are in the group too.
const DEVICES_AFTER_MS: u64 = 2_000;

/// Time in which a group that was replaced can still be read: what was accepted before it was may still be in the mailbox of
/// who replaced it.
pub(crate) const RETIRE_AFTER_MS: u64 = 10 * 60 * 1000;

/// Epoch of a group after its founding.
const FOUNDED: u64 = 1;

pub(super) fn open(
    tx: &Tx<'_>,
    identity: &Identity,
    id: GroupId,
    envelope: &v1::Envelope,
    shared: Option<&[u8]>,
) -> Result<Vec<Received>, Error> {
    let shared = v1::SharedState::decode(shared.ok_or(Error::Expired("a welcome"))?)?;
    let suite = u16::try_from(shared.suite).map_err(|_| MlsError::Malformed("welcome"))?;
    let welcome = join_welcome(suite, &shared.encrypted_group_info, &envelope.payload)?;
    if let Some(conversation) = tx.conversation_of(id)?
        && tx.conversation(conversation)?.is_some_and(|known| known.left)
    {
        // What this device had of the group is of before it has left.
        tx.retire_group(id)?;
    }
    let group = Conversation::join(&tx.mls(), &welcome, &shared.ratchet_tree)?;
    if group.group_id() != id {
        return Err(MlsError::UnknownGroup.into());
    }
    let conversation = group.policy()?.conversation;
    let known = tx.conversation(conversation)?;
    let former = tx.current_group(conversation).ok();
    let replaced = check_place(tx, &group)?;
    tx.put_group(&group, identity, ConversationState::Active)?;
    tx.note_epoch(&group, identity)?;
    tx.put_chore(conversation, ChoreKind::Devices, DEVICES_AFTER_MS)?;
    handshake::keep_warm(tx, &group, conversation)?;
    if replaced {
        tx.put_chore(conversation, ChoreKind::Retire, RETIRE_AFTER_MS)?;
    }
    tx.unseal_outbox(conversation)?;
    tx.drop_chore(id, ChoreKind::Join)?;
    if known.is_none() {
        match strangers::begun(tx, identity, &group)? {
            Standing::Accepted => {}
            standing => own::put_standing(tx, identity, conversation, standing)?,
        }
    }
    let Some(known) = known.filter(|known| known.active) else {
        if tx.standing(conversation)? == Standing::Declined {
            return Ok(Vec::new());
        }
        return Ok(vec![Received::Event(Event::ConversationAdded(conversation))]);
    };
    let mut received = vec![Received::Event(Event::Replaced { conversation, suite: group.suite() })];
    // A reset keeps the members; who is not there any more, or is there only now, is told.
    let before = accounts_before(tx, &known, former)?;
    let now: BTreeSet<AccountId> = group.members().iter().map(DeviceCertificate::account_id).collect();
    let added: Vec<AccountId> = now.difference(&before).copied().collect();
    let removed: Vec<AccountId> = before.difference(&now).copied().collect();
    if !(added.is_empty() && removed.is_empty()) {
        let by = group.members().first().map_or(identity.account(), DeviceCertificate::account_id);
        received.push(Received::Event(Event::MembersChanged { conversation, by, added, removed, left: Vec::new() }));
    }
    Ok(received)
}

/// The accounts of a conversation in the group that carried it before.
fn accounts_before(
    tx: &Tx<'_>,
    known: &ConversationInfo,
    former: Option<GroupId>,
) -> Result<BTreeSet<AccountId>, Error> {
    let others = former.map(|former| tx.last_accounts(former)).transpose()?.flatten();
    let mut accounts: BTreeSet<AccountId> = others.into_iter().flatten().chain(known.peer).collect();
    accounts.insert(tx.own_account()?);
    Ok(accounts)
}

/// Whether the group may carry the conversation that it says. Tells whether it replaces another one.
///
/// A group that begins a conversation has its id. One that carries on a conversation known here must name the group that
/// carries it now. At its founding it must be founded by somebody who had the right there, with kind, roles and invites as
/// they were, and nobody who was not in the conversation; later than that it has had a life of its own. Who was no longer in
/// the conversation, or is not yet, knows nothing to compare with but its kind, and the two of a direct one.
pub(crate) fn check_place(tx: &Tx<'_>, group: &Conversation) -> Result<bool, Error> {
    let (policy, id) = (group.policy()?, group.group_id());
    let Some(known) = tx.conversation(policy.conversation)? else { return Ok(false) };
    let wrong = Error::WrongSuccessor(policy.conversation);
    if known.kind != policy.kind.into() {
        return Err(wrong);
    }
    let current = match tx.current_group(policy.conversation) {
        Ok(current) => current,
        // Known from a history alone.
        Err(Error::NotMember | Error::NotLetIn) => {
            return if of_the_two(tx, &known, group)? { Ok(false) } else { Err(wrong) };
        }
        Err(error) => return Err(error),
    };
    if current == id {
        return check_return(tx, group, &policy).map(|()| false);
    }
    let Some(old) = tx.find_group(current)?.filter(|_| known.active) else {
        let fits = policy.predecessor.is_some() && of_the_two(tx, &known, group)?;
        return if fits { Ok(true) } else { Err(wrong) };
    };
    let (members, before) = (group.members(), old.members());
    let known = |member: &DeviceCertificate| before.iter().any(|old| old.account_id() == member.account_id());
    let old_policy = old.policy()?;
    let mut expected = old_policy.clone();
    expected.predecessor = Some(current);
    let founder = members.first().map(DeviceCertificate::account_id);
    let entitled = |account| policy.kind != Kind::Group || old_policy.role(account) >= Role::Admin;
    let as_founded = policy == expected && members.iter().all(known) && founder.is_some_and(entitled);
    let later = group.epoch() > FOUNDED && (policy.kind == Kind::Group || members.iter().all(known));
    let fits = policy.predecessor == Some(current) && (as_founded || later);
    if fits { Ok(true) } else { Err(wrong) }
}

/// Whether a direct conversation is of the two that it was known to be of.
fn of_the_two(tx: &Tx<'_>, known: &ConversationInfo, group: &Conversation) -> Result<bool, Error> {
    if known.kind != ConversationKind::Direct {
        return Ok(true);
    }
    let (own, peer) = (tx.own_account()?, known.peer);
    let known = |member: &DeviceCertificate| member.account_id() == own || Some(member.account_id()) == peer;
    Ok(group.members().iter().all(known))
}

/// A group that this device comes back to must be the one that it has left: a server could show another one of the same id.
/// Who has come and gone meanwhile is told; a direct conversation has no others.
fn check_return(tx: &Tx<'_>, group: &Conversation, policy: &Policy) -> Result<(), Error> {
    if policy.kind == Kind::Group {
        return Ok(());
    }
    let Some(before) = tx.last_accounts(group.group_id())? else { return Ok(()) };
    let own = tx.own_account()?;
    let known = |member: &DeviceCertificate| member.account_id() == own || before.contains(&member.account_id());
    if group.members().iter().all(known) { Ok(()) } else { Err(Error::WrongSuccessor(policy.conversation)) }
}
