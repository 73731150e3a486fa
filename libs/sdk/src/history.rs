//! What was written before a device was there: sent to it by another one of the account, through the group of their own.
//!
//! A part is a CBOR array of entries, each an array that begins with its kind:
//!
//! | kind | then                                                                                              |
//! |------|---------------------------------------------------------------------------------------------------|
//! | 0    | a person: username, account key                                                                   |
//! | 1    | a conversation: id, kind, peer or null, name or null, ms of the name, ms of its beginning, whether the account is in it |
//! | 2    | a message: conversation, account, device, id, ms written, text, ms accepted, group, place in chain |
//!
//! Entries that are known change nothing, so parts may come twice and in any order.

use std::sync::Arc;

use ciborium::Value;
use qpc_crypto::account_id;
use qpc_wire::{AccountId, DeviceId, GroupId};

use crate::{
    Error, Event, MessageId, MessageState,
    chores::Done,
    client::Inner,
    content::{Body, MAX_LIST, MAX_TEXT},
    receive::{self, Received},
    store::{Archived, Chore, ConversationKind, Identity, MAX_OUTBOX, NewMessage, Tx},
};

/// Bytes of a part, about; a message may make it larger by its own size.
const PART: usize = 48 << 10;
/// Messages that are sent, the newest.
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
            let mut parts = Parts { tx, own, identity: &identity, entries: Vec::new(), size: 0 };
            if skip == 0 {
                begin(&mut parts)?;
            }
            let messages = tx.newest_messages(skip, CHUNK)?;
            let last = (messages.len() as u64) < CHUNK || skip + CHUNK >= MAX_MESSAGES;
            for message in messages {
                parts.add(message_entry(message))?;
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
        parts.add(vec![0.into(), username.into(), Value::Bytes(key.to_vec())])?;
    }
    for conversation in tx.all_conversations()? {
        parts.add(describe(tx, &conversation)?)?;
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
pub(crate) fn take_in(tx: &Tx<'_>, identity: &Identity, part: &[u8]) -> Result<Vec<Received>, Error> {
    let malformed = Error::Content(crate::ContentError::Malformed);
    let Ok(Value::Array(entries)) = ciborium::from_reader::<Value, _>(part) else { return Err(malformed) };
    let (mut messages, count) = (0, entries.len());
    for entry in entries {
        let Value::Array(fields) = entry else { return Err(malformed) };
        match keep(tx, identity.account(), &fields)? {
            Some(news) => messages += u64::from(news),
            None => tracing::debug!("an entry of a history was left out"),
        }
    }
    tracing::debug!(count, messages, "part of a history");
    Ok(if messages > 0 { vec![Received::Event(Event::History { messages })] } else { Vec::new() })
}

struct Parts<'a, 'tx> {
    tx: &'a Tx<'tx>,
    own: GroupId,
    identity: &'a Identity,
    entries: Vec<Value>,
    size: usize,
}

impl Parts<'_, '_> {
    fn add(&mut self, fields: Vec<Value>) -> Result<(), Error> {
        let size = |field: &Value| match field {
            Value::Text(text) => text.len() + 4,
            Value::Bytes(bytes) => bytes.len() + 2,
            _ => 9,
        };
        self.size += fields.iter().map(size).sum::<usize>();
        self.entries.push(Value::Array(fields));
        if self.size >= PART { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.size);
        let entries = Value::Array(std::mem::take(&mut self.entries));
        ciborium::into_writer(&entries, &mut bytes).map_err(|_| crate::ContentError::Malformed)?;
        self.size = 0;
        receive::push(self.tx, self.own, &receive::told_by(self.tx, self.identity, Body::History(bytes)))
    }
}

fn describe(tx: &Tx<'_>, info: &crate::ConversationInfo) -> Result<Vec<Value>, Error> {
    let name = tx.name(info.id)?;
    let bytes = |id: AccountId| Value::Bytes(id.0.to_vec());
    Ok(vec![
        1.into(),
        Value::Bytes(info.id.0.to_vec()),
        info.kind.number().into(),
        info.peer.map_or(Value::Null, bytes),
        name.as_ref().map_or(Value::Null, |(name, _)| name.clone().into()),
        name.map_or(0, |(_, at_ms)| at_ms).into(),
        info.last_at_ms.into(),
        (info.active || info.awaited).into(),
    ])
}

fn message_entry(message: Archived) -> Vec<Value> {
    let bytes = |id: [u8; 16]| Value::Bytes(id.to_vec());
    vec![
        2.into(),
        bytes(message.conversation.0),
        bytes(message.sender.0),
        bytes(message.device.0),
        bytes(message.id.0),
        message.sent_at_ms.into(),
        message.text.into(),
        message.at_ms.into(),
        message.place.map_or(Value::Null, |(group, _)| bytes(group.0)),
        message.place.map_or(0, |(_, place)| place).into(),
    ]
}

/// Keeps an entry. Tells whether it is a message that was not known; none for an entry that makes no sense.
fn keep(tx: &Tx<'_>, own: AccountId, fields: &[Value]) -> Result<Option<bool>, Error> {
    let id = |value: &Value| value.as_bytes().and_then(|bytes| <[u8; 16]>::try_from(bytes.as_slice()).ok());
    let number = |value: &Value| {
        value.as_integer().and_then(|value| u64::try_from(value).ok()).filter(|value| i64::try_from(*value).is_ok())
    };
    let Some((kind, rest)) = fields.split_first() else { return Ok(None) };
    match (kind.as_integer().and_then(|kind| u8::try_from(kind).ok()), rest) {
        (Some(0), [username, key]) => {
            let (Some(username), Some(key)) = (username.as_text(), key.as_bytes()) else { return Ok(None) };
            let Ok(key) = <[u8; 32]>::try_from(key.as_slice()) else { return Ok(None) };
            // A name that is pinned otherwise here stays as it is pinned.
            match tx.pin_peer(username, account_id(&key), &key) {
                Ok(()) | Err(Error::IdentityChanged(_)) => Ok(Some(false)),
                Err(error) => Err(error),
            }
        }
        (Some(1), [conversation, kind, peer, name, named_at, began_at, alive]) => {
            let (Some(conversation), Some(kind)) = (id(conversation), number(kind)) else { return Ok(None) };
            let (Some(named_at), Some(began_at)) = (number(named_at), number(began_at)) else { return Ok(None) };
            let conversation = GroupId(conversation);
            let kind = if kind == 1 { ConversationKind::Direct } else { ConversationKind::Group };
            let alive = alive.as_bool().unwrap_or_default();
            tx.put_bare_conversation(conversation, kind, id(peer).map(AccountId), began_at, alive)?;
            if let Some(name) = name.as_text() {
                tx.set_name(conversation, name, named_at)?;
            }
            Ok(Some(false))
        }
        (Some(2), [conversation, sender, device, message, sent_at, text, at, group, place]) => {
            let ids = (id(conversation), id(sender), id(device), id(message));
            let (Some(conversation), Some(sender), Some(device), Some(message)) = ids else { return Ok(None) };
            let (Some(sent_at_ms), Some(at_ms), Some(place)) = (number(sent_at), number(at), number(place)) else {
                return Ok(None);
            };
            let Some(text) = text.as_text().filter(|text| text.len() <= MAX_TEXT) else { return Ok(None) };
            let conversation = GroupId(conversation);
            if tx.conversation(conversation)?.is_none() {
                return Ok(None);
            }
            let state = if AccountId(sender) == own { MessageState::Accepted } else { MessageState::Received };
            let inserted = tx.insert_message(&NewMessage {
                id: MessageId(message),
                conversation,
                sender: AccountId(sender),
                device: DeviceId(device),
                text,
                sent_at_ms,
                at_ms,
                // Not written here, wherever it came from.
                seq: Some(0),
                epoch: 0,
                state,
                place: id(group).map(|group| (GroupId(group), place)),
                seen: true,
            })?;
            Ok(Some(inserted))
        }
        _ => Ok(None),
    }
}
