//! Messages that the server has not accepted yet, in the order of writing.

use std::borrow::Cow;

use qpc_crypto::franking::{SIGNATURE_LEN, with_signature};
use qpc_wire::{GroupId, IdempotencyKey};
use rusqlite::{OptionalExtension as _, params};

use super::Tx;
use crate::{Error, MessageId};

/// Messages waiting at the same time.
pub(crate) const MAX_OUTBOX: u64 = 10_000;

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) n: i64,
    pub(crate) conversation: GroupId,
    /// None for what nobody sees.
    pub(crate) message: Option<MessageId>,
    pub(crate) content: Vec<u8>,
    pub(crate) key: IdempotencyKey,
    /// What is sent, however often; none while it is not encrypted.
    pub(crate) sealed: Option<Sealed>,
    pub(crate) attempts: u32,
    /// None while it was never sent.
    pub(crate) way: Option<Way>,
}

/// How a message leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From this device, which says so.
    Named = 1,
    /// From nobody in particular.
    Sealed = 2,
}

/// An encrypted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) group: GroupId,
    pub(crate) epoch: u64,
    /// Tag of the epoch.
    pub(crate) tag: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// What stands behind the content in the payload, where it is to leave sealed.
    pub(crate) signature: Option<[u8; SIGNATURE_LEN]>,
}

impl Sealed {
    /// What was encrypted of a content.
    pub(crate) fn plaintext<'a>(&self, content: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.signature {
            Some(signature) => Cow::Owned(with_signature(content, signature)),
            None => Cow::Borrowed(content),
        }
    }
}

impl Tx<'_> {
    pub(crate) fn outbox_len(&self) -> Result<u64, Error> {
        Ok(self.sql.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?)
    }

    /// Whether something of a conversation waits.
    pub(crate) fn is_sending(&self, conversation: GroupId) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM outbox WHERE conversation = ?1)";
        Ok(self.sql.query_row(sql, [conversation.as_ref()], |row| row.get(0))?)
    }

    pub(crate) fn push_outbox(
        &self,
        conversation: GroupId,
        message: Option<MessageId>,
        content: &[u8],
        key: IdempotencyKey,
        sealed: Option<&Sealed>,
    ) -> Result<(), Error> {
        if self.outbox_len()? >= MAX_OUTBOX {
            return Err(Error::OutboxFull);
        }
        self.sql.execute(
            "INSERT INTO outbox (conversation, message, content, idempotency_key, group_id, epoch, payload, tag, signature)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                conversation.as_ref(),
                message.map(|id| id.0),
                content,
                key.as_ref(),
                sealed.map(|sealed| sealed.group.0),
                sealed.map_or(0, |sealed| sealed.epoch),
                sealed.map_or(&[][..], |sealed| &sealed.payload),
                sealed.map_or(&[][..], |sealed| &sealed.tag),
                sealed.map_or(&[][..], signature),
            ],
        )?;
        Ok(())
    }

    /// The message whose turn it is: of what people wrote first. Those of a conversation that is put off, whose group is
    /// stuck or not yet there, or whose peer is shown with another key, let others pass.
    pub(crate) fn first_in_outbox(&self, put_off: &[GroupId]) -> Result<Option<Outgoing>, Error> {
        let put_off = put_off.iter().map(|id| format!("x'{id}'")).collect::<Vec<_>>().join(",");
        for shown in ["IS NOT NULL", "IS NULL"] {
            let sql = format!(
                "SELECT o.n FROM outbox o LEFT JOIN conversations c ON c.id = o.conversation
                 LEFT JOIN groups g ON g.id = c.group_id
                 WHERE o.message {shown} AND COALESCE(g.stuck, 0) = 0 AND COALESCE(c.state, 2) NOT IN (0, 4)
                       AND o.conversation NOT IN ({put_off})
                       AND (c.peer IS NULL OR c.peer NOT IN
                            (SELECT account FROM peers WHERE other_key IS NOT NULL AND other_refused = 0))
                 ORDER BY o.n LIMIT 1"
            );
            if let Some(n) = self.sql.query_row(&sql, [], |row| row.get(0)).optional()? {
                return self.outgoing(n);
            }
        }
        Ok(None)
    }

    fn outgoing(&self, n: i64) -> Result<Option<Outgoing>, Error> {
        let sql =
            "SELECT n, conversation, message, content, idempotency_key, group_id, epoch, payload, attempts, tag, way,
                    signature
             FROM outbox WHERE n = ?1";
        let found = self.sql.query_row(sql, [n], |row| {
            let (group, payload): (Option<[u8; 16]>, Vec<u8>) = (row.get(5)?, row.get(7)?);
            let (epoch, tag, signature) = (row.get(6)?, row.get(9)?, row.get::<_, Vec<u8>>(11)?);
            Ok(Outgoing {
                n: row.get(0)?,
                conversation: GroupId(row.get(1)?),
                message: row.get::<_, Option<[u8; 16]>>(2)?.map(MessageId),
                content: row.get(3)?,
                key: IdempotencyKey(row.get(4)?),
                sealed: group.filter(|_| !payload.is_empty()).map(|group| Sealed {
                    group: GroupId(group),
                    epoch,
                    tag,
                    payload,
                    signature: signature.as_slice().try_into().ok(),
                }),
                attempts: row.get(8)?,
                way: match row.get::<_, u8>(10)? {
                    0 => None,
                    2 => Some(Way::Sealed),
                    _ => Some(Way::Named),
                },
            })
        });
        Ok(found.optional()?)
    }

    /// The message was encrypted, for the first time or anew. The key stays where the group does.
    pub(crate) fn seal_in_outbox(&self, n: i64, key: IdempotencyKey, sealed: &Sealed) -> Result<(), Error> {
        self.sql.execute(
            "UPDATE outbox SET idempotency_key = ?2, group_id = ?3, epoch = ?4, payload = ?5, tag = ?6,
                    signature = ?7, attempts = attempts + 1
             WHERE n = ?1",
            params![
                n,
                key.as_ref(),
                sealed.group.as_ref(),
                sealed.epoch,
                sealed.payload,
                sealed.tag,
                signature(sealed)
            ],
        )?;
        Ok(())
    }

    /// The message is to leave in this way, and in no other.
    pub(crate) fn set_way(&self, n: i64, way: Way) -> Result<(), Error> {
        self.sql.execute("UPDATE outbox SET way = ?2 WHERE n = ?1", params![n, way as u8])?;
        Ok(())
    }

    /// What the message showed the server last, that it may be sent; see [`crate::sealed`].
    pub(crate) fn permit(&self, n: i64) -> Result<Option<Vec<u8>>, Error> {
        let sql = "SELECT permit FROM outbox WHERE n = ?1 AND length(permit) > 0";
        Ok(self.sql.query_row(sql, [n], |row| row.get(0)).optional()?)
    }

    /// It is about to show this.
    pub(crate) fn set_permit(&self, n: i64, permit: &[u8]) -> Result<(), Error> {
        self.sql.execute("UPDATE outbox SET permit = ?2 WHERE n = ?1", params![n, permit])?;
        Ok(())
    }

    /// What a conversation's group has not taken yet is to be encrypted anew, for the group as it is now.
    pub(crate) fn unseal_outbox(&self, conversation: GroupId) -> Result<(), Error> {
        self.sql.execute("UPDATE outbox SET payload = x'' WHERE conversation = ?1", [conversation.as_ref()])?;
        Ok(())
    }

    pub(crate) fn remove_from_outbox(&self, n: i64) -> Result<(), Error> {
        self.sql.execute("DELETE FROM outbox WHERE n = ?1", [n])?;
        Ok(())
    }
}

fn signature(sealed: &Sealed) -> &[u8] {
    sealed.signature.as_ref().map_or(&[], |signature| signature)
}
