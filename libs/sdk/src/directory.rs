//! Who people are: the server's directory, believed only as far as keys and signatures go.

use std::collections::HashSet;

use bytes::Bytes;
use qpc_crypto::{DeviceCertificate, account_id};
use qpc_wire::{
    AccountId, Code,
    limits::is_username,
    methods::{ListDevices, ResolveUser},
    v1,
};

use crate::{
    Error, Event,
    client::Inner,
    retry,
    store::{Shown, Tx},
    transport::Connection,
};

/// Claims that did not hold, remembered so that each message of such an account is not another lookup.
const MAX_REFUSED_CLAIMS: usize = 1024;

/// A user whose certificates have been verified and whose account key is pinned.
pub(crate) struct Person {
    pub(crate) account: AccountId,
    pub(crate) devices: Vec<DeviceCertificate>,
}

/// Accounts whose name did not hold, as they say it themselves and as others do: each is one lookup.
#[derive(Default)]
pub(crate) struct RefusedClaims(std::sync::Mutex<HashSet<(AccountId, Source)>>);

/// Who says what the name of an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// It does.
    Itself,
    /// Somebody else: that it does not hold says nothing of the account.
    Others,
}

impl RefusedClaims {
    fn contains(&self, account: AccountId, source: Source) -> bool {
        let refused = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        refused.contains(&(account, source))
    }

    fn insert(&self, account: AccountId, source: Source) {
        let mut refused = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Rather another lookup than none that is remembered.
        if refused.len() >= MAX_REFUSED_CLAIMS {
            refused.clear();
        }
        refused.insert((account, source));
    }
}

/// Looks a user up, and pins the account key at the first time. Refuses another key later.
pub(crate) async fn resolve(inner: &Inner, connection: &Connection, username: &str) -> Result<Person, Error> {
    let person = look_up(inner, connection, username).await?;
    meet(inner, username, person.key, true).await?;
    Ok(Person { account: person.account, devices: person.devices })
}

/// Compares a key with the one that the name is known by; a name that is not known is pinned to it, if it is to be.
async fn meet(inner: &Inner, username: &str, key: [u8; 32], pin: bool) -> Result<(), Error> {
    let name = username.to_owned();
    let compare = move |tx: &Tx<'_>| if pin { tx.pin_peer(&name, &key) } else { tx.compare_peer(&name, &key) };
    let Shown::Other { pinned, news } = inner.store.run(compare).await? else { return Ok(()) };
    if news {
        let (username, shown) = (username.to_owned(), account_id(&key));
        tracing::warn!(%pinned, %shown, "another account key is shown under a known name");
        inner.events.emit(Event::IdentityChanged { username, pinned, shown });
    }
    Err(Error::IdentityChanged(username.to_owned()))
}

/// Whether an account has the name that it claims. If so, the name is pinned.
pub(crate) async fn confirm(
    inner: &Inner,
    connection: &Connection,
    username: &str,
    account: AccountId,
    source: Source,
) -> Result<bool, Error> {
    if !is_username(username) || inner.refused_claims.contains(account, source) {
        return Ok(false);
    }
    let found = match look_up(inner, connection, username).await {
        Err(error) if error.is_transient() => return Err(error),
        found => found,
    };
    let confirmed = match found {
        // Whoever claims it: another key under a known name is told.
        Ok(person) => {
            meet(inner, username, person.key, person.account == account).await.is_ok() && person.account == account
        }
        Err(_) => false,
    };
    if !confirmed {
        inner.refused_claims.insert(account, source);
    }
    Ok(confirmed)
}

/// Certificates of this account's other devices.
pub(crate) async fn own_other_devices(inner: &Inner, connection: &Connection) -> Result<Vec<DeviceCertificate>, Error> {
    let own = &inner.identity;
    let listed = retry::call::<ListDevices>(&inner.runtime, connection, &v1::ListDevicesRequest {}).await?;
    let certificates = listed.devices.iter().map(|device| &device.device_certificate);
    let mut devices = verified(&own.username, own.certificate.account_key(), certificates)?;
    devices.retain(|device| device.device_key() != own.certificate.device_key());
    Ok(devices)
}

struct Found {
    account: AccountId,
    key: [u8; 32],
    devices: Vec<DeviceCertificate>,
}

async fn look_up(inner: &Inner, connection: &Connection, username: &str) -> Result<Found, Error> {
    if !is_username(username) {
        return Err(Error::InvalidUsername(username.to_owned()));
    }
    let request = v1::ResolveUserRequest { username: username.to_owned() };
    let found = match retry::call::<ResolveUser>(&inner.runtime, connection, &request).await {
        Err(error) if error.code() == Some(Code::NotFound) => return Err(Error::UnknownUser(username.to_owned())),
        found => found?,
    };
    let contradiction = || Error::BadDirectory(username.to_owned());
    let key: [u8; 32] = found.account_key.as_ref().try_into().map_err(|_| contradiction())?;
    let account = AccountId::try_from(&found.account_id)?;
    if account != account_id(&key) {
        return Err(contradiction());
    }
    Ok(Found { account, key, devices: verified(username, &key, found.device_certificates.iter())? })
}

fn verified<'a>(
    username: &str,
    account_key: &[u8; 32],
    certificates: impl Iterator<Item = &'a Bytes>,
) -> Result<Vec<DeviceCertificate>, Error> {
    certificates
        .map(|bytes| match DeviceCertificate::parse(bytes) {
            Ok(certificate) if certificate.account_key() == account_key => Ok(certificate),
            _ => Err(Error::BadDirectory(username.to_owned())),
        })
        .collect()
}
