//! Changes of groups: made, kept, sent, and merged or dropped by the server's answer.
//!
//! A change is in the store, with the request that carries it, before it is sent. Until it is answered nothing else of
//! the mailbox is read, for it may be of the epoch that the change began.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::Message as _;
use qpc_crypto::{
    Conversation, Policy,
    mls::{Changes, Kind, PendingCommit, Role},
    receipt::{self, ReceiptError},
};
use qpc_wire::{
    AccountId, Code, DeviceId, GroupId,
    methods::{CommitGroup, CreateGroup, LeaveGroup},
    status::Detail,
    v1,
};

use crate::{
    Error, Event,
    client::Inner,
    content::Body,
    heal, outbox, receive, retry,
    runtime::planted::{Mistake, planted},
    shared,
    store::{ChoreKind, ConversationState, Group, Identity, Pending, PendingKind, Tx},
    sync,
    transport::{CallError, Connection},
};

/// Times that a commit is made anew because another one was first. Each time somebody's was accepted.
const MAX_RACES: usize = 32;
/// Times that a change is sent on which a server that answers has no verdict. Until then nothing else of the mailbox is read.
const MAX_ATTEMPTS: u32 = 5;

/// What became of a change.
pub(crate) enum Outcome {
    /// It was accepted, and the group is in this epoch.
    Accepted(u64),
    /// Another one was first, and the group is in this epoch: make it anew.
    Late(u64),
    /// Something has to be part of it, or must not be: make it anew.
    Again,
    /// For a new conversation: there is this one.
    Exists(GroupId),
    /// The group has this successor.
    Replaced(GroupId),
    /// The group is not what this device takes it for.
    Forked,
}

/// What a commit is to do. Devices that are revoked go in any case.
#[derive(Default)]
pub(crate) struct Plan {
    /// KeyPackages of new devices.
    pub(crate) add: Vec<(DeviceId, Vec<u8>)>,
    /// Devices that go.
    pub(crate) remove: Vec<DeviceId>,
    /// Another policy.
    pub(crate) policy: Option<Policy>,
    /// Renew this device's leaf.
    pub(crate) update: bool,
}

/// Says what is to be done to a group as it is now; nothing, if that has been done meanwhile.
pub(crate) type Planner = dyn Fn(&Tx<'_>, &Conversation) -> Result<Option<Plan>, Error> + Send + Sync;

/// Changes the group of a conversation, however many others do at the same time. Returns the epoch in which it is done.
pub(crate) async fn change(
    inner: &Arc<Inner>,
    connection: &Connection,
    conversation: GroupId,
    plan: Arc<Planner>,
) -> Result<u64, Error> {
    for _ in 0..MAX_RACES {
        let _turn = inner.turn.lock().await;
        sync::pull_in_turn(inner, connection).await?;
        let group = inner.store.run(move |tx| tx.current_group(conversation)).await?;
        if inner.store.run(move |tx| tx.is_stuck(group)).await? {
            heal::rejoin(inner, connection, conversation).await?;
        }
        let (identity, key, plan) = (inner.identity.clone(), inner.idempotency_key(), plan.clone());
        let made = inner
            .store
            .run(move |tx| {
                let mut group = tx.load_current(conversation)?;
                let Some(plan) = plan(tx, &group)? else { return Ok(Err(group.epoch())) };
                let epoch = group.epoch();
                let made = make(tx, &identity, &mut group, plan)?;
                let request = v1::CommitGroupRequest {
                    idempotency_key: key.to_bytes(),
                    group_id: group.group_id().to_bytes(),
                    epoch,
                    bundle: Some(bundle(made)),
                };
                let pending = Pending {
                    group: group.group_id(),
                    conversation,
                    kind: PendingKind::Commit,
                    request: request.encode_to_vec(),
                };
                tx.insert_pending(&pending)?;
                Ok(Ok((pending, epoch)))
            })
            .await?;
        let (pending, epoch) = match made {
            Ok(made) => made,
            Err(epoch) => return Ok(epoch),
        };
        match submit(inner, connection, pending).await? {
            Outcome::Accepted(epoch) => return Ok(epoch),
            Outcome::Late(current) => catch_up(inner, connection, conversation, epoch, current).await?,
            Outcome::Replaced(successor) => heal::follow(inner, connection, conversation, successor).await?,
            Outcome::Again | Outcome::Exists(_) | Outcome::Forked => {}
        }
    }
    Err(Error::TooManyRaces)
}

/// Follows the mailbox to the epoch `current`, which the server has named in answer to something of epoch `sent`. Every
/// commit up to it is in there: whoever is not there then has missed one, perhaps one of its own whose answer was lost for
/// too long. Whoever was ahead is in a group that the server knows nothing of, as when it was restored from an older state.
/// Both join again. The caller has the turn.
pub(crate) async fn catch_up(
    inner: &Inner,
    connection: &Connection,
    conversation: GroupId,
    sent: u64,
    current: u64,
) -> Result<(), Error> {
    sync::pull_in_turn(inner, connection).await?;
    let lost = inner
        .store
        .run(move |tx| match tx.load_current(conversation) {
            Ok(group) if (group.epoch() < current || sent > current) && !tx.is_stuck(group.group_id())? => {
                receive::forked(tx, group.group_id())
            }
            Ok(_) | Err(Error::NotMember) => Ok(None),
            Err(error) => Err(error),
        })
        .await?;
    if let Some(event) = lost {
        tracing::warn!(%conversation, sent, current, "this device is not where the group is");
        inner.events.emit(event);
        heal::rejoin(inner, connection, conversation).await?;
    }
    Ok(())
}

/// Makes the commit of a plan, with the removal of every revoked device.
pub(crate) fn make(
    tx: &Tx<'_>,
    identity: &Identity,
    group: &mut Conversation,
    plan: Plan,
) -> Result<PendingCommit, Error> {
    let mut remove = plan.remove;
    let revoked = tx.revoked()?;
    if !revoked.is_empty() {
        let (members, policy, leavers) = (group.members(), group.policy()?, group.pending_leaves());
        let own = policy.role(identity.account());
        for member in members.iter().filter(|member| revoked.contains(&member.device_id())) {
            let (device, account) = (member.device_id(), member.account_id());
            if device == identity.device() || remove.contains(&device) {
                continue;
            }
            // Whoever may not remove the account can still remove a device that is not its last.
            let goes = |device: DeviceId| remove.contains(&device) || leavers.contains(&device);
            let stays = members
                .iter()
                .any(|other| other.account_id() == account && other != member && !goes(other.device_id()));
            let outranks = policy.kind == Kind::Group && own >= Role::Admin && policy.role(account) < own;
            if stays || outranks || account == identity.account() {
                remove.push(device);
            }
        }
    }
    let add = plan.add.into_iter().filter(|(device, _)| !revoked.contains(device));
    let add: Vec<Vec<u8>> = add.map(|(_, package)| package).collect();
    let changes = Changes { add: &add, remove: &remove, policy: plan.policy, update: plan.update };
    Ok(group.change(&tx.mls(), &identity.device_key, changes)?)
}

pub(crate) fn bundle(made: PendingCommit) -> v1::CommitBundle {
    v1::CommitBundle {
        commit: made.commit.into(),
        welcome: made.welcome.into(),
        group_info: made.group_info.into(),
        staged: bytes::Bytes::new(),
        delivery_key_hash: bytes::Bytes::copy_from_slice(&made.delivery_key_hash),
    }
}

/// Asks again for the answer to every change that has none. The caller has the turn.
pub(crate) async fn resume(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    while let Some(pending) = inner.store.run(|tx| tx.some_pending()).await? {
        let (group, id, kind) = (pending.group, pending.conversation, pending.kind);
        match submit(inner, connection, pending.clone()).await {
            Ok(Outcome::Accepted(_)) if kind == PendingKind::Create => {
                inner.events.emit(Event::ConversationAdded(id));
            }
            Ok(_) => {}
            Err(error) if !keeps(&error) => tracing::warn!(conversation = %id, %error, "change given up"),
            Err(error) if is_of_the_change(&error) => {
                let tries = inner.store.run(move |tx| tx.count_pending_attempt(group)).await?;
                if tries < MAX_ATTEMPTS {
                    return Err(error);
                }
                tracing::error!(conversation = %id, %error, "no verdict on a change; the group is joined again");
                give_up(inner, pending).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an answer, or what came of it here, says that this one change goes wrong and not the connection, the session or
/// the store.
fn is_of_the_change(error: &Error) -> bool {
    match error {
        Error::Call(CallError::Status(status)) => {
            outbox::is_no_verdict(status.code) && status.code != Code::Unauthenticated
        }
        Error::Call(_) | Error::Offline | Error::Interrupted | Error::Io { .. } => false,
        error => !receive::is_ours(error),
    }
}

/// Forgets a change of which nobody can say whether it was accepted, so that other conversations go on. This one is joined
/// again as it is at the server.
async fn give_up(inner: &Inner, pending: Pending) -> Result<(), Error> {
    let event = inner
        .store
        .run(move |tx| {
            let (group, conversation) = (pending.group, pending.conversation);
            // What cannot be undone has no group any more.
            if tx.attempt(|| drop_change(tx, &pending))?.is_err() {
                tx.remove_pending(group)?;
            }
            if tx.conversation_of(group)?.is_none() {
                // Founded or joined, perhaps.
                tx.put_chore(group, ChoreKind::Join, 0)?;
                return Ok(None);
            }
            let event = receive::forked(tx, group)?;
            Ok(event.or(Some(Event::Stuck(conversation))))
        })
        .await?;
    if let Some(event) = event {
        inner.events.emit(event);
    }
    inner.chore_wake.notify_one();
    Ok(())
}

/// What the server said to a change, as far as all kinds have it in common.
pub(crate) struct Answer {
    /// The handshake message that was sent.
    pub(crate) message: bytes::Bytes,
    pub(crate) receipt: Option<v1::Receipt>,
}

/// Sends a change and settles it by the answer. Without an answer it stays, to be sent again as it is. The caller has
/// the turn.
pub(crate) async fn submit(inner: &Inner, connection: &Connection, pending: Pending) -> Result<Outcome, Error> {
    match ask(inner, connection, &pending).await? {
        Ok(answer) => {
            let identity = inner.identity.clone();
            let (id, conversation, kind) = (pending.group, pending.conversation, pending.kind);
            let own = identity.account();
            let (epoch, refused, (added, removed, left)) = inner
                .store
                .run(move |tx| {
                    let leavers = tx.load_group(id)?.pending_leaves();
                    let before = accounts(tx, id)?;
                    let (epoch, refused) = accepted(tx, &identity, &pending, &answer)?;
                    let moved = moved(&before, &accounts(tx, id)?, &leavers);
                    Ok((epoch, refused, moved))
                })
                .await?;
            if kind == PendingKind::Commit && !(added.is_empty() && removed.is_empty() && left.is_empty()) {
                inner.events.emit(Event::MembersChanged { conversation, by: own, added, removed, left });
            }
            if let Some(error) = refused {
                let error = error.into();
                inner.events.emit(Event::ReceiptRefused { conversation, message: None, error });
            }
            tracing::debug!(group = %id, epoch, "change accepted");
            inner.events.emit(Event::EpochChanged { conversation, epoch });
            inner.chore_wake.notify_one();
            inner.outbox_wake.notify_one();
            Ok(Outcome::Accepted(epoch))
        }
        Err(error) => refused(inner, connection, pending, error).await,
    }
}

/// The devices of a group by account.
fn accounts(tx: &Tx<'_>, id: GroupId) -> Result<BTreeMap<AccountId, Vec<DeviceId>>, Error> {
    let mut accounts: BTreeMap<AccountId, Vec<DeviceId>> = BTreeMap::new();
    for member in tx.load_group(id)?.members() {
        accounts.entry(member.account_id()).or_default().push(member.device_id());
    }
    Ok(accounts)
}

/// Who has come, who was removed, and who has left.
fn moved(
    before: &BTreeMap<AccountId, Vec<DeviceId>>,
    after: &BTreeMap<AccountId, Vec<DeviceId>>,
    leavers: &[DeviceId],
) -> (Vec<AccountId>, Vec<AccountId>, Vec<AccountId>) {
    let added = after.keys().filter(|account| !before.contains_key(account)).copied().collect();
    let gone = before.iter().filter(|(account, _)| !after.contains_key(account));
    let (left, removed): (Vec<_>, Vec<_>) =
        gone.partition(|(_, devices)| devices.iter().all(|device| leavers.contains(device)));
    let ids = |gone: Vec<(&AccountId, _)>| gone.into_iter().map(|(account, _)| *account).collect();
    (added, ids(removed), ids(left))
}

async fn ask(inner: &Inner, connection: &Connection, pending: &Pending) -> Result<Result<Answer, CallError>, Error> {
    let request = pending.request.as_slice();
    Ok(match pending.kind {
        PendingKind::Create => {
            let mut request = v1::CreateGroupRequest::decode(request)?;
            let bundle = request.first_commit.get_or_insert_default();
            let message = bundle.commit.clone();
            if let Err(error) = shared::fit(inner, connection, bundle).await {
                return Ok(Err(error));
            }
            let answer = retry::call::<CreateGroup>(&inner.runtime, connection, &request).await;
            answer.map(|answer| Answer { message, receipt: answer.receipt })
        }
        PendingKind::Commit | PendingKind::Join => {
            let mut request = v1::CommitGroupRequest::decode(request)?;
            let bundle = request.bundle.get_or_insert_default();
            let message = bundle.commit.clone();
            if let Err(error) = shared::fit(inner, connection, bundle).await {
                return Ok(Err(error));
            }
            let answer = retry::call::<CommitGroup>(&inner.runtime, connection, &request).await;
            answer.map(|answer| Answer { message, receipt: answer.receipt })
        }
        PendingKind::Leave => {
            let request = v1::LeaveGroupRequest::decode(request)?;
            let message = request.proposal.clone();
            let answer = retry::call::<LeaveGroup>(&inner.runtime, connection, &request).await;
            answer.map(|answer| Answer { message, receipt: answer.receipt })
        }
    })
}

async fn refused(inner: &Inner, connection: &Connection, pending: Pending, error: CallError) -> Result<Outcome, Error> {
    let (id, kind, conversation) = (pending.group, pending.kind, pending.conversation);
    let (detail, code) = (error.detail().cloned(), error.code());
    let error = Error::from(error);
    if keeps(&error) {
        hang_up(&error, connection);
        return Err(error);
    }
    let identity = inner.identity.clone();
    // The answer to the first sending got lost for longer than the server remembers keys: it is this very group.
    if let Some(Detail::ConversationExists(exists)) = &detail
        && exists.group_id == id.as_ref()
        && kind == PendingKind::Create
    {
        let merged = move |tx: &Tx<'_>| Ok(merge(tx, &identity, &pending, tx.load_group(pending.group)?)?.epoch());
        return Ok(Outcome::Accepted(inner.store.run(merged).await?));
    }
    if planted(Mistake::MergesRefused) {
        let merged = move |tx: &Tx<'_>| Ok(merge(tx, &identity, &pending, tx.load_group(pending.group)?)?.epoch());
        return Ok(Outcome::Accepted(inner.store.run(merged).await?));
    }
    inner.store.run(move |tx| drop_change(tx, &pending)).await?;
    Ok(match detail {
        Some(Detail::WrongEpoch(wrong)) => Outcome::Late(wrong.current_epoch),
        Some(Detail::ConversationExists(exists)) => Outcome::Exists(GroupId::try_from(&exists.group_id)?),
        Some(Detail::Replaced(by)) => Outcome::Replaced(GroupId::try_from(&by.successor)?),
        Some(Detail::DevicesRevoked(revoked)) => {
            let devices = revoked.device_ids.iter().map(DeviceId::try_from).collect::<Result<Vec<_>, _>>()?;
            inner.store.run(move |tx| devices.into_iter().try_for_each(|device| tx.put_revoked(device))).await?;
            Outcome::Again
        }
        Some(Detail::Forked(_)) => fork(inner, conversation, id).await?,
        // A commit that was made by the rules and that the server cannot verify was made in another group than it has.
        None if code == Some(Code::InvalidArgument) && kind == PendingKind::Commit => {
            tracing::warn!(group = %id, %error, "the server cannot follow this device's commit");
            fork(inner, conversation, id).await?
        }
        // No refusal of a commit.
        Some(Detail::RegistrationRefused(_)) | None => return Err(error),
    })
}

async fn fork(inner: &Inner, conversation: GroupId, id: GroupId) -> Result<Outcome, Error> {
    let event = inner.store.run(move |tx| receive::forked(tx, id)).await?;
    if let Some(event) = event {
        tracing::warn!(%conversation, "this device has forked from the group");
        inner.events.emit(event);
    }
    inner.chore_wake.notify_one();
    Ok(Outcome::Forked)
}

/// Whether a change must be sent again: it may have been accepted, or can be.
fn keeps(error: &Error) -> bool {
    match error {
        Error::Call(CallError::Status(status)) => status.is_transient() || outbox::is_no_verdict(status.code),
        Error::Call(error) => error.is_transient(),
        _ => true,
    }
}

/// A connection that does not answer, or is no longer ours, is not worth keeping.
pub(crate) fn hang_up(error: &Error, connection: &Connection) {
    if matches!(error, Error::Call(CallError::Deadline)) || error.code() == Some(Code::Unauthenticated) {
        connection.close();
    }
}

/// Follows an accepted change. Returns the epoch and what is wrong with the receipt, if something is.
pub(crate) fn accepted(
    tx: &Tx<'_>,
    identity: &Identity,
    pending: &Pending,
    answer: &Answer,
) -> Result<(u64, Option<Error>), Error> {
    let id = pending.group;
    let before = tx.load_group(id)?;
    let mut recipients = devices(&before);
    for leaver in before.pending_leaves() {
        recipients.remove(&leaver);
    }
    let (epoch, after) = {
        let after = merge(tx, identity, pending, before)?;
        (after.epoch(), devices(&after))
    };
    if pending.kind != PendingKind::Leave {
        // The commit goes to those who were members and the Welcome to those who became so.
        recipients.extend(&after);
    }
    recipients.remove(&identity.device());
    let recipients: Vec<DeviceId> = recipients.into_iter().collect();
    // Without those that it has removed, who may be revoked and have no queue key any more.
    let reachable: Vec<DeviceId> = recipients.iter().filter(|device| after.contains(device)).copied().collect();
    let kept = tx.attempt(|| {
        let receipt = answer.receipt.as_ref().ok_or(Error::Incomplete("a receipt"))?;
        let key = tx.receipt_key()?.ok_or(Error::Incomplete("a receipt key"))?;
        let check = |devices| receipt::check(&key, receipt, &answer.message, id, devices);
        match check(Some(&recipients)) {
            Err(ReceiptError::Recipients) if pending.kind != PendingKind::Join => check(Some(&reachable))?,
            // Who was in the group before an external commit is known by the time it is merged, leavers included.
            Err(ReceiptError::Recipients) => check(None)?,
            checked => checked?,
        }
        tx.count_receipt()?;
        tx.begin_chain(id, receipt.seq)?;
        let kept = tx.put_own_receipt(id, receipt)?;
        if pending.kind == PendingKind::Join {
            tx.come_back(id, receipt.seq)?;
        }
        Ok(kept)
    })?;
    Ok((epoch, kept.and_then(|kept| Ok(kept?)).err()))
}

/// Takes the step of an own change, in the group as it is stored. Returns it as it is then.
fn merge<'a>(tx: &'a Tx<'_>, identity: &Identity, pending: &Pending, mut group: Group<'a>) -> Result<Group<'a>, Error> {
    let (id, conversation) = (pending.group, pending.conversation);
    tx.remove_pending(id)?;
    if pending.kind == PendingKind::Leave {
        tx.set_conversation_state(conversation, ConversationState::Left)?;
        tx.drop_chores(conversation)?;
        tx.put_chore(conversation, ChoreKind::Retire, receive::RETIRE_AFTER_MS)?;
        return Ok(group);
    }
    if group.has_pending() {
        group.merge_pending(&tx.mls())?;
    }
    if matches!(pending.kind, PendingKind::Create | PendingKind::Join) {
        // That it may be was checked before it was sent.
        let replaced = tx.current_group(conversation).is_ok_and(|current| current != id);
        let own = identity.account();
        let others = group.members().into_iter().filter(|member| member.device_id() != identity.device());
        let is_stranger = pending.kind == PendingKind::Join && others.into_iter().all(|it| it.account_id() != own);
        tx.put_group(&group, identity, ConversationState::Active)?;
        if replaced {
            tx.put_chore(conversation, ChoreKind::Retire, receive::RETIRE_AFTER_MS)?;
        }
        tx.unseal_outbox(conversation)?;
        tx.put_chore(conversation, ChoreKind::Devices, 0)?;
        tx.drop_chore(id, ChoreKind::Join)?;
        if !tx.admissions(conversation, 1)?.is_empty() {
            tx.put_chore(conversation, ChoreKind::Admit, 0)?;
        }
        if is_stranger {
            // Whoever came by an invite is somebody without a name to the others, until something comes of them that has it.
            receive::push(tx, conversation, &receive::told_by(tx, identity, Body::Delivered(Vec::new())))?;
        }
    }
    tx.note_epoch(&group, identity)?;
    tx.drop_chore(conversation, ChoreKind::CommitLeaves)?;
    receive::keep_warm(tx, &group, conversation)?;
    Ok(group)
}

fn devices(group: &Conversation) -> BTreeSet<DeviceId> {
    group.members().iter().map(|member| member.device_id()).collect()
}

/// Forgets a change that will never be accepted, and with it a group that it was to begin.
fn drop_change(tx: &Tx<'_>, pending: &Pending) -> Result<(), Error> {
    let id = pending.group;
    tx.remove_pending(id)?;
    match pending.kind {
        PendingKind::Commit => tx.load_group(id)?.clear_pending(&tx.mls())?,
        PendingKind::Create | PendingKind::Join => {
            tx.load_group(id)?.into_inner().delete(&tx.mls())?;
            tx.delete_group_unless_known(id)?;
            if pending.kind == PendingKind::Create {
                tx.clear_admissions(pending.conversation)?;
            }
        }
        PendingKind::Leave => tx.load_group(id)?.stay(&tx.mls())?,
    }
    Ok(())
}

/// Puts an external commit into the store, to be sent. Of a group that is known here the former state goes: it could not
/// be followed.
pub(crate) fn keep_join(
    tx: &Tx<'_>,
    group: &Conversation,
    made: PendingCommit,
    epoch: u64,
    key: qpc_wire::IdempotencyKey,
) -> Result<Pending, Error> {
    let request = v1::CommitGroupRequest {
        idempotency_key: key.to_bytes(),
        group_id: group.group_id().to_bytes(),
        epoch,
        bundle: Some(bundle(made)),
    };
    tx.forget_loaded(group.group_id());
    let pending = Pending {
        group: group.group_id(),
        conversation: group.policy()?.conversation,
        kind: PendingKind::Join,
        request: request.encode_to_vec(),
    };
    tx.insert_pending(&pending)?;
    // What was to go with the group before would now go with this one.
    tx.drop_chore(pending.conversation, ChoreKind::Retire)?;
    Ok(pending)
}

/// Leaves the group of a conversation: others commit it.
pub(crate) async fn leave(inner: &Arc<Inner>, connection: &Connection, conversation: GroupId) -> Result<(), Error> {
    for _ in 0..MAX_RACES {
        let _turn = inner.turn.lock().await;
        sync::pull_in_turn(inner, connection).await?;
        let (identity, key) = (inner.identity.clone(), inner.idempotency_key());
        let (pending, epoch) = inner
            .store
            .run(move |tx| {
                let mut group = tx.load_current(conversation)?;
                let proposal = group.leave(&tx.mls(), &identity.device_key)?;
                let request = v1::LeaveGroupRequest {
                    idempotency_key: key.to_bytes(),
                    group_id: group.group_id().to_bytes(),
                    epoch: group.epoch(),
                    proposal: proposal.into(),
                };
                let pending = Pending {
                    group: group.group_id(),
                    conversation,
                    kind: PendingKind::Leave,
                    request: request.encode_to_vec(),
                };
                tx.insert_pending(&pending)?;
                Ok((pending, group.epoch()))
            })
            .await?;
        match submit(inner, connection, pending).await? {
            Outcome::Accepted(_) => return Ok(()),
            Outcome::Late(current) => catch_up(inner, connection, conversation, epoch, current).await?,
            Outcome::Replaced(successor) => heal::follow(inner, connection, conversation, successor).await?,
            Outcome::Again => {}
            Outcome::Exists(_) | Outcome::Forked => heal::rejoin(inner, connection, conversation).await?,
        }
    }
    Err(Error::TooManyRaces)
}
