//! Accounts as admins see them: bans, requests of deletion, quotas.

use qpc_chassis::db::{DbError, Row, Tx};
use qpc_wire::{
    AccountId, DeviceId,
    admin::v1::{Device, Quota, User},
};

use super::{
    Store, revocations,
    sql::{lock_account, revoke_device},
};
use crate::error::Error;

/// Statements that begin with all that is shown of a user.
macro_rules! users {
    ($rest:literal) => {
        concat!(
            "SELECT a.account_id, a.username, a.created_ms, \
             (SELECT COUNT(*) FROM devices d WHERE d.account_id = a.account_id AND d.revoked_ms = 0), \
             COALESCE(b.banned_ms, 0), COALESCE(b.reason, ''), COALESCE(r.requested_ms, 0) \
             FROM accounts a LEFT JOIN bans b ON b.account_id = a.account_id \
             LEFT JOIN deletion_requests r ON r.account_id = a.account_id WHERE ",
            $rest
        )
    };
}

fn user(row: &Row) -> Result<User, DbError> {
    Ok(User {
        account_id: row.bytes(0)?.into(),
        username: row.text(1)?,
        created_at_ms: row.uint(2)?,
        devices: row.uint(3)?,
        banned_at_ms: row.uint(4)?,
        ban_reason: row.text(5)?,
        deletion_requested_at_ms: row.uint(6)?,
    })
}

/// The account of a name.
pub(crate) async fn account_of(tx: &mut Tx, username: &str) -> Result<AccountId, Error> {
    let row = tx.row("SELECT account_id FROM accounts WHERE username = $1", &[username.into()]).await?;
    Ok(AccountId(row.ok_or(Error::UnknownUser)?.array(0)?))
}

/// One account.
pub(crate) async fn show(tx: &mut Tx, account: AccountId) -> Result<User, Error> {
    let row = tx.row(users!("a.account_id = $1"), &[(&account).into()]).await?;
    Ok(user(&row.ok_or(Error::UnknownUser)?)?)
}

/// Accounts whose names come after `after`, by name.
pub(crate) async fn list(tx: &mut Tx, after: &str, limit: u64, banned: bool) -> Result<Vec<User>, DbError> {
    let sql = if banned {
        users!("b.account_id IS NOT NULL AND a.username > $1 ORDER BY a.username LIMIT $2")
    } else {
        users!("a.username > $1 ORDER BY a.username LIMIT $2")
    };
    tx.rows(sql, &[after.into(), limit.into()]).await?.iter().map(user).collect()
}

/// Bans an account; returns the devices whose sessions have ended.
pub(crate) async fn ban(tx: &mut Tx, account: AccountId, reason: &str, now_ms: u64) -> Result<Vec<DeviceId>, Error> {
    // A login at the same moment comes before all of this or after.
    lock_account(tx, account).await?.ok_or(Error::UnknownUser)?;
    tx.execute(
        "INSERT INTO bans (account_id, reason, banned_ms) VALUES ($1, $2, $3) \
         ON CONFLICT (account_id) DO UPDATE SET reason = excluded.reason",
        &[(&account).into(), reason.into(), now_ms.into()],
    )
    .await?;
    tx.execute("DELETE FROM sessions WHERE account_id = $1", &[(&account).into()]).await?;
    let rows =
        tx.rows("SELECT device_id FROM devices WHERE account_id = $1 AND revoked_ms = 0", &[(&account).into()]).await?;
    let devices = rows.iter().map(|row| row.array(0).map(DeviceId)).collect::<Result<Vec<_>, _>>()?;
    revocations::append_ended(tx, &devices).await?;
    Ok(devices)
}

/// Lifts a ban; an account that is to be deleted stays banned.
pub(crate) async fn unban(tx: &mut Tx, account: AccountId) -> Result<(), Error> {
    lock_account(tx, account).await?.ok_or(Error::UnknownUser)?;
    if deletion_requested(tx, account).await?.is_some() {
        return Err(Error::ToBeDeleted);
    }
    let lifted = tx.execute("DELETE FROM bans WHERE account_id = $1", &[(&account).into()]).await?;
    if lifted == 0 { Err(Error::NotBanned) } else { Ok(()) }
}

/// Fails when the account is banned.
pub(super) async fn check_not_banned(tx: &mut Tx, account: AccountId) -> Result<(), Error> {
    match tx.row("SELECT 1 FROM bans WHERE account_id = $1", &[(&account).into()]).await? {
        Some(_) => Err(Error::Banned),
        None => Ok(()),
    }
}

async fn deletion_requested(tx: &mut Tx, account: AccountId) -> Result<Option<u64>, DbError> {
    let row = tx.row("SELECT requested_ms FROM deletion_requests WHERE account_id = $1", &[(&account).into()]).await?;
    row.map(|row| row.uint(0)).transpose()
}

/// Marks an account for deletion; returns since when it is.
pub(crate) async fn request_deletion(tx: &mut Tx, account: AccountId, now_ms: u64) -> Result<u64, DbError> {
    tx.execute(
        "INSERT INTO deletion_requests (account_id, requested_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[(&account).into(), now_ms.into()],
    )
    .await?;
    Ok(deletion_requested(tx, account).await?.unwrap_or(now_ms))
}

/// Sets a limit of one account, or takes it back.
pub(crate) async fn set_quota(tx: &mut Tx, account: AccountId, name: &str, value: Option<u64>) -> Result<(), DbError> {
    match value {
        Some(value) => {
            tx.execute(
                "INSERT INTO quotas (account_id, name, value) VALUES ($1, $2, $3) \
                 ON CONFLICT (account_id, name) DO UPDATE SET value = excluded.value",
                &[(&account).into(), name.into(), value.into()],
            )
            .await?
        }
        None => {
            let args = [(&account).into(), name.into()];
            tx.execute("DELETE FROM quotas WHERE account_id = $1 AND name = $2", &args).await?
        }
    };
    Ok(())
}

const QUOTAS: &str = "SELECT name, value FROM quotas WHERE account_id = $1 ORDER BY name";

fn quota(row: &Row) -> Result<Quota, DbError> {
    Ok(Quota { name: row.text(0)?, value: row.uint(1)? })
}

/// A limit of one account, if it differs.
pub(crate) async fn quota_of(tx: &mut Tx, account: AccountId, name: &str) -> Result<Option<u64>, DbError> {
    let sql = "SELECT value FROM quotas WHERE account_id = $1 AND name = $2";
    tx.row(sql, &[(&account).into(), name.into()]).await?.map(|row| row.uint(0)).transpose()
}

/// Limits of one account that differ.
pub(crate) async fn quotas(tx: &mut Tx, account: AccountId) -> Result<Vec<Quota>, DbError> {
    tx.rows(QUOTAS, &[(&account).into()]).await?.iter().map(quota).collect()
}

/// All devices of an account, revoked ones too, oldest first.
pub(crate) async fn devices(tx: &mut Tx, account: AccountId) -> Result<Vec<Device>, Error> {
    tx.row("SELECT 1 FROM accounts WHERE account_id = $1", &[(&account).into()]).await?.ok_or(Error::UnknownUser)?;
    let rows = tx
        .rows(
            "SELECT d.device_id, d.added_ms, d.revoked_ms, \
             (SELECT COUNT(*) FROM sessions s WHERE s.device_id = d.device_id) \
             FROM devices d WHERE d.account_id = $1 ORDER BY d.added_ms, d.device_id",
            &[(&account).into()],
        )
        .await?;
    let device = |row: &Row| {
        Ok::<_, DbError>(Device {
            device_id: row.bytes(0)?.into(),
            added_at_ms: row.uint(1)?,
            revoked_at_ms: row.uint(2)?,
            sessions: row.uint(3)?,
        })
    };
    Ok(rows.iter().map(device).collect::<Result<_, _>>()?)
}

/// Revokes a device on the word of an admin.
pub(crate) async fn revoke(tx: &mut Tx, device: DeviceId, now_ms: u64) -> Result<(), Error> {
    let row = tx.row("SELECT account_id FROM devices WHERE device_id = $1", &[(&device).into()]).await?;
    let account = AccountId(row.ok_or(Error::UnknownDevice)?.array(0)?);
    lock_account(tx, account).await?.ok_or(Error::UnknownDevice)?;
    Ok(revoke_device(tx, account, device, now_ms).await?)
}

impl Store {
    /// As [`show`], for the account itself.
    pub(crate) async fn shown(&self, account: AccountId) -> Result<User, Error> {
        let row = self.db().row(users!("a.account_id = $1"), &[(&account).into()]).await?;
        Ok(user(&row.ok_or(Error::UnknownUser)?)?)
    }

    /// As [`quotas`], for services.
    pub(crate) async fn quotas(&self, account: AccountId) -> Result<Vec<Quota>, Error> {
        let rows = self.db().rows(QUOTAS, &[(&account).into()]).await?;
        Ok(rows.iter().map(quota).collect::<Result<_, _>>()?)
    }
}
