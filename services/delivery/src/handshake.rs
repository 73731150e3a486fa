//! What creating a group and committing to it share: validation against the public group, and everything that a commit
//! sends, sealed to each recipient.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use qpc_chassis::rpc::Ctx;
use qpc_crypto::{Applied, DeviceCertificate, GroupView, aead, mls::peek_welcome, queue, receipt};
use qpc_wire::{
    DeviceId, GroupId,
    limits::{MAX_HANDSHAKE, MAX_HYBRID_KEYS},
    methods::FetchHybridKeys,
    v1::{CommitBundle, EnvelopeKind, FetchHybridKeysRequest, HybridKey, Receipt},
};
use rand::RngCore;

use crate::{
    State,
    domain::mailbox::{Payload, Recipient, payload_id},
    error::Error,
};

/// A commit that was checked, with what it leaves behind.
pub(crate) struct Accepted {
    /// Public group after the commit, sealed for the database.
    pub(crate) state: Vec<u8>,
    /// New epoch.
    pub(crate) epoch: u64,
    /// All devices after the commit.
    pub(crate) members: Vec<DeviceCertificate>,
    /// New devices.
    pub(crate) added: Vec<DeviceId>,
    /// Former devices.
    pub(crate) removed: Vec<DeviceId>,
    /// The commit for the old members and the Welcome for the new.
    pub(crate) payloads: Vec<Payload>,
    /// For the sender.
    pub(crate) receipt: Receipt,
}

/// Unseals a stored public group.
pub(crate) async fn open(state: &Arc<State>, id: GroupId, sealed: Vec<u8>) -> Result<GroupView, Error> {
    let key = state.state_key;
    off_the_loop(state, move || {
        GroupView::restore(&aead::open(&key, id.as_ref(), &sealed)?).map_err(Error::StoredGroup)
    })
    .await
}

/// Takes up a new group.
pub(crate) async fn found(state: &Arc<State>, group_info: Bytes) -> Result<GroupView, Error> {
    off_the_loop(state, move || GroupView::found(&group_info).map_err(Error::InvalidCommit)).await
}

/// MLS in a group of hundreds takes tens of milliseconds, which no other call should wait for.
async fn off_the_loop<T: Send + 'static>(
    state: &Arc<State>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    state.runtime.blocking(work).await.ok_or(Error::Stopping)?
}

/// Checks the bundle of the caller against `view`, follows it there, and seals what it sends.
pub(crate) async fn accept(
    state: &Arc<State>,
    ctx: &Ctx,
    view: GroupView,
    bundle: CommitBundle,
) -> Result<Accepted, Error> {
    for message in [&bundle.commit, &bundle.welcome] {
        if message.len() > MAX_HANDSHAKE {
            return Err(Error::HandshakeTooLarge(message.len()));
        }
    }
    let (sender, limit) = (ctx.identity()?.device, state.group_leaves);
    let checked = off_the_loop(state, move || check(view, bundle, sender, limit)).await?;
    let recipients = checked.others.iter().chain(&checked.added).copied().collect();
    let keys = queue_keys(state, ctx, recipients).await?;
    let sealing = state.clone();
    off_the_loop(state, move || seal_all(&sealing, checked, &keys)).await
}

/// A commit that follows the rules.
struct Checked {
    view: GroupView,
    bundle: CommitBundle,
    applied: Applied,
    /// Members before it, without its sender.
    others: Vec<DeviceId>,
    added: Vec<DeviceId>,
}

fn check(mut view: GroupView, bundle: CommitBundle, sender: DeviceId, limit: usize) -> Result<Checked, Error> {
    let before: BTreeSet<DeviceId> = view.members().iter().map(|member| member.device_id()).collect();
    let applied = view.apply(&bundle.commit).map_err(Error::InvalidCommit)?;
    if applied.sender.device_id() != sender {
        return Err(Error::ForeignCommit);
    }
    // Who it is for cannot be seen, but how many; a device that gets a Welcome of others reports it as unreadable.
    let welcomed = match bundle.welcome.is_empty() {
        true => 0,
        false => peek_welcome(&bundle.welcome).map_err(Error::InvalidCommit)?,
    };
    if welcomed != applied.added.len() {
        return Err(Error::WelcomeMismatch { added: applied.added.len(), welcomed });
    }
    let size = view.members().len();
    if size > limit {
        return Err(Error::GroupTooLarge { size, limit });
    }
    let others = before.into_iter().filter(|device| *device != sender).collect();
    let added = applied.added.iter().map(|member| member.device_id()).collect();
    Ok(Checked { view, bundle, applied, others, added })
}

fn seal_all(state: &State, checked: Checked, keys: &QueueKeys) -> Result<Accepted, Error> {
    let Checked { view, bundle, applied, others, added } = checked;
    let (group, now_ms) = (view.group_id(), state.runtime.now_ms());
    let mut payloads = Vec::with_capacity(2);
    for (kind, body, devices) in
        [(EnvelopeKind::Handshake, &bundle.commit, &others), (EnvelopeKind::Welcome, &bundle.welcome, &added)]
    {
        if !devices.is_empty() {
            let recipients: Vec<_> = devices.iter().filter_map(|device| keys.get(device)).collect();
            payloads.push(seal(state, group, kind, applied.epoch, body, &recipients, now_ms)?);
        }
    }
    let all: Vec<DeviceId> = others.iter().chain(&added).copied().collect();
    let snapshot = view.snapshot().map_err(Error::StoredGroup)?;
    Ok(Accepted {
        state: aead::seal(&mut state.runtime.rng(), &state.state_key, group.as_ref(), &snapshot),
        epoch: applied.epoch,
        members: view.members(),
        added,
        removed: applied.removed.iter().map(|member| member.device_id()).collect(),
        payloads,
        receipt: receipt::build(&state.receipt_key, group, applied.epoch, &bundle.commit, &all, now_ms),
    })
}

/// Queue keys of all `devices`, from their owner, the keypackage service.
async fn queue_keys(state: &State, ctx: &Ctx, devices: BTreeSet<DeviceId>) -> Result<QueueKeys, Error> {
    let mut keys = QueueKeys::default();
    let ids: Vec<Bytes> = devices.iter().map(|device| device.to_bytes()).collect();
    for device_ids in ids.chunks(MAX_HYBRID_KEYS) {
        let request = FetchHybridKeysRequest { device_ids: device_ids.to_vec() };
        let found = state.client.call::<FetchHybridKeys>(ctx, &request).await?.keys;
        for key in found {
            keys.0.push((DeviceId::try_from(&key.device_id)?, key));
        }
    }
    if keys.0.len() < devices.len() {
        return Err(Error::NoQueueKey(devices.len() - keys.0.len()));
    }
    keys.0.sort_by_key(|(device, _)| *device);
    Ok(keys)
}

#[derive(Default)]
struct QueueKeys(Vec<(DeviceId, HybridKey)>);

impl QueueKeys {
    fn get(&self, device: &DeviceId) -> Option<&(DeviceId, HybridKey)> {
        self.0.binary_search_by_key(device, |(device, _)| *device).ok().map(|index| &self.0[index])
    }
}

fn seal(
    state: &State,
    group: GroupId,
    kind: EnvelopeKind,
    epoch: u64,
    body: &[u8],
    recipients: &[&(DeviceId, HybridKey)],
    now_ms: u64,
) -> Result<Payload, Error> {
    let mut rng = state.runtime.rng();
    let keys: Vec<(DeviceId, &[u8])> =
        recipients.iter().map(|(device, key)| (*device, key.public_key.as_ref())).collect();
    let sealed = queue::seal_for(&mut rng, body, group, &keys)?;
    let mut random = [0; 10];
    rng.fill_bytes(&mut random);
    Ok(Payload {
        id: payload_id(now_ms, random),
        group,
        kind,
        epoch,
        accepted_ms: now_ms,
        body: sealed.payload.into(),
        recipients: sealed
            .keys
            .into_iter()
            .map(|(device, sealed_key)| Recipient { device, sealed_key: sealed_key.into() })
            .collect(),
    })
}
