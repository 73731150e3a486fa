//! What does not fit into a mailbox or a frame: stored once and fetched in pieces, or brought in parts.

use qpc_chassis::db::{Arg, DbError, Tx};
use qpc_wire::{DeviceId, limits::PART};

use super::Store;

/// Parts of one staged commit are forgotten this long after they came, milliseconds.
const STAGED_MS: u64 = 60 * 60 * 1000;
/// Commits that one device has staged at the same time.
const STAGED_IDS: usize = 2;
/// Rows that one run of [`Store::expire_shared`] removes from each table.
const EXPIRE_ROWS: i64 = 500;

/// A part of a staged commit, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedPart {
    /// Number of the part, from 0.
    pub part: u64,
    /// Bytes of the whole.
    pub total: u64,
    /// Sealed.
    pub body: Vec<u8>,
}

impl Store {
    /// Stores what several devices will fetch.
    pub async fn share(tx: &mut Tx, id: &[u8; 16], body: &[u8], expires_ms: u64) -> Result<(), DbError> {
        let sql = "INSERT INTO shared (id, body, size, expires_ms) VALUES ($1, $2, $3, $4)";
        tx.execute(sql, &[id.as_slice().into(), body.into(), (body.len() as u64).into(), expires_ms.into()])
            .await
            .map(|_| ())
    }

    /// Size of what stands under `id` and when it goes.
    pub async fn shared(&self, id: &[u8]) -> Result<Option<(u64, u64)>, DbError> {
        let row = self.db.row("SELECT size, expires_ms FROM shared WHERE id = $1", &[id.into()]).await?;
        row.map(|row| Ok((row.uint(0)?, row.uint(1)?))).transpose()
    }

    /// The piece from `offset` on, empty beyond the end.
    pub async fn piece(&self, id: &[u8; 16], offset: u64) -> Result<Option<Vec<u8>>, DbError> {
        // Both engines count pieces by 32 bits. Nothing is that large, so whatever lies beyond is beyond the end.
        let offset = offset.min(i32::MAX as u64 - PART as u64);
        let sql = "SELECT SUBSTR(body, CAST($2 AS INTEGER), CAST($3 AS INTEGER)) FROM shared WHERE id = $1";
        let row = self.db.row(sql, &[id.as_slice().into(), (offset + 1).into(), (PART as u64).into()]).await?;
        row.map(|row| row.bytes(0)).transpose()
    }

    /// Keeps a part; of other commits that `device` has staged, the oldest go.
    pub async fn stage(&self, device: &DeviceId, id: &[u8; 16], part: &StagedPart, now_ms: u64) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "INSERT INTO staged (device, staged_id, part, total, body, at_ms) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (device, staged_id, part) DO UPDATE \
             SET total = EXCLUDED.total, body = EXCLUDED.body, at_ms = EXCLUDED.at_ms",
            &[
                device.into(),
                id.as_slice().into(),
                part.part.into(),
                part.total.into(),
                (&part.body).into(),
                now_ms.into(),
            ],
        )
        .await?;
        let others = tx
            .rows(
                "SELECT staged_id FROM staged WHERE device = $1 AND staged_id <> $2 GROUP BY staged_id \
                 ORDER BY MAX(at_ms) DESC, staged_id",
                &[device.into(), id.as_slice().into()],
            )
            .await?;
        for other in others.iter().skip(STAGED_IDS - 1) {
            Self::unstage(&mut tx, device, &other.bytes(0)?).await?;
        }
        tx.commit().await
    }

    /// The parts of a staged commit, in their order.
    pub async fn staged(&self, device: &DeviceId, id: &[u8; 16]) -> Result<Vec<StagedPart>, DbError> {
        let sql = "SELECT part, total, body FROM staged WHERE device = $1 AND staged_id = $2 ORDER BY part";
        let rows = self.db.rows(sql, &[device.into(), id.as_slice().into()]).await?;
        rows.iter().map(|row| Ok(StagedPart { part: row.uint(0)?, total: row.uint(1)?, body: row.bytes(2)? })).collect()
    }

    /// Forgets a staged commit.
    pub async fn unstage(tx: &mut Tx, device: &DeviceId, id: &[u8]) -> Result<(), DbError> {
        let sql = "DELETE FROM staged WHERE device = $1 AND staged_id = $2";
        tx.execute(sql, &[device.into(), id.into()]).await.map(|_| ())
    }

    /// Removes what has expired, up to a bound; returns how many rows.
    pub async fn expire_shared(&self, now_ms: u64) -> Result<u64, DbError> {
        let mut tx = self.db.begin().await?;
        let shared = tx
            .execute(
                "DELETE FROM shared WHERE id IN (SELECT id FROM shared WHERE expires_ms <= $1 LIMIT $2)",
                &[now_ms.into(), Arg::Int(EXPIRE_ROWS)],
            )
            .await?;
        let sql = "SELECT device, staged_id, part FROM staged WHERE at_ms <= $1 LIMIT $2";
        let due = tx.rows(sql, &[now_ms.saturating_sub(STAGED_MS).into(), Arg::Int(EXPIRE_ROWS)]).await?;
        for row in &due {
            let key = (row.bytes(0)?, row.bytes(1)?, row.uint(2)?);
            let sql = "DELETE FROM staged WHERE device = $1 AND staged_id = $2 AND part = $3";
            tx.execute(sql, &[(&key.0).into(), (&key.1).into(), key.2.into()]).await?;
        }
        tx.commit().await?;
        Ok(shared + due.len() as u64)
    }
}
