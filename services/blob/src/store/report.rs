//! What there is of an account, for its owner.

use bytes::Bytes;
use qpc_chassis::db::{DbError, Row};
use qpc_wire::{
    AccountId,
    v1::{BlobReport, FilesReport, UploadReport},
};

use super::Store;
use crate::domain;

/// Rows of each kind; the numbers beside them are of all.
const MOST: u64 = 5_000;

impl Store {
    /// Blobs that have not expired, and uploads.
    pub(crate) async fn report(&self, account: AccountId, now_ms: u64) -> Result<FilesReport, DbError> {
        let args = [(&account).into(), now_ms.into(), MOST.into()];
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM blobs \
             WHERE account_id = $1 AND expires_ms > $2";
        let (blobs, blob_bytes) = match self.db().row(sql, &args[..2]).await? {
            Some(row) => (row.uint(0)?, row.uint(1)?),
            None => (0, 0),
        };
        let sql = "SELECT COUNT(*) FROM uploads WHERE account_id = $1 AND expires_ms > $2";
        let uploads = self.db().row(sql, &args[..2]).await?.map_or(Ok(0), |row| row.uint(0))?;
        let sql = "SELECT id, size, expires_ms FROM blobs WHERE account_id = $1 AND expires_ms > $2 \
             ORDER BY expires_ms DESC, id LIMIT $3";
        let blob_rows = self.db().rows(sql, &args).await?;
        let sql = "SELECT u.id, u.device_id, u.size, u.expires_ms, \
             (SELECT COUNT(*) FROM parts p WHERE p.upload_id = u.id) FROM uploads u \
             WHERE u.account_id = $1 AND u.expires_ms > $2 ORDER BY u.expires_ms DESC, u.id LIMIT $3";
        let upload_rows = self.db().rows(sql, &args).await?;
        Ok(FilesReport {
            blobs,
            blob_bytes,
            uploads,
            blob_rows: blob_rows.iter().map(blob).collect::<Result<_, _>>()?,
            upload_rows: upload_rows.iter().map(upload).collect::<Result<_, _>>()?,
        })
    }

    /// Bytes that an account has announced today.
    pub(crate) async fn announced(&self, account: AccountId, now_ms: u64) -> Result<u64, DbError> {
        let sql = "SELECT bytes FROM announced WHERE account_id = $1 AND day = $2";
        let row = self.db().row(sql, &[(&account).into(), domain::day(now_ms).into()]).await?;
        row.map_or(Ok(0), |row| row.uint(0))
    }
}

fn blob(row: &Row) -> Result<BlobReport, DbError> {
    Ok(BlobReport { blob_id: Bytes::from(row.bytes(0)?), size: row.uint(1)?, expires_at_ms: row.uint(2)? })
}

fn upload(row: &Row) -> Result<UploadReport, DbError> {
    Ok(UploadReport {
        upload_id: row.bytes(0)?.into(),
        device_id: row.bytes(1)?.into(),
        size: row.uint(2)?,
        expires_at_ms: row.uint(3)?,
        parts: u32::try_from(row.uint(4)?).unwrap_or(u32::MAX),
    })
}
