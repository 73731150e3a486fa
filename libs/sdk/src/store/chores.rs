//! What is to be done later: see [`crate::chores`].

use qpc_wire::GroupId;
use rusqlite::{OptionalExtension as _, params};

use super::Tx;
use crate::Error;

/// Kinds of chores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChoreKind {
    /// Join the group again, which cannot be followed.
    Heal = 1,
    /// Commit the proposals of those who leave.
    CommitLeaves = 2,
    /// Renew the own leaf, so that the commits of others shrink.
    Warm = 3,
    /// Ask for messages that are missing.
    Ask = 4,
    /// Tell others that their messages have arrived, or were read.
    Acknowledge = 5,
    /// Bring the account's devices in the group up to date.
    Devices = 6,
    /// Renew the own leaf, because it has been a while.
    Renew = 7,
    /// Send the history to a new device.
    History = 8,
    /// Tell a new member the name of the conversation.
    Name = 9,
    /// Forget the secrets of groups that were replaced.
    Retire = 10,
    /// Wait for a device that was given the account, and let it in.
    Linked = 11,
    /// Leave once more: somebody's commit has left the proposal out.
    Leave = 12,
    /// Join a group, under whose id it stands, that has let this device in by a Welcome which cannot be read.
    Join = 13,
    /// Add those who are still to be added.
    Admit = 14,
}

impl ChoreKind {
    const ALL: [Self; 14] = [
        Self::Heal,
        Self::CommitLeaves,
        Self::Warm,
        Self::Ask,
        Self::Acknowledge,
        Self::Devices,
        Self::Renew,
        Self::History,
        Self::Name,
        Self::Retire,
        Self::Linked,
        Self::Leave,
        Self::Join,
        Self::Admit,
    ];
}

/// Something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chore {
    pub(crate) conversation: GroupId,
    pub(crate) kind: ChoreKind,
    pub(crate) due_ms: u64,
    pub(crate) tries: u32,
    wish: u64,
}

impl Tx<'_> {
    /// Has something done in a while. What is to be done already stays due when it was, unless that is later; it begins anew
    /// with its tries.
    pub(crate) fn put_chore(&self, conversation: GroupId, kind: ChoreKind, in_ms: u64) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO chores (conversation, kind, due_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (conversation, kind) DO UPDATE SET due_ms = min(due_ms, excluded.due_ms), tries = 0, wish = wish + 1",
            params![conversation.as_ref(), kind as u8, self.now_ms() + in_ms],
        )?;
        Ok(())
    }

    /// Has something done at once, unless it is to be done already.
    pub(crate) fn put_chore_if_none(&self, conversation: GroupId, kind: ChoreKind) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO chores (conversation, kind, due_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![conversation.as_ref(), kind as u8, self.now_ms()],
        )?;
        Ok(())
    }

    /// What is due first.
    pub(crate) fn next_chore(&self) -> Result<Option<Chore>, Error> {
        let found = self
            .sql
            .query_row(
                "SELECT conversation, kind, due_ms, tries, wish FROM chores ORDER BY due_ms, conversation, kind LIMIT 1",
                [],
                |row| Ok((GroupId(row.get(0)?), row.get::<_, u8>(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
            )
            .optional()?;
        let Some((conversation, number, due_ms, tries, wish)) = found else { return Ok(None) };
        let Some(kind) = ChoreKind::ALL.into_iter().find(|kind| *kind as u8 == number) else {
            return Err(Error::Corrupt("a chore"));
        };
        Ok(Some(Chore { conversation, kind, due_ms, tries, wish }))
    }

    /// Whether something is to be done before a time, Unix milliseconds, that others wait for.
    pub(crate) fn is_busy(&self, before_ms: u64) -> Result<bool, Error> {
        // What is done for its own sake, and may as well be done later.
        let idle =
            [ChoreKind::Warm, ChoreKind::Renew, ChoreKind::Retire].map(|kind| (kind as u8).to_string()).join(",");
        let sql = format!("SELECT EXISTS (SELECT 1 FROM chores WHERE due_ms < ?1 AND kind NOT IN ({idle}))");
        Ok(self.sql.query_row(&sql, [before_ms], |row| row.get(0))?)
    }

    /// It is done, unless it has been wanted again meanwhile.
    pub(crate) fn finish_chore(&self, chore: &Chore) -> Result<(), Error> {
        self.sql.execute(
            "DELETE FROM chores WHERE conversation = ?1 AND kind = ?2 AND wish = ?3",
            params![chore.conversation.as_ref(), chore.kind as u8, chore.wish],
        )?;
        Ok(())
    }

    /// It is not done yet, and is to be tried again in a while.
    pub(crate) fn postpone_chore(&self, chore: &Chore, in_ms: u64, tries: u32) -> Result<(), Error> {
        self.sql.execute(
            // Wanted again meanwhile, it stays due as it was wanted.
            "UPDATE chores SET due_ms = ?3, tries = ?4 WHERE conversation = ?1 AND kind = ?2 AND wish = ?5",
            params![chore.conversation.as_ref(), chore.kind as u8, self.now_ms() + in_ms, tries, chore.wish],
        )?;
        Ok(())
    }

    /// Nothing is to be done in a conversation any more.
    pub(crate) fn drop_chores(&self, conversation: GroupId) -> Result<(), Error> {
        self.sql.execute("DELETE FROM chores WHERE conversation = ?1", [conversation.as_ref()])?;
        Ok(())
    }

    /// It need not be done any more.
    pub(crate) fn drop_chore(&self, conversation: GroupId, kind: ChoreKind) -> Result<(), Error> {
        self.sql.execute(
            "DELETE FROM chores WHERE conversation = ?1 AND kind = ?2",
            params![conversation.as_ref(), kind as u8],
        )?;
        Ok(())
    }
}
