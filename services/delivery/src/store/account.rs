//! What is kept of an account as such, to be told or deleted.

use qpc_chassis::db::DbError;
use qpc_wire::{
    AccountId, DeviceId, GroupId,
    v1::{GroupReport, MailboxReport},
};

use super::Store;
use crate::error::Error;

/// Groups of one report.
const MAX_GROUPS: u64 = 10_000;

impl Store {
    /// Keeps of the memberships of a revoked device that there is a leaf, and no longer whose.
    pub async fn disown(&self, device: &DeviceId) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        let sql = "UPDATE group_member SET account = $2, role = 0 WHERE device = $1";
        tx.execute(sql, &[device.into(), (&AccountId([0; AccountId::LEN])).into()]).await?;
        tx.commit().await
    }

    /// Deletes the group of an account's own devices, and that it had direct conversations.
    pub async fn forget_account(&self, account: &AccountId) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let row = tx.row("SELECT group_id FROM own_group WHERE account = $1", &[account.into()]).await?;
        if let Some(row) = row {
            let own = GroupId(row.array(0)?);
            match Self::lock_one(&mut tx, own).await {
                Ok(_) | Err(Error::NoSuchGroup) => {}
                Err(error) => return Err(error),
            }
            Self::delete_group(&mut tx, &own).await?;
        }
        tx.execute("DELETE FROM own_group WHERE account = $1", &[account.into()]).await?;
        tx.execute("DELETE FROM direct_pair WHERE low = $1 OR high = $1", &[account.into()]).await?;
        Ok(tx.commit().await?)
    }

    /// Where the mailbox of a device stands, and what waits in it.
    pub async fn report_mailbox(&self, device: &DeviceId) -> Result<MailboxReport, DbError> {
        let head = "SELECT last_seq, acked FROM mailbox_head WHERE device = $1";
        let (head, acked) = match self.db.row(head, &[device.into()]).await? {
            Some(row) => (row.uint(0)?, row.uint(1)?),
            None => (0, 0),
        };
        let waiting = "SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM mailbox_entry WHERE device = $1";
        let (entries, bytes) = match self.db.row(waiting, &[device.into()]).await? {
            Some(row) => (row.uint(0)?, row.uint(1)?),
            None => (0, 0),
        };
        Ok(MailboxReport { device_id: device.to_bytes(), head, acked, entries, bytes, push_host: String::new() })
    }

    /// The groups that a device is in.
    pub async fn report_groups(&self, device: &DeviceId) -> Result<Vec<GroupReport>, DbError> {
        let sql = "SELECT g.id, g.kind, g.epoch, m.role FROM group_member m JOIN mls_group g ON g.id = m.group_id \
             WHERE m.device = $1 AND m.role > 0 ORDER BY g.id LIMIT $2";
        let rows = self.db.rows(sql, &[device.into(), MAX_GROUPS.into()]).await?;
        let number = |value: u64| u32::try_from(value).map_err(|_| DbError::Damaged("a group"));
        rows.iter()
            .map(|row| {
                Ok(GroupReport {
                    group_id: GroupId(row.array(0)?).to_bytes(),
                    kind: number(row.uint(1)?)?,
                    epoch: row.uint(2)?,
                    role: number(row.uint(3)?)?,
                })
            })
            .collect()
    }
}
