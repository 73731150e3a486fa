//! From a text to a receipt.
//!
//! A message is encrypted once, when it is written, in the transaction that keeps it: the ciphertext that is sent, and
//! the key under which it is sent, are the same however often and after however many restarts. Only when the server says
//! that the epoch is too old is it encrypted anew, under the same key.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use qpc_crypto::receipt;
use qpc_wire::{Code, GroupId, methods::Enqueue, v1};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Event, MessageId, MessageState,
    client::Inner,
    commit::hang_up,
    content::{Content, MAX_TEXT},
    store::{Identity, NewMessage, Outgoing, Tx},
    sync,
    transport::{CallError, Connection},
};

/// Times that a message is encrypted anew because its epoch has become too old.
const MAX_REENCRYPTIONS: u32 = 32;
/// First pause after a failure that may go away; each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause of our own choice. The server may ask for a longer one.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Encrypts and keeps a message.
pub(crate) async fn write(inner: &Inner, conversation: GroupId, text: &str) -> Result<MessageId, Error> {
    if text.is_empty() {
        return Err(Error::EmptyText);
    }
    if text.len() > MAX_TEXT {
        return Err(Error::TextTooLong { len: text.len(), max: MAX_TEXT });
    }
    let (identity, key, id) = (inner.identity.clone(), inner.idempotency_key(), MessageId(inner.runtime.random()));
    let text = text.to_owned();
    inner
        .store
        .run(move |tx| {
            if tx.conversation(conversation)?.is_none() {
                return Err(Error::UnknownConversation(conversation));
            }
            let sent_at_ms = tx.now_ms();
            let content = Content { id, sent_at_ms, from: identity.username.clone(), text };
            let (epoch, payload) = encrypt(tx, &identity, conversation, &content)?;
            tx.insert_message(&NewMessage {
                id,
                conversation,
                sender: identity.account(),
                device: identity.device(),
                text: &content.text,
                sent_at_ms,
                seq: None,
                epoch,
                state: MessageState::Queued,
            })?;
            tx.push_outbox(conversation, id, key, epoch, &payload)
        })
        .await?;
    inner.outbox_wake.notify_one();
    Ok(id)
}

fn encrypt(
    tx: &Tx<'_>,
    identity: &Identity,
    conversation: GroupId,
    content: &Content,
) -> Result<(u64, Vec<u8>), Error> {
    let mut group = tx.load_group(conversation)?;
    if !group.is_active() {
        return Err(Error::NotMember);
    }
    let payload = group.encrypt(&tx.mls(), &identity.device_key, &content.encode()?)?;
    Ok((group.epoch(), payload))
}

/// Sends what is written, one after the other, until told to stop.
pub(crate) async fn send_all(inner: &Arc<Inner>, connection: &Connection, stop: &CancellationToken) {
    let mut failures = 0;
    while !stop.is_cancelled() {
        let sent = match inner.store.run(|tx| tx.first_in_outbox()).await {
            Ok(Some(outgoing)) => send(inner, connection, outgoing).await,
            Ok(None) => {
                tokio::select! {
                    () = inner.outbox_wake.notified() => {}
                    () = stop.cancelled() => return,
                }
                continue;
            }
            Err(error) => Err(error),
        };
        let Err(error) = sent else {
            failures = 0;
            continue;
        };
        tracing::info!(%error, "message not sent yet");
        let own = MAX_PAUSE.min(FIRST_PAUSE * 2u32.pow(failures));
        let pause = inner.runtime.jittered(own).max(asked_pause(&error));
        failures = (failures + 1).min(16);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
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
    let request = v1::EnqueueRequest {
        idempotency_key: outgoing.key.to_bytes(),
        group_id: outgoing.conversation.to_bytes(),
        epoch: outgoing.epoch,
        payload: outgoing.payload.clone().into(),
    };
    match connection.call::<Enqueue>(&request).await {
        Ok(response) => accepted(inner, connection, outgoing, response.receipt).await,
        Err(error) if error.wrong_epoch().is_some() && outgoing.attempts < MAX_REENCRYPTIONS => {
            encrypt_anew(inner, connection, outgoing, error.wrong_epoch().unwrap_or_default()).await
        }
        Err(error) if error.is_transient() || error.code().is_some_and(is_no_verdict) => {
            let error = Error::from(error);
            hang_up(&error, connection);
            Err(error)
        }
        Err(error) => failed(inner, outgoing, error.into()).await,
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
    receipt: Option<v1::Receipt>,
) -> Result<(), Error> {
    let (conversation, message) = (outgoing.conversation, outgoing.message);
    let checked = check(inner, connection, &outgoing, receipt.as_ref()).await?;
    let (state, event) = match (checked, receipt) {
        (Ok(()), Some(receipt)) => {
            let encoded = receipt.encode_to_vec();
            ((MessageState::Accepted, Some(encoded)), Event::Accepted { conversation, message, receipt })
        }
        (Ok(()), None) => return Err(Error::Incomplete("a receipt")),
        (Err(error), receipt) => (
            (MessageState::ReceiptRefused, receipt.map(|receipt| receipt.encode_to_vec())),
            Event::ReceiptRefused { conversation, message: Some(message), error: error.into() },
        ),
    };
    settle(inner, &outgoing, state).await?;
    inner.events.emit(event);
    Ok(())
}

/// Whether the receipt says that this message is durable for the others of the epoch that it names. The outer error is
/// one of this device, the inner one is what is wrong with the receipt.
async fn check(
    inner: &Inner,
    connection: &Connection,
    outgoing: &Outgoing,
    receipt: Option<&v1::Receipt>,
) -> Result<Result<(), Error>, Error> {
    let Some(receipt) = receipt else { return Ok(Err(Error::Incomplete("a receipt"))) };
    let Some(key) = inner.store.run(|tx| tx.receipt_key()).await? else {
        return Ok(Err(Error::Incomplete("a receipt key")));
    };
    let (conversation, epoch) = (outgoing.conversation, receipt.epoch);
    let members = move |tx: &Tx<'_>| tx.others_in_epoch(conversation, epoch);
    let mut others = inner.store.run(members).await?;
    if others.is_none() && epoch > outgoing.epoch {
        // The group has moved on, and the commit that says so is in the mailbox.
        sync::pull(inner, connection).await?;
        others = inner.store.run(members).await?;
    }
    let Some(others) = others.filter(|_| epoch >= outgoing.epoch) else {
        return Ok(Err(Error::ReceiptEpoch(epoch)));
    };
    Ok(receipt::check(&key, receipt, &outgoing.payload, conversation, Some(&others)).map_err(Error::from))
}

/// Follows the group to its epoch and encrypts the message for it.
async fn encrypt_anew(
    inner: &Arc<Inner>,
    connection: &Connection,
    outgoing: Outgoing,
    current: u64,
) -> Result<(), Error> {
    sync::pull(inner, connection).await?;
    let (identity, conversation) = (inner.identity.clone(), outgoing.conversation);
    let (n, id) = (outgoing.n, outgoing.message);
    let renewed = inner
        .store
        .run(move |tx| {
            let (text, sent_at_ms) = tx.own_message(conversation, id)?;
            let content = Content { id, sent_at_ms, from: identity.username.clone(), text };
            let (epoch, payload) = encrypt(tx, &identity, conversation, &content)?;
            // Counted also when the group here is still behind, so that it cannot go on for ever.
            tx.replace_in_outbox(n, epoch, &payload)?;
            Ok(epoch >= current)
        })
        .await;
    match renewed {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Offline),
        Err(error @ (Error::NotMember | Error::UnknownConversation(_))) => failed(inner, outgoing, error).await,
        Err(error) => Err(error),
    }
}

async fn failed(inner: &Arc<Inner>, outgoing: Outgoing, error: Error) -> Result<(), Error> {
    settle(inner, &outgoing, (MessageState::Failed, None)).await?;
    let (conversation, message) = (outgoing.conversation, outgoing.message);
    inner.events.emit(Event::SendFailed { conversation, message, error: error.into() });
    Ok(())
}

async fn settle(
    inner: &Inner,
    outgoing: &Outgoing,
    (state, receipt): (MessageState, Option<Vec<u8>>),
) -> Result<(), Error> {
    let (n, conversation, message) = (outgoing.n, outgoing.conversation, outgoing.message);
    inner
        .store
        .run(move |tx| {
            tx.settle_message(conversation, message, state, receipt.as_deref())?;
            tx.remove_from_outbox(n)
        })
        .await?;
    inner.settled.send_replace(());
    Ok(())
}
