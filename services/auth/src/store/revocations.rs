//! The feed of revocations: gateways follow it, and what other services keep of a device goes by it.

use qpc_chassis::db::{Arg, DbError, Tx};
use qpc_wire::{AccountId, DeviceId};

use super::{Revocation, Store};
use crate::error::Error;

/// Revocations of one answer.
pub(crate) const PAGE: u64 = 1_000;

impl Store {
    /// Revocations above `after`, oldest first, at most [`PAGE`]; and devices whose sessions ended for another reason.
    pub(crate) async fn revoked_since(&self, after: u64) -> Result<Vec<Revocation>, Error> {
        self.revocations(
            "SELECT seq, device_id, told FROM revocations WHERE seq > $1 \
             UNION ALL SELECT seq, device_id, 3 FROM ended_sessions WHERE seq > $1 ORDER BY seq LIMIT $2",
            after,
        )
        .await
    }

    /// The same of those that not every service has been told of.
    pub(crate) async fn untold(&self, after: u64) -> Result<Vec<Revocation>, Error> {
        self.revocations(
            // As the index has it.
            "SELECT seq, device_id, told FROM revocations WHERE told <> 3 AND seq > $1 ORDER BY seq LIMIT $2",
            after,
        )
        .await
    }

    async fn revocations(&self, sql: &'static str, after: u64) -> Result<Vec<Revocation>, Error> {
        // A caller that wants the head only names the highest number there is, which the database does not have.
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = self.db().rows(sql, &[after.into(), PAGE.into()]).await?;
        rows.iter()
            .map(|row| Ok(Revocation { seq: row.uint(0)?, device: DeviceId(row.array(1)?), told: row.uint(2)? }))
            .collect()
    }

    /// Sequence of the last revocation, 0 when there is none.
    pub(crate) async fn revocation_head(&self) -> Result<u64, Error> {
        let row = self.db().row("SELECT seq FROM revocation_head", &[]).await?.ok_or(NO_HEAD)?;
        Ok(row.uint(0)?)
    }

    /// Keeps that services have forgotten the device of a revocation; see [`Revocation::told`].
    pub(crate) async fn add_told(&self, seq: u64, told: u64) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        tx.execute("UPDATE revocations SET told = told | $2 WHERE seq = $1", &[seq.into(), told.into()]).await?;
        Ok(tx.commit().await?)
    }
}

/// The account of a device whose account was deleted.
pub(super) const NOBODY: Arg<'static> = Arg::Bytes(&[]);

/// Whether a device was revoked, though nothing else may be known of it any more.
pub(super) async fn contains(tx: &mut Tx, device: DeviceId) -> Result<bool, DbError> {
    Ok(tx.row("SELECT 1 FROM revocations WHERE device_id = $1", &[(&device).into()]).await?.is_some())
}

/// Adds a revocation. Comes last in its transaction: from here to the commit all others wait.
pub(super) async fn append(
    tx: &mut Tx,
    account: Option<AccountId>,
    device: DeviceId,
    now_ms: u64,
) -> Result<(), DbError> {
    let seq = next(tx).await?;
    tx.execute(
        "INSERT INTO revocations (seq, device_id, account_id, at_ms, told) VALUES ($1, $2, $3, $4, 0)",
        &[seq.into(), (&device).into(), account.as_ref().map_or(NOBODY, Arg::from), now_ms.into()],
    )
    .await?;
    Ok(())
}

/// Adds devices whose sessions have ended, though they are not revoked. Comes as late as [`append`].
pub(super) async fn append_ended(tx: &mut Tx, devices: &[DeviceId]) -> Result<(), DbError> {
    for device in devices {
        let seq = next(tx).await?;
        let args = [seq.into(), device.into()];
        tx.execute("INSERT INTO ended_sessions (seq, device_id) VALUES ($1, $2)", &args).await?;
    }
    Ok(())
}

async fn next(tx: &mut Tx) -> Result<u64, DbError> {
    tx.row("UPDATE revocation_head SET seq = seq + 1 RETURNING seq", &[]).await?.ok_or(NO_HEAD)?.uint(0)
}

const NO_HEAD: DbError = DbError::Damaged("revocation head");
