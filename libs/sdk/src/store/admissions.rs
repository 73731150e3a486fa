//! Devices that are still to be added to a group.

use qpc_wire::{DeviceId, GroupId};
use rusqlite::params;

use super::Tx;
use crate::Error;

impl Tx<'_> {
    pub(crate) fn put_admissions(&self, conversation: GroupId, packages: &[(DeviceId, Vec<u8>)]) -> Result<(), Error> {
        let mut statement = self.sql.prepare_cached(
            "INSERT INTO admissions (conversation, device, package) VALUES (?1, ?2, ?3)
             ON CONFLICT (conversation, device) DO UPDATE SET package = excluded.package",
        )?;
        for (device, package) in packages {
            statement.execute(params![conversation.as_ref(), device.as_ref(), package])?;
        }
        Ok(())
    }

    /// At most `limit` of them.
    pub(crate) fn admissions(&self, conversation: GroupId, limit: usize) -> Result<Vec<(DeviceId, Vec<u8>)>, Error> {
        let mut statement =
            self.sql.prepare_cached("SELECT device, package FROM admissions WHERE conversation = ?1 LIMIT ?2")?;
        let rows = statement
            .query_map(params![conversation.as_ref(), limit], |row| Ok((DeviceId(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn remove_admissions(&self, conversation: GroupId, devices: &[DeviceId]) -> Result<(), Error> {
        let mut statement =
            self.sql.prepare_cached("DELETE FROM admissions WHERE conversation = ?1 AND device = ?2")?;
        for device in devices {
            statement.execute(params![conversation.as_ref(), device.as_ref()])?;
        }
        Ok(())
    }

    pub(crate) fn clear_admissions(&self, conversation: GroupId) -> Result<(), Error> {
        self.sql.execute("DELETE FROM admissions WHERE conversation = ?1", [conversation.as_ref()])?;
        Ok(())
    }
}
