//! Requests whose answer is not known: they are repeated as they were, key and all, until it is.

use qpc_wire::GroupId;
use rusqlite::{OptionalExtension as _, Row, params};

use super::Tx;
use crate::Error;

/// What a pending change of a group was sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PendingKind {
    /// CreateGroup.
    Create = 0,
    /// CommitGroup by a member.
    Commit = 1,
    /// CommitGroup with an external commit.
    Join = 2,
    /// LeaveGroup.
    Leave = 3,
}

impl PendingKind {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Create,
            2 => Self::Join,
            3 => Self::Leave,
            _ => Self::Commit,
        }
    }
}

/// A change of a group between being made and being answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) group: GroupId,
    pub(crate) conversation: GroupId,
    pub(crate) kind: PendingKind,
    /// The encoded request.
    pub(crate) request: Vec<u8>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Pending> {
    Ok(Pending {
        group: GroupId(row.get(0)?),
        conversation: GroupId(row.get(1)?),
        kind: PendingKind::from_u8(row.get(2)?),
        request: row.get(3)?,
    })
}

impl Tx<'_> {
    pub(crate) fn insert_pending(&self, pending: &Pending) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO pending (group_id, conversation, kind, request) VALUES (?1, ?2, ?3, ?4)",
            params![pending.group.as_ref(), pending.conversation.as_ref(), pending.kind as u8, pending.request],
        )?;
        Ok(())
    }

    /// Any one of them.
    pub(crate) fn some_pending(&self) -> Result<Option<Pending>, Error> {
        let sql = "SELECT group_id, conversation, kind, request FROM pending LIMIT 1";
        Ok(self.sql.query_row(sql, [], read).optional()?)
    }

    /// Whether a change of a group waits for its answer.
    pub(crate) fn is_pending(&self, group: GroupId) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM pending WHERE group_id = ?1)";
        Ok(self.sql.query_row(sql, [group.as_ref()], |row| row.get(0))?)
    }

    /// The server has no verdict on a change. Returns how often that was so.
    pub(crate) fn count_pending_attempt(&self, group: GroupId) -> Result<u32, Error> {
        let sql = "UPDATE pending SET attempts = attempts + 1 WHERE group_id = ?1 RETURNING attempts";
        Ok(self.sql.query_row(sql, [group.as_ref()], |row| row.get(0)).optional()?.unwrap_or_default())
    }

    pub(crate) fn remove_pending(&self, group: GroupId) -> Result<(), Error> {
        self.sql.execute("DELETE FROM pending WHERE group_id = ?1", [group.as_ref()])?;
        Ok(())
    }

    /// The unconfirmed upload of KeyPackages of a suite.
    pub(crate) fn upload(&self, suite: u16) -> Result<Option<Vec<u8>>, Error> {
        let found = self.sql.query_row("SELECT request FROM uploads WHERE suite = ?1", [suite], |row| row.get(0));
        Ok(found.optional()?)
    }

    /// Keeps what is to bring new KeyPackages, and forgets old ones.
    pub(crate) fn insert_upload(&self, suite: u16, request: &[u8]) -> Result<(), Error> {
        self.forget_packages()?;
        self.sql.execute("INSERT INTO uploads (suite, request) VALUES (?1, ?2)", params![suite, request])?;
        Ok(())
    }

    pub(crate) fn remove_upload(&self, suite: u16) -> Result<(), Error> {
        self.sql.execute("DELETE FROM uploads WHERE suite = ?1", [suite])?;
        Ok(())
    }
}
