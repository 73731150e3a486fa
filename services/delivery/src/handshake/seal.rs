//! What a change sends, sealed to each recipient.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use qpc_chassis::{Runtime, rpc::Ctx};
use qpc_crypto::queue;
use qpc_wire::{
    DeviceId, GroupId,
    limits::{MAX_HANDSHAKE, MAX_HYBRID_KEYS},
    methods::FetchHybridKeys,
    v1::{EnvelopeKind, FetchHybridKeysRequest, Pointer, SharedState},
};

use super::{Accepted, check::Checked, seal_shared};
use crate::{
    State,
    domain::mailbox::{Payload, Recipient, payload_id},
    error::Error,
};

/// Public queue keys by device.
pub(super) type QueueKeys = BTreeMap<DeviceId, Bytes>;

/// A handshake for the mailboxes of its recipients.
pub(crate) struct Sealed {
    /// One, or none when nobody gets it.
    pub(crate) payloads: Vec<Payload>,
    /// What the payload points to, when it is too large for a mailbox.
    pub(crate) body: Option<([u8; 16], Vec<u8>)>,
    /// Who gets it.
    pub(crate) recipients: Vec<DeviceId>,
}

/// Queue keys from their owner, the keypackage service. `members` and `joined` must have one: whoever had none could not be
/// sent a handshake ever again. Keys of revoked devices are gone: those of some of the `removed` may be, and a device that was
/// revoked since its KeyPackage was fetched cannot join.
pub(super) async fn queue_keys(
    state: &State,
    ctx: &Ctx,
    members: &[DeviceId],
    removed: &[DeviceId],
    joined: &[DeviceId],
) -> Result<QueueKeys, Error> {
    let asked: BTreeSet<DeviceId> = [members, removed, joined].into_iter().flatten().copied().collect();
    let ids: Vec<Bytes> = asked.iter().map(|device| device.to_bytes()).collect();
    let (mut keys, mut revoked) = (QueueKeys::new(), BTreeSet::new());
    for device_ids in ids.chunks(MAX_HYBRID_KEYS) {
        let request = FetchHybridKeysRequest { device_ids: device_ids.to_vec() };
        let found = state.client.call::<FetchHybridKeys>(ctx, &request).await?;
        for key in found.keys {
            keys.insert(DeviceId::try_from(&key.device_id)?, key.public_key);
        }
        for device in &found.revoked_ids {
            revoked.insert(DeviceId::try_from(device)?);
        }
    }
    let without = |devices: &[DeviceId]| -> Vec<DeviceId> {
        devices.iter().filter(|device| !keys.contains_key(device)).copied().collect()
    };
    match (&without(joined)[..], &without(members)[..]) {
        ([], []) => Ok(keys),
        ([], missing) => {
            let revoked = state.store.revoked_among(missing).await?;
            // One that came in while it was being revoked goes with this commit. Else its revocation is on its way to here.
            if revoked.is_empty() {
                Err(Error::Moved)
            } else {
                Err(Error::DevicesRevoked(revoked.into_iter().collect()))
            }
        }
        (missing, _) if missing.iter().all(|device| revoked.contains(device)) => {
            Err(Error::DevicesRevoked(missing.to_vec()))
        }
        (missing, _) => Err(Error::NoQueueKey(missing.len())),
    }
}

/// Seals a handshake to those of `recipients` that have a key.
pub(super) fn handshake(
    runtime: &Runtime,
    group: GroupId,
    epoch: u64,
    message: &[u8],
    recipients: &[DeviceId],
    keys: &QueueKeys,
) -> Result<Sealed, Error> {
    let recipients: Vec<(DeviceId, &[u8])> =
        recipients.iter().filter_map(|device| Some((*device, keys.get(device)?.as_ref()))).collect();
    if recipients.is_empty() {
        return Ok(Sealed { payloads: Vec::new(), body: None, recipients: Vec::new() });
    }
    let sealed = queue::seal_for(&mut runtime.rng(), message, group, &recipients)?;
    let mut payload = payload(runtime, group, EnvelopeKind::Handshake, epoch, sealed.payload);
    payload.recipients = sealed
        .keys
        .into_iter()
        .map(|(device, sealed_key)| Recipient { device, sealed_key: sealed_key.into() })
        .collect();
    let mut body = None;
    if payload.body.len() > MAX_HANDSHAKE {
        let id: [u8; 16] = runtime.random();
        let large = std::mem::take(&mut payload.body);
        // It is sealed to the recipients already.
        payload.shared = Some(Pointer { id: Bytes::copy_from_slice(&id), size: large.len() as u64, key: Bytes::new() });
        body = Some((id, large.to_vec()));
    }
    let recipients = recipients.into_iter().map(|(device, _)| device).collect();
    Ok(Sealed { payloads: vec![payload], body, recipients })
}

/// Everything that a commit sends and leaves behind.
pub(super) fn commit(state: &State, checked: Checked, keys: &QueueKeys) -> Result<Accepted, Error> {
    let (group, epoch) = (checked.view.group_id(), checked.applied.epoch);
    // Devices that are removed get the commit too: so they learn it.
    let old: Vec<DeviceId> = checked.others.iter().chain(&checked.former).copied().collect();
    let sealed = handshake(&state.runtime, group, epoch, &checked.commit, &old, keys)?;
    let mut payloads = sealed.payloads;
    let mut bodies: Vec<_> = sealed.body.into_iter().collect();
    let mut recipients: BTreeSet<DeviceId> = sealed.recipients.into_iter().collect();
    let mut shared = None;
    if let Some((welcome, secrets)) = checked.welcome {
        let state_of_joiners = SharedState {
            suite: welcome.suite.into(),
            encrypted_group_info: welcome.encrypted_group_info.into(),
            ratchet_tree: checked.view.ratchet_tree().map_err(Error::StoredGroup)?.into(),
            group_info: checked.group_info.clone(),
        };
        let (id, body, pointer) = seal_shared(state, &state_of_joiners);
        bodies.push((id, body));
        shared = Some(id);
        for (device, secret) in secrets {
            let mut payload = payload(&state.runtime, group, EnvelopeKind::Welcome, epoch, secret);
            payload.shared = Some(pointer.clone());
            payload.recipients = vec![Recipient::plain(device)];
            payloads.push(payload);
            recipients.insert(device);
        }
    }
    let snapshot = checked.view.snapshot().map_err(Error::StoredGroup)?;
    Ok(Accepted {
        id: group,
        commit: checked.commit,
        epoch,
        mark: checked.mark,
        state: state.vault.seal_group(&mut state.runtime.rng(), group, &snapshot, &checked.group_info)?,
        policy: checked.policy,
        leaves: checked.leaves,
        added: checked.added,
        removed: checked.removed,
        roles: checked.roles,
        joined: checked.joined,
        pruned: checked.applied.pruned,
        external: checked.applied.external,
        policy_changed: checked.applied.policy_changed,
        invite: checked.invite,
        payloads,
        bodies,
        shared,
        recipients: recipients.into_iter().collect(),
        at_ms: state.runtime.now_ms(),
    })
}

fn payload(runtime: &Runtime, group: GroupId, kind: EnvelopeKind, epoch: u64, body: Vec<u8>) -> Payload {
    let now_ms = runtime.now_ms();
    Payload {
        id: payload_id(now_ms, runtime.random()),
        group,
        kind,
        epoch,
        accepted_ms: now_ms,
        body: body.into(),
        shared: None,
        receipt: None,
        franking: None,
        disappears_ms: None,
        recipients: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use qpc_crypto::QueueKey;

    use super::*;

    #[test]
    fn a_large_handshake_is_stored_once_beside_the_mailboxes() {
        let runtime = Runtime::system();
        let (group, devices) = (GroupId([1; 16]), [1, 2, 3].map(|n| DeviceId([n; 16])));
        let queue = QueueKey::generate(&mut runtime.rng());
        let keys: QueueKeys = devices[..2].iter().map(|device| (*device, queue.public_bytes().into())).collect();
        let open = |device: usize, sealed: &Sealed, body: &[u8]| {
            let recipient = &sealed.payloads[0].recipients[device];
            queue.open_for(recipient.device, group, &recipient.sealed_key, body).unwrap()
        };

        let large = vec![7; MAX_HANDSHAKE];
        let sealed = handshake(&runtime, group, 4, &large, &devices, &keys).unwrap();
        let (id, body) = sealed.body.as_ref().unwrap();
        let pointer = sealed.payloads[0].shared.as_ref().unwrap();
        assert_eq!((pointer.id.as_ref(), pointer.size), (id.as_slice(), body.len() as u64));
        assert!(pointer.key.is_empty() && sealed.payloads[0].body.is_empty());
        assert_eq!((open(0, &sealed, body), open(1, &sealed, body)), (large.clone(), large));
        assert_eq!(sealed.recipients, devices[..2], "who has no key gets nothing");

        let sealed = handshake(&runtime, group, 4, b"small", &devices, &keys).unwrap();
        assert!(sealed.body.is_none() && sealed.payloads[0].shared.is_none());
        assert_eq!(open(0, &sealed, &sealed.payloads[0].body), b"small");
    }
}
