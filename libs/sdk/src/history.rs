//! What was before a device was there: sent to it by another one of the account, through the group of their own, in parts
//! (`History` of `proto/qpc/content/v1`). Entries that are known change nothing, so parts may come twice and in any order.

use std::sync::Arc;

use prost::Message as _;
use qpc_crypto::account_id;
use qpc_wire::{AccountId, GroupId, content as pb};

use crate::{
    Error, Event, MessageState,
    chores::Done,
    client::Inner,
    content::{Body, MAX_LIST, MAX_NAME, Said, Saying, id, time},
    receive::{self, Received},
    store::{Chore, ConversationKind, Identity, MAX_OUTBOX, New, Shown, Tx},
};

/// Bytes of a part, about; a message may make it larger by its own size.
const PART: usize = 48 << 10;
/// Messages that are sent, the newest, with their changes.
const MAX_MESSAGES: u64 = 50_000;
/// Messages that are sent at a time.
const CHUNK: u64 = 500;
/// Time that the outbox gets when there is too much in it, milliseconds.
const FULL_MS: u64 = 1_000;

/// Sends everything to the other devices of this account, a chunk each time: people and conversations first, then messages
/// from the newest on, since what is looked at first should be there first.
pub(crate) async fn send(inner: &Arc<Inner>, chore: Chore) -> Result<Done, Error> {
    let identity = inner.identity.clone();
    let skip = u64::from(chore.tries) * CHUNK;
    let done = inner
        .store
        .run(move |tx| {
            let Some(own) = tx.own_conversation()? else { return Ok(Done::Finished) };
            // The user's own messages need room too.
            if tx.outbox_len()? > MAX_OUTBOX / 2 {
                return Ok(Done::Wait(FULL_MS));
            }
            let mut parts = Parts { tx, own, identity: &identity, part: pb::History::default(), size: 0 };
            if skip == 0 {
                begin(&mut parts)?;
            }
            let page = tx.said_after(skip, CHUNK)?;
            let last = page.is_none() || skip + CHUNK >= MAX_MESSAGES;
            for said in page.into_iter().flatten() {
                let said = said.encode();
                parts.add(said.encoded_len(), |part| part.said.push(said))?;
            }
            parts.flush()?;
            Ok(if last { Done::Finished } else { Done::Later(0) })
        })
        .await?;
    inner.outbox_wake.notify_one();
    Ok(done)
}

/// What there is but messages.
fn begin(parts: &mut Parts<'_, '_>) -> Result<(), Error> {
    let (tx, own, identity) = (parts.tx, parts.own, parts.identity);
    for (username, key) in tx.peers()? {
        let person = pb::history::Person { username, account_key: key.to_vec().into() };
        parts.add(person.encoded_len(), |part| part.people.push(person))?;
    }
    for conversation in tx.all_conversations()? {
        let conversation = describe(tx, &conversation)?;
        parts.add(conversation.encoded_len(), |part| part.conversations.push(conversation))?;
    }
    let mut after = String::new();
    loop {
        let values = tx.synced_after(&after, MAX_LIST)?;
        let Some(last) = values.last() else { return Ok(()) };
        after = last.name.clone();
        receive::push(tx, own, &receive::told_by(tx, identity, Body::Sync(values)))?;
    }
}

/// Keeps a part of the history of another device of this account.
pub(crate) fn take_in(tx: &Tx<'_>, identity: &Identity, part: pb::History) -> Result<Vec<Received>, Error> {
    let (mut messages, mut received) = (0, Vec::new());
    for person in part.people {
        let Ok(key) = <[u8; 32]>::try_from(person.account_key.as_ref()) else { continue };
        // A name that is pinned otherwise here stays as it is pinned; the server has shown two keys.
        if let Shown::Other { pinned, news: true } = tx.pin_peer(&person.username, &key)? {
            let (username, shown) = (person.username, account_id(&key));
            received.push(Received::Event(Event::IdentityChanged { username, pinned, shown }));
        }
    }
    for conversation in part.conversations {
        keep_conversation(tx, &conversation)?;
    }
    for said in part.said {
        let Some(said) = Said::decode(said) else {
            tracing::debug!("an entry of a history was left out");
            continue;
        };
        messages += u64::from(keep_said(tx, identity.account(), &said)?);
    }
    if messages > 0 {
        received.push(Received::Event(Event::History { messages }));
    }
    Ok(received)
}

fn keep_conversation(tx: &Tx<'_>, conversation: &pb::history::Conversation) -> Result<(), Error> {
    let (Some(id_), Some(began_at_ms)) = (id(&conversation.id).map(GroupId), time(conversation.began_at_ms)) else {
        return Ok(());
    };
    let kind = if conversation.kind == 1 { ConversationKind::Direct } else { ConversationKind::Group };
    let peer = id(&conversation.peer).map(AccountId);
    tx.put_bare_conversation(id_, kind, peer, began_at_ms, conversation.active)?;
    if let Some(named_at_ms) = time(conversation.named_at_ms)
        && !conversation.name.is_empty()
        && conversation.name.len() <= MAX_NAME
    {
        tx.set_name(id_, &conversation.name, named_at_ms)?;
    }
    if let (Some(after), Some(at)) = (time(conversation.expires_after_ms), time(conversation.timer_set_at_ms)) {
        tx.set_timer(id_, after, at)?;
    }
    Ok(())
}

/// Keeps something as if it came from another device, in a conversation that is made for it.
#[cfg(test)]
pub(crate) fn keep_for_test(tx: &Tx<'_>, said: &Said) -> Result<bool, Error> {
    tx.put_bare_conversation(said.conversation, ConversationKind::Group, None, 0, true)?;
    keep_said(tx, AccountId([0; 16]), said)
}

/// Tells whether it is a message that was not known.
fn keep_said(tx: &Tx<'_>, own: AccountId, said: &Said) -> Result<bool, Error> {
    if tx.conversation(said.conversation)?.is_none() {
        return Ok(false);
    }
    let state = if said.sender == own { MessageState::Accepted } else { MessageState::Received };
    let for_us = said.sender != own && matches!(&said.saying, Saying::Text(text) if text.is_for(own));
    // Not written here, wherever it came from.
    let kept = tx.keep(&New { said, seq: Some(0), epoch: 0, state, seen: true, for_us, evidence: &[] })?;
    Ok(kept && said.saying.target().is_none())
}

struct Parts<'a, 'tx> {
    tx: &'a Tx<'tx>,
    own: GroupId,
    identity: &'a Identity,
    part: pb::History,
    size: usize,
}

impl Parts<'_, '_> {
    fn add(&mut self, size: usize, put: impl FnOnce(&mut pb::History)) -> Result<(), Error> {
        if self.size > 0 && self.size + size > PART {
            self.flush()?;
        }
        put(&mut self.part);
        self.size += size;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.size) == 0 {
            return Ok(());
        }
        let part = Body::History(std::mem::take(&mut self.part));
        receive::push(self.tx, self.own, &receive::told_by(self.tx, self.identity, part))
    }
}

fn describe(tx: &Tx<'_>, info: &crate::ConversationInfo) -> Result<pb::history::Conversation, Error> {
    let (name, named_at_ms) = tx.name(info.id)?.unwrap_or_default();
    let (expires_after_ms, timer_set_at_ms) = tx.timer(info.id)?;
    Ok(pb::history::Conversation {
        id: info.id.to_bytes(),
        kind: info.kind.number().into(),
        peer: info.peer.map(|peer| peer.to_bytes()).unwrap_or_default(),
        name,
        named_at_ms,
        began_at_ms: info.last_at_ms,
        active: info.active || info.awaited,
        expires_after_ms,
        timer_set_at_ms,
    })
}
