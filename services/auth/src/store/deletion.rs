//! The end of an account: what is kept so that nothing of it is found again, and that others are still to be told.

use qpc_chassis::db::{DbError, Dialect, Tx};
use qpc_wire::{AccountId, DeviceId};

use super::{AccountRow, Deletion, Store, revocations, sql};
use crate::{domain::name_key::NameKey, error::Error};

/// Deletions of one look.
const PAGE: u64 = 100;

impl Store {
    /// Deletes an account on the word of its device `caller`. `name_tag` keeps its name from being taken. Returns the devices
    /// that are revoked by it.
    pub(crate) async fn delete_account(
        tx: &mut Tx,
        account: AccountId,
        caller: DeviceId,
        name_tag: &[u8; 32],
        now_ms: u64,
    ) -> Result<Vec<DeviceId>, Error> {
        sql::lock_caller(tx, account, caller).await?;
        Ok(delete(tx, account, name_tag, now_ms).await?)
    }

    /// Deletes an account that an admin wanted gone at `before_ms` or earlier; false when there is none left.
    pub(crate) async fn delete_requested(&self, names: NameKey, before_ms: u64, now_ms: u64) -> Result<bool, Error> {
        let mut tx = self.db().begin().await?;
        let sql = "SELECT a.account_id, a.username FROM deletion_requests r \
             JOIN accounts a ON a.account_id = r.account_id \
             WHERE r.requested_ms <= $1 ORDER BY r.requested_ms, r.account_id LIMIT 1";
        let Some(row) = tx.row(sql, &[before_ms.into()]).await? else { return Ok(false) };
        let account = AccountId(row.array(0)?);
        // Of two replicas the second one finds it gone.
        if sql::lock_account(&mut tx, account).await?.is_some() {
            delete(&mut tx, account, &names.tag(&row.text(1)?), now_ms).await?;
            tx.commit().await?;
        }
        Ok(true)
    }

    /// Whether a name was that of an account which is deleted.
    pub(super) async fn is_deleted_name(tx: &mut Tx, name_tag: &[u8; 32]) -> Result<bool, DbError> {
        let sql = "SELECT 1 FROM deleted_names WHERE name_tag = $1";
        Ok(tx.row(sql, &[name_tag.as_slice().into()]).await?.is_some())
    }

    /// Deleted accounts that delivery or blob has not forgotten, some of them.
    pub(crate) async fn deletions(&self) -> Result<Vec<Deletion>, Error> {
        let sql = "SELECT account_id, devices FROM deletions ORDER BY at_ms, account_id LIMIT $1";
        let rows = self.db().rows(sql, &[PAGE.into()]).await?;
        rows.iter()
            .map(|row| {
                let devices = row.bytes(1)?.as_chunks::<{ DeviceId::LEN }>().0.iter().copied().map(DeviceId).collect();
                Ok(Deletion { account: AccountId(row.array(0)?), devices })
            })
            .collect()
    }

    /// The other services have forgotten a deleted account, and so does this service.
    pub(crate) async fn finish_deletion(&self, account: AccountId) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        tx.execute("DELETE FROM deletions WHERE account_id = $1", &[(&account).into()]).await?;
        Ok(tx.commit().await?)
    }

    /// An account by its id.
    pub(crate) async fn account(&self, account: AccountId) -> Result<Option<AccountRow>, Error> {
        let sql = "SELECT username, account_key, created_ms FROM accounts WHERE account_id = $1";
        let row = self.db().row(sql, &[(&account).into()]).await?;
        row.map(|row| Ok(AccountRow { username: row.text(0)?, account_key: row.array(1)?, created_ms: row.uint(2)? }))
            .transpose()
    }

    /// Sessions of a device that have not expired.
    pub(crate) async fn count_sessions(&self, device: DeviceId, now_ms: u64) -> Result<u64, Error> {
        let sql = "SELECT COUNT(*) FROM sessions WHERE device_id = $1 AND expires_ms > $2";
        let row = self.db().row(sql, &[(&device).into(), now_ms.into()]).await?;
        Ok(row.map_or(Ok(0), |row| row.uint(0))?)
    }
}

/// Deletes a locked account. Comes last in its transaction, as revocations do.
async fn delete(tx: &mut Tx, account: AccountId, name_tag: &[u8; 32], now_ms: u64) -> Result<Vec<DeviceId>, DbError> {
    let rows = tx
        .rows(
            "SELECT device_id, revoked_ms FROM devices WHERE account_id = $1 ORDER BY device_id",
            &[(&account).into()],
        )
        .await?;
    let mut all = Vec::new();
    let mut current = Vec::new();
    for row in &rows {
        let device = DeviceId(row.array(0)?);
        all.extend(device.0);
        if row.int(1)? == 0 {
            current.push(device);
        }
    }
    tx.execute(
        "INSERT INTO deleted_names (name_tag, at_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[name_tag.as_slice().into(), now_ms.into()],
    )
    .await?;
    tx.execute(
        "INSERT INTO deletions (account_id, devices, at_ms) VALUES ($1, $2, $3)",
        &[(&account).into(), (&all).into(), now_ms.into()],
    )
    .await?;
    for sql in [
        "DELETE FROM recovery_codes WHERE account_id = $1",
        "DELETE FROM recovery_sets WHERE account_id = $1",
        "DELETE FROM tokens_issued WHERE account_id = $1",
        "DELETE FROM quotas WHERE account_id = $1",
        "DELETE FROM deletion_requests WHERE account_id = $1",
        "DELETE FROM bans WHERE account_id = $1",
        // The revocations of the same devices come after them.
        "DELETE FROM ended_sessions WHERE device_id IN (SELECT device_id FROM devices WHERE account_id = $1)",
        "DELETE FROM sessions WHERE account_id = $1",
        "DELETE FROM devices WHERE account_id = $1",
        "DELETE FROM accounts WHERE account_id = $1",
    ] {
        tx.execute(sql, &[(&account).into()]).await?;
    }
    // Answers to calls of the last day, of which the registration names the account.
    let answers = match tx.dialect() {
        Dialect::Postgres => "DELETE FROM idempotency WHERE POSITION($1 IN response) > 0",
        Dialect::Sqlite => "DELETE FROM idempotency WHERE INSTR(response, $1) > 0",
    };
    tx.execute(answers, &[(&account).into()]).await?;
    let nobody = "UPDATE revocations SET account_id = $2 WHERE account_id = $1";
    tx.execute(nobody, &[(&account).into(), revocations::NOBODY]).await?;
    for device in &current {
        revocations::append(tx, None, *device, now_ms).await?;
    }
    Ok(current)
}
