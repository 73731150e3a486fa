//! How far this device has read its mailbox.

use qpc_wire::GroupId;
use rusqlite::params;

use super::Tx;
use crate::{Error, Stats};

/// Unreadable entries that are listed; the count goes on.
const UNDECRYPTABLE_KEPT: u64 = 1_000;

impl Tx<'_> {
    /// Sequence of the last entry that was taken in; 0 before the first.
    pub(crate) fn cursor(&self) -> Result<u64, Error> {
        Ok(self.sql.query_row("SELECT cursor FROM mailbox", [], |row| row.get(0))?)
    }

    pub(crate) fn set_cursor(&self, seq: u64) -> Result<(), Error> {
        self.sql.execute("UPDATE mailbox SET cursor = ?1", [seq])?;
        Ok(())
    }

    pub(crate) fn count_receipt(&self) -> Result<(), Error> {
        self.sql.execute("UPDATE mailbox SET receipts_verified = receipts_verified + 1", [])?;
        Ok(())
    }

    pub(crate) fn insert_undecryptable(
        &self,
        seq: u64,
        conversation: Option<GroupId>,
        epoch: u64,
        kind: i32,
        reason: &str,
    ) -> Result<(), Error> {
        self.sql.execute(
            "INSERT OR REPLACE INTO undecryptable (seq, conversation, epoch, kind, reason, received_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![seq, conversation.map(|id| id.0), epoch, kind, reason, self.now_ms()],
        )?;
        self.sql.execute("UPDATE mailbox SET undecryptable = undecryptable + 1", [])?;
        self.sql.execute(
            "DELETE FROM undecryptable WHERE seq <= (SELECT max(seq) FROM undecryptable) - ?1",
            [UNDECRYPTABLE_KEPT],
        )?;
        Ok(())
    }

    /// Entries that could not be read since the server was told how many.
    pub(crate) fn untold_undecryptable(&self) -> Result<u64, Error> {
        let sql = "SELECT undecryptable - undecryptable_told FROM mailbox";
        Ok(self.sql.query_row(sql, [], |row| row.get(0))?)
    }

    pub(crate) fn set_told_undecryptable(&self, count: u64) -> Result<(), Error> {
        self.sql.execute("UPDATE mailbox SET undecryptable_told = undecryptable_told + ?1", [count])?;
        Ok(())
    }

    pub(crate) fn stats(&self) -> Result<Stats, Error> {
        Ok(self.sql.query_row(
            "SELECT cursor, receipts_verified, undecryptable, (SELECT count(*) FROM outbox) FROM mailbox",
            [],
            |row| {
                Ok(Stats {
                    cursor: row.get(0)?,
                    receipts_verified: row.get(1)?,
                    undecryptable: row.get(2)?,
                    outbox: row.get(3)?,
                })
            },
        )?)
    }
}
