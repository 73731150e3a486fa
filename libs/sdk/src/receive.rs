//! What one entry of the mailbox does, in one transaction: MLS state, message and cursor change together.

use qpc_crypto::{Conversation, MlsError, mls::Incoming};
use qpc_wire::{
    GroupId,
    v1::{self, EnvelopeKind, entry::Body},
};

use crate::{
    Error, Event, GapReason, Message, MessageState,
    content::Content,
    store::{ConversationState, Identity, NewMessage, Tx},
};

/// What the user is to be told.
pub(crate) enum Received {
    Event(Event),
    /// A message, with the name that its sender claims.
    Message {
        message: Message,
        claim: String,
    },
}

/// Takes in an entry. Never fails because of what is in it: that would stop the mailbox.
pub(crate) fn entry(tx: &Tx<'_>, identity: &Identity, entry: &v1::Entry) -> Result<Vec<Received>, Error> {
    let cursor = tx.cursor()?;
    if entry.seq <= cursor {
        return Ok(Vec::new());
    }
    let mut received = Vec::new();
    let mut gap = |from, to, reason| {
        if from <= to {
            received.push(Received::Event(Event::Gap { from, to, reason }));
        }
    };
    match &entry.body {
        Some(Body::Gap(known)) => {
            // An entry beyond a gap is of no use twice, so neither is the part of the gap that was read before.
            gap(cursor + 1, known.from.saturating_sub(1), GapReason::Unexplained);
            gap(known.from.max(cursor + 1), entry.seq, gap_reason(known));
        }
        Some(Body::Envelope(_)) => gap(cursor + 1, entry.seq - 1, GapReason::Unexplained),
        None => gap(cursor + 1, entry.seq, GapReason::Unexplained),
    }
    if let Some(Body::Envelope(envelope)) = &entry.body {
        match tx.attempt(|| open(tx, identity, entry.seq, envelope))? {
            Ok(opened) => received.extend(opened),
            Err(error) if is_harmless(&error) => tracing::debug!(seq = entry.seq, %error, "entry skipped"),
            Err(error) if is_ours(&error) => return Err(error),
            Err(error) => received.push(Received::Event(unreadable(tx, entry.seq, envelope, error)?)),
        }
    }
    tx.set_cursor(entry.seq)?;
    Ok(received)
}

fn gap_reason(gap: &v1::Gap) -> GapReason {
    match gap.reason() {
        v1::GapReason::Expired => GapReason::Expired,
        v1::GapReason::Quota => GapReason::Quota,
        v1::GapReason::Unspecified => GapReason::Unexplained,
    }
}

/// What cannot be read and need not be: an echo of our own, or the second coming of what was read.
fn is_harmless(error: &Error) -> bool {
    matches!(error, Error::Mls(MlsError::AlreadyProcessed | MlsError::OwnMessage | MlsError::GroupExists))
}

/// The failure is in this store, not in the entry, which must therefore stay unread.
fn is_ours(error: &Error) -> bool {
    matches!(error, Error::Sqlite(rusqlite::Error::SqliteFailure(..)) | Error::Mls(MlsError::Storage(_)))
}

fn unreadable(tx: &Tx<'_>, seq: u64, envelope: &v1::Envelope, error: Error) -> Result<Event, Error> {
    let conversation = GroupId::try_from(&envelope.group_id).ok();
    tracing::warn!(seq, %error, "entry cannot be read");
    tx.insert_undecryptable(seq, conversation, envelope.epoch.min(i64::MAX as u64), envelope.kind, &error.to_string())?;
    Ok(Event::Undecryptable { seq, conversation, error: error.into() })
}

fn open(tx: &Tx<'_>, identity: &Identity, seq: u64, envelope: &v1::Envelope) -> Result<Vec<Received>, Error> {
    let group = GroupId::try_from(&envelope.group_id)?;
    let unseal = || identity.queue_key.open_for(identity.device(), group, &envelope.sealed_key, &envelope.payload);
    match envelope.kind() {
        EnvelopeKind::Application => message(tx, seq, group, envelope),
        EnvelopeKind::Handshake => handshake(tx, identity, group, &unseal()?),
        EnvelopeKind::Welcome => welcome(tx, identity, group, &unseal()?),
        EnvelopeKind::Unspecified => Err(Error::UnknownEntry(envelope.kind)),
    }
}

fn message(tx: &Tx<'_>, seq: u64, id: GroupId, envelope: &v1::Envelope) -> Result<Vec<Received>, Error> {
    let first = tx.first_epoch(id)?.ok_or(Error::UnknownConversation(id))?;
    if envelope.epoch < first {
        // Written before this device was added, and accepted after.
        return Ok(Vec::new());
    }
    let mut group = tx.load_group(id)?;
    let Incoming::Message { sender, epoch, plaintext } = group.process(&tx.mls(), &envelope.payload)? else {
        return Err(MlsError::Malformed("application message").into());
    };
    let content = Content::decode(&plaintext)?;
    let new = NewMessage {
        id: content.id,
        conversation: id,
        sender: sender.account_id(),
        device: sender.device_id(),
        text: &content.text,
        sent_at_ms: content.sent_at_ms,
        seq: Some(seq),
        epoch,
        state: MessageState::Received,
    };
    if !tx.insert_message(&new)? {
        return Ok(Vec::new());
    }
    let message = Message {
        id: new.id,
        conversation: id,
        sender: new.sender,
        sender_name: tx.peer_name(new.sender)?,
        device: new.device,
        sent_at_ms: new.sent_at_ms,
        seq: new.seq,
        epoch,
        state: new.state,
        text: content.text,
    };
    Ok(vec![Received::Message { message, claim: content.from }])
}

fn handshake(tx: &Tx<'_>, identity: &Identity, id: GroupId, commit: &[u8]) -> Result<Vec<Received>, Error> {
    let mut group = tx.load_group(id)?;
    match group.process(&tx.mls(), commit) {
        Ok(Incoming::Commit { .. }) => {}
        Ok(_) => return Err(MlsError::Malformed("commit").into()),
        Err(MlsError::OwnPendingCommit) => group.merge_pending(&tx.mls())?,
        Err(error) => return Err(error.into()),
    }
    tx.note_epoch(&group, identity)?;
    Ok(vec![Received::Event(if group.is_active() {
        Event::EpochChanged { conversation: id, epoch: group.epoch() }
    } else {
        Event::Removed(id)
    })])
}

fn welcome(tx: &Tx<'_>, identity: &Identity, id: GroupId, welcome: &[u8]) -> Result<Vec<Received>, Error> {
    let group = Conversation::join(&tx.mls(), welcome)?;
    if group.group_id() != id {
        return Err(MlsError::UnknownGroup.into());
    }
    let own = identity.account();
    let mut others: Vec<_> = group.members().iter().map(|member| member.account_id()).collect();
    others.retain(|account| *account != own);
    others.sort_unstable();
    others.dedup();
    let [peer] = others[..] else { return Err(Error::NotDirect) };
    // A known conversation stays with whom it was begun, whatever group comes under its id.
    if tx.conversation(id)?.is_some_and(|known| known.peer != peer) {
        return Err(Error::NotDirect);
    }
    tx.put_conversation(&group, peer, ConversationState::Active)?;
    tx.note_epoch(&group, identity)?;
    Ok(vec![Received::Event(Event::ConversationAdded(id))])
}
