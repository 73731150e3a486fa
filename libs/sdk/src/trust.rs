//! Whether a person is who the directory says: safety numbers, the mark that somebody has compared them, and what happens
//! when another account key is shown under a known name.
//!
//! The key under which a name was met first is pinned. Whoever shows another one later, the directory or another device of
//! this account, changes nothing: the call fails, [`Event::IdentityChanged`] tells of it, the conversation says
//! [`PeerTrust::Changed`], and what is written to it waits in the outbox. A person then accepts the new key or keeps the old
//! one. What was written before goes to the account that it was written to: nothing is addressed anew.

use std::sync::Arc;

use qpc_crypto::{SafetyNumber, account_id};
use qpc_wire::AccountId;

use crate::{Error, client::Inner, directory, own};

/// How far an account is believed to be the person of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerTrust {
    /// The directory says so, and said nothing else before.
    #[default]
    Unverified,
    /// A person has compared safety numbers.
    Verified,
    /// Another key is shown under the name, and nobody has decided what to make of it.
    Changed,
    /// It had the name until another key was accepted under it.
    Former,
}

/// Whose key stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The name.
    pub username: String,
    /// The account whose key is pinned.
    pub account: AccountId,
    /// How far that is believed.
    pub trust: PeerTrust,
    /// What both sides compare.
    pub number: SafetyNumber,
    /// The account whose key was shown instead, and what both sides compare of that.
    pub other: Option<(AccountId, SafetyNumber)>,
}

/// What was read off the other's screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SafetyProof {
    /// The 60 digits.
    Digits(String),
    /// The bytes of the QR code.
    Scan(Vec<u8>),
}

/// What is known of a name. While there is a connection the directory is asked whether it still says the same.
pub(crate) async fn peer(inner: &Inner, username: &str) -> Result<PeerIdentity, Error> {
    if username == inner.identity.username {
        return Err(Error::OwnName);
    }
    let name = username.to_owned();
    let known = inner.store.run(move |tx| Ok(tx.peer(&name)?.is_some())).await?;
    match inner.connection() {
        Ok(connection) => match directory::resolve(inner, &connection, username).await {
            // That is what is to be shown.
            Err(Error::IdentityChanged(_)) => {}
            // What is pinned can be compared all the same.
            Err(error) if known => tracing::info!(%error, "the directory was not asked"),
            resolved => drop(resolved?),
        },
        Err(error) if !known => return Err(error),
        Err(_) => {}
    }
    let (name, identity) = (username.to_owned(), inner.identity.clone());
    let describe = move |tx: &crate::store::Tx<'_>| {
        let peer = tx.peer(&name)?.ok_or_else(|| Error::UnknownUser(name.clone()))?;
        let own = identity.account_key.public();
        let number = |key: &[u8; 32]| SafetyNumber::new(&own, key);
        Ok(PeerIdentity {
            username: name,
            account: account_id(&peer.key),
            trust: peer.trust,
            number: number(&peer.key),
            other: peer.other.map(|key| (account_id(&key), number(&key))),
        })
    };
    inner.store.run(describe).await
}

/// Marks the pinned key of a name as compared, if what was read off proves it.
pub(crate) async fn verify(inner: &Arc<Inner>, username: &str, proof: &SafetyProof) -> Result<(), Error> {
    let peer = peer(inner, username).await?;
    match proof {
        SafetyProof::Digits(read) => peer.number.check_digits(read)?,
        SafetyProof::Scan(scanned) => peer.number.check_scan(scanned)?,
    }
    let name = username.to_owned();
    let pinned = inner.store.run(move |tx| Ok(tx.peer(&name)?.map(|pinned| pinned.key))).await?;
    // The number was of this key and no other.
    let key = pinned.filter(|key| account_id(key) == peer.account);
    let key = key.ok_or_else(|| Error::IdentityChanged(username.to_owned()))?;
    own::share(inner, own::verified_key(username), key.to_vec()).await
}

/// Takes the mark away.
pub(crate) async fn unverify(inner: &Arc<Inner>, username: &str) -> Result<(), Error> {
    own::share(inner, own::verified_key(username), Vec::new()).await
}

/// The person under a name has another key, says the user: it is pinned from now on, and not verified.
pub(crate) async fn accept(inner: &Arc<Inner>, username: &str) -> Result<(), Error> {
    let name = username.to_owned();
    let accepted = move |tx: &crate::store::Tx<'_>| {
        let other = tx.peer(&name)?.and_then(|peer| peer.other).ok_or(Error::NothingToAccept(name.clone()))?;
        tx.accept_peer(&name, &other)?;
        Ok((other, tx.synced_at_ms(&own::verified_key(&name))? > 0))
    };
    let (key, marked) = inner.store.run(accepted).await?;
    if marked {
        unverify(inner, username).await?;
    }
    own::share(inner, own::accepted_key(username), key.to_vec()).await
}

/// The other key that was shown is not that person's, says the user: what was written goes on to the pinned one.
pub(crate) async fn keep(inner: &Inner, username: &str) -> Result<(), Error> {
    let name = username.to_owned();
    if !inner.store.run(move |tx| tx.refuse_other(&name)).await? {
        return Err(Error::NothingToAccept(username.to_owned()));
    }
    inner.outbox_wake.notify_one();
    Ok(())
}
