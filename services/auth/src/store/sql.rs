//! The one SQL body.

use qpc_chassis::db::{Db, DbError, Dialect, Row, Tx};
use qpc_crypto::KsfParams;
use qpc_wire::{AccountId, DeviceId, limits::quotas};

use super::{Device, NewAccount, NewSession, Password, Session, User, accounts, revocations};
use crate::error::Error;

/// Sessions of one device; a login beyond ends the oldest.
const SESSIONS_PER_DEVICE: u64 = 8;
/// Sessions removed by one transaction of the sweep.
const SWEEP: u64 = 10_000;

/// See the module. Cheap to clone. Verbs that take a transaction are part of an idempotent call.
#[derive(Clone)]
pub(crate) struct Store {
    db: Db,
}

impl Store {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// The database, for idempotent calls.
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// All sealed setups of OPAQUE with their ids.
    pub(crate) async fn setups(&self) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let rows = self.db.rows("SELECT setup_id, sealed FROM opaque_setups", &[]).await?;
        rows.iter().map(|row| Ok((row.uint(0)?, row.bytes(1)?))).collect()
    }

    /// Keeps a setup, unless there is one with this id: then nothing happens.
    pub(crate) async fn add_setup(&self, id: u64, sealed: &[u8], now_ms: u64) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "INSERT INTO opaque_setups (setup_id, sealed, created_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            &[id.into(), sealed.into(), now_ms.into()],
        )
        .await?;
        Ok(tx.commit().await?)
    }

    /// Makes an account with its first device; fails with `Taken` when the name, the account or the device exists.
    pub(crate) async fn register(tx: &mut Tx, account: &NewAccount) -> Result<(), Error> {
        let inserted = tx
            .execute(
                "INSERT INTO accounts (account_id, account_key, username, setup_id, opaque_record, ksf_memory_kib, \
                 ksf_iterations, ksf_parallelism, created_ms, credential_id) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
                 ON CONFLICT DO NOTHING",
                &[
                    (&account.certificate.account_id()).into(),
                    account.certificate.account_key().as_slice().into(),
                    account.username.as_str().into(),
                    account.setup_id.into(),
                    (&account.record).into(),
                    account.ksf.memory_kib.into(),
                    account.ksf.iterations.into(),
                    account.ksf.parallelism.into(),
                    account.now_ms.into(),
                    account.credential_id.as_slice().into(),
                ],
            )
            .await?;
        if inserted == 0 || !add_device(tx, &account.certificate, account.now_ms).await? {
            return Err(Error::Taken);
        }
        // Looked at after the insertion, which waits for whoever deletes an account of this name.
        if Self::is_deleted_name(tx, &account.name_tag).await? { Err(Error::Taken) } else { Ok(()) }
    }

    /// The login record of a name.
    pub(crate) async fn password(&self, username: &str) -> Result<Option<Password>, Error> {
        let row = self
            .db
            .row(
                "SELECT account_key, setup_id, opaque_record, ksf_memory_kib, ksf_iterations, ksf_parallelism, \
                 credential_id FROM accounts WHERE username = $1",
                &[username.into()],
            )
            .await?;
        row.map(|row| {
            Ok(Password {
                account_key: row.array(0)?,
                setup_id: row.uint(1)?,
                record: row.bytes(2)?,
                ksf: KsfParams {
                    memory_kib: small(&row, 3)?,
                    iterations: small(&row, 4)?,
                    parallelism: small(&row, 5)?,
                },
                credential_id: row.array(6)?,
            })
        })
        .transpose()
    }

    /// Keeps a session and, when it is new, its device, of which the account may have `most`.
    pub(crate) async fn open_session(&self, session: &NewSession, most: u32) -> Result<(), Error> {
        let account = session.certificate.account_id();
        let device = session.certificate.device_id();
        let mut tx = self.db.begin().await?;
        lock_account(&mut tx, account).await?.ok_or(Error::ForeignDevice)?;
        accounts::check_not_banned(&mut tx, account).await?;
        match device_state(&mut tx, device).await? {
            Some((owner, _)) if owner != account => return Err(Error::ForeignDevice),
            Some((_, true)) => return Err(Error::DeviceRevoked),
            Some((_, false)) => {}
            None => {
                let most = accounts::quota_of(&mut tx, account, quotas::DEVICES).await?.unwrap_or(most.into());
                if count_devices(&mut tx, account).await? >= most {
                    return Err(Error::DeviceLimit(most));
                }
                if !add_device(&mut tx, &session.certificate, session.now_ms).await? {
                    return Err(Error::ForeignDevice);
                }
            }
        }
        tx.execute(
            "DELETE FROM sessions WHERE device_id = $1 AND token_hash NOT IN (SELECT token_hash FROM sessions \
             WHERE device_id = $1 ORDER BY expires_ms DESC LIMIT $2)",
            &[(&device).into(), (SESSIONS_PER_DEVICE - 1).into()],
        )
        .await?;
        tx.execute(
            "INSERT INTO sessions (token_hash, account_id, device_id, expires_ms) VALUES ($1, $2, $3, $4)",
            &[session.token_hash.as_slice().into(), (&account).into(), (&device).into(), session.expires_ms.into()],
        )
        .await?;
        Ok(tx.commit().await?)
    }

    /// The session of a token, if it has not expired and its device is not revoked.
    pub(crate) async fn session(&self, token_hash: &[u8; 32], now_ms: u64) -> Result<Option<Session>, Error> {
        let row = self
            .db
            .row(
                "SELECT s.account_id, s.device_id, d.device_key, s.expires_ms FROM sessions s \
                 JOIN devices d ON d.device_id = s.device_id \
                 WHERE s.token_hash = $1 AND s.expires_ms > $2 AND d.revoked_ms = 0 \
                 AND NOT EXISTS (SELECT 1 FROM bans b WHERE b.account_id = s.account_id)",
                &[token_hash.as_slice().into(), now_ms.into()],
            )
            .await?;
        row.map(|row| {
            Ok(Session {
                account: AccountId(row.array(0)?),
                device: DeviceId(row.array(1)?),
                device_key: row.array(2)?,
                expires_ms: row.uint(3)?,
            })
        })
        .transpose()
    }

    /// Removes the session of a token if it is one of `device`.
    pub(crate) async fn end_session(tx: &mut Tx, token_hash: &[u8; 32], device: DeviceId) -> Result<(), Error> {
        let removed = tx
            .execute(
                "DELETE FROM sessions WHERE token_hash = $1 AND device_id = $2",
                &[token_hash.as_slice().into(), (&device).into()],
            )
            .await?;
        if removed == 0 { Err(Error::UnknownSession) } else { Ok(()) }
    }

    /// The devices of an account that are not revoked, oldest first.
    pub(crate) async fn devices(&self, account: AccountId) -> Result<Vec<Device>, Error> {
        let rows = self
            .db
            .rows(
                "SELECT device_id, certificate, added_ms, name FROM devices WHERE account_id = $1 AND revoked_ms = 0 \
                 ORDER BY added_ms, device_id",
                &[(&account).into()],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Device {
                    device: DeviceId(row.array(0)?),
                    certificate: row.bytes(1)?,
                    added_ms: row.uint(2)?,
                    name: row.optional_bytes(3)?.unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Until when a device spoke for its account, Unix milliseconds: until it was revoked, or the account deleted. None of a
    /// device that was never let in.
    pub(crate) async fn good_until(&self, account: AccountId, device: DeviceId) -> Result<Option<u64>, Error> {
        let row = self
            .db
            .row(
                "SELECT revoked_ms FROM devices WHERE device_id = $1 AND account_id = $2 \
                 UNION SELECT at_ms FROM revocations WHERE device_id = $1 AND account_id = $3",
                &[(&device).into(), (&account).into(), revocations::NOBODY],
            )
            .await?;
        let until = row.map(|row| row.uint(0)).transpose()?;
        Ok(until.map(|until| if until == 0 { u64::MAX } else { until }))
    }

    /// The account with exactly this name. The devices of one that is banned are not shown.
    pub(crate) async fn user(&self, username: &str) -> Result<Option<User>, Error> {
        let rows = self
            .db
            .rows(
                "SELECT a.account_id, a.account_key, d.certificate FROM accounts a \
                 LEFT JOIN devices d ON d.account_id = a.account_id AND d.revoked_ms = 0 \
                 AND NOT EXISTS (SELECT 1 FROM bans b WHERE b.account_id = a.account_id) \
                 WHERE a.username = $1 ORDER BY d.added_ms, d.device_id",
                &[username.into()],
            )
            .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let certificates = rows.iter().map(|row| row.optional_bytes(2)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(User {
            account: AccountId(first.array(0)?),
            account_key: first.array(1)?,
            certificates: certificates.into_iter().flatten().collect(),
        }))
    }

    /// Revokes a device of `account` on the word of `caller`, another or the same, and removes its sessions.
    pub(crate) async fn revoke(
        tx: &mut Tx,
        account: AccountId,
        caller: DeviceId,
        device: DeviceId,
        now_ms: u64,
    ) -> Result<(), Error> {
        // A login of the device at the same moment comes before all of this or after.
        lock_caller(tx, account, caller).await?;
        match device_state(tx, device).await? {
            Some((owner, _)) if owner == account => {}
            _ => return Err(Error::UnknownDevice),
        }
        Ok(revoke_device(tx, account, device, now_ms).await?)
    }

    /// Names a device of `account` that is not revoked, on the word of `caller`, another or the same.
    pub(crate) async fn rename(
        tx: &mut Tx,
        account: AccountId,
        caller: DeviceId,
        device: DeviceId,
        name: &[u8],
    ) -> Result<(), Error> {
        if device_state(tx, caller).await? != Some((account, false)) {
            return Err(Error::DeviceRevoked);
        }
        let renamed = tx
            .execute(
                "UPDATE devices SET name = $3 WHERE device_id = $1 AND account_id = $2 AND revoked_ms = 0",
                &[(&device).into(), (&account).into(), name.into()],
            )
            .await?;
        if renamed == 0 { Err(Error::UnknownDevice) } else { Ok(()) }
    }

    /// Removes some of the sessions that have expired; tells how many.
    pub(crate) async fn sweep_sessions(&self, now_ms: u64) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let removed = tx
            .execute(
                "DELETE FROM sessions WHERE token_hash IN \
                 (SELECT token_hash FROM sessions WHERE expires_ms <= $1 LIMIT $2)",
                &[now_ms.into(), SWEEP.into()],
            )
            .await?;
        tx.commit().await?;
        Ok(removed)
    }
}

/// Revokes a device of a locked account, once.
pub(super) async fn revoke_device(
    tx: &mut Tx,
    account: AccountId,
    device: DeviceId,
    now_ms: u64,
) -> Result<(), DbError> {
    let revoked = tx
        .execute(
            "UPDATE devices SET revoked_ms = $2 WHERE device_id = $1 AND revoked_ms = 0",
            &[(&device).into(), now_ms.into()],
        )
        .await?;
    if revoked == 1 {
        tx.execute("DELETE FROM sessions WHERE device_id = $1", &[(&device).into()]).await?;
        revocations::append(tx, Some(account), device, now_ms).await?;
    }
    Ok(())
}

/// Makes changes to the devices and sessions of one account take turns. On SQLite all transactions do.
pub(super) async fn lock_account(tx: &mut Tx, account: AccountId) -> Result<Option<()>, DbError> {
    let sql = match tx.dialect() {
        Dialect::Postgres => "SELECT 1 FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE",
        Dialect::Sqlite => "SELECT 1 FROM accounts WHERE account_id = $1",
    };
    Ok(tx.row(sql, &[(&account).into()]).await?.map(|_| ()))
}

/// [`lock_account`] for a call of one of its devices, which the gateway may not have heard yet was revoked.
pub(super) async fn lock_caller(tx: &mut Tx, account: AccountId, caller: DeviceId) -> Result<(), Error> {
    lock_account(tx, account).await?.ok_or(Error::DeviceRevoked)?;
    if device_state(tx, caller).await? == Some((account, false)) { Ok(()) } else { Err(Error::DeviceRevoked) }
}

/// Owner of a device and whether it is revoked.
async fn device_state(tx: &mut Tx, device: DeviceId) -> Result<Option<(AccountId, bool)>, DbError> {
    let row = tx.row("SELECT account_id, revoked_ms FROM devices WHERE device_id = $1", &[(&device).into()]).await?;
    row.map(|row| Ok((AccountId(row.array(0)?), row.int(1)? != 0))).transpose()
}

async fn count_devices(tx: &mut Tx, account: AccountId) -> Result<u64, DbError> {
    let row =
        tx.row("SELECT COUNT(*) FROM devices WHERE account_id = $1 AND revoked_ms = 0", &[(&account).into()]).await?;
    row.map_or(Ok(0), |row| row.uint(0))
}

/// Whether the device was new. One of a deleted account is not.
async fn add_device(tx: &mut Tx, certificate: &qpc_crypto::DeviceCertificate, now_ms: u64) -> Result<bool, DbError> {
    if revocations::contains(tx, certificate.device_id()).await? {
        return Ok(false);
    }
    let inserted = tx
        .execute(
            "INSERT INTO devices (device_id, account_id, device_key, certificate, added_ms, revoked_ms) \
             VALUES ($1, $2, $3, $4, $5, 0) ON CONFLICT DO NOTHING",
            &[
                (&certificate.device_id()).into(),
                (&certificate.account_id()).into(),
                certificate.device_key().as_slice().into(),
                certificate.to_bytes().as_slice().into(),
                now_ms.into(),
            ],
        )
        .await?;
    Ok(inserted == 1)
}

fn small(row: &Row, column: usize) -> Result<u32, DbError> {
    u32::try_from(row.int(column)?).map_err(|_| DbError::Damaged("password cost"))
}
