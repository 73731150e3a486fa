//! From a text to a receipt.
//!
//! A message is encrypted once, when it is written, in the transaction that keeps it: the ciphertext that is sent, and
//! the key under which it is sent, are the same however often and after however many restarts. It is encrypted anew,
//! under a new key, only when the server says that the epoch is too old, when the group was joined again or replaced, or when
//! it is to leave sealed and was not written for that; and later than it was written, when it is written while somebody's
//! leaving has to be committed first. Whoever gets it twice sees it once, by its id.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use qpc_crypto::{MlsError, franking, mls::Role, receipt};
use qpc_wire::{Code, DeviceId, GroupId, status::Detail, v1};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Event, MessageState,
    client::Inner,
    commit::{self, hang_up},
    content::{Body, Content, Saying},
    heal, receive,
    runtime::planted::{Mistake, planted},
    sealed,
    store::{Identity, Outgoing, Sealed, Tx, Way},
    sync,
    transport::{CallError, Connection},
};

/// Times that a message is encrypted anew because its epoch has become too old.
const MAX_REENCRYPTIONS: u32 = 32;
/// First pause after a failure that may go away; each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause of our own choice. The server may ask for a longer one.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Time that a message which disappears waits at the server at least, milliseconds.
const KEEP_AT_LEAST_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Devices that left in one epoch and are told apart in a receipt.
const MAX_LEAVERS: usize = 64;

/// Encrypts for the epoch of a conversation. What people say is signed where it is to leave sealed: the server then has no word
/// of its own on who said it.
pub(crate) fn encrypt(
    tx: &Tx<'_>,
    identity: &Identity,
    conversation: GroupId,
    content: &[u8],
    way: Way,
) -> Result<Sealed, Error> {
    let group = tx.current_group(conversation)?;
    if tx.is_stuck(group)? {
        return Err(Error::Stuck(conversation));
    }
    if !tx.conversation(conversation)?.is_some_and(|info| info.active) {
        return Err(Error::NotMember);
    }
    let mut mls = tx.load_current(conversation)?;
    if mls.role_of_self()? < Some(Role::Member) {
        return Err(Error::NotAllowed("write"));
    }
    let signature = must_be_signed(way, content).then(|| franking::sign(&identity.device_key, group, content));
    let mut sealed =
        Sealed { group, epoch: mls.epoch(), tag: mls.epoch_tag()?.to_vec(), payload: Vec::new(), signature };
    sealed.payload = mls.encrypt(&tx.mls(), &identity.device_key, &sealed.plaintext(content))?;
    Ok(sealed)
}

fn must_be_signed(way: Way, content: &[u8]) -> bool {
    way == Way::Sealed && matches!(Content::decode(content), Ok(Content { body: Body::Say(_), .. }))
}

/// Conversations whose messages wait because one of them goes wrong.
#[derive(Default)]
struct PutOff(HashMap<GroupId, (Instant, u32)>);

impl PutOff {
    /// Those whose pause is not over.
    fn waiting(&self) -> Vec<GroupId> {
        let now = Instant::now();
        self.0.iter().filter(|(_, (until, _))| *until > now).map(|(id, _)| *id).collect()
    }

    fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.0.values().map(|(until, _)| *until).filter(|until| *until > now).min()
    }

    fn put(&mut self, conversation: GroupId, pause: impl FnOnce(u32) -> Duration) {
        let (until, failures) = self.0.entry(conversation).or_insert_with(|| (Instant::now(), 0));
        *until = Instant::now() + pause(*failures);
        *failures += 1;
    }
}

/// Sends what is written, one after the other in each conversation, until told to stop.
pub(crate) async fn send_all(inner: &Arc<Inner>, connection: &Connection, stop: &CancellationToken) {
    let (mut failures, mut put_off) = (0, PutOff::default());
    let pause = |failures: u32, error: &Error| {
        let own = MAX_PAUSE.min(FIRST_PAUSE * 2u32.pow(failures.min(16)));
        inner.runtime.jittered(own).max(asked_pause(error))
    };
    while !stop.is_cancelled() {
        let waiting = put_off.waiting();
        let (sent, conversation) = match inner.store.run(move |tx| tx.first_in_outbox(&waiting)).await {
            Ok(Some(outgoing)) => {
                let conversation = outgoing.conversation;
                (send(inner, connection, outgoing).await, Some(conversation))
            }
            Ok(None) => {
                let until = put_off.next();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = inner.outbox_wake.notified() => {}
                    () = sleep_until(until) => {}
                }
                continue;
            }
            Err(error) => (Err(error), None),
        };
        match (sent, conversation) {
            (Ok(()), conversation) => {
                failures = 0;
                conversation.map(|conversation| put_off.0.remove(&conversation));
            }
            // Others need not wait for it.
            (Err(error), Some(conversation)) if !is_of_all(&error) => {
                tracing::info!(%error, %conversation, "message not sent yet");
                put_off.put(conversation, |failures| pause(failures, &error));
            }
            (Err(error), _) => {
                tracing::info!(%error, "messages not sent yet");
                let pause = pause(failures, &error);
                failures += 1;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Whether a failure is of the connection, the session or the store, and not of one conversation.
fn is_of_all(error: &Error) -> bool {
    match error {
        Error::Call(CallError::Status(status)) => status.code == Code::Unauthenticated,
        Error::Call(_) | Error::Interrupted | Error::Io { .. } => true,
        error => receive::is_ours(error),
    }
}

fn asked_pause(error: &Error) -> Duration {
    match error {
        Error::Call(CallError::Status(status)) => Duration::from_millis(status.retry_after_ms),
        _ => Duration::ZERO,
    }
}

/// One try. An error means that the message stays where it is.
async fn send(inner: &Arc<Inner>, connection: &Connection, outgoing: Outgoing) -> Result<(), Error> {
    let Some(sealed) = outgoing.sealed.clone() else { return seal(inner, connection, outgoing, None).await };
    let way = sealed::way(inner, &outgoing).await?;
    let outgoing = Outgoing { way: Some(way), ..outgoing };
    if sealed.signature.is_none() && must_be_signed(way, &outgoing.content) {
        // Written when it was still to leave by name.
        return seal(inner, connection, outgoing, None).await;
    }
    let request = v1::EnqueueRequest {
        idempotency_key: outgoing.key.to_bytes(),
        group_id: sealed.group.to_bytes(),
        epoch: sealed.epoch,
        payload: sealed.payload.clone().into(),
        epoch_tag: sealed.tag.clone().into(),
        commitment: Bytes::copy_from_slice(&franking::commitment(&sealed.plaintext(&outgoing.content))),
        keep_ms: keep_ms(&outgoing.content),
    };
    if let Some(message) = outgoing.message {
        let (n, conversation) = (outgoing.n, outgoing.conversation);
        if !inner.store.run(move |tx| tx.set_sent(n, conversation, message)).await? {
            // Its writer has thought better of it.
            return Ok(());
        }
    }
    match sealed::send(inner, connection, way, &outgoing, request).await? {
        Ok(receipt) => accepted(inner, connection, outgoing, sealed, way, receipt).await,
        Err(error) if error.is_transient() || error.code().is_some_and(is_no_verdict) => {
            let error = Error::from(error);
            hang_up(&error, connection);
            if planted(Mistake::ForgetsUnanswered) {
                inner.store.run(move |tx| tx.remove_from_outbox(outgoing.n)).await?;
            }
            Err(error)
        }
        Err(error) => match error.detail() {
            Some(Detail::WrongEpoch(wrong)) if outgoing.attempts < MAX_REENCRYPTIONS => {
                let epochs = (sealed.epoch, wrong.current_epoch);
                seal(inner, connection, outgoing, Some(epochs)).await
            }
            Some(Detail::Forked(_)) => {
                let group = sealed.group;
                let event = inner.store.run(move |tx| receive::forked(tx, group)).await?;
                event.into_iter().for_each(|event| inner.events.emit(event));
                inner.chore_wake.notify_one();
                Ok(())
            }
            Some(Detail::Replaced(by)) if outgoing.attempts < MAX_REENCRYPTIONS => {
                let (conversation, successor) = (outgoing.conversation, GroupId::try_from(&by.successor)?);
                {
                    let _turn = inner.turn.lock().await;
                    heal::follow(inner, connection, conversation, successor).await?;
                }
                seal(inner, connection, outgoing, None).await
            }
            _ => failed(inner, outgoing, error.into()).await,
        },
    }
}

/// How long the server keeps a message for who does not fetch it: one that disappears not as long as others, though longer
/// than it is read for, since that begins when it has arrived.
fn keep_ms(content: &[u8]) -> u64 {
    match Content::decode(content).map(|content| content.body) {
        Ok(Body::Say(Saying::Text(text))) if text.expires_after_ms > 0 => text.expires_after_ms.max(KEEP_AT_LEAST_MS),
        _ => 0,
    }
}

/// Codes that say nothing about the message: the session is over, or something is broken at the server.
pub(crate) fn is_no_verdict(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::Internal | Code::Unknown | Code::DataLoss)
}

async fn accepted(
    inner: &Arc<Inner>,
    connection: &Connection,
    outgoing: Outgoing,
    sealed: Sealed,
    way: Way,
    receipt: Option<v1::Receipt>,
) -> Result<(), Error> {
    let conversation = outgoing.conversation;
    let checked = check(inner, connection, &sealed, way, receipt.as_ref()).await?;
    let refused = match (checked, &receipt) {
        (Ok(()), Some(_)) => None,
        (Ok(()), None) => Some(Error::Incomplete("a receipt")),
        (Err(error), _) => Some(error),
    };
    let state = if refused.is_none() { MessageState::Accepted } else { MessageState::ReceiptRefused };
    let (kept, message, group) = (receipt.clone().filter(|_| refused.is_none()), outgoing.message, sealed.group);
    let device = inner.identity.device();
    let broken = inner
        .store
        .run(move |tx| {
            if let Some(message) = message {
                let kept = kept.as_ref().map(|receipt| (group, receipt));
                tx.settle_message(conversation, message, state, kept)?;
                tx.settle_change(conversation, device, message, kept)?;
                tx.start_timers(conversation)?;
            }
            tx.remove_from_outbox(outgoing.n)?;
            let Some(receipt) = kept else { return Ok(None) };
            tx.count_receipt()?;
            Ok(tx.put_own_receipt(group, &receipt)?.err())
        })
        .await?;
    inner.settled.send_replace(());
    inner.timer_wake.notify_one();
    if let Some(error) = broken {
        // It is the chain that does not hold; the message is accepted all the same.
        tracing::error!(%conversation, %error, "a receipt of the server does not hold");
        let error = Error::from(error).into();
        inner.events.emit(Event::ReceiptRefused { conversation, message: None, error });
    }
    match (refused, message, receipt) {
        (Some(error), message, _) => {
            inner.events.emit(Event::ReceiptRefused { conversation, message, error: error.into() });
        }
        (None, Some(message), Some(receipt)) => inner.events.emit(Event::Accepted { conversation, message, receipt }),
        (None, ..) => {}
    }
    Ok(())
}

/// Whether the receipt holds. The outer error: not now.
async fn check(
    inner: &Arc<Inner>,
    connection: &Connection,
    sealed: &Sealed,
    way: Way,
    receipt: Option<&v1::Receipt>,
) -> Result<Result<(), Error>, Error> {
    let Some(receipt) = receipt else { return Ok(Err(Error::Incomplete("a receipt"))) };
    let Some(key) = inner.store.run(|tx| tx.receipt_key()).await? else {
        return Ok(Err(Error::Incomplete("a receipt key")));
    };
    let (group, epoch) = (sealed.group, receipt.epoch);
    if epoch < sealed.epoch {
        return Ok(Err(Error::ReceiptEpoch(epoch)));
    }
    let mut result = Err(Error::ReceiptEpoch(epoch));
    for last in [false, true] {
        let rosters = inner.store.run(move |tx| rosters(tx, group, epoch)).await?;
        for mut roster in rosters {
            // What is sealed goes to all, so that the receipt does not say who has sent it.
            roster.extend((way == Way::Sealed).then(|| inner.identity.device()));
            result = receipt::check(&key, receipt, &sealed.payload, group, Some(&roster)).map_err(Error::from);
            if result.is_ok() {
                return Ok(Ok(()));
            }
        }
        // The group has moved on, or somebody has left, and what says so is in the mailbox.
        if !last {
            sync::pull(inner, connection).await?;
        }
    }
    Ok(result)
}

/// Who the other devices of an epoch may have been: all of them, or all but those who had said that they leave.
fn rosters(tx: &Tx<'_>, group: GroupId, epoch: u64) -> Result<Vec<Vec<DeviceId>>, Error> {
    let Some(mut roster) = tx.others_in_epoch(group, epoch)? else { return Ok(Vec::new()) };
    let mut rosters = vec![roster.clone()];
    for leaver in tx.leavers(group, epoch)?.into_iter().take(MAX_LEAVERS) {
        roster.retain(|device| *device != leaver);
        rosters.push(roster.clone());
    }
    Ok(rosters)
}

/// Encrypts a message for the group as it is: after following it, where the server has refused an epoch and named another.
async fn seal(
    inner: &Arc<Inner>,
    connection: &Connection,
    outgoing: Outgoing,
    epochs: Option<(u64, u64)>,
) -> Result<(), Error> {
    if let Some((sent, current)) = epochs {
        let _turn = inner.turn.lock().await;
        commit::catch_up(inner, connection, outgoing.conversation, sent, current).await?;
    } else if outgoing.attempts > 0 {
        sync::pull(inner, connection).await?;
    }
    let (identity, conversation, key) = (inner.identity.clone(), outgoing.conversation, inner.idempotency_key());
    let (n, content, way, seals) = (outgoing.n, outgoing.content.clone(), outgoing.way, inner.sealed);
    let sealed = inner
        .store
        .run(move |tx| {
            let way = way.map_or_else(|| sealed::wanted(tx, seals, conversation), Ok)?;
            let sealed = encrypt(tx, &identity, conversation, &content, way)?;
            // Counted also when the group here is still behind, so that it cannot go on for ever.
            tx.seal_in_outbox(n, key, &sealed)?;
            Ok(sealed.epoch)
        })
        .await;
    match sealed {
        Ok(epoch) if epoch >= epochs.map_or(0, |(_, current)| current) => Ok(()),
        Ok(_) => Err(Error::Offline),
        Err(Error::Mls(MlsError::ProposalsPending)) => {
            match commit_leaves(inner, connection, conversation).await {
                // Nobody of this role can make room for a message; others must not wait for it.
                Err(error @ Error::Mls(MlsError::Denied(_))) => failed(inner, outgoing, error).await,
                committed => committed.map(drop),
            }
        }
        // The answer that a commit of this device waits for comes first.
        Err(Error::Mls(MlsError::CommitPending)) => sync::pull(inner, connection).await,
        // It has let others pass by now.
        Err(Error::Stuck(_)) => Ok(()),
        Err(error @ (Error::NotMember | Error::UnknownConversation(_) | Error::NotAllowed(_))) => {
            failed(inner, outgoing, error).await
        }
        Err(error) => Err(error),
    }
}

/// Commits the proposals of those who leave (RFC 9420 section 12.4: before anything is written).
pub(crate) async fn commit_leaves(
    inner: &Arc<Inner>,
    connection: &Connection,
    conversation: GroupId,
) -> Result<u64, Error> {
    let plan = |_: &Tx<'_>, group: &qpc_crypto::Conversation| {
        Ok((!group.pending_leaves().is_empty()).then(commit::Plan::default))
    };
    commit::change(inner, connection, conversation, Arc::new(plan)).await
}

async fn failed(inner: &Arc<Inner>, outgoing: Outgoing, error: Error) -> Result<(), Error> {
    let (conversation, message, n) = (outgoing.conversation, outgoing.message, outgoing.n);
    let device = inner.identity.device();
    let unchanged = inner
        .store
        .run(move |tx| {
            tx.remove_from_outbox(n)?;
            let Some(message) = message else { return Ok(None) };
            tx.settle_message(conversation, message, MessageState::Failed, None)?;
            let Some(target) = tx.drop_change(conversation, device, message)? else { return Ok(None) };
            tx.message_of(conversation, target)
        })
        .await?;
    inner.settled.send_replace(());
    // It is as it was before.
    unchanged
        .into_iter()
        .for_each(|message| inner.events.emit(Event::MessageChanged { message: message.into(), by: None }));
    match message {
        Some(message) => inner.events.emit(Event::SendFailed { conversation, message, error: error.into() }),
        None => tracing::info!(%conversation, %error, "not told"),
    }
    Ok(())
}
