//! Direct conversations: an MLS group of all devices of two accounts.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use qpc_crypto::{Conversation, DeviceCertificate, Suite, mls::key_package};
use qpc_wire::{
    AccountId, GroupId,
    limits::MAX_FETCH_DEVICES,
    methods::FetchKeyPackage,
    v1::{self, GroupKind},
};

use crate::{
    Error, Event,
    client::Inner,
    commit::{self, Outcome},
    directory, retry,
    store::{ConversationState, Pending, PendingKind},
    sync,
    transport::Connection,
};

/// Looks into the mailbox for a Welcome that the server says is there.
const WELCOME_TRIES: u32 = 5;
/// Pause between two of them.
const WELCOME_PAUSE: Duration = Duration::from_millis(200);

/// The conversation with `username`, founded if there is none.
pub(crate) async fn dm(inner: &Arc<Inner>, username: &str, suite: Suite) -> Result<GroupId, Error> {
    if username == inner.identity.username {
        return Err(Error::OwnName);
    }
    if let Some(known) = known(inner, username).await? {
        return Ok(known);
    }
    let connection = inner.connection()?;
    let person = directory::resolve(inner, &connection, username).await?;
    let _turn = inner.turn.lock().await;
    // Answers what is open from an earlier try, and brings a Welcome that is waiting.
    sync::pull_in_turn(inner, &connection).await?;
    if let Some((id, true)) = inner.store.run(move |tx| tx.conversation_with(person.account)).await? {
        return Ok(id);
    }
    let others = directory::own_other_devices(inner, &connection).await?;
    let packages = fetch_packages(inner, &connection, username, &person.devices, &others, suite).await?;
    let pending = found(inner, person.account, packages, suite).await?;
    let own = pending.conversation;
    match commit::submit(inner, &connection, pending).await? {
        Outcome::Accepted(_) => {
            inner.events.emit(Event::ConversationAdded(own));
            Ok(own)
        }
        Outcome::Exists(id) => await_welcome(inner, &connection, id).await,
        Outcome::Late => Err(Error::TooManyRaces),
    }
}

/// A conversation that needs no server to be found.
async fn known(inner: &Inner, username: &str) -> Result<Option<GroupId>, Error> {
    let username = username.to_owned();
    inner
        .store
        .run(move |tx| {
            let Some(account) = tx.pinned_account(&username)? else { return Ok(None) };
            Ok(tx.conversation_with(account)?.and_then(|(id, active)| active.then_some(id)))
        })
        .await
}

/// One package for each device, of the devices that have any; at least one of the peer's must.
async fn fetch_packages(
    inner: &Inner,
    connection: &Connection,
    username: &str,
    peers: &[DeviceCertificate],
    own: &[DeviceCertificate],
    suite: Suite,
) -> Result<Vec<Vec<u8>>, Error> {
    let wanted: Vec<&DeviceCertificate> = peers.iter().chain(own).take(MAX_FETCH_DEVICES).collect();
    let request = v1::FetchKeyPackageRequest {
        idempotency_key: inner.idempotency_key().to_bytes(),
        suite: suite.id().into(),
        device_ids: wanted.iter().map(|certificate| certificate.device_id().to_bytes()).collect(),
    };
    let fetched = retry::call::<FetchKeyPackage>(&inner.runtime, connection, &request).await?;
    let mut packages = Vec::with_capacity(fetched.key_packages.len());
    let mut reached = Vec::with_capacity(fetched.key_packages.len());
    for package in fetched.key_packages {
        let valid = key_package::validate(&package.key_package)?;
        let device = valid.certificate.device_id();
        // The certificate in the package may be a later one of the same device; the keys are what counts.
        let asked_for = wanted.iter().any(|certificate| {
            certificate.device_key() == valid.certificate.device_key()
                && certificate.account_key() == valid.certificate.account_key()
        });
        if !asked_for || valid.suite != suite || package.device_id != device.as_ref() || reached.contains(&device) {
            return Err(Error::WrongKeyPackage(username.to_owned()));
        }
        reached.push(device);
        packages.push(package.key_package.to_vec());
    }
    if !peers.iter().any(|peer| reached.contains(&peer.device_id())) {
        return Err(Error::NoKeyPackage { username: username.to_owned(), suite });
    }
    Ok(packages)
}

/// Makes the group and the commit that adds everybody, and keeps both with the request that will carry them.
async fn found(inner: &Inner, peer: AccountId, packages: Vec<Vec<u8>>, suite: Suite) -> Result<Pending, Error> {
    let (identity, key, id) = (inner.identity.clone(), inner.idempotency_key(), GroupId(inner.runtime.random()));
    inner
        .store
        .run(move |tx| {
            let mls = tx.mls();
            let mut group = Conversation::create(&mls, &identity.device_key, &identity.certificate, suite, id)?;
            let group_info = group.group_info(&mls, &identity.device_key)?;
            let made = group.add(&mls, &identity.device_key, &packages)?;
            let request = v1::CreateGroupRequest {
                idempotency_key: key.to_bytes(),
                kind: GroupKind::Direct.into(),
                group_info: group_info.into(),
                first_commit: Some(v1::CommitBundle { commit: made.commit.into(), welcome: made.welcome.into() }),
            };
            let pending = Pending { conversation: id, kind: PendingKind::Create, request: request.encode_to_vec() };
            tx.put_conversation(&group, peer, ConversationState::Creating)?;
            tx.insert_pending(&pending)?;
            Ok(pending)
        })
        .await
}

/// The other side was first, and its Welcome is in our mailbox.
async fn await_welcome(inner: &Inner, connection: &Connection, id: GroupId) -> Result<GroupId, Error> {
    for _ in 0..WELCOME_TRIES {
        sync::pull_in_turn(inner, connection).await?;
        if inner.store.run(move |tx| tx.conversation(id)).await?.is_some() {
            return Ok(id);
        }
        tokio::time::sleep(WELCOME_PAUSE).await;
    }
    Err(Error::NotWelcomed(id))
}
