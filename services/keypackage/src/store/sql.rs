//! The one SQL body.

use bytes::Bytes;
use qpc_chassis::{
    db::{Arg, Db, DbError, Dialect, Row, Tx},
    runtime::planted::{Mistake, planted},
};
use qpc_crypto::{Suite, sha256};
use qpc_wire::DeviceId;

use super::{QueueKey, Taken};
use crate::{domain::Upload, error::Error};

/// For any of several devices, and for one.
const QUEUE_KEY_OF: [&str; 2] = [
    "SELECT device_id, public_key, signature FROM queue_keys WHERE device_id = ANY($1)",
    "SELECT device_id, public_key, signature FROM queue_keys WHERE device_id = $1",
];
/// Likewise.
const FORGOTTEN_OF: [&str; 2] = [
    "SELECT device_id FROM forgotten_devices WHERE device_id = ANY($1)",
    "SELECT device_id FROM forgotten_devices WHERE device_id = $1",
];
/// Packages removed by one transaction of the sweep.
const SWEEP: u64 = 10_000;

/// Takes the oldest package. `=` and not `IN`: a subquery that stands for one value runs once, where a join could run it
/// again for each row and so lock and delete several.
///
/// Rows that concurrent claimers hold are passed over, so nobody waits and nobody gets the last resort while a free
/// package exists. Only when every package is held by a transaction that has not ended does the next claimer find none;
/// some of them may roll back, but a last resort now is better than an answer that waits for strangers.
const TAKE_POSTGRES: &str = "DELETE FROM key_packages WHERE id = (SELECT id FROM key_packages \
     WHERE device_id = $1 AND suite = $2 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING package";

/// The same where transactions take turns.
const TAKE_SQLITE: &str = "DELETE FROM key_packages WHERE id = (SELECT id FROM key_packages \
     WHERE device_id = $1 AND suite = $2 ORDER BY id LIMIT 1) RETURNING package";

/// The mistake of handing one out and keeping it.
const PEEK: &str = "SELECT package FROM key_packages WHERE device_id = $1 AND suite = $2 ORDER BY id LIMIT 1";

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

    /// Adds packages of a device, of which at most `limit` single-use ones are kept; returns how many there are now.
    pub(crate) async fn upload(
        tx: &mut Tx,
        device: DeviceId,
        upload: &Upload,
        limit: u32,
        now_ms: u64,
    ) -> Result<u32, Error> {
        lock_known(tx, device).await?;
        let available = count(tx, device, upload.suite).await?;
        let new = u32::try_from(upload.key_packages.len()).unwrap_or(u32::MAX);
        if new > 0 && available.saturating_add(new) > limit {
            return Err(Error::Full { limit, available });
        }
        for package in &upload.key_packages {
            add(tx, device, upload.suite, package, now_ms).await?;
        }
        if let Some(package) = &upload.last_resort {
            tx.execute(
                "INSERT INTO last_resorts (device_id, suite, package, uploaded_ms) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (device_id, suite) DO UPDATE SET package = excluded.package, \
                 uploaded_ms = excluded.uploaded_ms",
                &[(&device).into(), suite_arg(upload.suite), package.into(), now_ms.into()],
            )
            .await?;
        }
        Ok(available + new)
    }

    /// Takes a package of a device out of the store, or copies its last resort. The package is gone once the transaction
    /// commits.
    pub(crate) async fn take(tx: &mut Tx, device: DeviceId, suite: Suite) -> Result<Option<Taken>, Error> {
        let args = [(&device).into(), suite_arg(suite)];
        let sql = match tx.dialect() {
            Dialect::Postgres => TAKE_POSTGRES,
            Dialect::Sqlite => TAKE_SQLITE,
        };
        let sql = if planted(Mistake::KeepsPackages) { PEEK } else { sql };
        let single = tx.row(sql, &args).await?;
        let last_resort = single.is_none();
        let row = match single {
            Some(row) => Some(row),
            None => tx.row("SELECT package FROM last_resorts WHERE device_id = $1 AND suite = $2", &args).await?,
        };
        let Some(row) = row else { return Ok(None) };
        let package = row.bytes(0)?;
        Ok(Some(Taken { package, last_resort, available: count(tx, device, suite).await? }))
    }

    /// Sets the queue key of a device.
    pub(crate) async fn set_queue_key(&self, key: &QueueKey, now_ms: u64) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        lock_known(&mut tx, key.device).await?;
        tx.execute(
            "INSERT INTO queue_keys (device_id, public_key, signature, uploaded_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (device_id) DO UPDATE SET public_key = excluded.public_key, \
             signature = excluded.signature, uploaded_ms = excluded.uploaded_ms",
            &[(&key.device).into(), (&key.public_key).into(), (&key.signature).into(), now_ms.into()],
        )
        .await?;
        Ok(tx.commit().await?)
    }

    /// The queue keys of those `devices` that have one, in no order.
    pub(crate) async fn queue_keys(&self, devices: &[DeviceId]) -> Result<Vec<QueueKey>, Error> {
        self.rows_of(devices, QUEUE_KEY_OF).await?.iter().map(queue_key).collect()
    }

    /// Those of `devices` that were revoked, in no order.
    pub(crate) async fn forgotten_among(&self, devices: &[DeviceId]) -> Result<Vec<DeviceId>, Error> {
        let rows = self.rows_of(devices, FORGOTTEN_OF).await?;
        rows.iter().map(|row| Ok(DeviceId(row.array(0)?))).collect()
    }

    /// What `sql`, for any of several devices and for one, finds of those that have something.
    async fn rows_of(&self, devices: &[DeviceId], [any, one]: [&'static str; 2]) -> Result<Vec<Row>, Error> {
        if let Db::Postgres(_) = &self.db {
            let ids: Vec<&[u8]> = devices.iter().map(AsRef::as_ref).collect();
            return Ok(self.db.rows(any, &[Arg::ByteArrays(&ids)]).await?);
        }
        // No arrays here, but no network either.
        let mut rows = Vec::with_capacity(devices.len());
        for device in devices {
            rows.extend(self.db.row(one, &[device.into()]).await?);
        }
        Ok(rows)
    }

    /// Deletes all that a device has left here, and has its uploads refused from now on.
    pub(crate) async fn forget(&self, device: DeviceId, now_ms: u64) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        lock_device(&mut tx, device).await?;
        tx.execute(
            "INSERT INTO forgotten_devices (device_id, at_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[(&device).into(), now_ms.into()],
        )
        .await?;
        for sql in [
            "DELETE FROM key_packages WHERE device_id = $1",
            "DELETE FROM last_resorts WHERE device_id = $1",
            "DELETE FROM queue_keys WHERE device_id = $1",
        ] {
            tx.execute(sql, &[(&device).into()]).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Single-use packages of a device, and whether it has one of last resort.
    pub(crate) async fn stock(&self, device: DeviceId, suite: Suite) -> Result<(u32, bool), Error> {
        let values = [(&device).into(), suite_arg(suite)];
        let packages = "SELECT COUNT(*) FROM key_packages WHERE device_id = $1 AND suite = $2";
        let packages = self.db.row(packages, &values).await?.map_or(Ok(0), |row| row.uint(0))?;
        let last_resort = "SELECT 1 FROM last_resorts WHERE device_id = $1 AND suite = $2";
        let last_resort = self.db.row(last_resort, &values).await?.is_some();
        Ok((u32::try_from(packages).map_err(|_| DbError::Damaged("count"))?, last_resort))
    }

    /// Whether a device has a queue key.
    pub(crate) async fn has_queue_key(&self, device: DeviceId) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM queue_keys WHERE device_id = $1";
        Ok(self.db.row(sql, &[(&device).into()]).await?.is_some())
    }

    /// Removes some of the packages that were uploaded before a time, those of last resort too; tells how many.
    pub(crate) async fn sweep(&self, before_ms: u64) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let removed = tx
            .execute(
                "DELETE FROM key_packages WHERE id IN \
                 (SELECT id FROM key_packages WHERE uploaded_ms < $1 LIMIT $2)",
                &[before_ms.into(), SWEEP.into()],
            )
            .await?;
        // A device that has been away for so long would hinder everybody who wants to add it.
        let last_resorts = tx.execute("DELETE FROM last_resorts WHERE uploaded_ms < $1", &[before_ms.into()]).await?;
        tx.commit().await?;
        Ok(removed + last_resorts)
    }
}

/// Refuses a device that is forgotten; one that is not stays so until the transaction ends.
async fn lock_known(tx: &mut Tx, device: DeviceId) -> Result<(), Error> {
    lock_device(tx, device).await?;
    match tx.row(FORGOTTEN_OF[1], &[(&device).into()]).await? {
        Some(_) => Err(Error::Forgotten),
        None => Ok(()),
    }
}

/// Makes changes to what one device has here take turns: two uploads cannot both find room for the last package. On
/// SQLite all transactions do.
async fn lock_device(tx: &mut Tx, device: DeviceId) -> Result<(), DbError> {
    if tx.dialect() == Dialect::Postgres {
        let [a, b, c, d, e, f, g, h, ..] = device.0;
        let half = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
        tx.rows("SELECT pg_advisory_xact_lock($1)", &[half.into()]).await?;
    }
    Ok(())
}

async fn add(tx: &mut Tx, device: DeviceId, suite: Suite, package: &Bytes, now_ms: u64) -> Result<(), Error> {
    let hash = sha256(&[package]);
    let inserted = tx
        .execute(
            "INSERT INTO key_packages (device_id, suite, hash, package, uploaded_ms) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
            &[(&device).into(), suite_arg(suite), hash.as_slice().into(), package.into(), now_ms.into()],
        )
        .await?;
    if inserted == 0 { Err(Error::Duplicate) } else { Ok(()) }
}

/// Single-use packages in store.
async fn count(tx: &mut Tx, device: DeviceId, suite: Suite) -> Result<u32, DbError> {
    let row = tx
        .row(
            "SELECT COUNT(*) FROM key_packages WHERE device_id = $1 AND suite = $2",
            &[(&device).into(), suite_arg(suite)],
        )
        .await?;
    let count = row.map_or(Ok(0), |row| row.uint(0))?;
    u32::try_from(count).map_err(|_| DbError::Damaged("count"))
}

fn suite_arg(suite: Suite) -> Arg<'static> {
    u32::from(suite.id()).into()
}

fn queue_key(row: &Row) -> Result<QueueKey, Error> {
    Ok(QueueKey { device: DeviceId(row.array(0)?), public_key: row.bytes(1)?, signature: row.bytes(2)? })
}
