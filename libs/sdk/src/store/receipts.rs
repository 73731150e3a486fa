//! The server's receipts: for each group a chain, and the holes in it.

use prost::Message as _;
use qpc_crypto::receipt::{Link, ReceiptError};
use qpc_wire::{GroupId, v1};
use rusqlite::{OptionalExtension as _, ToSql, params};
use serde::{Deserialize, Serialize};

use super::Tx;
use crate::{
    Error,
    runtime::planted::{Mistake, planted},
};

/// Holes that one entry of the mailbox can tear. Beyond it the older ones are given up at once.
const MAX_TORN: u64 = 10_000;

/// A receipt as it is kept.
pub(crate) struct Kept {
    /// For something that this device sent (1 in its row), or the one that it was restored from (2).
    pub(crate) own: bool,
    pub(crate) before: Option<Break>,
    pub(crate) receipt: v1::Receipt,
}

/// Why what is missing before a receipt is nobody's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Break {
    /// It was not for this device, which has come in with this.
    Out = 1,
    /// It is gone from the mailbox, as the server said.
    Gone = 2,
}

/// Why a receipt does not continue its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Two receipts for one place.
    #[error("the server has signed two receipts for place {0} of the chain")]
    Two(u64),
    /// A receipt names another predecessor than the one that is here.
    #[error("the receipt at place {0} does not follow the one before it")]
    Broken(u64),
}

impl Tx<'_> {
    /// Keeps a verified receipt of something that this device sent.
    pub(crate) fn put_own_receipt(
        &self,
        group: GroupId,
        receipt: &v1::Receipt,
    ) -> Result<Result<(), ChainError>, Error> {
        let kept = if planted(Mistake::ForgetsOwnReceipts) { Ok(()) } else { self.put_receipt(group, receipt, true)? };
        self.mark_own(group, receipt.seq)?;
        self.fill_hole(group, receipt.seq)?;
        Ok(kept)
    }

    /// What stands at a place was sent by this device, though it came through the mailbox too.
    pub(crate) fn mark_own(&self, group: GroupId, seq: u64) -> Result<(), Error> {
        let sql = "UPDATE receipts SET own = 1 WHERE group_id = ?1 AND seq = ?2 AND own = 0";
        self.sql.execute(sql, params![group.as_ref(), seq])?;
        Ok(())
    }

    /// Keeps the verified receipt of an entry of the mailbox. Entries of a group come in the order of its chain: what is
    /// left out between them and was not sent by this device is a hole. Tells how many were torn.
    pub(crate) fn put_seen_receipt(
        &self,
        group: GroupId,
        receipt: &v1::Receipt,
    ) -> Result<Result<u64, ChainError>, Error> {
        let (first, seen, interrupted): (u64, u64, bool) = self.sql.query_row(
            "SELECT chain_first, chain_seen, interrupted FROM groups WHERE id = ?1",
            [group.as_ref()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        if first == 0 {
            // The one of this device's own coming was refused, or never came.
            self.begin_chain(group, receipt.seq)?;
        }
        let kept = self.put_receipt(group, receipt, false)?;
        if let Err(error) = kept {
            return Ok(Err(error));
        }
        if first == 0 || receipt.seq <= seen {
            return Ok(Ok(0));
        }
        if interrupted {
            self.end_interruption(group, seen, receipt.seq)?;
        }
        Ok(Ok(self.see(group, seen, receipt.seq)?))
    }

    /// This device has come in again at a place. After an interruption nothing of what was before it is in the mailbox, and
    /// so it is known to be missing.
    pub(crate) fn come_back(&self, group: GroupId, seq: u64) -> Result<(), Error> {
        let sql =
            "SELECT chain_seen FROM groups WHERE id = ?1 AND interrupted = 1 AND chain_first > 0 AND chain_seen < ?2";
        let seen = self.sql.query_row(sql, params![group.as_ref(), seq], |row| row.get(0)).optional()?;
        if let Some(seen) = seen {
            self.end_interruption(group, seen, seq)?;
            self.see(group, seen, seq)?;
        }
        Ok(())
    }

    /// The chain was seen up to a place: tears a hole for each one in between. Tells how many.
    fn see(&self, group: GroupId, seen: u64, seq: u64) -> Result<u64, Error> {
        let mut torn = 0;
        for seq in (seen + 1).max(seq.saturating_sub(MAX_TORN))..seq {
            torn += u64::from(self.tear_hole(group, seq)?);
        }
        self.sql.execute("UPDATE groups SET chain_seen = ?2 WHERE id = ?1", params![group.as_ref(), seq])?;
        Ok(torn)
    }

    /// From `seq` on, receipts are expected; none was before this device came in.
    pub(crate) fn begin_chain(&self, group: GroupId, seq: u64) -> Result<(), Error> {
        self.sql.execute(
            "UPDATE groups SET chain_first = ?2, chain_seen = max(chain_seen, ?2), interrupted = 0
             WHERE id = ?1 AND chain_first = 0",
            params![group.as_ref(), seq],
        )?;
        Ok(())
    }

    /// A part of the mailbox is gone as the server had said it would, or as this device itself has acknowledged and forgotten:
    /// what is missing in the chains because of it is nobody's fault.
    pub(crate) fn interrupt_chains(&self) -> Result<(), Error> {
        self.sql.execute("UPDATE groups SET interrupted = 1", [])?;
        Ok(())
    }

    /// The mailbox goes on at `to`, which is all that the interruption explains: what is missing between there and what was
    /// last seen, and nothing behind.
    fn end_interruption(&self, group: GroupId, seen: u64, to: u64) -> Result<(), Error> {
        self.sql.execute(
            "UPDATE receipts SET breaks = 2 WHERE group_id = ?1 AND seq > ?2 AND seq <= ?3 AND breaks = 0",
            params![group.as_ref(), seen, to],
        )?;
        self.sql.execute(
            "UPDATE receipts SET breaks = 0 WHERE group_id = ?1 AND seq > ?2 AND breaks = 2",
            params![group.as_ref(), to],
        )?;
        self.sql.execute("UPDATE groups SET interrupted = 0 WHERE id = ?1", [group.as_ref()])?;
        Ok(())
    }

    /// What stands at a place cannot be read here. False if nothing is missing there.
    pub(crate) fn tear_hole(&self, group: GroupId, seq: u64) -> Result<bool, Error> {
        // In a store that was restored from a backup, places beyond what was seen may be filled.
        if i64::try_from(seq).is_err() || self.is_taken(group, seq)? {
            return Ok(false);
        }
        let torn = self.sql.execute(
            "INSERT INTO holes (group_id, seq, since_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![group.as_ref(), seq, self.now_ms()],
        )?;
        Ok(torn == 1)
    }

    /// What stood at a place is here now, or was nothing to read.
    pub(crate) fn fill_hole(&self, group: GroupId, seq: u64) -> Result<bool, Error> {
        let sql = "DELETE FROM holes WHERE group_id = ?1 AND seq = ?2";
        Ok(self.sql.execute(sql, params![group.as_ref(), seq])? == 1)
    }

    /// Holes of a group, those that are not given up and the newest first, at most `limit`.
    pub(crate) fn holes(&self, group: GroupId, limit: usize) -> Result<Vec<u64>, Error> {
        let mut statement =
            self.sql.prepare_cached("SELECT seq FROM holes WHERE group_id = ?1 ORDER BY state, seq DESC LIMIT ?2")?;
        let rows = statement.query_map(params![group.as_ref(), limit], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Nobody has what is missing in a group. Tells how many holes that are.
    pub(crate) fn give_up_holes(&self, group: GroupId) -> Result<u64, Error> {
        let sql = "UPDATE holes SET state = 1 WHERE group_id = ?1 AND state = 0";
        Ok(self.sql.execute(sql, [group.as_ref()])? as u64)
    }

    /// Whether this device sent what stands at a place, and has not sent it again within `within_ms`. Notes that it now
    /// does.
    pub(crate) fn may_resend(&self, group: GroupId, seq: u64, within_ms: u64) -> Result<bool, Error> {
        let now = self.now_ms();
        let changed = self.sql.execute(
            "UPDATE receipts SET resent_at_ms = ?3 WHERE group_id = ?1 AND seq = ?2 AND resent_at_ms + ?4 <= ?3",
            params![group.as_ref(), seq, now, within_ms],
        )?;
        Ok(changed == 1)
    }

    /// Whether this device sent what stands at a place.
    pub(crate) fn is_own_place(&self, group: GroupId, seq: u64) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM receipts WHERE group_id = ?1 AND seq = ?2 AND own = 1)";
        Ok(self.sql.query_row(sql, params![group.as_ref(), seq], |row| row.get(0))?)
    }

    /// All receipts that were set aside.
    pub(crate) fn lost_receipts(&self) -> Result<Vec<Kept>, Error> {
        let sql = "SELECT own, breaks, receipt FROM lost_receipts ORDER BY group_id, seq";
        self.read_receipts(sql, params![])
    }

    /// All receipts, by group and place, after the given one.
    pub(crate) fn receipts_after(&self, after: Option<(GroupId, u64)>, limit: usize) -> Result<Vec<Kept>, Error> {
        let (group, seq) = after.map_or((Vec::new(), 0), |(group, seq)| (group.0.to_vec(), seq));
        let sql = "SELECT own, breaks, receipt FROM receipts WHERE (group_id, seq) > (?1, ?2)
             ORDER BY group_id, seq LIMIT ?3";
        self.read_receipts(sql, params![group, seq, limit])
    }

    fn read_receipts(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<Kept>, Error> {
        let mut statement = self.sql.prepare_cached(sql)?;
        let rows =
            statement.query_map(values, |row| Ok((row.get(0)?, row.get::<_, u8>(1)?, row.get::<_, Vec<u8>>(2)?)))?;
        rows.map(|row| {
            let (own, breaks, bytes) = row?;
            let before = [Break::Out, Break::Gone].into_iter().find(|why| *why as u8 == breaks);
            Ok(Kept { own, before, receipt: v1::Receipt::decode(bytes.as_slice())? })
        })
        .collect()
    }

    fn put_receipt(&self, group: GroupId, receipt: &v1::Receipt, own: bool) -> Result<Result<(), ChainError>, Error> {
        let seq = receipt.seq;
        if let Some(known) = self.receipt_at(group, seq)? {
            if links(&known)? == links(receipt)? {
                return Ok(Ok(()));
            }
            self.set_aside(group, seq)?;
            self.insert_receipt(group, receipt, own)?;
            return Ok(Err(ChainError::Two(seq)));
        }
        let fits = |before: &v1::Receipt, after: &v1::Receipt| -> Result<bool, Error> {
            Ok(Link::after(before)?.prev.as_slice() == after.prev.as_ref())
        };
        if let Some(before) = self.receipt_at(group, seq.saturating_sub(1))?
            && !fits(&before, receipt)?
        {
            return Ok(Err(ChainError::Broken(seq)));
        }
        if let Some(after) = self.receipt_at(group, seq + 1)?
            && !fits(receipt, &after)?
        {
            return Ok(Err(ChainError::Broken(seq + 1)));
        }
        self.insert_receipt(group, receipt, own)?;
        Ok(Ok(()))
    }

    fn insert_receipt(&self, group: GroupId, receipt: &v1::Receipt, own: bool) -> Result<(), Error> {
        self.sql.execute(
            // The first one since this device came in continues nothing that it has had, nor does one after an interruption.
            "INSERT INTO receipts (group_id, seq, own, receipt, breaks)
             VALUES (?1, ?2, ?3, ?4, COALESCE(
                 (SELECT CASE WHEN chain_first = ?2 THEN 1 ELSE 2 END FROM groups
                  WHERE id = ?1 AND (chain_first = ?2 OR interrupted = 1 AND chain_seen + 1 < ?2)),
                 (SELECT max(breaks) FROM lost_receipts WHERE group_id = ?1 AND seq = ?2),
                 0))",
            params![group.as_ref(), receipt.seq, own, receipt.encode_to_vec()],
        )?;
        Ok(())
    }

    /// The chain goes on at a place where it has been before. What is signed now is what others see and ask for; what was
    /// signed before is kept apart, as evidence.
    fn set_aside(&self, group: GroupId, from: u64) -> Result<(), Error> {
        self.sql.execute(
            "INSERT OR IGNORE INTO lost_receipts (group_id, seq, own, receipt, breaks)
             SELECT group_id, seq, own, receipt, breaks FROM receipts WHERE group_id = ?1 AND seq >= ?2",
            params![group.as_ref(), from],
        )?;
        self.sql.execute("DELETE FROM receipts WHERE group_id = ?1 AND seq >= ?2", params![group.as_ref(), from])?;
        self.sql.execute(
            "UPDATE groups SET chain_seen = min(chain_seen, ?2) WHERE id = ?1",
            params![group.as_ref(), from],
        )?;
        Ok(())
    }

    pub(crate) fn receipt_at(&self, group: GroupId, seq: u64) -> Result<Option<v1::Receipt>, Error> {
        let sql = "SELECT receipt FROM receipts WHERE group_id = ?1 AND seq = ?2";
        let found: Option<Vec<u8>> =
            self.sql.query_row(sql, params![group.as_ref(), seq], |row| row.get(0)).optional()?;
        Ok(found.map(|bytes| v1::Receipt::decode(bytes.as_slice())).transpose()?)
    }
}

/// What the next receipt would name.
fn links(receipt: &v1::Receipt) -> Result<[u8; 32], ReceiptError> {
    Ok(Link::after(receipt)?.prev)
}
