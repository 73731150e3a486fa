//! Reading, acknowledging and expiring mailboxes.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use qpc_chassis::{
    db::{Arg, DbError, Dialect, Row, Tx},
    runtime::planted::{Mistake, planted},
};
use qpc_wire::{
    DeviceId,
    limits::MAX_FETCH_BYTES,
    v1::{Entry, Envelope, FetchResponse, GapReason, PeekResponse, Pointer, entry::Body},
};

use super::Store;
use crate::{
    domain::mailbox::{cut, gap, merged},
    error::Error,
};

/// Mailboxes that one run of [`Store::expire`] works on.
const EXPIRE_DEVICES: i64 = 100;

/// Entries that one transaction of [`Store::empty`] removes.
const EMPTY_ENTRIES: i64 = 1000;

/// Time for which something shared stays when it is made for one who asks, and when nobody's mailbox points to it any more,
/// milliseconds.
pub const SHARED_MS: u64 = 2 * 60 * 60 * 1000;

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// Highest acknowledged sequence.
    pub seq: u64,
    /// Entries that it removed.
    pub removed: usize,
}

impl Store {
    /// Entries of `device` above `after`, oldest first. Keys of what they point to are in no database and not in here.
    pub async fn fetch(&self, device: &DeviceId, after: u64, limit: u32) -> Result<FetchResponse, DbError> {
        let plan = self
            .db
            .rows(
                "SELECT h.last_seq, h.acked, COALESCE(e.seq, 0), COALESCE(e.size, 0) FROM mailbox_head h \
                 LEFT JOIN mailbox_entry e ON e.device = h.device AND e.seq > $2 \
                 WHERE h.device = $1 ORDER BY e.seq LIMIT $3",
                &[device.into(), after.into(), limit.into()],
            )
            .await?;
        let Some(first) = plan.first() else { return Ok(FetchResponse::default()) };
        let (head, acked) = (first.uint(0)?, first.uint(1)?);
        let sizes: Vec<(u64, u64)> =
            plan.iter().map(|row| Ok((row.uint(2)?, row.uint(3)?))).collect::<Result<_, DbError>>()?;
        let sizes = if sizes == [(0, 0)] { &[] } else { sizes.as_slice() };
        let Some(last) = cut(sizes, MAX_FETCH_BYTES as u64) else {
            return Ok(FetchResponse { entries: Vec::new(), head, acked });
        };
        let rows = self
            .db
            .rows(
                "SELECT e.seq, e.gap_from, e.gap_reason, e.sealed_key, p.kind, p.group_id, p.epoch, p.accepted_ms, p.body, \
                 p.shared_id, p.shared_size, p.receipt, p.franking FROM mailbox_entry e \
                 LEFT JOIN payload p ON p.id = e.payload_id \
                 WHERE e.device = $1 AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq",
                &[device.into(), after.into(), last.into()],
            )
            .await?;
        let entries = rows.iter().map(entry).collect::<Result<_, _>>()?;
        Ok(FetchResponse { entries, head, acked })
    }

    /// Newest and acknowledged sequence of `device`.
    pub async fn peek(&self, device: &DeviceId) -> Result<PeekResponse, DbError> {
        let row = self.db.row("SELECT last_seq, acked FROM mailbox_head WHERE device = $1", &[device.into()]).await?;
        Ok(match row {
            Some(row) => PeekResponse { head: row.uint(0)?, acked: row.uint(1)? },
            None => PeekResponse::default(),
        })
    }

    /// When the oldest message that waits for each of `devices` was accepted, where one does. By the keys of the tables alone:
    /// two rows for a device, however much waits.
    pub async fn oldest(&self, devices: &[DeviceId]) -> Result<BTreeMap<DeviceId, u64>, DbError> {
        const ONE: &str = "SELECT m.device, p.accepted_ms FROM mailbox_entry m JOIN payload p ON p.id = m.payload_id \
             WHERE m.device = $1 AND m.gap_from = 0 ORDER BY m.seq LIMIT 1";
        const MANY: &str = "SELECT d.device, o.accepted_ms FROM UNNEST($1::BYTEA[]) AS d(device) CROSS JOIN LATERAL \
             (SELECT p.accepted_ms FROM mailbox_entry m JOIN payload p ON p.id = m.payload_id \
             WHERE m.device = d.device AND m.gap_from = 0 ORDER BY m.seq LIMIT 1) o";
        let mut rows = Vec::new();
        if self.db.dialect() == Dialect::Postgres {
            let ids: Vec<&[u8]> = devices.iter().map(|device| device.0.as_slice()).collect();
            rows = self.db.rows(MANY, &[Arg::ByteArrays(&ids)]).await?;
        } else {
            for device in devices {
                rows.extend(self.db.row(ONE, &[device.into()]).await?);
            }
        }
        rows.iter().map(|row| Ok((DeviceId(row.array(0)?), row.uint(1)?))).collect()
    }

    /// Removes everything of `device` up to and including `seq`, and the payloads that nobody waits for any more.
    pub async fn ack(&self, device: &DeviceId, seq: u64, now_ms: u64) -> Result<Acked, Error> {
        let mut tx = self.db.begin().await?;
        let moved = tx
            .execute(
                "UPDATE mailbox_head SET acked = $2 WHERE device = $1 AND acked < $2 AND last_seq >= $2",
                &[device.into(), seq.into()],
            )
            .await?;
        if moved == 0 {
            drop(tx);
            let PeekResponse { head, acked } = self.peek(device).await?;
            return if seq > head { Err(Error::AckBeyondHead { head }) } else { Ok(Acked { seq: acked, removed: 0 }) };
        }
        let gone = tx
            .rows(
                "DELETE FROM mailbox_entry WHERE device = $1 AND seq <= $2 RETURNING payload_id",
                &[device.into(), (seq + u64::from(planted(Mistake::AcksOneTooMany))).into()],
            )
            .await?;
        release(&mut tx, &gone, now_ms).await?;
        tx.commit().await?;
        Ok(Acked { seq, removed: gone.len() })
    }

    /// Removes all entries of `device`, in pieces. The head stays, so that its sequences never begin again.
    pub async fn empty(&self, device: &DeviceId, now_ms: u64) -> Result<(), Error> {
        const PIECE: &str = "SELECT MAX(seq) FROM (SELECT seq FROM mailbox_entry WHERE device = $1 ORDER BY seq LIMIT $2) \
             AS piece HAVING COUNT(*) > 0";
        // Every round removes what it finds, and nobody adds to a mailbox that no group knows any more.
        while let Some(last) = self.db.row(PIECE, &[device.into(), EMPTY_ENTRIES.into()]).await? {
            if self.ack(device, last.uint(0)?, now_ms).await?.removed == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Puts gaps in the place of what has expired, in up to 100 mailboxes; returns how many mailboxes it touched.
    pub async fn expire(&self, now_ms: u64) -> Result<usize, DbError> {
        let due = self
            .db
            .rows(
                "SELECT DISTINCT device FROM mailbox_entry WHERE expires_ms <= $1 LIMIT $2",
                &[now_ms.into(), EXPIRE_DEVICES.into()],
            )
            .await?;
        for row in &due {
            self.expire_device(&DeviceId(row.array(0)?), now_ms).await?;
        }
        Ok(due.len())
    }

    /// What disappears goes before what came before it, so there may be such gaps anywhere. Those side by side become one.
    async fn expire_device(&self, device: &DeviceId, now_ms: u64) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        // Locks the mailbox against a concurrent acknowledgement.
        tx.execute("UPDATE mailbox_head SET acked = acked WHERE device = $1", &[device.into()]).await?;
        let gone = tx
            .rows(
                "DELETE FROM mailbox_entry WHERE device = $1 AND (expires_ms <= $2 OR gap_reason = $3) \
                 RETURNING payload_id, seq, gap_from",
                &[device.into(), now_ms.into(), Arg::Int(GapReason::Expired as i64)],
            )
            .await?;
        release(&mut tx, &gone, now_ms).await?;
        let mut gaps = Vec::with_capacity(gone.len());
        for row in &gone {
            let (seq, gap_from) = (row.uint(1)?, row.uint(2)?);
            gaps.push((if gap_from == 0 { seq } else { gap_from }, seq));
        }
        for (from, to) in merged(gaps) {
            tx.execute(
                "INSERT INTO mailbox_entry (device, seq, payload_id, sealed_key, size, gap_from, gap_reason, expires_ms) \
                 VALUES ($1, $2, $3, $3, 0, $4, $5, $6)",
                &[
                    device.into(),
                    to.into(),
                    Arg::Bytes(&[]),
                    from.into(),
                    Arg::Int(GapReason::Expired as i64),
                    Arg::Int(i64::MAX),
                ],
            )
            .await?;
        }
        tx.commit().await
    }
}

fn entry(row: &Row) -> Result<Entry, DbError> {
    let (seq, gap_from) = (row.uint(0)?, row.uint(1)?);
    if gap_from != 0 {
        let reason = i32::try_from(row.int(2)?).ok().and_then(|code| GapReason::try_from(code).ok());
        return Ok(gap(gap_from, seq, reason.unwrap_or(GapReason::Unspecified)));
    }
    Ok(Entry {
        seq,
        body: Some(Body::Envelope(Envelope {
            sealed_key: row.bytes(3)?.into(),
            kind: row.int(4)? as i32,
            group_id: row.bytes(5)?.into(),
            epoch: row.uint(6)?,
            accepted_at_ms: row.uint(7)?,
            payload: Bytes::from(row.bytes(8)?),
            shared: pointer(row.bytes(9)?, row.uint(10)?),
            receipt: stored(&row.bytes(11)?, "receipt")?,
            franking: stored(&row.bytes(12)?, "franking")?,
        })),
    })
}

fn pointer(id: Vec<u8>, size: u64) -> Option<Pointer> {
    (!id.is_empty()).then(|| Pointer { id: id.into(), size, key: Bytes::new() })
}

/// What was stored encoded; empty where there was nothing.
fn stored<M: Message + Default>(encoded: &[u8], what: &'static str) -> Result<Option<M>, DbError> {
    if encoded.is_empty() {
        return Ok(None);
    }
    M::decode(encoded).map(Some).map_err(|_| DbError::Damaged(what))
}

/// Takes one reference from the payload in column 0 of each row and removes those without any left. What only they pointed
/// to goes soon after: somebody may have been told to join by it.
async fn release(tx: &mut Tx, gone: &[Row], now_ms: u64) -> Result<(), DbError> {
    let mut counts: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    for row in gone {
        let id = row.bytes(0)?;
        if !id.is_empty() {
            *counts.entry(id).or_default() += 1;
        }
    }
    if counts.is_empty() {
        return Ok(());
    }
    let mut pointed = Vec::new();
    match tx.dialect() {
        Dialect::Postgres => {
            let ids: Vec<&[u8]> = counts.keys().map(Vec::as_slice).collect();
            // Locked in one order by everyone. A payload with one reader left, the usual case, is deleted without the
            // update before it.
            pointed = tx
                .rows(
                    "WITH locked AS (SELECT id, refs FROM payload WHERE id = ANY($1) ORDER BY id FOR UPDATE), \
                     dropped AS (DELETE FROM payload p USING locked WHERE p.id = locked.id AND locked.refs <= 1 \
                     RETURNING p.shared_id), \
                     kept AS (UPDATE payload p SET refs = p.refs - 1 FROM locked \
                     WHERE p.id = locked.id AND locked.refs > 1) \
                     SELECT DISTINCT shared_id FROM dropped WHERE LENGTH(shared_id) > 0",
                    &[Arg::ByteArrays(&ids)],
                )
                .await?;
        }
        Dialect::Sqlite => {
            for (id, count) in &counts {
                let args = [Arg::from(id), (*count).into()];
                let sql = "DELETE FROM payload WHERE id = $1 AND refs <= $2 RETURNING shared_id";
                match tx.row(sql, &args).await? {
                    Some(row) if row.bytes(0)?.is_empty() => {}
                    Some(row) => pointed.push(row),
                    None => {
                        tx.execute("UPDATE payload SET refs = refs - $2 WHERE id = $1", &args).await?;
                    }
                }
            }
        }
    }
    for row in &pointed {
        tx.execute(
            "UPDATE shared SET expires_ms = $2 WHERE id = $1 AND expires_ms > $2 AND NOT EXISTS \
             (SELECT 1 FROM payload WHERE shared_id = $1 AND LENGTH(shared_id) > 0)",
            &[(&row.bytes(0)?).into(), (now_ms + SHARED_MS).into()],
        )
        .await?;
    }
    Ok(())
}
