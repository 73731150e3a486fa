//! Messages, own and others'.

use qpc_wire::{AccountId, DeviceId, GroupId, v1};
use rusqlite::{OptionalExtension as _, Row, params};

use super::Tx;
use crate::{
    Error, MessageId,
    runtime::planted::{Mistake, planted},
};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// Written here, not yet sent.
    Queued = 0,
    /// The server has signed that it is durable for every recipient, and the signature held.
    Accepted = 1,
    /// The server refuses it for good.
    Failed = 2,
    /// Written by somebody else.
    Received = 3,
    /// The server says it is accepted, but its receipt does not hold.
    ReceiptRefused = 4,
    /// On its way to the server, whose answer is not here yet.
    Sent = 5,
    /// A device of every other member has it.
    Delivered = 6,
    /// Every other member has read it.
    Read = 7,
    /// Written to the notes, which leave this device never.
    Local = 8,
}

impl MessageState {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Queued,
            1 => Self::Accepted,
            3 => Self::Received,
            4 => Self::ReceiptRefused,
            5 => Self::Sent,
            6 => Self::Delivered,
            7 => Self::Read,
            8 => Self::Local,
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
    /// Other accounts of which a device has it, as far as they tell; for messages of this account.
    pub delivered_to: u32,
    /// Other accounts that have read it, as far as they tell; for messages of this account.
    pub read_by: u32,
}

/// A message to be kept.
pub(crate) struct NewMessage<'a> {
    pub(crate) id: MessageId,
    pub(crate) conversation: GroupId,
    pub(crate) sender: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) text: &'a str,
    pub(crate) sent_at_ms: u64,
    /// When the server accepted it; 0 before.
    pub(crate) at_ms: u64,
    pub(crate) seq: Option<u64>,
    pub(crate) epoch: u64,
    pub(crate) state: MessageState,
    /// Group and place in its chain of receipts, where they are known.
    pub(crate) place: Option<(GroupId, u64)>,
    /// Whether a person has read it.
    pub(crate) seen: bool,
}

/// Messages written on this account without a pinned name have the account's own.
const SELECT: &str = "SELECT m.id, m.conversation, m.sender_account,
        COALESCE((SELECT username FROM peers p WHERE p.account = m.sender_account LIMIT 1),
                 (SELECT username FROM identity WHERE m.seq IS NULL)),
        m.sender_device, m.text, m.sent_at_ms, m.seq, m.epoch, m.state,
        (SELECT count(*) FROM deliveries d WHERE d.conversation = m.conversation AND d.message = m.id),
        (SELECT count(*) FROM deliveries d WHERE d.conversation = m.conversation AND d.message = m.id AND d.state = 2)
     FROM messages m";

/// A message as a sibling device is told of it.
pub(crate) struct Archived {
    pub(crate) conversation: GroupId,
    pub(crate) sender: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) id: MessageId,
    pub(crate) sent_at_ms: u64,
    pub(crate) text: String,
    pub(crate) at_ms: u64,
    pub(crate) place: Option<(GroupId, u64)>,
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
        delivered_to: row.get(10)?,
        read_by: row.get(11)?,
    })
}

impl Tx<'_> {
    /// Keeps a message; false if it is here already.
    pub(crate) fn insert_message(&self, message: &NewMessage<'_>) -> Result<bool, Error> {
        let inserted = self.sql.execute(
            "INSERT INTO messages
                 (id, conversation, sender_account, sender_device, text, sent_at_ms, seq, epoch, state, group_id, chain,
                  seen, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
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
                message.place.map(|(group, _)| group.0),
                message.place.map_or(0, |(_, place)| place),
                message.seen,
                message.at_ms,
            ],
        )?;
        Ok(inserted == 1)
    }

    /// The last `limit` messages of a conversation, oldest first.
    pub(crate) fn history(&self, conversation: GroupId, limit: u32) -> Result<Vec<Message>, Error> {
        let sql = format!(
            "{SELECT} WHERE m.conversation = ?1
             ORDER BY m.at_ms = 0 DESC, m.at_ms DESC, m.chain DESC, m.n DESC LIMIT ?2"
        );
        let mut statement = self.sql.prepare_cached(&sql)?;
        let rows = statement.query_map(params![conversation.as_ref(), limit], read)?;
        let mut messages = rows.collect::<Result<Vec<_>, _>>()?;
        messages.reverse();
        Ok(messages)
    }

    /// One message.
    pub(crate) fn message(
        &self,
        conversation: GroupId,
        device: DeviceId,
        id: MessageId,
    ) -> Result<Option<Message>, Error> {
        let sql = format!("{SELECT} WHERE m.conversation = ?1 AND m.sender_device = ?2 AND m.id = ?3");
        let mut statement = self.sql.prepare_cached(&sql)?;
        let values = params![conversation.as_ref(), device.as_ref(), id.0];
        Ok(statement.query_row(values, read).optional()?)
    }

    /// The epoch of a message of this account.
    pub(crate) fn message_epoch(&self, conversation: GroupId, id: MessageId) -> Result<Option<u64>, Error> {
        let sql = "SELECT epoch FROM messages WHERE conversation = ?1 AND id = ?2 LIMIT 1";
        Ok(self.sql.query_row(sql, params![conversation.as_ref(), id.0], |row| row.get(0)).optional()?)
    }

    /// The message that stands at a place of a group's chain, if it is here; written on a certain device, where one is named.
    pub(crate) fn message_at(
        &self,
        group: GroupId,
        place: u64,
        device: Option<DeviceId>,
    ) -> Result<Option<Message>, Error> {
        let sql = format!("{SELECT} WHERE m.group_id = ?1 AND m.chain = ?2 AND (?3 IS NULL OR m.sender_device = ?3)");
        let mut statement = self.sql.prepare_cached(&sql)?;
        let device = device.map(|device| device.0);
        Ok(statement.query_row(params![group.as_ref(), place, device], read).optional()?)
    }

    /// Whether something stands at a place of a group's chain, or this device has sent what stands there.
    pub(crate) fn is_taken(&self, group: GroupId, place: u64) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM messages WHERE group_id = ?1 AND chain = ?2)
                       OR EXISTS (SELECT 1 FROM receipts WHERE group_id = ?1 AND seq = ?2 AND own = 1)";
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        Ok(self.sql.query_row(sql, params![group.as_ref(), place], |row| row.get(0))?)
    }

    /// Messages of all conversations but the notes from the newest on, after the first `skip` of them.
    pub(crate) fn newest_messages(&self, skip: u64, limit: u64) -> Result<Vec<Archived>, Error> {
        let mut statement = self.sql.prepare_cached(
            "SELECT conversation, sender_account, sender_device, id, sent_at_ms, text, at_ms, group_id, chain
             FROM messages WHERE at_ms > 0 AND state <> 8 ORDER BY n DESC LIMIT ?2 OFFSET ?1",
        )?;
        let rows = statement.query_map(params![skip, limit], |row| {
            let (group, chain) = (row.get::<_, Option<[u8; 16]>>(7)?, row.get(8)?);
            Ok(Archived {
                conversation: GroupId(row.get(0)?),
                sender: AccountId(row.get(1)?),
                device: DeviceId(row.get(2)?),
                id: MessageId(row.get(3)?),
                sent_at_ms: row.get(4)?,
                text: row.get(5)?,
                at_ms: row.get(6)?,
                place: group.map(|group| (GroupId(group), chain)),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Messages of a conversation accepted until then have been read.
    pub(crate) fn set_seen_until(&self, conversation: GroupId, at_ms: u64) -> Result<(), Error> {
        let sql = "UPDATE messages SET seen = 1 WHERE conversation = ?1 AND at_ms <= ?2 AND seen = 0";
        self.sql.execute(sql, params![conversation.as_ref(), at_ms.min(i64::MAX as u64)])?;
        Ok(())
    }

    /// When the server accepted the newest message of a conversation.
    pub(crate) fn newest_at_ms(&self, conversation: GroupId) -> Result<u64, Error> {
        let sql = "SELECT COALESCE(max(at_ms), 0) FROM messages WHERE conversation = ?1";
        Ok(self.sql.query_row(sql, [conversation.as_ref()], |row| row.get(0))?)
    }

    /// Others' messages in a conversation that nobody has read here, the oldest first; at most `limit`.
    pub(crate) fn unread(&self, conversation: GroupId, limit: usize) -> Result<Vec<MessageId>, Error> {
        let mut statement = self
            .sql
            .prepare_cached("SELECT id FROM messages WHERE conversation = ?1 AND seen = 0 ORDER BY n LIMIT ?2")?;
        let rows = statement.query_map(params![conversation.as_ref(), limit], |row| row.get(0).map(MessageId))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A person has read a message. False if that was known, or there is no such message.
    pub(crate) fn set_seen(&self, conversation: GroupId, id: MessageId) -> Result<bool, Error> {
        let sql = "UPDATE messages SET seen = 1 WHERE conversation = ?1 AND id = ?2 AND seen = 0";
        Ok(self.sql.execute(sql, params![conversation.as_ref(), id.0])? > 0)
    }

    /// The message is on its way.
    pub(crate) fn set_sent(&self, conversation: GroupId, id: MessageId) -> Result<(), Error> {
        self.sql.execute(
            "UPDATE messages SET state = 5 WHERE conversation = ?1 AND id = ?2 AND seq IS NULL AND state = 0",
            params![conversation.as_ref(), id.0],
        )?;
        Ok(())
    }

    /// Settles a message written here: the server has accepted it, with this receipt, or it never will.
    pub(crate) fn settle_message(
        &self,
        conversation: GroupId,
        id: MessageId,
        state: MessageState,
        receipt: Option<(GroupId, &v1::Receipt)>,
    ) -> Result<(), Error> {
        self.sql.execute(
            // What others tell of it may be here before the receipt; the place is the receipt's to say in any case.
            "UPDATE messages SET state = CASE WHEN state IN (0, 5) THEN ?3 ELSE state END, group_id = ?4,
                    chain = COALESCE(?5, chain), epoch = COALESCE(?6, epoch), at_ms = COALESCE(?7, at_ms)
             WHERE conversation = ?1 AND id = ?2 AND seq IS NULL",
            params![
                conversation.as_ref(),
                id.0,
                state as u8,
                receipt.map(|(group, _)| group.0),
                receipt.map(|(_, receipt)| receipt.seq),
                receipt.map(|(_, receipt)| receipt.epoch),
                receipt.filter(|_| !planted(Mistake::ShowsOwnLast)).map(|(_, receipt)| receipt.accepted_at_ms),
            ],
        )?;
        Ok(())
    }

    /// An account tells that it has a message of this account (1), or has read it (2). Tells whether that is news.
    pub(crate) fn note_delivery(
        &self,
        conversation: GroupId,
        id: MessageId,
        account: AccountId,
        state: u8,
        own: AccountId,
    ) -> Result<bool, Error> {
        let ours: bool = self.sql.query_row(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE conversation = ?1 AND id = ?2 AND sender_account = ?3)",
            params![conversation.as_ref(), id.0, own.as_ref()],
            |row| row.get(0),
        )?;
        if !ours {
            return Ok(false);
        }
        let changed = self.sql.execute(
            "INSERT INTO deliveries (conversation, message, account, state) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (conversation, message, account) DO UPDATE SET state = excluded.state
             WHERE excluded.state > state",
            params![conversation.as_ref(), id.0, account.as_ref(), state],
        )?;
        Ok(changed == 1)
    }

    /// Brings the state of an own message up to what `others` have told of it.
    pub(crate) fn raise_state(&self, conversation: GroupId, id: MessageId, others: &[AccountId]) -> Result<(), Error> {
        let mut lowest = 2;
        for account in others {
            let told: Option<u8> = self
                .sql
                .query_row(
                    "SELECT state FROM deliveries WHERE conversation = ?1 AND message = ?2 AND account = ?3",
                    params![conversation.as_ref(), id.0, account.as_ref()],
                    |row| row.get(0),
                )
                .optional()?;
            lowest = lowest.min(told.unwrap_or_default());
        }
        let state = match lowest {
            0 => return Ok(()),
            1 => MessageState::Delivered,
            _ => MessageState::Read,
        };
        self.sql.execute(
            "UPDATE messages SET state = ?3 WHERE conversation = ?1 AND id = ?2 AND state IN (0, 1, 5, 6)",
            params![conversation.as_ref(), id.0, state as u8],
        )?;
        Ok(())
    }

    /// To be told to others: that a message has arrived (1) or was read (2).
    pub(crate) fn put_ack(&self, conversation: GroupId, id: MessageId, state: u8) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO acks (conversation, message, state) VALUES (?1, ?2, ?3)
             ON CONFLICT (conversation, message) DO UPDATE SET state = max(state, excluded.state)",
            params![conversation.as_ref(), id.0, state],
        )?;
        Ok(())
    }

    /// Takes out what is to be told in a conversation, at most `limit` messages with the same state.
    pub(crate) fn take_acks(&self, conversation: GroupId, limit: usize) -> Result<Vec<(MessageId, u8)>, Error> {
        let mut statement = self.sql.prepare_cached(
            "DELETE FROM acks WHERE conversation = ?1 AND message IN
                 (SELECT message FROM acks WHERE conversation = ?1 LIMIT ?2) RETURNING message, state",
        )?;
        let rows = statement
            .query_map(params![conversation.as_ref(), limit], |row| Ok((MessageId(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
