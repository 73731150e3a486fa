//! What the devices of an account share through the group of their own: how far was read, names that only this account
//! uses, whom it has verified and which keys accepted. The latest value of a name counts, whichever device it comes from.

use std::sync::Arc;

use qpc_wire::{AccountId, GroupId};

use crate::{
    Error, Event, Standing,
    client::Inner,
    content::{Body, MAX_NAME, Synced},
    receive::{self, Received},
    store::{Identity, Tx},
};

/// How far a conversation was read: Unix milliseconds of the acceptance of its last message, big-endian.
const READ: &str = "read/";
/// What this account calls a conversation.
const PETNAME: &str = "petname/";

/// What this account does not want others to know: one byte, 1 for what they may.
const TYPING: &str = "set/typing";
const READ_RECEIPTS: &str = "set/read";
/// Whether strangers have to ask: one byte, 0 if not.
const ASK: &str = "set/ask";
/// Where a conversation stands that a stranger has begun, as one byte.
const STANDING: &str = "standing/";
/// Accounts that are blocked: one byte, 1 if so.
const BLOCK: &str = "block/";
/// That a person has compared the safety number of a user: the account key that it was of; empty when the mark is taken away.
const VERIFIED: &str = "verified/";
/// That a person has accepted another account key of a user: that key.
const ACCEPTED: &str = "identity/";

/// What renews the recovery bundle: id of the set, and public half of the key that the codes open.
const RECOVERY: &str = "recovery";
/// Length of the id of a set.
const SET: usize = 16;

/// What an account wants of all its devices. All of it is on until somebody turns it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Others see that this account is writing, and it sees that of others.
    pub typing: bool,
    /// Others are told what was read.
    pub read_receipts: bool,
    /// Conversations that strangers begin wait until they are accepted ([`crate::Standing`]).
    pub ask: bool,
}

/// What is set.
pub(crate) fn settings(tx: &Tx<'_>) -> Result<Settings, Error> {
    let is_on = |name| Ok::<_, Error>(tx.synced_value(name)?.is_none_or(|value| value != [0]));
    Ok(Settings { typing: is_on(TYPING)?, read_receipts: is_on(READ_RECEIPTS)?, ask: is_on(ASK)? })
}

/// Sets it on all devices of this account.
pub(crate) async fn set(inner: &Arc<Inner>, settings: Settings) -> Result<(), Error> {
    share(inner, TYPING.to_owned(), vec![settings.typing.into()]).await?;
    share(inner, READ_RECEIPTS.to_owned(), vec![settings.read_receipts.into()]).await?;
    share(inner, ASK.to_owned(), vec![settings.ask.into()]).await
}

/// The name under which it is shared that an account is blocked.
pub(crate) fn block_key(account: AccountId) -> String {
    format!("{BLOCK}{account}")
}

/// Where a conversation stands, if a device of this account has said so.
pub(crate) fn standing(tx: &Tx<'_>, conversation: GroupId) -> Result<Option<Standing>, Error> {
    let value = tx.synced_value(&format!("{STANDING}{conversation}"))?;
    Ok(value.and_then(|value| standing_of(&value)))
}

fn standing_of(value: &[u8]) -> Option<Standing> {
    [Standing::Accepted, Standing::Requested, Standing::Declined]
        .into_iter()
        .find(|standing| value == [*standing as u8])
}

/// Says where a conversation stands, to all devices of this account.
pub(crate) fn put_standing(
    tx: &Tx<'_>,
    identity: &Identity,
    conversation: GroupId,
    standing: Standing,
) -> Result<(), Error> {
    if standing == Standing::Accepted && tx.standing(conversation)? == Standing::Requested {
        tx.set_standing(conversation, standing)?;
        receive::tell_from_now_on(tx, identity, conversation)?;
    }
    tx.set_standing(conversation, standing)?;
    put(tx, identity, format!("{STANDING}{conversation}"), vec![standing as u8])
}

/// Whether a value is to be found again after every device was lost.
pub(crate) fn is_worth_keeping(name: &str) -> bool {
    !name.starts_with(READ) && name != RECOVERY
}

/// The recovery set as the devices share it.
pub(crate) fn recovery_set(tx: &Tx<'_>, set: &[u8; SET], public: &[u8]) -> Result<Synced, Error> {
    let value = [set.as_slice(), public].concat();
    Ok(Synced {
        name: RECOVERY.to_owned(),
        value,
        at_ms: tx.now_ms().max(tx.synced_at_ms(RECOVERY)?.saturating_add(1)),
    })
}

/// Tells the other devices of a new recovery set, so that they renew its bundle too.
pub(crate) async fn share_recovery_set(inner: &Arc<Inner>, set: &[u8; SET], public: &[u8]) -> Result<(), Error> {
    share(inner, RECOVERY.to_owned(), [set.as_slice(), public].concat()).await
}

/// Id of a recovery set, and the public key that its bundle is sealed to.
type KnownSet = ([u8; SET], Vec<u8>);

/// The recovery set, if this account has one.
pub(crate) fn known_recovery_set(tx: &Tx<'_>) -> Result<Option<KnownSet>, Error> {
    let value = tx.synced_value(RECOVERY)?.unwrap_or_default();
    Ok(value.split_first_chunk().map(|(set, public)| (*set, public.to_vec())))
}

/// The name under which the mark of a verified user is shared.
pub(crate) fn verified_key(username: &str) -> String {
    format!("{VERIFIED}{username}")
}

/// The name under which an accepted key of a user is shared.
pub(crate) fn accepted_key(username: &str) -> String {
    format!("{ACCEPTED}{username}")
}

/// The name under which the petname of a conversation is shared.
pub(crate) fn petname_key(conversation: GroupId) -> String {
    format!("{PETNAME}{conversation}")
}

/// Keeps values of another device of this account.
pub(crate) fn take_in(tx: &Tx<'_>, values: Vec<Synced>) -> Result<Vec<Received>, Error> {
    let mut received = Vec::new();
    for item in values {
        if !tx.put_synced(&item)? {
            continue;
        }
        if let Some(conversation) = item.name.strip_prefix(STANDING).and_then(id).map(GroupId)
            && let Some(standing) = standing_of(&item.value)
            && tx.conversation(conversation)?.is_some()
        {
            tx.set_standing(conversation, standing)?;
            received.push(Received::Event(Event::StandingChanged { conversation, standing }));
        }
        if let Some(conversation) = item.name.strip_prefix(READ).and_then(id).map(GroupId)
            && let Ok(at_ms) = item.value.as_slice().try_into().map(u64::from_be_bytes)
        {
            tx.set_seen_until(conversation, at_ms)?;
            tx.start_timers(conversation)?;
        }
        if let Some(username) = item.name.strip_prefix(ACCEPTED)
            && let Ok(key) = item.value.as_slice().try_into()
        {
            tx.accept_peer(username, key)?;
        }
        received.push(Received::Event(Event::Synced(item.name)));
    }
    Ok(received)
}

/// Shares a value with the other devices of this account.
pub(crate) async fn share(inner: &Arc<Inner>, name: String, value: Vec<u8>) -> Result<(), Error> {
    let identity = inner.identity.clone();
    inner.store.run(move |tx| put(tx, &identity, name, value)).await?;
    inner.outbox_wake.notify_one();
    Ok(())
}

fn put(tx: &Tx<'_>, identity: &Identity, name: String, value: Vec<u8>) -> Result<(), Error> {
    // Later than the value that it takes the place of, whatever the clock of the device that gave that one.
    let before = tx.synced_at_ms(&name)?;
    let item = Synced { name, value, at_ms: tx.now_ms().max(before.saturating_add(1)) };
    tx.put_synced(&item)?;
    let Some(own) = tx.own_conversation()? else { return Ok(()) };
    receive::push(tx, own, &receive::told_by(tx, identity, Body::Sync(vec![item])))
}

/// What this account calls a conversation; an empty name takes it away.
pub(crate) async fn set_petname(inner: &Arc<Inner>, conversation: GroupId, name: &str) -> Result<(), Error> {
    if name.len() > MAX_NAME {
        return Err(Error::TextTooLong { len: name.len(), max: MAX_NAME });
    }
    share(inner, petname_key(conversation), name.as_bytes().to_vec()).await
}

/// A person has read everything in a conversation: tells its members, if they tell each other such things, and the other
/// devices of this account.
pub(crate) async fn mark_read(inner: &Arc<Inner>, conversation: GroupId) -> Result<u64, Error> {
    let (count, until) = inner.store.run(move |tx| receive::read_all(tx, conversation)).await?;
    if count > 0 {
        inner.chore_wake.notify_one();
        inner.timer_wake.notify_one();
        share_read(inner, conversation, until).await?;
    }
    Ok(count)
}

/// Tells the other devices of this account how far a conversation was read.
pub(crate) async fn share_read(inner: &Arc<Inner>, conversation: GroupId, until: u64) -> Result<(), Error> {
    share(inner, format!("{READ}{conversation}"), until.to_be_bytes().to_vec()).await
}

/// An id as it stands in a name.
pub(crate) fn id(hex: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    hex::decode_to_slice(hex, &mut id).ok()?;
    Some(id)
}
