//! Requests whose answer is not known: they are repeated as they were, key and all, until it is.

use qpc_wire::GroupId;
use rusqlite::{OptionalExtension as _, Row, params};

use super::Tx;
use crate::Error;

/// What a pending commit was sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PendingKind {
    Create = 0,
    Commit = 1,
}

/// A commit between being made and being answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) conversation: GroupId,
    pub(crate) kind: PendingKind,
    /// The encoded request.
    pub(crate) request: Vec<u8>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Pending> {
    let kind = if row.get::<_, u8>(1)? == 0 { PendingKind::Create } else { PendingKind::Commit };
    Ok(Pending { conversation: GroupId(row.get(0)?), kind, request: row.get(2)? })
}

impl Tx<'_> {
    pub(crate) fn insert_pending(&self, pending: &Pending) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO pending (conversation, kind, request) VALUES (?1, ?2, ?3)",
            params![pending.conversation.as_ref(), pending.kind as u8, pending.request],
        )?;
        Ok(())
    }

    /// Any one of them.
    pub(crate) fn some_pending(&self) -> Result<Option<Pending>, Error> {
        Ok(self.sql.query_row("SELECT conversation, kind, request FROM pending LIMIT 1", [], read).optional()?)
    }

    pub(crate) fn remove_pending(&self, conversation: GroupId) -> Result<(), Error> {
        self.sql.execute("DELETE FROM pending WHERE conversation = ?1", [conversation.as_ref()])?;
        Ok(())
    }

    /// The unconfirmed upload of KeyPackages of a suite.
    pub(crate) fn upload(&self, suite: u16) -> Result<Option<Vec<u8>>, Error> {
        let found = self.sql.query_row("SELECT request FROM uploads WHERE suite = ?1", [suite], |row| row.get(0));
        Ok(found.optional()?)
    }

    pub(crate) fn insert_upload(&self, suite: u16, request: &[u8]) -> Result<(), Error> {
        self.sql.execute("INSERT INTO uploads (suite, request) VALUES (?1, ?2)", params![suite, request])?;
        Ok(())
    }

    pub(crate) fn remove_upload(&self, suite: u16) -> Result<(), Error> {
        self.sql.execute("DELETE FROM uploads WHERE suite = ?1", [suite])?;
        Ok(())
    }
}
