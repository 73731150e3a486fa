//! Application messages: what people write, and what clients tell each other.

use std::collections::BTreeSet;

use prost::Message as _;
use qpc_crypto::{
    Conversation, DeviceCertificate, MlsError, franking,
    mls::{Incoming, Kind, Role},
    sha256,
};
use qpc_wire::{AccountId, GroupId, IdempotencyKey, content as pb, v1};

use super::Received;
use crate::{
    ContentError, Error, Event, MessageId, MessageState, Standing,
    content::{Body, Content, MAX_LIST, MAX_NAMED, Naming, Said, Saying},
    directory::Source,
    history, own, say,
    store::{ChoreKind, Identity, MAX_OUTBOX, New, Tx},
};

/// Accounts of a group in which members tell each other what has arrived; in larger ones it would be more than what is
/// written.
const MAX_TELLING: usize = 32;
/// Time in which what has arrived is gathered before it is told.
const TELL_AFTER_MS: u64 = 100;
/// Time in which a message is not sent again, whoever asks.
const RESEND_PAUSE_MS: u64 = 10_000;

/// Where a message came from.
struct Origin<'a> {
    identity: &'a Identity,
    conversation: GroupId,
    group: &'a Conversation,
    sender: DeviceCertificate,
    seq: u64,
    epoch: u64,
    /// Place in the chain of receipts and time of acceptance; of a message that is sent again, those of the first time.
    place: (GroupId, u64),
    at_ms: u64,
    /// What proves to the server that it was said.
    evidence: Vec<u8>,
}

impl Origin<'_> {
    fn is_own_account(&self) -> bool {
        self.sender.account_id() == self.identity.account()
    }
}

pub(super) fn open(
    tx: &Tx<'_>,
    identity: &Identity,
    seq: u64,
    id: GroupId,
    envelope: &v1::Envelope,
) -> Result<Vec<Received>, Error> {
    let conversation = tx.conversation_of(id)?.ok_or(Error::UnknownConversation(id))?;
    let Some((since, first)) = tx.entry_epochs(id)? else { return Err(Error::UnknownConversation(id)) };
    if envelope.epoch < since {
        // Written before this device was added, and accepted after.
        return Ok(Vec::new());
    }
    let mut group = match tx.load_group(id) {
        // Not to be read until the group is joined again, and not after either.
        Err(Error::UnknownConversation(_)) => {
            return Err(MlsError::WrongEpoch { message: envelope.epoch, group: first }.into());
        }
        group => group?,
    };
    let Incoming::Message { sender, epoch, plaintext } = group.process(&tx.mls(), &envelope.payload)? else {
        return Err(MlsError::Malformed("application message").into());
    };
    let franked = is_franked(envelope, &sender, id, &plaintext);
    let content = match Content::decode(&plaintext) {
        Err(ContentError::Version(_)) => not_understood(plaintext.clone(), envelope.accepted_at_ms),
        content => content?,
    };
    let now = envelope.receipt.as_ref().map_or((0, envelope.accepted_at_ms), |it| (it.seq, it.accepted_at_ms));
    let (place, at_ms) = match content.again {
        // A place of its own is what a writer claims: not one that is taken, nor a time that is still to come.
        Some((place, at_ms)) if !tx.is_taken(id, place)? => (place, at_ms.clamp(1, now.1.max(1))),
        _ => now,
    };
    let (account, claim) = (sender.account_id(), content.from.clone());
    let evidence = evidence(envelope, &sender, plaintext);
    let origin =
        Origin { identity, conversation, group: &group, sender, seq, epoch, place: (id, place), at_ms, evidence };
    if matches!(content.body, Body::Say(_)) && !franked {
        // Who says it could say later that it was something else.
        return Err(Error::NotFranked);
    }
    let mut received = Vec::new();
    // A copy is for the devices of its account: for others the place stays open.
    let brings = match &content.body {
        Body::Copy(_) => origin.is_own_account(),
        body => matches!(body, Body::Say(_)),
    };
    if content.again.is_some() && brings && tx.fill_hole(id, place)? {
        received.push(Received::Event(Event::Recovered { conversation, place }));
    }
    received.extend(take_in(tx, &origin, content)?);
    let told = received.iter().any(|received| matches!(received, Received::Message { .. }));
    if !told && !origin.is_own_account() && tx.peer_name(account)?.is_none() {
        received.push(Received::Claims(vec![(account, claim)], Source::Itself));
    }
    Ok(received)
}

/// Whether it can be shown to the server who said it: by the tag, or where that names nobody by a signature.
fn is_franked(envelope: &v1::Envelope, sender: &DeviceCertificate, group: GroupId, plaintext: &[u8]) -> bool {
    let Some(v1::Franking { commitment, anonymous, .. }) = &envelope.franking else { return false };
    *commitment == franking::commitment(plaintext)[..] && (!anonymous || franking::is_signed(sender, group, plaintext))
}

fn evidence(envelope: &v1::Envelope, sender: &DeviceCertificate, plaintext: Vec<u8>) -> Vec<u8> {
    let v1::Franking { tag, anonymous, .. } = envelope.franking.clone().unwrap_or_default();
    let certificate = if anonymous { sender.to_bytes().to_vec() } else { Vec::new() };
    pb::Evidence {
        content: plaintext.into(),
        tag,
        group: envelope.group_id.clone(),
        accepted_at_ms: envelope.accepted_at_ms,
        certificate: certificate.into(),
    }
    .encode_to_vec()
}

/// Those members among these whose names are not known.
fn unknown(
    tx: &Tx<'_>,
    origin: &Origin<'_>,
    mut named: Vec<(AccountId, String)>,
) -> Result<Vec<(AccountId, String)>, Error> {
    // Each is a lookup: not for whom nothing is done.
    if tx.is_blocked(origin.sender.account_id())? || tx.standing(origin.conversation)? == Standing::Declined {
        return Ok(Vec::new());
    }
    let members: BTreeSet<_> = origin.group.members().iter().map(DeviceCertificate::account_id).collect();
    named.truncate(MAX_NAMED);
    named.sort_by_key(|(account, _)| *account);
    named.dedup_by_key(|(account, _)| *account);
    let mut unknown = Vec::new();
    for (account, claim) in named {
        if account != origin.identity.account() && members.contains(&account) && tx.peer_name(account)?.is_none() {
            unknown.push((account, claim));
        }
    }
    Ok(unknown)
}

/// Something of a later version. Its id is the same wherever it comes.
fn not_understood(plaintext: Vec<u8>, sent_at_ms: u64) -> Content {
    let mut id = [0; 16];
    id.copy_from_slice(&sha256(&[&plaintext])[..16]);
    let body = Body::Say(Saying::Unknown(plaintext));
    Content { id: MessageId(id), sent_at_ms, from: String::new(), again: None, blind: [0; 16], body }
}

fn take_in(tx: &Tx<'_>, origin: &Origin<'_>, content: Content) -> Result<Vec<Received>, Error> {
    let (conversation, account) = (origin.conversation, origin.sender.account_id());
    match content.body {
        Body::Say(saying) => {
            // The server refuses these; a client does not take its word for it. Of an epoch before, the policy is gone.
            if origin.epoch == origin.group.epoch() && origin.group.policy()?.role(account) < Role::Member {
                return Err(Error::NotAllowed("write"));
            }
            say::may_change(Some(origin.group), account, &saying)?;
            if tx.is_blocked(account)? || tx.standing(conversation)? == Standing::Declined {
                return Ok(Vec::new());
            }
            let said = Said {
                conversation,
                sender: account,
                device: origin.sender.device_id(),
                id: content.id,
                sent_at_ms: content.sent_at_ms,
                at_ms: origin.at_ms,
                place: Some(origin.place),
                saying,
            };
            match keep(tx, origin, &said, &origin.evidence)? {
                Some(Event::MessageReceived(message)) => {
                    acknowledge(tx, origin, content.id)?;
                    Ok(vec![Received::Message { message, claim: content.from }])
                }
                news => Ok(news.map(Received::Event).into_iter().collect()),
            }
        }
        Body::Timer(expires_after_ms) => {
            let policy = origin.group.policy()?;
            let least = if policy.kind == Kind::Group { Role::Admin } else { Role::Member };
            if policy.kind == Kind::Own || policy.role(account) < least {
                return Err(Error::NotAllowed("change the timer"));
            }
            let news = tx.set_timer(conversation, expires_after_ms, content.sent_at_ms.min(origin.at_ms))?;
            let event = Event::TimerChanged { conversation, expires_after_ms, by: account };
            Ok(news.then_some(Received::Event(event)).into_iter().collect())
        }
        Body::Name(Naming { name, members }) => {
            let policy = origin.group.policy()?;
            if policy.kind != Kind::Group || policy.role(account) < Role::Admin {
                return Err(Error::NotAllowed("rename the conversation"));
            }
            tx.drop_chore(conversation, ChoreKind::Name)?;
            // Not later than it was accepted, so that no clock keeps a name for ever.
            let mut received = vec![Received::Claims(unknown(tx, origin, members)?, Source::Others)];
            if tx.set_name(conversation, &name, content.sent_at_ms.min(origin.at_ms))? {
                received.push(Received::Event(Event::Renamed { conversation, name }));
            }
            Ok(received)
        }
        Body::Delivered(messages) => told(tx, origin, messages, 1),
        Body::Read(messages) => told(tx, origin, messages, 2),
        Body::Ask(ranges) => {
            answer(tx, origin, &ranges)?;
            Ok(Vec::new())
        }
        Body::Cover => {
            // As a text would be.
            if !tx.is_blocked(account)? {
                acknowledge(tx, origin, content.id)?;
            }
            Ok(Vec::new())
        }
        Body::Void(places) => {
            for place in places {
                tx.fill_hole(origin.group.group_id(), place)?;
            }
            Ok(Vec::new())
        }
        Body::Copy(said) if origin.is_own_account() => {
            let said = Said { conversation, at_ms: origin.at_ms, place: Some(origin.place), ..*said };
            Ok(keep(tx, origin, &said, &[])?.map(Received::Event).into_iter().collect())
        }
        Body::Sync(values) if origin.is_own_account() => own::take_in(tx, values),
        Body::History(part) if origin.is_own_account() => history::take_in(tx, origin.identity, part),
        // What a device of another account misses is sent to it where all can read it, and is of no account to others.
        Body::Copy(_) => Ok(Vec::new()),
        Body::Sync(_) | Body::History(_) => Err(Error::NotAllowed("speak for another account")),
    }
}

/// Keeps what was said. Returns what is to be told of it; nothing if it is here already, or is about what is not here.
fn keep(tx: &Tx<'_>, origin: &Origin<'_>, said: &Said, evidence: &[u8]) -> Result<Option<Event>, Error> {
    let own = said.sender == origin.identity.account();
    let new = New {
        said,
        seq: Some(origin.seq),
        epoch: origin.epoch,
        state: if own { MessageState::Accepted } else { MessageState::Received },
        seen: own,
        for_us: !own && matches!(&said.saying, Saying::Text(text) if text.is_for(origin.identity.account())),
        evidence: if own { &[] } else { evidence },
    };
    if !tx.keep(&new)? {
        return Ok(None);
    }
    let Some(target) = said.saying.target() else {
        if own {
            tx.start_timers(said.conversation)?;
        }
        let message = tx.message(said.conversation, said.device, said.id)?;
        return Ok(message.map(Event::MessageReceived));
    };
    let message = tx.message_of(said.conversation, target)?.map(Box::new);
    Ok(message.map(|message| Event::MessageChanged { message, by: Some(said.sender) }))
}

/// Somebody's message has arrived: that is to be told.
fn acknowledge(tx: &Tx<'_>, origin: &Origin<'_>, id: MessageId) -> Result<(), Error> {
    let is_told = tx.standing(origin.conversation)? == Standing::Accepted;
    if origin.is_own_account() || !is_told || !tells(tx, origin.group.group_id(), origin.group.epoch())? {
        return Ok(());
    }
    tx.put_ack(origin.conversation, id, 1)?;
    tx.put_chore(origin.conversation, ChoreKind::Acknowledge, TELL_AFTER_MS)
}

/// Whether members of a group tell each other what has arrived.
fn tells(tx: &Tx<'_>, group: GroupId, epoch: u64) -> Result<bool, Error> {
    Ok(tx.accounts_in_epoch(group, epoch)?.is_some_and(|accounts| accounts.len() <= MAX_TELLING))
}

/// Messages whose reading is told at a time.
const MAX_READ: usize = 10_000;

/// A person has read everything in a conversation. Returns how many messages that were, and when the last was accepted.
pub(crate) fn read_all(tx: &Tx<'_>, conversation: GroupId) -> Result<(u64, u64), Error> {
    let unread = tx.unread(conversation, MAX_READ)?;
    let until = tx.newest_at_ms(conversation)?;
    if unread.is_empty() {
        return Ok((0, until));
    }
    let tells = tells_now(tx, conversation)?;
    let mut count = 0;
    for message in unread {
        count += u64::from(tx.set_seen(conversation, message)?);
        if tells {
            tx.put_ack(conversation, message, 2)?;
        }
    }
    if tells {
        tx.put_chore(conversation, ChoreKind::Acknowledge, 0)?;
    }
    tx.start_timers(conversation)?;
    Ok((count, until))
}

/// A request is accepted: what has come before may be told now.
pub(crate) fn tell_from_now_on(tx: &Tx<'_>, identity: &Identity, conversation: GroupId) -> Result<(), Error> {
    let group = match tx.load_current(conversation) {
        Err(Error::NotMember | Error::NotLetIn | Error::UnknownConversation(_)) => return Ok(()),
        group => group?,
    };
    if !tells(tx, group.group_id(), group.epoch())? {
        return Ok(());
    }
    let reads = own::settings(tx)?.read_receipts;
    for (message, seen) in tx.written_by_others(conversation, identity.account(), MAX_READ)? {
        tx.put_ack(conversation, message, if seen && reads { 2 } else { 1 })?;
    }
    tx.put_chore(conversation, ChoreKind::Acknowledge, 0)
}

/// A person has read one message. Tells whether that is news, and, if nothing in the conversation is unread after it, when
/// its last one was accepted.
pub(crate) fn read_one(tx: &Tx<'_>, conversation: GroupId, id: MessageId) -> Result<(bool, Option<u64>), Error> {
    if !tx.set_seen(conversation, id)? {
        return Ok((false, None));
    }
    if tells_now(tx, conversation)? {
        tx.put_ack(conversation, id, 2)?;
        tx.put_chore(conversation, ChoreKind::Acknowledge, 0)?;
    }
    tx.start_timers(conversation)?;
    let rest = tx.unread(conversation, 1)?;
    Ok((true, rest.is_empty().then(|| tx.newest_at_ms(conversation)).transpose()?))
}

/// Whether this device tells the members of a conversation what was read.
fn tells_now(tx: &Tx<'_>, conversation: GroupId) -> Result<bool, Error> {
    match tx.load_current(conversation) {
        Ok(group) => {
            let is_told = own::settings(tx)?.read_receipts && tx.standing(conversation)? == Standing::Accepted;
            Ok(is_told && tells(tx, group.group_id(), group.epoch())?)
        }
        Err(Error::NotMember | Error::NotLetIn | Error::UnknownConversation(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Somebody has messages of this account, or has read them.
fn told(tx: &Tx<'_>, origin: &Origin<'_>, messages: Vec<MessageId>, state: u8) -> Result<Vec<Received>, Error> {
    let (conversation, by, own) = (origin.conversation, origin.sender.account_id(), origin.identity.account());
    if by == own {
        // Another device of this account has read them.
        for message in messages.into_iter().filter(|_| state == 2) {
            tx.set_seen(conversation, message)?;
        }
        tx.start_timers(conversation)?;
        return Ok(Vec::new());
    }
    let mut news = Vec::new();
    for message in messages {
        if tx.note_delivery(conversation, message, by, state, own)? {
            let others = others_at(tx, origin, message)?;
            tx.raise_state(conversation, message, &others)?;
            news.push(message);
        }
    }
    let event = match state {
        _ if news.is_empty() => return Ok(Vec::new()),
        1 => Event::Delivered { conversation, messages: news, by },
        _ => Event::Read { conversation, messages: news, by },
    };
    Ok(vec![Received::Event(event)])
}

/// The other accounts that a message was for.
fn others_at(tx: &Tx<'_>, origin: &Origin<'_>, message: MessageId) -> Result<Vec<AccountId>, Error> {
    let group = origin.group.group_id();
    let epoch = tx.message_epoch(origin.conversation, message)?.unwrap_or(origin.epoch);
    match tx.accounts_in_epoch(group, epoch)? {
        Some(accounts) => Ok(accounts),
        None => Ok(tx.accounts_in_epoch(group, origin.group.epoch())?.unwrap_or_default()),
    }
}

/// Somebody misses what stands at places of the chain: sends again what this device has sent there, and says where it was
/// nothing to read. To a device of this account also what others have sent.
fn answer(tx: &Tx<'_>, origin: &Origin<'_>, ranges: &[(u64, u64)]) -> Result<(), Error> {
    if origin.sender.device_id() == origin.identity.device()
        || origin.group.policy()?.role(origin.identity.account()) < Role::Member
    {
        return Ok(());
    }
    // What is asked for must not crowd out what is written.
    if tx.outbox_len()? > MAX_OUTBOX / 2 {
        return Ok(());
    }
    let (group, mut void) = (origin.group.group_id(), Vec::new());
    let asker = origin.sender.account_id();
    let places = ranges.iter().flat_map(|(from, to)| *from..=(*to).min(from.saturating_add(MAX_LIST as u64)));
    for place in places.take(MAX_LIST) {
        // Only what was for the asker in its time; what that was is known of recent epochs.
        let receipt = tx.receipt_at(group, place)?;
        let members = receipt.as_ref().map(|receipt| tx.accounts_in_epoch(group, receipt.epoch)).transpose()?.flatten();
        if !origin.is_own_account() && !members.is_some_and(|members| members.contains(&asker)) {
            continue;
        }
        let ours = tx.is_own_place(group, place)?;
        let said = tx.said_at(group, place, ours.then(|| origin.identity.device()))?;
        let body = match said {
            Some(said) if ours => Some((said.id, said.sent_at_ms, Body::Say(said.saying))),
            Some(said) if origin.is_own_account() => {
                Some((MessageId(tx.random()), tx.now_ms(), Body::Copy(Box::new(said))))
            }
            _ => None,
        };
        match body {
            Some((id, sent_at_ms, body)) if tx.may_resend(group, place, RESEND_PAUSE_MS)? => {
                let from = origin.identity.username.clone();
                let at_ms = receipt.map_or(sent_at_ms, |receipt| receipt.accepted_at_ms);
                let again = Some((place, at_ms));
                let content = Content { id, sent_at_ms, from, again, blind: tx.random(), body };
                push(tx, origin.conversation, &content)?;
            }
            None if ours && tx.may_resend(group, place, RESEND_PAUSE_MS)? => void.push(place),
            None => {}
            Some(_) => {}
        }
    }
    if void.is_empty() {
        return Ok(());
    }
    push(tx, origin.conversation, &told_by(tx, origin.identity, Body::Void(void)))
}

/// A message that nobody sees, written now.
pub(crate) fn told_by(tx: &Tx<'_>, identity: &Identity, body: Body) -> Content {
    let (id, from) = (MessageId(tx.random()), identity.username.clone());
    Content { id, sent_at_ms: tx.now_ms(), from, again: None, blind: tx.random(), body }
}

/// Puts something into the outbox that nobody sees.
pub(crate) fn push(tx: &Tx<'_>, conversation: GroupId, content: &Content) -> Result<(), Error> {
    tx.push_outbox(conversation, None, &content.encode()?, IdempotencyKey(tx.random()), None)
}
