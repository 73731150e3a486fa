//! Commits: made, kept, sent, and merged or dropped by the server's answer.
//!
//! A commit is in the store, with the request that carries it, before it is sent. Until it is answered nothing else of
//! the mailbox is read, for it may be of the epoch that the commit began.

use std::collections::BTreeSet;

use prost::Message as _;
use qpc_crypto::{Conversation, receipt};
use qpc_wire::{
    Code, DeviceId, GroupId,
    methods::{CommitGroup, CreateGroup},
    v1,
};

use crate::{
    Error, Event,
    client::Inner,
    outbox, retry,
    store::{Identity, Pending, PendingKind, Tx},
    sync,
    transport::{CallError, Connection},
};

/// Times that a commit is made anew because another one was first. Each time somebody's was accepted.
const MAX_RACES: usize = 32;

/// What became of a commit.
pub(crate) enum Outcome {
    /// It was accepted, and the group is in this epoch.
    Accepted(u64),
    /// Another one was first.
    Late,
    /// For a new conversation: the pair has this one.
    Exists(GroupId),
}

/// Replaces this device's leaf. Returns the new epoch.
pub(crate) async fn update_keys(inner: &Inner, connection: &Connection, id: GroupId) -> Result<u64, Error> {
    for _ in 0..MAX_RACES {
        let _turn = inner.turn.lock().await;
        sync::pull_in_turn(inner, connection).await?;
        let (identity, key) = (inner.identity.clone(), inner.idempotency_key());
        let pending = inner
            .store
            .run(move |tx| {
                let mut group = tx.load_group(id)?;
                if !group.is_active() {
                    return Err(Error::NotMember);
                }
                let epoch = group.epoch();
                let made = group.update(&tx.mls(), &identity.device_key)?;
                let bundle = v1::CommitBundle { commit: made.commit.into(), welcome: made.welcome.into() };
                let request = v1::CommitGroupRequest {
                    idempotency_key: key.to_bytes(),
                    group_id: id.to_bytes(),
                    epoch,
                    bundle: Some(bundle),
                };
                let pending = Pending { conversation: id, kind: PendingKind::Commit, request: request.encode_to_vec() };
                tx.insert_pending(&pending)?;
                Ok(pending)
            })
            .await?;
        match submit(inner, connection, pending).await? {
            Outcome::Accepted(epoch) => return Ok(epoch),
            Outcome::Late | Outcome::Exists(_) => {}
        }
    }
    Err(Error::TooManyRaces)
}

/// Asks again for the answer to every commit that has none. The caller has the turn.
pub(crate) async fn resume(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    while let Some(pending) = inner.store.run(|tx| tx.some_pending()).await? {
        let (id, kind) = (pending.conversation, pending.kind);
        match submit(inner, connection, pending).await {
            Ok(Outcome::Accepted(_)) if kind == PendingKind::Create => {
                inner.events.emit(Event::ConversationAdded(id));
            }
            Ok(_) => {}
            Err(error) if keeps(&error) => return Err(error),
            Err(error) => tracing::warn!(conversation = %id, %error, "commit given up"),
        }
    }
    Ok(())
}

/// Sends a commit and settles it by the answer. Without an answer it stays, to be sent again as it is. The caller has
/// the turn.
pub(crate) async fn submit(inner: &Inner, connection: &Connection, pending: Pending) -> Result<Outcome, Error> {
    let (id, kind) = (pending.conversation, pending.kind);
    let answer = match kind {
        PendingKind::Create => {
            let request = v1::CreateGroupRequest::decode(pending.request.as_slice())?;
            let commit = request.first_commit.clone().unwrap_or_default().commit;
            let answer = retry::call::<CreateGroup>(&inner.runtime, connection, &request).await;
            answer.map(|answer| (commit, answer.receipt))
        }
        PendingKind::Commit => {
            let request = v1::CommitGroupRequest::decode(pending.request.as_slice())?;
            let commit = request.bundle.clone().unwrap_or_default().commit;
            let answer = retry::call::<CommitGroup>(&inner.runtime, connection, &request).await;
            answer.map(|answer| (commit, answer.receipt))
        }
    };
    match answer {
        Ok((commit, receipt)) => {
            let identity = inner.identity.clone();
            let (epoch, refused) =
                inner.store.run(move |tx| accepted(tx, &identity, id, &commit, receipt.as_ref())).await?;
            if let Some(error) = refused {
                let error = error.into();
                inner.events.emit(Event::ReceiptRefused { conversation: id, message: None, error });
            }
            inner.events.emit(Event::EpochChanged { conversation: id, epoch });
            Ok(Outcome::Accepted(epoch))
        }
        Err(error) => {
            let (late, exists) = (error.wrong_epoch().is_some(), error.conversation_exists());
            let error = Error::from(error);
            if keeps(&error) {
                hang_up(&error, connection);
                return Err(error);
            }
            // The answer to the first sending got lost for longer than the server remembers keys: it is this very group.
            if exists == Some(id) && kind == PendingKind::Create {
                let identity = inner.identity.clone();
                let epoch = inner.store.run(move |tx| merge(tx, &identity, id)).await?;
                return Ok(Outcome::Accepted(epoch));
            }
            inner.store.run(move |tx| refused(tx, id, kind)).await?;
            match exists {
                Some(existing) => Ok(Outcome::Exists(existing)),
                None if late => Ok(Outcome::Late),
                None => Err(error),
            }
        }
    }
}

/// Whether a commit must be sent again: it may have been accepted, or can be.
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

/// Follows an accepted commit. Returns the epoch and what is wrong with the receipt, if something is.
fn accepted(
    tx: &Tx<'_>,
    identity: &Identity,
    id: GroupId,
    commit: &[u8],
    receipt: Option<&v1::Receipt>,
) -> Result<(u64, Option<Error>), Error> {
    let mut recipients = devices(&tx.load_group(id)?);
    let epoch = merge(tx, identity, id)?;
    recipients.extend(devices(&tx.load_group(id)?));
    recipients.remove(&identity.device());
    // The commit goes to those who were members and the Welcome to those who became so.
    let recipients: Vec<DeviceId> = recipients.into_iter().collect();
    let refused = match (receipt, tx.receipt_key()?) {
        (Some(receipt), Some(key)) => {
            receipt::check(&key, receipt, commit, id, Some(&recipients)).err().map(Error::from)
        }
        (None, _) => Some(Error::Incomplete("a receipt")),
        (_, None) => Some(Error::Incomplete("a receipt key")),
    };
    if refused.is_none() {
        tx.count_receipt()?;
    }
    Ok((epoch, refused))
}

/// Takes the step of an own commit. Returns the new epoch.
fn merge(tx: &Tx<'_>, identity: &Identity, id: GroupId) -> Result<u64, Error> {
    let mut group = tx.load_group(id)?;
    if group.has_pending() {
        group.merge_pending(&tx.mls())?;
    }
    tx.note_epoch(&group, identity)?;
    tx.remove_pending(id)?;
    Ok(group.epoch())
}

fn devices(group: &Conversation) -> BTreeSet<DeviceId> {
    group.members().iter().map(|member| member.device_id()).collect()
}

/// Forgets a commit that will never be accepted, and with it a conversation that it was to begin.
fn refused(tx: &Tx<'_>, id: GroupId, kind: PendingKind) -> Result<(), Error> {
    let mut group = tx.load_group(id)?;
    match kind {
        PendingKind::Commit => group.clear_pending(&tx.mls())?,
        PendingKind::Create => {
            group.delete(&tx.mls())?;
            tx.delete_conversation(id)?;
        }
    }
    tx.remove_pending(id)
}
