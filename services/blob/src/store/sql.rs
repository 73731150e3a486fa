//! The one SQL body.

use qpc_chassis::db::{Db, DbError, Row, Tx};
use qpc_wire::{AccountId, DeviceId};

use super::{Blob, Part, Upload};
use crate::{
    domain::{self, Cut},
    error::Error,
    jobs::GRACE_MS,
};

/// Uploads of a deleted account that one transaction ends.
const FORGET: u64 = 1_000;
/// Whose a blob is when its account was deleted.
const NOBODY: AccountId = AccountId([0; AccountId::LEN]);

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

    /// Begins an upload, unless the account has announced `daily` bytes today.
    pub(crate) async fn begin(tx: &mut Tx, upload: &Upload, daily: u64, now_ms: u64) -> Result<(), Error> {
        let counted = domain::counted(upload.cut.size);
        let announced = tx
            .row(
                "INSERT INTO announced (account_id, day, bytes) VALUES ($1, $2, $3) \
                 ON CONFLICT (account_id, day) DO UPDATE SET bytes = announced.bytes + excluded.bytes RETURNING bytes",
                &[(&upload.account).into(), domain::day(now_ms).into(), counted.into()],
            )
            .await?;
        if announced.map_or(Ok(0), |row| row.uint(0))? > daily {
            // One that is over by itself will be so tomorrow.
            let retry_after_ms = if counted > daily { 0 } else { domain::until_tomorrow(now_ms) };
            return Err(Error::Quota { daily, retry_after_ms });
        }
        tx.execute(
            "INSERT INTO uploads (id, account_id, device_id, size, part_size, expires_ms) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                upload.id.as_slice().into(),
                (&upload.account).into(),
                (&upload.device).into(),
                upload.cut.size.into(),
                upload.cut.part_size.into(),
                upload.expires_ms.into(),
            ],
        )
        .await?;
        Ok(())
    }

    /// An upload.
    pub(crate) async fn upload(&self, id: &[u8; 16]) -> Result<Option<Upload>, DbError> {
        let sql = "SELECT account_id, device_id, size, part_size, expires_ms FROM uploads WHERE id = $1";
        let row = self.db.row(sql, &[id.as_slice().into()]).await?;
        row.map(|row| {
            Ok(Upload {
                id: *id,
                account: AccountId(row.array(0)?),
                device: DeviceId(row.array(1)?),
                cut: Cut { size: row.uint(2)?, part_size: row.uint(3)? },
                expires_ms: row.uint(4)?,
            })
        })
        .transpose()
    }

    /// The parts of an upload that are there, ascending. Those that were stored before parts were hashed come again.
    pub(crate) async fn parts(&self, upload: &[u8; 16]) -> Result<Vec<Part>, DbError> {
        let sql =
            "SELECT part, hash_before, hash_after FROM parts WHERE upload_id = $1 AND hash_after <> $2 ORDER BY part";
        let rows = self.db.rows(sql, &[upload.as_slice().into(), [].as_slice().into()]).await?;
        rows.iter().map(|row| Ok(Part { number: row.uint(0)?, before: row.array(1)?, after: row.array(2)? })).collect()
    }

    /// Notes that the body of a part is there, and that the upload lives until then. False when there is no such upload any
    /// more.
    pub(crate) async fn put_part(&self, upload: &[u8; 16], part: &Part, expires_ms: u64) -> Result<bool, DbError> {
        let mut tx = self.db.begin().await?;
        // Locks the row: whoever ends the upload comes before this or after.
        let sql = "UPDATE uploads SET expires_ms = $2 WHERE id = $1";
        if tx.execute(sql, &[upload.as_slice().into(), expires_ms.into()]).await? == 0 {
            return Ok(false);
        }
        tx.execute(
            "INSERT INTO parts (upload_id, part, hash_before, hash_after) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (upload_id, part) DO UPDATE SET hash_before = excluded.hash_before, \
             hash_after = excluded.hash_after",
            &[
                upload.as_slice().into(),
                part.number.into(),
                part.before.as_slice().into(),
                part.after.as_slice().into(),
            ],
        )
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Makes a blob of an upload. Of two uploads of the same bytes the first one stays. False when the upload is gone.
    pub(crate) async fn finish(
        &self,
        upload: &Upload,
        blob: &[u8; 32],
        expires_ms: u64,
        now_ms: u64,
    ) -> Result<bool, DbError> {
        let mut tx = self.db.begin().await?;
        if !end_upload(&mut tx, &upload.id).await? {
            return Ok(false);
        }
        let kept = tx
            .row(
                "INSERT INTO blobs (id, upload_id, account_id, size, part_size, expires_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT (id) DO UPDATE SET expires_ms = excluded.expires_ms RETURNING upload_id",
                &[
                    blob.as_slice().into(),
                    upload.id.as_slice().into(),
                    (&upload.account).into(),
                    upload.cut.size.into(),
                    upload.cut.part_size.into(),
                    expires_ms.into(),
                ],
            )
            .await?;
        let kept: [u8; 16] = kept.ok_or(DbError::Damaged("blob"))?.array(0)?;
        if kept != upload.id {
            leave(&mut tx, &upload.id, upload.cut, now_ms).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// A blob that has not expired.
    pub(crate) async fn blob(&self, id: &[u8; 32], now_ms: u64) -> Result<Option<Blob>, DbError> {
        let sql = "SELECT upload_id, size, part_size, expires_ms FROM blobs WHERE id = $1 AND expires_ms > $2";
        let row = self.db.row(sql, &[id.as_slice().into(), now_ms.into()]).await?;
        row.map(|row| {
            let cut = Cut { size: row.uint(1)?, part_size: row.uint(2)? };
            Ok(Blob { upload: row.array(0)?, cut, expires_ms: row.uint(3)? })
        })
        .transpose()
    }

    /// A blob is used: it is kept until then at least.
    pub(crate) async fn touch(&self, id: &[u8; 32], expires_ms: u64) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "UPDATE blobs SET expires_ms = $2 WHERE id = $1 AND expires_ms < $2",
            &[id.as_slice().into(), expires_ms.into()],
        )
        .await?;
        tx.commit().await
    }

    /// Takes a blob of an account away, if it is there.
    pub(crate) async fn delete(&self, id: &[u8; 32], account: AccountId, now_ms: u64) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let args = [id.as_slice().into(), (&account).into()];
        let sql = "DELETE FROM blobs WHERE id = $1 AND account_id = $2 RETURNING upload_id, size, part_size";
        if let Some(row) = tx.row(sql, &args).await? {
            let cut = Cut { size: row.uint(1)?, part_size: row.uint(2)? };
            leave(&mut tx, &row.array(0)?, cut, now_ms).await?;
        } else if tx.row("SELECT 1 FROM blobs WHERE id = $1", &args[..1]).await?.is_some() {
            return Err(Error::NotYours);
        }
        Ok(tx.commit().await?)
    }

    /// Forgets uploads and blobs that have expired, and what was announced on other days; at most `limit` of each. Tells how
    /// many of the kind that had most.
    pub(crate) async fn expire(&self, now_ms: u64, limit: u64) -> Result<u64, DbError> {
        let mut tx = self.db.begin().await?;
        let args = [now_ms.into(), limit.into()];
        let sql = "SELECT id, size, part_size FROM uploads WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2";
        let uploads = tx.rows(sql, &args).await?;
        for row in &uploads {
            let (id, cut) = what_and_cut(row)?;
            // Another replica may have been first, or a part have come in between.
            let sql = "DELETE FROM uploads WHERE id = $1 AND expires_ms <= $2";
            if tx.execute(sql, &[id.as_slice().into(), now_ms.into()]).await? == 1 {
                tx.execute("DELETE FROM parts WHERE upload_id = $1", &[id.as_slice().into()]).await?;
                leave(&mut tx, &id, cut, now_ms).await?;
            }
        }
        let sql = "SELECT upload_id, size, part_size FROM blobs WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2";
        let blobs = tx.rows(sql, &args).await?;
        for row in &blobs {
            let (id, cut) = what_and_cut(row)?;
            let sql = "DELETE FROM blobs WHERE upload_id = $1 AND expires_ms <= $2";
            if tx.execute(sql, &[id.as_slice().into(), now_ms.into()]).await? == 1 {
                leave(&mut tx, &id, cut, now_ms).await?;
            }
        }
        tx.execute("DELETE FROM announced WHERE day < $1", &[domain::day(now_ms).into()]).await?;
        tx.commit().await?;
        Ok(uploads.len().max(blobs.len()) as u64)
    }

    /// Ends the uploads of a deleted account, and keeps of its blobs no longer whose they are.
    pub(crate) async fn forget_account(&self, account: AccountId, now_ms: u64) -> Result<(), DbError> {
        loop {
            let mut tx = self.db.begin().await?;
            // Whoever ends an upload at the same moment has it alone, so that its bodies are left here or there.
            let sql = "DELETE FROM uploads WHERE id IN (SELECT id FROM uploads WHERE account_id = $1 LIMIT $2) \
                 RETURNING id, size, part_size";
            let uploads = tx.rows(sql, &[(&account).into(), FORGET.into()]).await?;
            for row in &uploads {
                let (id, cut) = what_and_cut(row)?;
                tx.execute("DELETE FROM parts WHERE upload_id = $1", &[id.as_slice().into()]).await?;
                leave(&mut tx, &id, cut, now_ms).await?;
            }
            tx.commit().await?;
            if (uploads.len() as u64) < FORGET {
                break;
            }
        }
        let mut tx = self.db.begin().await?;
        tx.execute("DELETE FROM announced WHERE account_id = $1", &[(&account).into()]).await?;
        let args = [(&account).into(), (&NOBODY).into()];
        tx.execute("UPDATE blobs SET account_id = $2 WHERE account_id = $1", &args).await?;
        tx.commit().await
    }

    /// Bodies to remove: of which upload, and how many.
    pub(crate) async fn remains(&self, now_ms: u64, limit: u64) -> Result<Vec<([u8; 16], u64)>, DbError> {
        let sql = "SELECT upload_id, parts FROM remains WHERE due_ms <= $1 ORDER BY due_ms LIMIT $2";
        let rows = self.db.rows(sql, &[now_ms.into(), limit.into()]).await?;
        rows.iter().map(|row| Ok((row.array(0)?, row.uint(1)?))).collect()
    }

    /// The bodies of an upload are removed.
    pub(crate) async fn forget_remains(&self, upload: &[u8; 16]) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        tx.execute("DELETE FROM remains WHERE upload_id = $1", &[upload.as_slice().into()]).await?;
        tx.commit().await
    }
}

fn what_and_cut(row: &Row) -> Result<([u8; 16], Cut), DbError> {
    Ok((row.array(0)?, Cut { size: row.uint(1)?, part_size: row.uint(2)? }))
}

/// False when there is no such upload any more.
async fn end_upload(tx: &mut Tx, id: &[u8; 16]) -> Result<bool, DbError> {
    if tx.execute("DELETE FROM uploads WHERE id = $1", &[id.as_slice().into()]).await? == 0 {
        return Ok(false);
    }
    tx.execute("DELETE FROM parts WHERE upload_id = $1", &[id.as_slice().into()]).await?;
    Ok(true)
}

/// The bodies of an upload are of no use any more.
async fn leave(tx: &mut Tx, upload: &[u8; 16], cut: Cut, now_ms: u64) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO remains (upload_id, parts, due_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        &[upload.as_slice().into(), cut.parts().into(), (now_ms + GRACE_MS).into()],
    )
    .await
    .map(|_| ())
}
