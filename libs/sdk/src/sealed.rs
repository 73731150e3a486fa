//! Sending without saying who sends: the one place that decides how an encrypted message leaves, and how it does when it is
//! sealed.
//!
//! A sealed message goes over a connection that knows nothing of this device, with the delivery key of its epoch or a token
//! ([`tokens`]). It is never sent in another way: if it cannot leave sealed it waits, and [`Event::NotSealed`] says so. What
//! it shows the server is kept, so that a repetition is the same call.

mod connections;
pub(crate) mod tokens;

use prost::Message as _;
use qpc_wire::{
    Code, GroupId, methods,
    v1::{self, sealed_enqueue_request::Permit},
};

pub(crate) use connections::Connections;

use crate::{
    Error, Event,
    client::Inner,
    outbox::is_no_verdict,
    store::{ConversationKind, Outgoing, Tx, Way},
    transport::{CallError, Connection},
};

/// Permits that are tried for a message, one after the other as the server refuses them.
const MAX_PERMITS: usize = 4;

/// How a message leaves. Decided when it is sent for the first time, and then for good.
pub(crate) async fn way(inner: &Inner, outgoing: &Outgoing) -> Result<Way, Error> {
    if let Some(way) = outgoing.way {
        return Ok(way);
    }
    let (n, conversation, seals) = (outgoing.n, outgoing.conversation, inner.sealed);
    inner
        .store
        .run(move |tx| {
            let way = wanted(tx, seals, conversation)?;
            tx.set_way(n, way)?;
            Ok(way)
        })
        .await
}

/// How a message would leave now, from a client that seals or does not.
pub(crate) fn wanted(tx: &Tx<'_>, seals: bool, conversation: GroupId) -> Result<Way, Error> {
    // The server knows that whoever writes to an account's own devices is that account.
    let own = tx.conversation(conversation)?.is_some_and(|info| info.kind == ConversationKind::Own);
    Ok(if seals && !own { Way::Sealed } else { Way::Named })
}

/// Sends an encrypted message. The outer error: not now. The inner one: what a connection or the server says to it, which is
/// never of the connection where it is sealed.
pub(crate) async fn send(
    inner: &Inner,
    connection: &Connection,
    way: Way,
    outgoing: &Outgoing,
    request: v1::EnqueueRequest,
) -> Result<Result<Option<v1::Receipt>, CallError>, Error> {
    match way {
        Way::Named => Ok(connection.call::<methods::Enqueue>(&request).await.map(|response| response.receipt)),
        Way::Sealed => {
            let sent = send_sealed(inner, outgoing, request).await;
            sent.map_err(|error| {
                let (conversation, error) = (outgoing.conversation, std::sync::Arc::new(error));
                inner.events.emit(Event::NotSealed { conversation, error: error.clone() });
                Error::NotSealed(error)
            })
        }
    }
}

async fn send_sealed(
    inner: &Inner,
    outgoing: &Outgoing,
    request: v1::EnqueueRequest,
) -> Result<Result<Option<v1::Receipt>, CallError>, Error> {
    let connection = inner.unnamed.to(inner, outgoing.conversation).await?;
    let v1::EnqueueRequest { idempotency_key, group_id, epoch, payload, epoch_tag, commitment, keep_ms } = request;
    let group = GroupId::try_from(&group_id)?;
    let permit = None;
    let mut request =
        v1::SealedEnqueueRequest { idempotency_key, group_id, epoch, payload, epoch_tag, permit, commitment, keep_ms };
    let mut refused = None;
    for _ in 0..MAX_PERMITS {
        request.permit = Some(choose(inner, outgoing, (group, epoch), refused.is_some()).await?);
        match connection.call::<methods::SealedEnqueue>(&request).await {
            Ok(response) => return Ok(Ok(response.receipt)),
            // It is about the permit: there is nobody whose role could be the reason.
            Err(error) if matches!(error.code(), Some(Code::PermissionDenied | Code::AlreadyExists)) => {
                tracing::debug!(%error, "permit refused");
                refused = Some(error);
            }
            Err(error) if is_verdict(&error) => return Ok(Err(error)),
            Err(error) => {
                if error.code().is_none() {
                    connection.close();
                }
                return Err(error.into());
            }
        }
    }
    Err(refused.map_or(Error::NoTokens, Error::from))
}

/// Whether the server has said something about the message.
fn is_verdict(error: &CallError) -> bool {
    // A server that does not know the call says nothing about the message either.
    error.code().is_some_and(|code| !is_no_verdict(code) && code != Code::Unimplemented) && !error.is_transient()
}

/// What allows a message to be sent: what it was tried with before, unless that was refused; the delivery key of the epoch, if
/// that is the current one; else a token.
async fn choose(
    inner: &Inner,
    outgoing: &Outgoing,
    (group, epoch): (GroupId, u64),
    refused: bool,
) -> Result<Permit, Error> {
    let (n, conversation) = (outgoing.n, outgoing.conversation);
    let chosen = inner.store.run(move |tx| {
        let kept = tx.permit(n)?.and_then(|bytes| v1::SealedEnqueueRequest::decode(bytes.as_slice()).ok()?.permit);
        let permit = match kept {
            Some(kept @ Permit::Token(_)) if !refused => Some(kept),
            kept if !refused => match delivery_key(tx, conversation, group, epoch)? {
                Some(key) => Some(Permit::DeliveryKey(key)),
                None => kept,
            },
            _ => None,
        };
        let permit = match permit {
            Some(permit) => permit,
            None => Permit::Token((&tx.take_token()?.ok_or(Error::NoTokens)?).into()),
        };
        let kept = v1::SealedEnqueueRequest { permit: Some(permit.clone()), ..Default::default() };
        tx.set_permit(n, &kept.encode_to_vec())?;
        Ok(permit)
    });
    let chosen = chosen.await;
    if matches!(chosen, Err(Error::NoTokens)) {
        inner.token_wake.notify_one();
    }
    chosen
}

/// The key of an epoch, if the group is still in it.
fn delivery_key(tx: &Tx<'_>, conversation: GroupId, group: GroupId, epoch: u64) -> Result<Option<bytes::Bytes>, Error> {
    let mls = tx.load_current(conversation)?;
    if (mls.group_id(), mls.epoch()) != (group, epoch) {
        return Ok(None);
    }
    Ok(Some(bytes::Bytes::copy_from_slice(&*mls.delivery_key(&tx.mls())?)))
}
