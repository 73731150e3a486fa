//! Direct conversations: an MLS group of all devices of two accounts.

use std::{sync::Arc, time::Duration};

use qpc_crypto::{Policy, Suite};
use qpc_wire::GroupId;

use crate::{
    Error, Event, PeerTrust,
    client::Inner,
    directory,
    groups::{self, Founded, Founding},
    heal, packages,
    store::Tx,
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
    let account = person.account;
    // Brings a Welcome that is waiting.
    sync::pull(inner, &connection).await?;
    if let Some((id, true)) = inner.store.run(move |tx| tx.conversation_with(account)).await? {
        return Ok(id);
    }
    let mut devices = person.devices.clone();
    devices.extend(directory::own_other_devices(inner, &connection).await?);
    let people = [(username.to_owned(), person)];
    let packages = packages::fetch(inner, &connection, &devices, &people, suite).await?;
    let id = GroupId(inner.runtime.random());
    match groups::found(
        inner,
        &connection,
        id,
        Founding::Begin { policy: Policy::direct(id), naming: None },
        packages,
        suite,
    )
    .await?
    {
        Founded::Here => {
            inner.events.emit(Event::ConversationAdded(id));
            Ok(id)
        }
        Founded::Exists(existing) => await_welcome(inner, &connection, existing).await,
        Founded::Late => Err(Error::TooManyRaces),
    }
}

/// A conversation that needs no server to be found.
async fn known(inner: &Inner, username: &str) -> Result<Option<GroupId>, Error> {
    let username = username.to_owned();
    inner
        .store
        .run(move |tx| {
            let Some(account) = tx.pinned_account(&username)? else { return Ok(None) };
            if tx.peer_trust(account)? == PeerTrust::Changed {
                return Err(Error::IdentityChanged(username));
            }
            Ok(tx.conversation_with(account)?.and_then(|(id, active)| active.then_some(id)))
        })
        .await
}

/// The other side was first, and its Welcome is in our mailbox; or it was for the account's other devices alone, and this
/// one joins by itself.
async fn await_welcome(inner: &Inner, connection: &Connection, group: GroupId) -> Result<GroupId, Error> {
    for _ in 0..WELCOME_TRIES {
        sync::pull(inner, connection).await?;
        let known = move |tx: &Tx<'_>| {
            let Some(id) = tx.conversation_of(group)? else { return Ok(None) };
            Ok(tx.conversation(id)?.filter(|info| info.active))
        };
        if let Some(info) = inner.store.run(known).await? {
            return Ok(info.id);
        }
        tokio::time::sleep(WELCOME_PAUSE).await;
    }
    let _turn = inner.turn.lock().await;
    let id = heal::join(inner, connection, group, None).await.map_err(|_| Error::NotWelcomed(group))?;
    inner.events.emit(Event::ConversationAdded(id));
    Ok(id)
}
