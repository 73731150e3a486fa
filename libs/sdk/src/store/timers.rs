//! Messages that disappear: how long they stay after they were read, and which are due.

use qpc_wire::{AccountId, GroupId};
use rusqlite::params;

use super::Tx;
use crate::{Error, MessageId, MessageRef};

/// Messages that disappear in one transaction.
const MAX_DUE: u64 = 500;

impl Tx<'_> {
    /// How long what is written now stays after it was read, milliseconds, 0 for ever; and when that was said.
    pub(crate) fn timer(&self, conversation: GroupId) -> Result<(u64, u64), Error> {
        let sql = "SELECT expires_after_ms, timer_at_ms FROM conversations WHERE id = ?1";
        Ok(self.sql.query_row(sql, [conversation.as_ref()], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    /// Sets it, unless a later word is known. Tells whether it is another one now.
    pub(crate) fn set_timer(&self, conversation: GroupId, after_ms: u64, at_ms: u64) -> Result<bool, Error> {
        let (before, _) = self.timer(conversation)?;
        let changed = self.sql.execute(
            "UPDATE conversations SET expires_after_ms = ?2, timer_at_ms = ?3
             WHERE id = ?1 AND (timer_at_ms < ?3 OR timer_at_ms = ?3 AND expires_after_ms < ?2)",
            params![conversation.as_ref(), after_ms, at_ms],
        )?;
        Ok(changed == 1 && before != after_ms)
    }

    /// Messages that were read, or accepted if they are own ones, begin to go.
    pub(crate) fn start_timers(&self, conversation: GroupId) -> Result<(), Error> {
        self.sql.execute(
            "UPDATE messages SET expires_at_ms = ?2 + expires_after_ms
             WHERE conversation = ?1 AND expires_after_ms > 0 AND expires_at_ms IS NULL AND seen = 1 AND at_ms > 0
                   AND kind < 2",
            params![conversation.as_ref(), self.now_ms()],
        )?;
        Ok(())
    }

    /// When the next message is to disappear.
    pub(crate) fn next_expiry(&self) -> Result<Option<u64>, Error> {
        let sql = "SELECT min(expires_at_ms) FROM messages WHERE expires_at_ms IS NOT NULL";
        Ok(self.sql.query_row(sql, [], |row| row.get(0))?)
    }

    /// Lets messages disappear that are due, some at a time. Returns which.
    pub(crate) fn expire(&self) -> Result<Vec<(GroupId, MessageId)>, Error> {
        let sql = "SELECT conversation, sender_account, id FROM messages WHERE expires_at_ms <= ?1 LIMIT ?2";
        let mut statement = self.sql.prepare_cached(sql)?;
        let rows = statement.query_map(params![self.now_ms(), MAX_DUE], |row| {
            let target = MessageRef { author: AccountId(row.get(1)?), id: MessageId(row.get(2)?) };
            Ok((GroupId(row.get(0)?), target))
        })?;
        let due = rows.collect::<Result<Vec<_>, _>>()?;
        for (conversation, target) in &due {
            self.empty(*conversation, *target, 3)?;
        }
        Ok(due.into_iter().map(|(conversation, target)| (conversation, target.id)).collect())
    }
}
