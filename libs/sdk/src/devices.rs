//! The devices of this account: their names, and that all of them, and none that is revoked, are in every group.

use std::{collections::BTreeSet, sync::Arc};

use qpc_crypto::{AccountKey, Conversation, DeviceCertificate, Policy, aead, kdf};
use qpc_wire::{
    DeviceId, GroupId,
    methods::{ListDevices, RenameDevice, RevokeDevice},
    v1,
};

use crate::{
    Error, Event,
    client::Inner,
    commit::{self, Plan},
    directory,
    groups::{self, Founded, Founding},
    heal, packages, retry,
    store::{ChoreKind, NOTES, Tx},
    sync,
    transport::Connection,
};

/// Longest name of a device, bytes of UTF-8.
const MAX_NAME: usize = 64;
const NAME_LABEL: &[u8] = b"qpc device name v1";
/// The conversation under which chores of the account itself stand: the notes have none of their own.
pub(crate) const ACCOUNT: GroupId = NOTES;

/// A device of this account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// What a person calls it; the server cannot read that.
    pub name: Option<String>,
    /// Unix milliseconds.
    pub added_at_ms: u64,
    /// Whether it is this one.
    pub is_this: bool,
}

/// All devices that are not revoked.
pub(crate) async fn list(inner: &Inner) -> Result<Vec<Device>, Error> {
    let connection = inner.connection()?;
    let listed = retry::call::<ListDevices>(&inner.runtime, &connection, &v1::ListDevicesRequest {}).await?;
    let key = name_key(&inner.identity.account_key);
    listed
        .devices
        .into_iter()
        .map(|device| {
            let id = DeviceId::try_from(&device.device_id)?;
            let name = aead::open(&key, id.as_ref(), &device.name).ok();
            Ok(Device {
                id,
                // A name that does not open is none: it is nothing but a name.
                name: name.and_then(|name| String::from_utf8(name).ok()).map(|name| name.trim_end().to_owned()),
                added_at_ms: device.added_at_ms,
                is_this: id == inner.identity.device(),
            })
        })
        .collect()
}

/// Gives a device a name.
pub(crate) async fn rename(inner: &Inner, device: DeviceId, name: &str) -> Result<(), Error> {
    if name.len() > MAX_NAME {
        return Err(Error::TextTooLong { len: name.len(), max: MAX_NAME });
    }
    let connection = inner.connection()?;
    let key = name_key(&inner.identity.account_key);
    // Padded, so that the server does not even learn how long it is.
    let mut padded = name.as_bytes().to_vec();
    padded.resize(MAX_NAME, b' ');
    let sealed = aead::seal(&mut inner.runtime.rng(), &key, device.as_ref(), &padded);
    let request = v1::RenameDeviceRequest {
        idempotency_key: inner.idempotency_key().to_bytes(),
        device_id: device.to_bytes(),
        name: sealed.into(),
    };
    retry::call::<RenameDevice>(&inner.runtime, &connection, &request).await?;
    Ok(())
}

/// Revokes another device: its sessions end at once, and the next commit of every group removes it.
pub(crate) async fn revoke(inner: &Arc<Inner>, device: DeviceId) -> Result<(), Error> {
    if device == inner.identity.device() {
        return Err(Error::NotAllowed("revoke the device in use"));
    }
    let connection = inner.connection()?;
    let request =
        v1::RevokeDeviceRequest { idempotency_key: inner.idempotency_key().to_bytes(), device_id: device.to_bytes() };
    retry::call::<RevokeDevice>(&inner.runtime, &connection, &request).await?;
    inner
        .store
        .run(move |tx| {
            tx.put_revoked(device)?;
            for conversation in tx.active_conversations()? {
                tx.put_chore(conversation, ChoreKind::Devices, 0)?;
            }
            Ok(())
        })
        .await?;
    inner.chore_wake.notify_one();
    Ok(())
}

/// Revokes all but this one.
pub(crate) async fn revoke_others(inner: &Arc<Inner>) -> Result<Vec<DeviceId>, Error> {
    let others: Vec<_> = list(inner).await?.into_iter().filter(|device| !device.is_this).collect();
    for device in &others {
        revoke(inner, device.id).await?;
    }
    Ok(others.into_iter().map(|device| device.id).collect())
}

fn name_key(account: &AccountKey) -> [u8; 32] {
    kdf::expand(account.to_bytes().as_ref(), NAME_LABEL)
}

/// Brings this account's devices in a group up to date; for the account itself, the group of its devices and then all
/// others. Tells whether all devices are there.
pub(crate) async fn reconcile(
    inner: &Arc<Inner>,
    connection: &Connection,
    conversation: GroupId,
) -> Result<bool, Error> {
    if conversation == ACCOUNT {
        let others = directory::own_other_devices(inner, connection).await?;
        return reconcile_account(inner, connection, &others).await;
    }
    let (own, account) = (inner.identity.device(), inner.identity.account());
    // Before the list is asked for: whoever another device lets in meanwhile is not on it.
    let (suite, present, is_own) = inner
        .store
        .run(move |tx| {
            let group = tx.load_current(conversation)?;
            let present = group.members().into_iter().filter(|member| member.account_id() == account);
            let present: BTreeSet<_> = present.map(|member| member.device_id()).collect();
            Ok((group.suite(), present, tx.own_conversation()? == Some(conversation)))
        })
        .await?;
    let others = directory::own_other_devices(inner, connection).await?;
    let missing: Vec<_> = others.iter().filter(|device| !present.contains(&device.device_id())).cloned().collect();
    let mut complete = true;
    if !missing.is_empty() {
        // A device that has just logged in has none yet.
        let packages = packages::fetch(inner, connection, &missing, &[], suite).await?;
        complete = packages.len() == missing.len();
        let new: Vec<DeviceId> = packages.iter().map(|(device, _)| *device).collect();
        groups::add_packages(inner, connection, conversation, packages).await?;
        if is_own && !new.is_empty() {
            inner.store.run(|tx| tx.put_chore(ACCOUNT, ChoreKind::History, 0)).await?;
            new.into_iter().for_each(|device| inner.events.emit(Event::DeviceLinked(device)));
        }
    }
    let current: BTreeSet<DeviceId> = others.iter().map(DeviceCertificate::device_id).collect();
    let stale: BTreeSet<DeviceId> =
        present.into_iter().filter(|device| *device != own && !current.contains(device)).collect();
    if stale.is_empty() {
        return Ok(complete);
    }
    let gone = move |_: &Tx<'_>, group: &Conversation| {
        let members = group.members();
        let remove: Vec<_> =
            members.iter().map(DeviceCertificate::device_id).filter(|device| stale.contains(device)).collect();
        Ok((!remove.is_empty()).then(|| Plan { remove, ..Plan::default() }))
    };
    commit::change(inner, connection, conversation, Arc::new(gone)).await?;
    Ok(complete)
}

/// Sees to it that the devices of this account have a group, and has every conversation looked after. A device that is new
/// in the group of the own ones gets the history.
async fn reconcile_account(
    inner: &Arc<Inner>,
    connection: &Connection,
    others: &[DeviceCertificate],
) -> Result<bool, Error> {
    if others.is_empty() {
        return Ok(true);
    }
    let own = match inner.store.run(|tx| tx.own_conversation()).await? {
        Some(own) => own,
        None => match found_own(inner, connection, others).await? {
            Some(own) => own,
            // The other devices have never been here; there is nobody to talk to yet.
            None => return Ok(false),
        },
    };
    let complete = reconcile_own(inner, connection, own).await?;
    let all = |tx: &Tx<'_>| {
        let conversations = tx.active_conversations()?;
        conversations.into_iter().try_for_each(|id| tx.put_chore(id, ChoreKind::Devices, 0))
    };
    inner.store.run(all).await?;
    Ok(complete)
}

/// Lets a device in that was given the account, as soon as it has logged in. Tells whether one was.
pub(crate) async fn let_in(inner: &Arc<Inner>, connection: &Connection) -> Result<bool, Error> {
    let others = directory::own_other_devices(inner, connection).await?;
    let known = match inner.store.run(|tx| tx.own_conversation()).await? {
        Some(own) => own_devices(inner, own).await?,
        None => BTreeSet::new(),
    };
    if others.iter().all(|device| known.contains(&device.device_id())) {
        return Ok(false);
    }
    reconcile_account(inner, connection, &others).await
}

async fn reconcile_own(inner: &Arc<Inner>, connection: &Connection, own: GroupId) -> Result<bool, Error> {
    // Not reconcile() of reconcile(): futures that contain themselves have no size.
    Box::pin(reconcile(inner, connection, own)).await
}

async fn own_devices(inner: &Inner, own: GroupId) -> Result<BTreeSet<DeviceId>, Error> {
    let devices = move |tx: &Tx<'_>| {
        Ok(tx.load_current(own)?.members().iter().map(DeviceCertificate::device_id).collect::<BTreeSet<_>>())
    };
    inner.store.run(devices).await
}

/// Founds the group of this account's devices, or comes into the one that there is. None while no other device can be
/// reached.
async fn found_own(
    inner: &Arc<Inner>,
    connection: &Connection,
    others: &[DeviceCertificate],
) -> Result<Option<GroupId>, Error> {
    let id = GroupId(inner.runtime.random());
    let suite = inner.suite;
    let packages = packages::fetch(inner, connection, others, &[], suite).await?;
    let new: Vec<DeviceId> = packages.iter().map(|(device, _)| *device).collect();
    if packages.is_empty() {
        return Ok(None);
    }
    match groups::found(
        inner,
        connection,
        id,
        Founding::Begin { policy: Policy::own(id), naming: None },
        packages,
        suite,
    )
    .await?
    {
        Founded::Here => {
            inner.store.run(|tx| tx.put_chore(ACCOUNT, ChoreKind::History, 0)).await?;
            new.into_iter().for_each(|device| inner.events.emit(Event::DeviceLinked(device)));
            Ok(Some(id))
        }
        Founded::Exists(group) => {
            let _turn = inner.turn.lock().await;
            sync::pull_in_turn(inner, connection).await?;
            // Perhaps its Welcome has come meanwhile.
            match inner.store.run(|tx| tx.own_conversation()).await? {
                Some(own) => Ok(Some(own)),
                None => heal::join(inner, connection, group, None).await.map(Some),
            }
        }
        Founded::Late => Err(Error::TooManyRaces),
    }
}
