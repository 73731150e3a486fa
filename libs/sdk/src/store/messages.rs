//! Messages, own and others'.

use qpc_wire::{AccountId, DeviceId, GroupId};
use rusqlite::{Row, params};

use super::Tx;
use crate::{Error, MessageId};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// Written here, not yet accepted by the server.
    Queued,
    /// The server has signed that it is durable for every recipient, and the signature held.
    Accepted,
    /// The server refuses it for good.
    Failed,
    /// Written on another device.
    Received,
    /// The server says it is accepted, but its receipt does not hold.
    ReceiptRefused,
}

impl MessageState {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Queued,
            1 => Self::Accepted,
            3 => Self::Received,
            4 => Self::ReceiptRefused,
            _ => Self::Failed,
        }
    }
}

/// A message as a history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Chosen by its writer.
    pub id: MessageId,
    /// Its conversation.
    pub conversation: GroupId,
    /// Who wrote it.
    pub sender: AccountId,
    /// The writer's name, once the directory has confirmed it.
    pub sender_name: Option<String>,
    /// On which device.
    pub device: DeviceId,
    /// The text.
    pub text: String,
    /// Unix milliseconds, by the writer's clock.
    pub sent_at_ms: u64,
    /// Place in this device's mailbox; none for messages written here.
    pub seq: Option<u64>,
    /// MLS epoch in which it was encrypted.
    pub epoch: u64,
    /// What became of it.
    pub state: MessageState,
}

/// A message to be kept.
pub(crate) struct NewMessage<'a> {
    pub(crate) id: MessageId,
    pub(crate) conversation: GroupId,
    pub(crate) sender: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) text: &'a str,
    pub(crate) sent_at_ms: u64,
    pub(crate) seq: Option<u64>,
    pub(crate) epoch: u64,
    pub(crate) state: MessageState,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        id: MessageId(row.get(0)?),
        conversation: GroupId(row.get(1)?),
        sender: AccountId(row.get(2)?),
        sender_name: row.get(3)?,
        device: DeviceId(row.get(4)?),
        text: row.get(5)?,
        sent_at_ms: row.get(6)?,
        seq: row.get(7)?,
        epoch: row.get(8)?,
        state: MessageState::from_u8(row.get(9)?),
    })
}

impl Tx<'_> {
    /// Keeps a message; false if it is here already.
    pub(crate) fn insert_message(&self, message: &NewMessage<'_>) -> Result<bool, Error> {
        let inserted = self.sql.execute(
            "INSERT INTO messages
                 (id, conversation, sender_account, sender_device, text, sent_at_ms, seq, epoch, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
            params![
                message.id.0,
                message.conversation.as_ref(),
                message.sender.as_ref(),
                message.device.as_ref(),
                message.text,
                message.sent_at_ms,
                message.seq,
                message.epoch,
                message.state as u8,
            ],
        )?;
        Ok(inserted == 1)
    }

    /// The last `limit` messages of a conversation, oldest first.
    pub(crate) fn history(&self, conversation: GroupId, limit: u32) -> Result<Vec<Message>, Error> {
        let mut statement = self.sql.prepare_cached(
            "SELECT id, conversation, sender_account,
                    COALESCE((SELECT username FROM peers p WHERE p.account = sender_account LIMIT 1),
                             (SELECT username FROM identity WHERE m.seq IS NULL)),
                    sender_device, text, sent_at_ms, seq, epoch, state
             FROM messages m WHERE conversation = ?1 ORDER BY n DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![conversation.as_ref(), limit], read)?;
        let mut messages = rows.collect::<Result<Vec<_>, _>>()?;
        messages.reverse();
        Ok(messages)
    }

    /// Text and time of a message written here.
    pub(crate) fn own_message(&self, conversation: GroupId, id: MessageId) -> Result<(String, u64), Error> {
        Ok(self.sql.query_row(
            "SELECT text, sent_at_ms FROM messages WHERE conversation = ?1 AND id = ?2 AND seq IS NULL",
            params![conversation.as_ref(), id.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?)
    }

    /// Settles a message written here.
    pub(crate) fn settle_message(
        &self,
        conversation: GroupId,
        id: MessageId,
        state: MessageState,
        receipt: Option<&[u8]>,
    ) -> Result<(), Error> {
        self.sql.execute(
            "UPDATE messages SET state = ?3, receipt = ?4 WHERE conversation = ?1 AND id = ?2 AND seq IS NULL",
            params![conversation.as_ref(), id.0, state as u8, receipt],
        )?;
        if state == MessageState::Accepted {
            self.count_receipt()?;
        }
        Ok(())
    }
}
