//! The audit log: a chain of rows, each authenticated together with the one before, under a key that the database does not
//! hold. What was changed, removed, added or reordered there is found by [`verify`]; so is a cut at either end.

use qpc_chassis::db::{DbError, Row, Tx};
use qpc_crypto::kdf::expand;
use qpc_wire::{
    Code,
    admin::v1::AuditEntry,
    proofs::{AuditFields, audit_entry},
};

use super::Store;
use crate::error::Error;

/// Rows that [`verify`] reads at a time, and that [`Store::cut_audit`] removes by one transaction.
const PAGE: u64 = 1_000;

const DAMAGED: DbError = DbError::Damaged("audit head");

/// What is to be kept of a call.
pub(crate) struct Entry<'a> {
    pub(crate) actor: &'a str,
    pub(crate) action: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) code: Code,
    pub(crate) at_ms: u64,
}

fn mac(key: &[u8; 32], fields: &AuditFields<'_>) -> String {
    hex::encode(expand(key, &audit_entry(fields)))
}

/// Adds an entry. Comes last in its transaction: from here to the commit all others wait.
pub(crate) async fn append(tx: &mut Tx, key: &[u8; 32], entry: &Entry<'_>) -> Result<(), DbError> {
    let head = tx.row("UPDATE audit_head SET seq = seq + 1 RETURNING seq, mac", &[]).await?.ok_or(DAMAGED)?;
    let (seq, previous) = (head.uint(0)?, head.text(1)?);
    let code = entry.code as u32;
    let Entry { actor, action, subject, at_ms, .. } = *entry;
    let mac = mac(key, &AuditFields { seq, at_ms, actor, action, subject, code, previous: &previous });
    tx.execute(
        "INSERT INTO audit (seq, at_ms, actor, action, subject, code, mac) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[seq.into(), at_ms.into(), actor.into(), action.into(), subject.into(), code.into(), mac.as_str().into()],
    )
    .await?;
    tx.execute("UPDATE audit_head SET mac = $1", &[mac.as_str().into()]).await?;
    Ok(())
}

/// The newest entries below `before`.
pub(crate) async fn list(tx: &mut Tx, before: u64, limit: u64) -> Result<Vec<AuditEntry>, DbError> {
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let rows = tx
        .rows(
            "SELECT seq, at_ms, actor, action, subject, code, mac FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2",
            &[before.into(), limit.into()],
        )
        .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &Row) -> Result<AuditEntry, DbError> {
    Ok(AuditEntry {
        seq: row.uint(0)?,
        at_ms: row.uint(1)?,
        actor: row.text(2)?,
        action: row.text(3)?,
        subject: row.text(4)?,
        code: u32::try_from(row.uint(5)?).unwrap_or(u32::MAX),
    })
}

/// How many entries there are, and the first that is not as it was written or is missing, if any.
pub(crate) async fn verify(tx: &mut Tx, key: &[u8; 32]) -> Result<(u64, Option<u64>), DbError> {
    let head = tx.row("SELECT seq, mac, cut_seq, cut_mac FROM audit_head", &[]).await?.ok_or(DAMAGED)?;
    let (last, last_mac) = (head.uint(0)?, head.text(1)?);
    let (mut seq, mut previous, mut entries) = (head.uint(2)?, head.text(3)?, 0);
    // Whoever put an entry before the cut did not write it here.
    if let Some(row) = tx.row("SELECT seq FROM audit WHERE seq <= $1 ORDER BY seq LIMIT 1", &[seq.into()]).await? {
        return Ok((entries, Some(row.uint(0)?)));
    }
    loop {
        let rows = tx
            .rows(
                "SELECT seq, at_ms, actor, action, subject, code, mac FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
                &[seq.into(), PAGE.into()],
            )
            .await?;
        for row in &rows {
            let found = entry(row)?;
            seq += 1;
            entries += 1;
            let AuditEntry { at_ms, actor, action, subject, code, .. } = &found;
            let fields = AuditFields { seq, at_ms: *at_ms, actor, action, subject, code: *code, previous: &previous };
            let mac = mac(key, &fields);
            if found.seq != seq || row.text(6)? != mac {
                return Ok((entries, Some(seq)));
            }
            previous = mac;
        }
        if (rows.len() as u64) < PAGE {
            break;
        }
    }
    let whole = seq == last && previous == last_mac;
    Ok((entries, (!whole).then_some(seq + 1)))
}

impl Store {
    /// Removes some of the entries from before `before_ms`, oldest first; tells how many. The last one stays: a log without
    /// any is no proof that there was none.
    pub(crate) async fn cut_audit(&self, before_ms: u64) -> Result<u64, Error> {
        let mut tx = self.db().begin().await?;
        // The row of the head is held first, as by whoever adds.
        let head = tx.row("UPDATE audit_head SET seq = seq RETURNING seq, cut_seq", &[]).await?.ok_or(DAMAGED)?;
        let (last, cut) = (head.uint(0)?, head.uint(1)?);
        let rows = tx
            .rows(
                "SELECT seq, mac, at_ms FROM audit WHERE seq > $1 AND seq < $2 ORDER BY seq LIMIT $3",
                &[cut.into(), last.into(), PAGE.into()],
            )
            .await?;
        let mut old = None;
        for row in &rows {
            if row.uint(2)? >= before_ms {
                break;
            }
            old = Some((row.uint(0)?, row.text(1)?));
        }
        let Some((seq, mac)) = old else { return Ok(0) };
        let removed = tx.execute("DELETE FROM audit WHERE seq <= $1", &[seq.into()]).await?;
        tx.execute("UPDATE audit_head SET cut_seq = $1, cut_mac = $2", &[seq.into(), mac.as_str().into()]).await?;
        tx.commit().await?;
        Ok(removed)
    }
}
