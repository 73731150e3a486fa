//! Messages, own and others'.

use qpc_wire::{AccountId, DeviceId, GroupId, v1};
use rusqlite::{OptionalExtension as _, Row, params};

use super::{
    Tx,
    changes::{SAID, read_said},
};
use crate::{
    Error, Mention, MessageId, MessageRef,
    content::{Draft, Said, Saying, Text},
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

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Something written, perhaps with files.
    Text = 0,
    /// Of a kind that this client does not understand; a later version may.
    Unknown = 1,
    /// Deleted for all: nothing of it is left.
    Deleted = 2,
    /// It has disappeared. Such messages are not shown.
    Expired = 3,
}

impl MessageKind {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Text,
            2 => Self::Deleted,
            3 => Self::Expired,
            _ => Self::Unknown,
        }
    }
}

/// A sign under a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// Emoji, or another short sign.
    pub emoji: String,
    /// Who has put it there, the first one first.
    pub accounts: Vec<AccountId>,
}

/// A message as a history shows it.
#[derive(Debug, Clone, PartialEq)]
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
    /// What it is.
    pub kind: MessageKind,
    /// The text, as it was edited last; may be empty where there are files.
    pub text: String,
    /// Who is named in the text.
    pub mentions: Vec<Mention>,
    /// The message that it answers, which may not be here.
    pub reply_to: Option<MessageRef>,
    /// Its files.
    pub attachments: Vec<qpc_wire::content::Attachment>,
    /// Whether this account is named in it, or answered by it.
    pub for_us: bool,
    /// When the text was last changed, Unix milliseconds, by the clock of who did.
    pub edited_at_ms: Option<u64>,
    /// Who has deleted it.
    pub deleted_by: Option<AccountId>,
    /// The signs under it.
    pub reactions: Vec<Reaction>,
    /// It disappears so many milliseconds after it was read; 0 for never.
    pub expires_after_ms: u64,
    /// When it disappears, Unix milliseconds, once that is known.
    pub expires_at_ms: Option<u64>,
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

impl Message {
    /// What replies, reactions and edits call it.
    pub fn reference(&self) -> MessageRef {
        MessageRef { author: self.sender, id: self.id }
    }
}

/// Something said that is to be kept.
pub(crate) struct New<'a> {
    pub(crate) said: &'a Said,
    pub(crate) seq: Option<u64>,
    pub(crate) epoch: u64,
    pub(crate) state: MessageState,
    /// Whether a person has read it.
    pub(crate) seen: bool,
    /// Whether this account is meant by it.
    pub(crate) for_us: bool,
    /// What proves to the server that it was said, an encoded [`Evidence`](qpc_wire::content::Evidence).
    pub(crate) evidence: &'a [u8],
}

/// Messages written on this account without a pinned name have the account's own.
pub(super) const SELECT: &str = "SELECT m.id, m.conversation, m.sender_account,
        COALESCE((SELECT username FROM peers p WHERE p.account = m.sender_account LIMIT 1),
                 (SELECT username FROM identity WHERE m.seq IS NULL)),
        m.sender_device, m.text, m.sent_at_ms, m.seq, m.epoch, m.state,
        (SELECT count(*) FROM deliveries d WHERE d.conversation = m.conversation AND d.message = m.id),
        (SELECT count(*) FROM deliveries d WHERE d.conversation = m.conversation AND d.message = m.id AND d.state = 2),
        m.kind, m.extra, m.for_us, m.expires_after_ms, m.expires_at_ms
     FROM messages m";

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Message> {
    let kind = MessageKind::from_u8(row.get(12)?);
    let draft = match beside(kind, &row.get::<_, Vec<u8>>(13)?) {
        Some(Saying::Text(text)) => text.draft,
        _ => Draft::default(),
    };
    Ok(Message {
        id: MessageId(row.get(0)?),
        conversation: GroupId(row.get(1)?),
        sender: AccountId(row.get(2)?),
        sender_name: row.get(3)?,
        device: DeviceId(row.get(4)?),
        kind,
        text: row.get(5)?,
        mentions: draft.mentions,
        reply_to: draft.reply_to,
        attachments: draft.attachments,
        for_us: row.get(14)?,
        edited_at_ms: None,
        deleted_by: None,
        reactions: Vec::new(),
        expires_after_ms: row.get(15)?,
        expires_at_ms: row.get(16)?,
        sent_at_ms: row.get(6)?,
        seq: row.get(7)?,
        epoch: row.get(8)?,
        state: MessageState::from_u8(row.get(9)?),
        delivered_to: row.get(10)?,
        read_by: row.get(11)?,
    })
}

/// A message as it was said.
const MESSAGE: &str = "conversation, sender_account, sender_device, id, sent_at_ms, at_ms, group_id, chain, extra, kind, text, expires_after_ms";

/// A row of [`MESSAGE`]; none of which nothing is left.
fn read_message(row: &Row<'_>) -> rusqlite::Result<Option<Said>> {
    let (group, chain): (Option<[u8; 16]>, u64) = (row.get(6)?, row.get(7)?);
    let (extra, kind, text): (Vec<u8>, _, String) = (row.get(8)?, MessageKind::from_u8(row.get(9)?), row.get(10)?);
    let saying = match (kind, beside(kind, &extra)) {
        (MessageKind::Text, Some(saying)) => saying,
        (MessageKind::Text, None) => Saying::Text(Text { draft: text.into(), expires_after_ms: row.get(11)? }),
        (MessageKind::Unknown, _) => Saying::from_bytes(&extra).unwrap_or(Saying::Unknown(extra)),
        (MessageKind::Deleted | MessageKind::Expired, _) => return Ok(None),
    };
    Ok(Some(Said {
        conversation: GroupId(row.get(0)?),
        sender: AccountId(row.get(1)?),
        device: DeviceId(row.get(2)?),
        id: MessageId(row.get(3)?),
        sent_at_ms: row.get(4)?,
        at_ms: row.get(5)?,
        place: group.map(|group| (GroupId(group), chain)),
        saying,
    }))
}

/// What is kept beside a text: nothing, for most.
fn extra(saying: &Saying) -> Vec<u8> {
    match saying {
        Saying::Text(text) if text.is_plain() => Vec::new(),
        // The mentions are of the whole text, so it stands here once more.
        saying => saying.to_bytes(),
    }
}

fn beside(kind: MessageKind, extra: &[u8]) -> Option<Saying> {
    if kind == MessageKind::Text && !extra.is_empty() { Saying::from_bytes(extra) } else { None }
}

impl Tx<'_> {
    /// Keeps something said; false if it is here already.
    pub(crate) fn keep(&self, new: &New<'_>) -> Result<bool, Error> {
        let said = new.said;
        if let Some(target) = said.saying.target() {
            return self.insert_change(said, target, new.evidence);
        }
        let (kind, text, expires_after_ms) = match &said.saying {
            Saying::Text(text) => (MessageKind::Text, &*text.draft.text, text.expires_after_ms),
            _ => (MessageKind::Unknown, "", 0),
        };
        let inserted = self.sql.execute(
            "INSERT INTO messages
                 (id, conversation, sender_account, sender_device, text, sent_at_ms, seq, epoch, state, group_id, chain,
                  seen, at_ms, kind, extra, for_us, expires_after_ms, evidence)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
             ON CONFLICT DO NOTHING",
            params![
                said.id.0,
                said.conversation.as_ref(),
                said.sender.as_ref(),
                said.device.as_ref(),
                text,
                said.sent_at_ms,
                new.seq,
                new.epoch,
                new.state as u8,
                said.place.map(|(group, _)| group.0),
                said.place.map_or(0, |(_, place)| place),
                new.seen,
                said.at_ms,
                kind as u8,
                extra(&said.saying),
                new.for_us,
                expires_after_ms,
                new.evidence,
            ],
        )?;
        if inserted == 1 {
            self.empty_deleted(said.conversation, MessageRef { author: said.sender, id: said.id })?;
        }
        Ok(inserted == 1)
    }

    /// The last `limit` messages of a conversation, oldest first.
    pub(crate) fn history(&self, conversation: GroupId, limit: u32) -> Result<Vec<Message>, Error> {
        const LAST: &str = "WHERE m.conversation = ?1 AND m.kind <> 3 AND COALESCE(m.expires_at_ms > ?3, 1)
             ORDER BY m.at_ms = 0 DESC, m.at_ms DESC, m.chain DESC, m.n DESC LIMIT ?2";
        let (sql, ids) = (format!("{SELECT} {LAST}"), format!("SELECT m.id FROM messages m {LAST}"));
        let mut statement = self.sql.prepare_cached(&sql)?;
        let values = params![conversation.as_ref(), limit, self.now_ms()];
        let rows = statement.query_map(values, read)?;
        let mut messages = rows.collect::<Result<Vec<_>, _>>()?;
        messages.reverse();
        self.lay_changes_over(&mut messages, &ids, values)?;
        Ok(messages)
    }

    /// The one message of a conversation, its first parameter, for which a condition holds.
    fn one_message(
        &self,
        conversation: GroupId,
        condition: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Option<Message>, Error> {
        let sql = format!("{SELECT} WHERE m.conversation = ?1 AND {condition}");
        let message = self.sql.prepare_cached(&sql)?.query_row(values, read).optional()?;
        let now_ms = self.now_ms();
        let is_there = |message: &Message| {
            message.kind != MessageKind::Expired && message.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms)
        };
        let Some(mut message) = message.filter(is_there) else { return Ok(None) };
        let id = message.id;
        self.lay_changes_over(std::slice::from_mut(&mut message), "?2", params![conversation.as_ref(), id.0])?;
        Ok(Some(message))
    }

    /// One message, by the device that wrote it.
    pub(crate) fn message(
        &self,
        conversation: GroupId,
        device: DeviceId,
        id: MessageId,
    ) -> Result<Option<Message>, Error> {
        let values = params![conversation.as_ref(), device.as_ref(), id.0];
        self.one_message(conversation, "m.sender_device = ?2 AND m.id = ?3", values)
    }

    /// One message, as others speak of it.
    pub(crate) fn message_of(&self, conversation: GroupId, target: MessageRef) -> Result<Option<Message>, Error> {
        let values = params![conversation.as_ref(), target.author.as_ref(), target.id.0];
        self.one_message(conversation, "m.sender_account = ?2 AND m.id = ?3", values)
    }

    /// The epoch of a message of this account.
    pub(crate) fn message_epoch(&self, conversation: GroupId, id: MessageId) -> Result<Option<u64>, Error> {
        let sql = "SELECT epoch FROM messages WHERE conversation = ?1 AND id = ?2 LIMIT 1";
        Ok(self.sql.query_row(sql, params![conversation.as_ref(), id.0], |row| row.get(0)).optional()?)
    }

    /// What was said at a place of a group's chain, as it was said, if it is here; on a certain device, where one is named.
    pub(crate) fn said_at(&self, group: GroupId, place: u64, device: Option<DeviceId>) -> Result<Option<Said>, Error> {
        let device = device.map(|device| device.0);
        let at = "group_id = ?1 AND chain = ?2 AND (?3 IS NULL OR sender_device = ?3)";
        let values = params![group.as_ref(), place, device];
        let message = format!("SELECT {MESSAGE} FROM messages WHERE {at} AND kind < 2");
        if let Some(said) = self.sql.prepare_cached(&message)?.query_row(values, read_message).optional()?.flatten() {
            return Ok(Some(said));
        }
        let change = format!("SELECT {SAID} FROM changes WHERE {at}");
        Ok(self.sql.prepare_cached(&change)?.query_row(values, read_said).optional()?.flatten())
    }

    /// Whether something stands at a place of a group's chain, or this device, or the one that it was restored from, has sent
    /// what stands there.
    pub(crate) fn is_taken(&self, group: GroupId, place: u64) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM messages WHERE group_id = ?1 AND chain = ?2)
                       OR EXISTS (SELECT 1 FROM changes WHERE group_id = ?1 AND chain = ?2)
                       OR EXISTS (SELECT 1 FROM receipts WHERE group_id = ?1 AND seq = ?2 AND own > 0)";
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        Ok(self.sql.query_row(sql, params![group.as_ref(), place], |row| row.get(0))?)
    }

    /// What was said in all conversations but the notes: messages from the newest on, after the first `skip` of them, each page
    /// with the changes of its messages. None when there are no more.
    pub(crate) fn said_after(&self, skip: u64, limit: u64) -> Result<Option<Vec<Said>>, Error> {
        const PAGE: &str =
            "FROM messages WHERE at_ms > 0 AND state <> 8 AND kind < 3 ORDER BY n DESC LIMIT ?2 OFFSET ?1";
        let values = params![skip, limit];
        let mut statement = self.sql.prepare_cached(&format!("SELECT {MESSAGE} {PAGE}"))?;
        let page = statement.query_map(values, read_message)?.collect::<Result<Vec<_>, _>>()?;
        if page.is_empty() {
            return Ok(None);
        }
        let sql = format!(
            "SELECT {SAID} FROM changes WHERE at_ms > 0 AND (conversation, target) IN (SELECT conversation, id {PAGE})"
        );
        let mut statement = self.sql.prepare_cached(&sql)?;
        let changes = statement.query_map(values, read_said)?.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(page.into_iter().chain(changes).flatten().collect()))
    }

    /// Messages of a conversation accepted until then have been read.
    pub(crate) fn set_seen_until(&self, conversation: GroupId, at_ms: u64) -> Result<(), Error> {
        let sql = "UPDATE messages SET seen = 1 WHERE conversation = ?1 AND at_ms <= ?2 AND seen = 0";
        self.sql.execute(sql, params![conversation.as_ref(), at_ms.min(i64::MAX as u64)])?;
        Ok(())
    }

    /// How many messages there are.
    pub(crate) fn message_count(&self) -> Result<u64, Error> {
        Ok(self.sql.query_row("SELECT count(*) FROM messages", [], |row| row.get(0))?)
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

    /// Others' messages that nobody has read here, in the order of their coming; at most `limit`.
    pub(crate) fn unread_messages(&self, limit: u32) -> Result<Vec<Message>, Error> {
        let sql = "SELECT conversation, sender_device, id FROM messages
             WHERE seen = 0 AND kind <> 3 AND COALESCE(expires_at_ms > ?2, 1) ORDER BY n LIMIT ?1";
        let mut statement = self.sql.prepare_cached(sql)?;
        let rows = statement.query_map(params![limit, self.now_ms()], |row| {
            Ok((GroupId(row.get(0)?), DeviceId(row.get(1)?), MessageId(row.get(2)?)))
        })?;
        let mut messages = Vec::new();
        for row in rows {
            let (conversation, device, id) = row?;
            messages.extend(self.message(conversation, device, id)?);
        }
        Ok(messages)
    }

    /// A person has read a message. False if that was known, or there is no such message.
    pub(crate) fn set_seen(&self, conversation: GroupId, id: MessageId) -> Result<bool, Error> {
        let sql = "UPDATE messages SET seen = 1 WHERE conversation = ?1 AND id = ?2 AND seen = 0";
        Ok(self.sql.execute(sql, params![conversation.as_ref(), id.0])? > 0)
    }

    /// The message is on its way, unless it was taken out of the outbox meanwhile; then false.
    pub(crate) fn set_sent(&self, n: i64, conversation: GroupId, id: MessageId) -> Result<bool, Error> {
        let waits: bool =
            self.sql.query_row("SELECT EXISTS (SELECT 1 FROM outbox WHERE n = ?1)", [n], |row| row.get(0))?;
        self.sql.execute(
            "UPDATE messages SET state = 5 WHERE conversation = ?1 AND id = ?2 AND seq IS NULL AND state = 0 AND ?3",
            params![conversation.as_ref(), id.0, waits],
        )?;
        Ok(waits)
    }

    /// What became of a message of this account; also of one of which nothing is left.
    pub(crate) fn state_of(&self, conversation: GroupId, message: MessageRef) -> Result<Option<MessageState>, Error> {
        let sql = "SELECT state FROM messages WHERE conversation = ?1 AND sender_account = ?2 AND id = ?3";
        let values = params![conversation.as_ref(), message.author.as_ref(), message.id.0];
        Ok(self.sql.query_row(sql, values, |row| row.get(0).map(MessageState::from_u8)).optional()?)
    }

    /// A message that was refused, as it was said. It is this device's now, and waits.
    pub(crate) fn requeue(&self, conversation: GroupId, message: MessageRef, by: DeviceId) -> Result<Said, Error> {
        let sql = format!(
            "UPDATE messages SET state = 0, sender_device = ?4
             WHERE conversation = ?1 AND sender_account = ?2 AND id = ?3 AND state = 2 RETURNING {MESSAGE}"
        );
        let values = params![conversation.as_ref(), message.author.as_ref(), message.id.0, by.as_ref()];
        let said = self.sql.query_row(&sql, values, read_message).optional()?.flatten();
        said.ok_or(Error::UnknownMessage(message.id))
    }

    /// Forgets a message that the server was never shown, or has refused, and what this account has said of it since.
    pub(crate) fn forget_unsent(&self, conversation: GroupId, message: MessageRef) -> Result<(), Error> {
        let values = params![conversation.as_ref(), message.author.as_ref(), message.id.0];
        let sql =
            "DELETE FROM messages WHERE conversation = ?1 AND sender_account = ?2 AND id = ?3 AND state IN (0, 2)";
        self.sql.execute(sql, values)?;
        let changes = "changes WHERE conversation = ?1 AND target_account = ?2 AND target = ?3";
        let sql = format!(
            "DELETE FROM outbox WHERE conversation = ?1 AND (message = ?3 OR message IN (SELECT id FROM {changes}))"
        );
        self.sql.execute(&sql, values)?;
        self.sql.execute(&format!("DELETE FROM {changes}"), values)?;
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

    /// The same for a change of this device: where and when it was accepted.
    pub(crate) fn settle_change(
        &self,
        conversation: GroupId,
        device: DeviceId,
        id: MessageId,
        receipt: Option<(GroupId, &v1::Receipt)>,
    ) -> Result<(), Error> {
        let Some((group, receipt)) = receipt else { return Ok(()) };
        self.sql.execute(
            "UPDATE changes SET group_id = ?4, chain = ?5, at_ms = ?6
             WHERE conversation = ?1 AND sender_device = ?2 AND id = ?3 AND at_ms = 0",
            params![conversation.as_ref(), device.as_ref(), id.0, group.as_ref(), receipt.seq, receipt.accepted_at_ms],
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
