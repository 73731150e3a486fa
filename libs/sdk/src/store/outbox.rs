//! Messages that the server has not accepted yet, in the order of writing.

use qpc_wire::{GroupId, IdempotencyKey};
use rusqlite::{OptionalExtension as _, params};

use super::Tx;
use crate::{Error, MessageId};

/// Messages waiting at the same time.
pub(crate) const MAX_OUTBOX: u64 = 10_000;

/// A message on its way out, exactly as it is sent, however often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) n: i64,
    pub(crate) conversation: GroupId,
    pub(crate) message: MessageId,
    pub(crate) key: IdempotencyKey,
    pub(crate) epoch: u64,
    pub(crate) payload: Vec<u8>,
    pub(crate) attempts: u32,
}

impl Tx<'_> {
    pub(crate) fn outbox_len(&self) -> Result<u64, Error> {
        Ok(self.sql.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?)
    }

    pub(crate) fn push_outbox(
        &self,
        conversation: GroupId,
        message: MessageId,
        key: IdempotencyKey,
        epoch: u64,
        payload: &[u8],
    ) -> Result<(), Error> {
        if self.outbox_len()? >= MAX_OUTBOX {
            return Err(Error::OutboxFull);
        }
        self.sql.execute(
            "INSERT INTO outbox (conversation, message, idempotency_key, epoch, payload) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![conversation.as_ref(), message.0, key.as_ref(), epoch, payload],
        )?;
        Ok(())
    }

    /// The message whose turn it is.
    pub(crate) fn first_in_outbox(&self) -> Result<Option<Outgoing>, Error> {
        let first = self
            .sql
            .query_row(
                "SELECT n, conversation, message, idempotency_key, epoch, payload, attempts
                 FROM outbox ORDER BY n LIMIT 1",
                [],
                |row| {
                    Ok(Outgoing {
                        n: row.get(0)?,
                        conversation: GroupId(row.get(1)?),
                        message: MessageId(row.get(2)?),
                        key: IdempotencyKey(row.get(3)?),
                        epoch: row.get(4)?,
                        payload: row.get(5)?,
                        attempts: row.get(6)?,
                    })
                },
            )
            .optional()?;
        Ok(first)
    }

    /// The message was encrypted anew, for a later epoch. Its key stays.
    pub(crate) fn replace_in_outbox(&self, n: i64, epoch: u64, payload: &[u8]) -> Result<(), Error> {
        self.sql.execute(
            "UPDATE outbox SET epoch = ?2, payload = ?3, attempts = attempts + 1 WHERE n = ?1",
            params![n, epoch, payload],
        )?;
        self.sql.execute(
            "UPDATE messages SET epoch = ?2 WHERE seq IS NULL
             AND (conversation, id) = (SELECT conversation, message FROM outbox WHERE n = ?1)",
            params![n, epoch],
        )?;
        Ok(())
    }

    pub(crate) fn remove_from_outbox(&self, n: i64) -> Result<(), Error> {
        self.sql.execute("DELETE FROM outbox WHERE n = ?1", [n])?;
        Ok(())
    }
}
