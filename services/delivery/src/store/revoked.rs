//! Devices that were revoked, and the uses of invites.

use std::collections::BTreeSet;

use qpc_chassis::db::{DbError, Row, Tx};
use qpc_wire::{DeviceId, GroupId};

use super::Store;

// One statement for any number of devices. Neither engine takes a list in a form that the other understands, but both can
// cut a string.
const REVOKED: &str = "WITH RECURSIVE cut (i) AS (SELECT 1 UNION ALL SELECT i + 16 FROM cut WHERE i + 16 <= LENGTH($1)) \
     SELECT r.device FROM cut JOIN revoked_device r ON r.device = SUBSTR($1, cut.i, 16)";

fn joined(devices: &[DeviceId]) -> Vec<u8> {
    devices.iter().flat_map(|device| device.0).collect()
}

fn ids(rows: &[Row]) -> Result<BTreeSet<DeviceId>, DbError> {
    rows.iter().map(|row| Ok(DeviceId(row.array(0)?))).collect()
}

impl Store {
    /// Gives `device` nothing more of any group and keeps it out of any other. Its leaves stay until the members remove them;
    /// until then receipts name it, because the members cannot know better, and its rows stay without a role.
    pub async fn revoke(&self, device: &DeviceId, now_ms: u64) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        let sql = "INSERT INTO revoked_device (device, at_ms) VALUES ($1, $2) ON CONFLICT (device) DO NOTHING";
        tx.execute(sql, &[device.into(), now_ms.into()]).await?;
        tx.execute("UPDATE group_member SET role = 0 WHERE device = $1", &[device.into()]).await?;
        tx.execute("DELETE FROM staged WHERE device = $1", &[device.into()]).await?;
        tx.commit().await
    }

    /// Whether `device` was revoked.
    pub async fn is_revoked(&self, device: &DeviceId) -> Result<bool, DbError> {
        Ok(self.db.row("SELECT 1 FROM revoked_device WHERE device = $1", &[device.into()]).await?.is_some())
    }

    /// Those of `devices` that were revoked.
    pub async fn revoked_of(tx: &mut Tx, devices: &[DeviceId]) -> Result<BTreeSet<DeviceId>, DbError> {
        ids(&tx.rows(REVOKED, &[(&joined(devices)).into()]).await?)
    }

    /// [`Self::revoked_of`] outside a transaction.
    pub async fn revoked_among(&self, devices: &[DeviceId]) -> Result<BTreeSet<DeviceId>, DbError> {
        if devices.is_empty() {
            return Ok(BTreeSet::new());
        }
        ids(&self.db.rows(REVOKED, &[(&joined(devices)).into()]).await?)
    }

    /// Counts a use of an invite; returns the uses with this one.
    pub async fn use_invite(tx: &mut Tx, group: &GroupId, key: &[u8; 32]) -> Result<u64, DbError> {
        let row = tx
            .row(
                "INSERT INTO invite_use (group_id, invite_key, uses) VALUES ($1, $2, 1) \
                 ON CONFLICT (group_id, invite_key) DO UPDATE SET uses = invite_use.uses + 1 RETURNING uses",
                &[group.into(), key.as_slice().into()],
            )
            .await?;
        row.map_or(Err(DbError::Damaged("use of an invite")), |row| row.uint(0))
    }

    /// Uses of an invite so far.
    pub async fn invite_uses(&self, group: &GroupId, key: &[u8; 32]) -> Result<u64, DbError> {
        let sql = "SELECT uses FROM invite_use WHERE group_id = $1 AND invite_key = $2";
        self.db.row(sql, &[group.into(), key.as_slice().into()]).await?.map_or(Ok(0), |row| row.uint(0))
    }

    /// Forgets the uses of invites that the policy does not know any more.
    pub async fn keep_invites(tx: &mut Tx, group: &GroupId, kept: impl Fn(&[u8; 32]) -> bool) -> Result<(), DbError> {
        let rows = tx.rows("SELECT invite_key FROM invite_use WHERE group_id = $1", &[group.into()]).await?;
        for row in rows {
            let key: [u8; 32] = row.array(0)?;
            if !kept(&key) {
                let sql = "DELETE FROM invite_use WHERE group_id = $1 AND invite_key = $2";
                tx.execute(sql, &[group.into(), key.as_slice().into()]).await?;
            }
        }
        Ok(())
    }
}
