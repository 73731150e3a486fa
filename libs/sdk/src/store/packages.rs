//! KeyPackages whose time is over. Who has the private keys of one opens every Welcome to it that was recorded, and so reads
//! the epoch in which this device came in. openmls deletes them when the package is used, unless it is one of last resort,
//! and keeps those for ever that are never used.

use openmls_sqlite_storage::Codec as _;
use qpc_crypto::mls::key_package::StoredKeyPackage;
use rusqlite::params;

use super::{MessagePack, Tx};
use crate::Error;

/// Time for which a Welcome may be on its way, seconds: what the server keeps a mailbox entry for, and a day.
const WELCOME_S: u64 = 31 * 24 * 60 * 60;

impl Tx<'_> {
    /// Forgets packages that no Welcome can be for any more: those that expired, and those of last resort in whose place
    /// another one was put, each long enough ago.
    pub(super) fn forget_packages(&self) -> Result<(), Error> {
        let before_s = (self.now_ms() / 1000).saturating_sub(WELCOME_S);
        let mut statement = self.sql.prepare_cached("SELECT rowid, key_package FROM openmls_key_packages")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let mut packages = Vec::new();
        for row in rows {
            let (row, bytes) = row?;
            let package: StoredKeyPackage =
                MessagePack::from_slice(&bytes).map_err(|_| Error::Corrupt("a key package of the store"))?;
            packages.push((row, package.suite_id(), package.is_last_resort(), package.lifetime_s()));
        }
        for (row, suite, last_resort, lifetime) in &packages {
            let replaced = *last_resort
                && packages.iter().any(|(_, other, in_place, since)| {
                    other == suite && *in_place && since.start > lifetime.start && since.start < before_s
                });
            if replaced || lifetime.end < before_s {
                self.sql.execute("DELETE FROM openmls_key_packages WHERE rowid = ?1", params![row])?;
            }
        }
        Ok(())
    }
}
