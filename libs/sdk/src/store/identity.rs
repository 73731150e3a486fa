//! Who this device is, its session, and the server it has met.

use qpc_crypto::{AccountKey, DeviceCertificate, DeviceKey, QueueKey, aead};
use qpc_wire::{AccountId, DeviceId};
use rusqlite::{OptionalExtension as _, params};
use zeroize::Zeroizing;

use super::Tx;
use crate::Error;

/// The keys of this device and its account. No `Debug` on purpose.
pub(crate) struct Identity {
    pub(crate) username: String,
    pub(crate) account_key: AccountKey,
    pub(crate) device_key: DeviceKey,
    pub(crate) queue_key: QueueKey,
    pub(crate) certificate: DeviceCertificate,
}

impl Identity {
    pub(crate) fn account(&self) -> AccountId {
        self.certificate.account_id()
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.certificate.device_id()
    }
}

impl Tx<'_> {
    pub(crate) fn identity(&self) -> Result<Option<Identity>, Error> {
        let row = self
            .sql
            .query_row("SELECT username, account_key, device_key, queue_key, certificate FROM identity", [], |row| {
                let seed = |column| row.get(column).map(Zeroizing::<[u8; 32]>::new);
                Ok((row.get::<_, String>(0)?, seed(1)?, seed(2)?, seed(3)?, row.get::<_, Vec<u8>>(4)?))
            })
            .optional()?;
        let Some((username, account, device, queue, certificate)) = row else { return Ok(None) };
        Ok(Some(Identity {
            username,
            account_key: AccountKey::from_bytes(&account),
            device_key: DeviceKey::from_bytes(&device),
            queue_key: QueueKey::from_bytes(&queue),
            certificate: DeviceCertificate::parse(&certificate)?,
        }))
    }

    pub(crate) fn insert_identity(&self, identity: &Identity) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO identity (one, username, account_key, device_key, queue_key, certificate)
             VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            params![
                identity.username,
                identity.account_key.to_bytes().as_slice(),
                identity.device_key.to_bytes().as_slice(),
                identity.queue_key.to_bytes().as_slice(),
                identity.certificate.to_bytes().as_slice(),
            ],
        )?;
        Ok(())
    }

    pub(crate) fn is_registered(&self) -> Result<bool, Error> {
        Ok(self.sql.query_row("SELECT registered FROM identity", [], |row| row.get(0))?)
    }

    pub(crate) fn set_registered(&self) -> Result<(), Error> {
        self.sql.execute("UPDATE identity SET registered = 1", [])?;
        Ok(())
    }

    /// Whether the server is still to be given the password of this store.
    pub(crate) fn is_resetting(&self) -> Result<bool, Error> {
        Ok(self.sql.query_row("SELECT resetting FROM identity", [], |row| row.get(0))?)
    }

    pub(crate) fn set_resetting(&self, resetting: bool) -> Result<(), Error> {
        self.sql.execute("UPDATE identity SET resetting = ?1", [resetting])?;
        Ok(())
    }

    /// The session token, unless it has expired by now.
    pub(crate) fn session_token(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let sealed: Option<Vec<u8>> = self
            .sql
            .query_row("SELECT sealed_token FROM session WHERE expires_at_ms > ?1", [self.now_ms()], |row| row.get(0))
            .optional()?;
        let open = |sealed: Vec<u8>| aead::open(self.token_key, b"session", &sealed).map(Zeroizing::new);
        // One that does not open is as good as none: there will be a new login.
        Ok(sealed.and_then(|sealed| open(sealed).ok()))
    }

    pub(crate) fn set_session(&self, token: &[u8], expires_at_ms: u64) -> Result<(), Error> {
        let sealed = aead::seal(&mut self.runtime.rng(), self.token_key, b"session", token);
        self.sql.execute(
            "INSERT INTO session (one, sealed_token, expires_at_ms) VALUES (1, ?1, ?2)
             ON CONFLICT (one) DO UPDATE SET sealed_token = excluded.sealed_token, expires_at_ms = excluded.expires_at_ms",
            params![sealed, expires_at_ms],
        )?;
        Ok(())
    }

    pub(crate) fn forget_session(&self) -> Result<(), Error> {
        self.sql.execute("DELETE FROM session", [])?;
        Ok(())
    }

    pub(crate) fn receipt_key(&self) -> Result<Option<[u8; 32]>, Error> {
        Ok(self.sql.query_row("SELECT receipt_key FROM server", [], |row| row.get(0)).optional()?)
    }

    pub(crate) fn pin_receipt_key(&self, key: &[u8; 32]) -> Result<(), Error> {
        self.sql.execute("INSERT OR IGNORE INTO server (one, receipt_key) VALUES (1, ?1)", [key.as_slice()])?;
        Ok(())
    }

    /// This account.
    pub(crate) fn own_account(&self) -> Result<AccountId, Error> {
        Ok(self.identity()?.ok_or(Error::Corrupt("the identity"))?.account())
    }

    /// The secrets of published KeyPackages may be lost: has the stock looked at and the last resort renewed. Single-use ones
    /// cannot be taken back; each of them costs one joining from outside.
    pub(crate) fn doubt_stock(&self) -> Result<(), Error> {
        self.sql.execute("DELETE FROM published WHERE what LIKE 'key packages %' OR what LIKE 'last resort %'", [])?;
        Ok(())
    }

    /// Unix milliseconds of the last [`Self::set_published`]; 0 when there was none.
    pub(crate) fn published_at_ms(&self, what: &str) -> Result<u64, Error> {
        let found = self.sql.query_row("SELECT at_ms FROM published WHERE what = ?1", [what], |row| row.get(0));
        Ok(found.optional()?.unwrap_or_default())
    }

    pub(crate) fn set_published(&self, what: &str, now_ms: u64) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO published (what, at_ms) VALUES (?1, ?2) ON CONFLICT (what) DO UPDATE SET at_ms = ?2",
            params![what, now_ms],
        )?;
        Ok(())
    }
}
