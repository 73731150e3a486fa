//! Small things: what the devices of an account share, invites made here, devices that are revoked.

use std::collections::BTreeSet;

use qpc_wire::{DeviceId, GroupId};
use rusqlite::{OptionalExtension as _, params};

use super::Tx;
use crate::{Error, content::Synced};

impl Tx<'_> {
    /// Keeps a value unless a later one is known. Tells whether it is news.
    pub(crate) fn put_synced(&self, item: &Synced) -> Result<bool, Error> {
        let changed = self.sql.execute(
            "INSERT INTO synced (name, value, at_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms
             WHERE (excluded.at_ms, excluded.value) > (at_ms, value)",
            params![item.name, item.value, item.at_ms],
        )?;
        Ok(changed == 1)
    }

    /// When a value was given; 0 when there is none.
    pub(crate) fn synced_at_ms(&self, name: &str) -> Result<u64, Error> {
        let sql = "SELECT at_ms FROM synced WHERE name = ?1";
        Ok(self.sql.query_row(sql, [name], |row| row.get(0)).optional()?.unwrap_or_default())
    }

    /// A value, if there is one.
    pub(crate) fn synced_value(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.sql.query_row("SELECT value FROM synced WHERE name = ?1", [name], |row| row.get(0)).optional()?)
    }

    /// All values after one, by name.
    pub(crate) fn synced_after(&self, after: &str, limit: usize) -> Result<Vec<Synced>, Error> {
        let mut statement =
            self.sql.prepare_cached("SELECT name, value, at_ms FROM synced WHERE name > ?1 ORDER BY name LIMIT ?2")?;
        let rows = statement.query_map(params![after, limit], |row| {
            Ok(Synced { name: row.get(0)?, value: row.get(1)?, at_ms: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Digest of the recovery bundle that this device has brought last.
    pub(crate) fn brought(&self) -> Result<Option<[u8; 32]>, Error> {
        Ok(self.sql.query_row("SELECT brought FROM recovery", [], |row| row.get(0)).optional()?)
    }

    pub(crate) fn set_brought(&self, digest: &[u8; 32]) -> Result<(), Error> {
        self.sql.execute("INSERT OR REPLACE INTO recovery (one, brought) VALUES (1, ?1)", [digest.as_slice()])?;
        Ok(())
    }

    pub(crate) fn put_invite(&self, conversation: GroupId, key: &[u8; 32], secret: &[u8; 32]) -> Result<(), Error> {
        self.sql.execute(
            "INSERT OR REPLACE INTO invites (conversation, key, secret) VALUES (?1, ?2, ?3)",
            params![conversation.as_ref(), key.as_slice(), secret.as_slice()],
        )?;
        Ok(())
    }

    /// The secret of an invite that was made here.
    pub(crate) fn invite_secret(&self, conversation: GroupId, key: &[u8; 32]) -> Result<Option<[u8; 32]>, Error> {
        let sql = "SELECT secret FROM invites WHERE conversation = ?1 AND key = ?2";
        let values = params![conversation.as_ref(), key.as_slice()];
        Ok(self.sql.query_row(sql, values, |row| row.get(0)).optional()?)
    }

    pub(crate) fn delete_invite(&self, conversation: GroupId, key: &[u8; 32]) -> Result<(), Error> {
        let sql = "DELETE FROM invites WHERE conversation = ?1 AND key = ?2";
        self.sql.execute(sql, params![conversation.as_ref(), key.as_slice()])?;
        Ok(())
    }

    pub(crate) fn put_revoked(&self, device: DeviceId) -> Result<(), Error> {
        self.sql.execute("INSERT OR IGNORE INTO revoked (device) VALUES (?1)", [device.as_ref()])?;
        Ok(())
    }

    /// All devices known to be revoked. One question instead of one for each member of a group.
    pub(crate) fn revoked(&self) -> Result<BTreeSet<DeviceId>, Error> {
        let mut statement = self.sql.prepare_cached("SELECT device FROM revoked")?;
        let rows = statement.query_map([], |row| row.get(0).map(DeviceId))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
