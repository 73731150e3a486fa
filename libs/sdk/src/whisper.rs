//! What is said only to those who are there now: that somebody is writing. It is stored nowhere.
//!
//! Not an MLS message: one that never arrives leaves a hole in its sender's ratchet, and after some thousand of them a member
//! who was away could not read what comes next. It is sealed under a secret of the epoch instead, which all members have, and
//! signed by the device.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use prost::Message as _;
use qpc_crypto::{Conversation, DeviceCertificate, aead, mls::Role, padding, verify};
use qpc_wire::{DeviceId, GroupId, content as pb, methods::Relay, proofs, v1};

use crate::{
    Error, Event, PeerTrust, Standing,
    client::Inner,
    own,
    store::{Identity, Tx},
};

/// So long somebody is taken to be writing who does not say so again.
pub const TYPING_FOR: Duration = Duration::from_secs(10);
/// Time between two words that somebody is writing, milliseconds.
const SAY_EVERY_MS: u64 = 3_000;
/// Devices whose last word is remembered.
const MAX_HEARD: usize = 4_096;
/// Label of the secret (RFC 9420 section 8.5).
const LABEL: &str = "qpc whisper";

/// When something was last said and heard, Unix milliseconds. Nothing of it outlives the process.
#[derive(Default)]
pub(crate) struct Whispers(Mutex<HashMap<(GroupId, DeviceId), u64>>);

impl Whispers {
    /// Whether this is later than the last word of a device in a group.
    fn is_later(&self, group: GroupId, device: DeviceId, at_ms: u64, by: u64) -> bool {
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.get(&(group, device)).is_some_and(|last| at_ms < last.saturating_add(by)) {
            return false;
        }
        if last.len() >= MAX_HEARD {
            last.clear();
        }
        last.insert((group, device), at_ms);
        true
    }

    /// The next word of a device is no repetition.
    fn forget(&self, group: GroupId, device: DeviceId) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&(group, device));
    }
}

/// Tells the members of a conversation who are there that this account is writing, or no longer is. Does nothing while there is no
/// connection, when that was said a moment ago, or when the user does not want it; nor where messages are sealed, since the server
/// relays for devices that it knows.
pub(crate) async fn typing(inner: &Inner, conversation: GroupId, active: bool) -> Result<(), Error> {
    let Ok(connection) = inner.connection() else { return Ok(()) };
    if inner.sealed {
        return Ok(());
    }
    let (identity, now_ms) = (inner.identity.clone(), inner.runtime.now_ms());
    let device = identity.device();
    if !active {
        inner.whispers.forget(conversation, device);
    } else if !inner.whispers.is_later(conversation, device, now_ms, SAY_EVERY_MS) {
        return Ok(());
    }
    let request = inner.store.run(move |tx| sealed(tx, &identity, conversation, active)).await?;
    if let Some(request) = request {
        connection.call::<Relay>(&request).await?;
    }
    Ok(())
}

fn sealed(
    tx: &Tx<'_>,
    identity: &Identity,
    conversation: GroupId,
    active: bool,
) -> Result<Option<v1::RelayRequest>, Error> {
    // Nothing goes to a person who is shown with another key, not even that.
    let is_told = tx
        .conversation(conversation)?
        .is_some_and(|it| it.standing == Standing::Accepted && !it.blocked && it.trust != PeerTrust::Changed);
    if !is_told || !own::settings(tx)?.typing {
        return Ok(None);
    }
    let group = tx.load_current(conversation)?;
    let (id, epoch) = (group.group_id(), group.epoch());
    let what = pb::whisper_body::What::Typing(pb::Typing { active });
    let body = pb::WhisperBody { at_ms: tx.now_ms(), what: Some(what) }.encode_to_vec();
    let signature = identity.device_key.sign(&proofs::whisper(&id.0, epoch, &body));
    let whisper =
        pb::Whisper { body: body.into(), device: identity.device().to_bytes(), signature: signature.to_vec().into() };
    let key = secret(tx, &group)?;
    let sealed = tx.seal(&key, id.as_ref(), &padding::pad(&whisper.encode_to_vec()));
    Ok(Some(v1::RelayRequest { group_id: id.to_bytes(), epoch, payload: sealed.into() }))
}

fn secret(tx: &Tx<'_>, group: &Conversation) -> Result<[u8; 32], Error> {
    let secret = group.export(&tx.mls(), LABEL, group.group_id().as_ref(), 32)?;
    secret.as_slice().try_into().map_err(|_| Error::Corrupt("a secret of an epoch"))
}

/// Takes in what was relayed. Whatever is wrong with it is of no consequence.
pub(crate) async fn hear(inner: &Inner, event: v1::RelayedEvent) {
    let heard = inner.store.run(move |tx| open(tx, &event)).await;
    match heard {
        Ok(Some((conversation, group, sender, body))) => {
            let Some(pb::whisper_body::What::Typing(typing)) = body.what else { return };
            if inner.whispers.is_later(group, sender.device_id(), body.at_ms, 1) {
                let by = sender.account_id();
                inner.events.emit(Event::Typing { conversation, by, active: typing.active });
            }
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "what was relayed makes no sense"),
    }
}

type Heard = (GroupId, GroupId, DeviceCertificate, pb::WhisperBody);

fn open(tx: &Tx<'_>, event: &v1::RelayedEvent) -> Result<Option<Heard>, Error> {
    let id = GroupId::try_from(&event.group_id)?;
    let Some(conversation) = tx.conversation_of(id)? else { return Ok(None) };
    if !own::settings(tx)?.typing {
        return Ok(None);
    }
    let group = tx.load_current(conversation)?;
    if group.group_id() != id || group.epoch() != event.epoch {
        return Ok(None);
    }
    let padded = aead::open(&secret(tx, &group)?, id.as_ref(), &event.payload)?;
    let Ok(whisper) = padding::unpad(&padded).map_err(|_| ()).and_then(|it| pb::Whisper::decode(it).map_err(|_| ()))
    else {
        return Ok(None);
    };
    let Some(sender) = group.members().into_iter().find(|member| member.device_id().0 == whisper.device[..]) else {
        return Ok(None);
    };
    if group.policy()?.role(sender.account_id()) < Role::Member || tx.is_blocked(sender.account_id())? {
        return Ok(None);
    }
    verify(sender.device_key(), &proofs::whisper(&id.0, event.epoch, &whisper.body), &whisper.signature)?;
    Ok(Some((conversation, id, sender, pb::WhisperBody::decode(whisper.body)?)))
}
