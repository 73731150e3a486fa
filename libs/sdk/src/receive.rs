//! What one entry of the mailbox does, in one transaction: MLS state, message, receipt and cursor change together.

mod handshake;
mod message;
mod welcome;

pub(crate) use handshake::{forked, keep_warm};
pub(crate) use message::{push, read_all, read_one, tell_from_now_on, told_by};
pub(crate) use welcome::{RETIRE_AFTER_MS, check_place};

use qpc_crypto::{MlsError, receipt};
use qpc_wire::{
    AccountId, GroupId,
    v1::{self, EnvelopeKind, entry::Body},
};

use crate::{
    Error, Event, GapReason, Message,
    directory::Source,
    store::{ChoreKind, Identity, Tx},
};

/// Time that what is still on its way gets before something missing is asked for.
const ASK_AFTER_MS: u64 = 300;
/// Time that what is still on its way gets before a group is joined whose Welcome cannot be read.
const JOIN_AFTER_MS: u64 = 300;

/// Accounts of a group by which the time grows that a device waits at most before it joins again: with their square.
const MAX_CROWD: u64 = 32;
/// Part of that time.
const HEAL_STEP_MS: u64 = 10;

/// What the user is to be told.
pub(crate) enum Received {
    Event(Event),
    /// A message, with the name that its sender claims.
    Message {
        message: Message,
        claim: String,
    },
    /// Accounts whose names are not known, and names that they have as somebody says.
    Claims(Vec<(AccountId, String)>, Source),
}

/// An entry that stands for itself: what it only points to has been fetched.
pub(crate) struct Delivered {
    pub(crate) entry: v1::Entry,
    /// What [`v1::Envelope::shared`] points to; none when there is no pointer, or nothing there any more.
    pub(crate) shared: Option<Vec<u8>>,
}

impl From<v1::Entry> for Delivered {
    fn from(entry: v1::Entry) -> Self {
        Self { entry, shared: None }
    }
}

/// Takes in an entry. Never fails because of what is in it: that would stop the mailbox.
pub(crate) fn entry(tx: &Tx<'_>, identity: &Identity, delivered: &Delivered) -> Result<Vec<Received>, Error> {
    let entry = &delivered.entry;
    let cursor = tx.cursor()?;
    if entry.seq <= cursor {
        return Ok(Vec::new());
    }
    let mut received = Vec::new();
    let mut gap = |from, to, reason| {
        // Before anything was read nothing is missing: the mailbox begins where the server says.
        let begins = cursor == 0 && reason == GapReason::Unexplained;
        if from <= to && !begins {
            received.push(Received::Event(Event::Gap { from, to, reason }));
        }
    };
    match &entry.body {
        Some(Body::Gap(known)) => {
            // An entry beyond a gap is of no use twice, so neither is the part of the gap that was read before.
            gap(cursor + 1, known.from.saturating_sub(1), GapReason::Unexplained);
            gap(known.from.max(cursor + 1), entry.seq, gap_reason(known));
            // A server that was put back has lost the same of its chains: they go on without a break.
            let explains = matches!(known.reason(), v1::GapReason::Expired | v1::GapReason::Quota);
            if explains && known.from <= cursor + 1 {
                tx.interrupt_chains()?;
            }
            if known.reason() == v1::GapReason::Restored {
                tx.untell_epochs()?;
            }
        }
        Some(Body::Envelope(_)) => gap(cursor + 1, entry.seq - 1, GapReason::Unexplained),
        None => gap(cursor + 1, entry.seq, GapReason::Unexplained),
    }
    if let Some(Body::Envelope(envelope)) = &entry.body {
        let (shared, mut own) = (delivered.shared.as_deref(), false);
        match tx.attempt(|| open(tx, identity, entry.seq, envelope, shared))? {
            Ok(opened) => received.extend(opened),
            Err(error) if is_harmless(&error) => {
                own = matches!(error, Error::Mls(MlsError::OwnMessage));
                tracing::debug!(seq = entry.seq, %error, "entry skipped");
            }
            Err(error) if is_ours(&error) => return Err(error),
            Err(error) => received.extend(unreadable(tx, entry.seq, envelope, error)?),
        }
        received.extend(chain(tx, identity, envelope, shared, own)?);
    }
    tx.set_cursor(entry.seq)?;
    Ok(received)
}

fn gap_reason(gap: &v1::Gap) -> GapReason {
    match gap.reason() {
        v1::GapReason::Expired => GapReason::Expired,
        v1::GapReason::Quota => GapReason::Quota,
        v1::GapReason::Restored => GapReason::Restored,
        v1::GapReason::Unspecified => GapReason::Unexplained,
    }
}

/// What cannot be read and need not be: an echo of our own, or the second coming of what was read.
fn is_harmless(error: &Error) -> bool {
    matches!(error, Error::Mls(MlsError::AlreadyProcessed | MlsError::OwnMessage | MlsError::GroupExists))
}

/// The failure is in this store, not in the entry, which must therefore stay unread.
pub(crate) fn is_ours(error: &Error) -> bool {
    matches!(error, Error::Sqlite(rusqlite::Error::SqliteFailure(..)) | Error::Mls(MlsError::Storage(_)))
}

/// Counts what cannot be read, and begins what is to heal it: the message is asked for, the group joined again.
fn unreadable(tx: &Tx<'_>, seq: u64, envelope: &v1::Envelope, error: Error) -> Result<Vec<Received>, Error> {
    let group = GroupId::try_from(&envelope.group_id).ok();
    let conversation = group.map(|group| tx.conversation_of(group)).transpose()?.flatten();
    tracing::warn!(seq, %error, "entry cannot be read");
    tx.insert_undecryptable(seq, group, envelope.epoch.min(i64::MAX as u64), envelope.kind, &error.to_string())?;
    let mut received = Vec::new();
    if let Some(group) = group.filter(|_| conversation.is_none() || envelope.kind() == EnvelopeKind::Welcome) {
        // The server, and so everybody, takes this device for a member.
        tx.put_chore(group, ChoreKind::Join, JOIN_AFTER_MS)?;
        if matches!(error, Error::Mls(MlsError::NotForUs)) {
            // Of a store that was restored from an older copy: others of the stock may be lost as well.
            tx.doubt_stock()?;
        }
        if let Some(receipt) = envelope.receipt.as_ref().filter(|_| envelope.kind() == EnvelopeKind::Application) {
            tx.tear_hole(group, receipt.seq)?;
        }
    }
    if let (Some(group), Some(conversation)) = (group, conversation) {
        let lost_track = match envelope.kind() {
            EnvelopeKind::Handshake => true,
            EnvelopeKind::Application => {
                matches!(&error, Error::Mls(MlsError::WrongEpoch { message, group }) if message > group)
            }
            EnvelopeKind::Welcome | EnvelopeKind::Unspecified => false,
        };
        if lost_track && !tx.is_stuck(group)? {
            stick(tx, conversation, group)?;
            received.push(Received::Event(Event::Stuck(conversation)));
        }
        let asked_for = envelope.kind() == EnvelopeKind::Application && tx.current_group(conversation)? == group;
        if let Some(receipt) = envelope.receipt.as_ref().filter(|_| asked_for) {
            tx.tear_hole(group, receipt.seq)?;
            tx.put_chore(conversation, ChoreKind::Ask, ASK_AFTER_MS)?;
        }
    }
    received.push(Received::Event(Event::Undecryptable { seq, conversation, error: error.into() }));
    Ok(received)
}

/// The group cannot be followed any more: nothing is sent to it until this device has joined it again.
pub(crate) fn stick(tx: &Tx<'_>, conversation: GroupId, group: GroupId) -> Result<(), Error> {
    tx.set_stuck(group)?;
    // Where many lose track at once, they do not all come back at once.
    let others = tx.last_accounts(group)?.map_or(0, |accounts| accounts.len() as u64).min(MAX_CROWD);
    let place = u64::from(u32::from_be_bytes(tx.random())) % (others * others + 1);
    tx.put_chore(conversation, ChoreKind::Heal, place * HEAL_STEP_MS)
}

/// Puts the entry's receipt into the chain of its group.
fn chain(
    tx: &Tx<'_>,
    identity: &Identity,
    envelope: &v1::Envelope,
    shared: Option<&[u8]>,
    own: bool,
) -> Result<Vec<Received>, Error> {
    let group = GroupId::try_from(&envelope.group_id)?;
    let Some(conversation) = tx.conversation_of(group)? else { return Ok(Vec::new()) };
    let checked = tx.attempt(|| {
        let receipt = envelope.receipt.as_ref().ok_or(Error::Incomplete("a receipt"))?;
        let key = tx.receipt_key()?.ok_or(Error::Incomplete("a receipt key"))?;
        match envelope.kind() {
            EnvelopeKind::Application => receipt::check(&key, receipt, &envelope.payload, group, None)?,
            EnvelopeKind::Handshake => {
                let message = handshake::unseal(identity, group, envelope, shared)?;
                receipt::check(&key, receipt, &message, group, None)?;
            }
            EnvelopeKind::Welcome | EnvelopeKind::Unspecified => receipt::verify(&key, receipt)?,
        }
        if receipt.group_id != envelope.group_id {
            return Err(receipt::ReceiptError::Group.into());
        }
        if envelope.kind() == EnvelopeKind::Welcome {
            tx.begin_chain(group, receipt.seq)?;
        }
        let kept = tx.put_seen_receipt(group, receipt)?;
        if own {
            // What was sent sealed comes back, perhaps before the answer does.
            tx.mark_own(group, receipt.seq)?;
        }
        Ok(kept)
    })?;
    // Kept all the same: it is what the chain goes on from.
    match checked.and_then(|kept| Ok(kept?)) {
        Ok(0) => Ok(Vec::new()),
        Ok(_) => {
            tx.put_chore(conversation, ChoreKind::Ask, ASK_AFTER_MS)?;
            Ok(Vec::new())
        }
        Err(error) if is_ours(&error) => Err(error),
        Err(error) => {
            tracing::error!(%conversation, %error, "a receipt of the server does not hold");
            Ok(vec![Received::Event(Event::ReceiptRefused { conversation, message: None, error: error.into() })])
        }
    }
}

fn open(
    tx: &Tx<'_>,
    identity: &Identity,
    seq: u64,
    envelope: &v1::Envelope,
    shared: Option<&[u8]>,
) -> Result<Vec<Received>, Error> {
    let group = GroupId::try_from(&envelope.group_id)?;
    match envelope.kind() {
        EnvelopeKind::Application => message::open(tx, identity, seq, group, envelope),
        EnvelopeKind::Handshake => {
            handshake::open(tx, identity, group, &handshake::unseal(identity, group, envelope, shared)?)
        }
        EnvelopeKind::Welcome => welcome::open(tx, identity, group, envelope, shared),
        EnvelopeKind::Unspecified => Err(Error::UnknownEntry(envelope.kind)),
    }
}
