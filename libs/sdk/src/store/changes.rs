//! Reactions, edits and deletions: kept as they come, in whatever order, and laid over messages when these are read. So all
//! devices show the same once they have the same, and a change may come before what it is about.

use std::collections::{BTreeMap, HashMap};

use qpc_wire::{AccountId, DeviceId, GroupId};
use rusqlite::{OptionalExtension as _, Row, params};

use super::Tx;
use crate::{
    Error, Message, MessageId, MessageKind, MessageRef, Reaction,
    content::{Said, Saying},
    runtime::planted::{Mistake, planted},
};

/// Signs of one account under one message that are shown; further ones are not.
const MAX_SIGNS: usize = 16;

/// In the order of the server; what it has not accepted yet comes last.
const ORDER: &str = "c.at_ms = 0, c.at_ms, c.chain, c.n";

/// A change as it is laid over its message.
struct Change {
    target: MessageRef,
    sender: AccountId,
    sent_at_ms: u64,
    saying: Option<Saying>,
}

impl Tx<'_> {
    /// Keeps a change; false if it is here already. A deletion takes the content of its message with it, and of its edits.
    pub(super) fn insert_change(&self, said: &Said, target: MessageRef, evidence: &[u8]) -> Result<bool, Error> {
        let kind = match said.saying {
            Saying::Reaction { .. } => 1,
            Saying::Edit { .. } => 2,
            _ => 3,
        };
        let inserted = self.sql.execute(
            "INSERT INTO changes (conversation, kind, target_account, target, id, sender_account, sender_device, sent_at_ms,
                                  at_ms, group_id, chain, body, evidence)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
            params![
                said.conversation.as_ref(),
                kind,
                target.author.as_ref(),
                target.id.0,
                said.id.0,
                said.sender.as_ref(),
                said.device.as_ref(),
                said.sent_at_ms,
                said.at_ms,
                said.place.map(|(group, _)| group.0),
                said.place.map_or(0, |(_, place)| place),
                said.saying.to_bytes(),
                evidence,
            ],
        )?;
        if inserted == 1 {
            self.empty_deleted(said.conversation, target)?;
        }
        Ok(inserted == 1)
    }

    /// Takes the content of a message and of its edits away, if somebody has deleted it.
    pub(super) fn empty_deleted(&self, conversation: GroupId, target: MessageRef) -> Result<(), Error> {
        let deleted = "SELECT EXISTS (SELECT 1 FROM changes
                 WHERE conversation = ?1 AND target = ?2 AND target_account = ?3 AND kind = 3)";
        let values = params![conversation.as_ref(), target.id.0, target.author.as_ref()];
        if !self.sql.query_row(deleted, values, |row| row.get::<_, bool>(0))? {
            return Ok(());
        }
        self.empty(conversation, target, 2)
    }

    /// Leaves of a message only that it was there: it is not taken in again should it come once more.
    pub(super) fn empty(&self, conversation: GroupId, target: MessageRef, kind: u8) -> Result<(), Error> {
        let values = params![conversation.as_ref(), target.id.0, target.author.as_ref(), kind];
        self.sql.execute(
            "UPDATE messages SET kind = ?4, text = '', extra = x'', evidence = x'', for_us = 0, expires_at_ms = NULL
             WHERE conversation = ?1 AND id = ?2 AND sender_account = ?3 AND kind <> 3",
            values,
        )?;
        self.sql.execute(
            "DELETE FROM changes
             WHERE conversation = ?1 AND target = ?2 AND target_account = ?3 AND (kind < 3 OR ?4 = 3)",
            values,
        )?;
        Ok(())
    }

    /// Lays over messages of a conversation what was said about them; `ids` is a query for the ids of these messages, with
    /// the conversation as its first parameter.
    pub(super) fn lay_changes_over(
        &self,
        messages: &mut [Message],
        ids: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<(), Error> {
        let order = if planted(Mistake::CountsLastToCome) { "c.n" } else { ORDER };
        let sql = format!(
            "SELECT c.target_account, c.target, c.sender_account, c.sent_at_ms, c.body FROM changes c
             WHERE c.conversation = ?1 AND c.target IN ({ids}) ORDER BY {order}"
        );
        let mut statement = self.sql.prepare_cached(&sql)?;
        let rows = statement.query_map(values, |row| {
            let target = MessageRef { author: AccountId(row.get(0)?), id: MessageId(row.get(1)?) };
            let saying = Saying::from_bytes(&row.get::<_, Vec<u8>>(4)?);
            Ok(Change { target, sender: AccountId(row.get(2)?), sent_at_ms: row.get(3)?, saying })
        })?;
        let mut changes: HashMap<MessageRef, Vec<Change>> = HashMap::new();
        for change in rows {
            let change = change?;
            changes.entry(change.target).or_default().push(change);
        }
        for message in messages {
            if let Some(changes) = changes.remove(&message.reference()) {
                lay_over(message, changes);
            }
        }
        Ok(())
    }

    /// What proves that a message, and whatever edits of it are here, were said by who wrote it: for each the device and an encoded
    /// [`Evidence`](qpc_wire::content::Evidence). Empty for own messages, and where nothing is left.
    pub(crate) fn evidence(
        &self,
        conversation: GroupId,
        target: MessageRef,
        limit: usize,
    ) -> Result<Vec<(DeviceId, Vec<u8>)>, Error> {
        let sql = "SELECT sender_device, evidence FROM messages
                 WHERE conversation = ?1 AND sender_account = ?2 AND id = ?3 AND evidence <> x''
             UNION ALL SELECT sender_device, evidence FROM changes
                 WHERE conversation = ?1 AND target_account = ?2 AND target = ?3 AND kind = 2 AND evidence <> x''
             LIMIT ?4";
        let values = params![conversation.as_ref(), target.author.as_ref(), target.id.0, limit];
        let mut statement = self.sql.prepare_cached(sql)?;
        let rows = statement.query_map(values, |row| Ok((DeviceId(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Takes back a change of this device that the server refuses. Returns what it was about.
    pub(crate) fn drop_change(
        &self,
        conversation: GroupId,
        device: DeviceId,
        id: MessageId,
    ) -> Result<Option<MessageRef>, Error> {
        let sql = "DELETE FROM changes WHERE conversation = ?1 AND sender_device = ?2 AND id = ?3
             RETURNING target_account, target";
        let mut statement = self.sql.prepare_cached(sql)?;
        let target = statement.query_row(params![conversation.as_ref(), device.as_ref(), id.0], |row| {
            Ok(MessageRef { author: AccountId(row.get(0)?), id: MessageId(row.get(1)?) })
        });
        Ok(target.optional()?)
    }
}

/// Changes in their order.
fn lay_over(message: &mut Message, changes: Vec<Change>) {
    let mut signs: BTreeMap<String, Vec<AccountId>> = BTreeMap::new();
    for change in changes {
        match change.saying {
            Some(Saying::Edit { text, .. }) if message.kind == MessageKind::Text => {
                message.text = text.draft.text;
                message.mentions = text.draft.mentions;
                message.edited_at_ms = Some(change.sent_at_ms);
            }
            Some(Saying::Delete(_)) => message.deleted_by = Some(change.sender),
            Some(Saying::Reaction { emoji, removed, .. }) => {
                let used = signs.values().filter(|accounts| accounts.contains(&change.sender)).count();
                let accounts = signs.entry(emoji).or_default();
                accounts.retain(|account| *account != change.sender);
                if !removed && used < MAX_SIGNS {
                    accounts.push(change.sender);
                }
            }
            _ => {}
        }
    }
    let signs = signs.into_iter().filter(|(_, accounts)| !accounts.is_empty());
    message.reactions = signs.map(|(emoji, accounts)| Reaction { emoji, accounts }).collect();
}

/// A change as it was said: the columns from conversation to body.
pub(super) const SAID: &str =
    "conversation, sender_account, sender_device, id, sent_at_ms, at_ms, group_id, chain, body";

/// A row of [`SAID`]; none where the body makes no sense.
pub(super) fn read_said(row: &Row<'_>) -> rusqlite::Result<Option<Said>> {
    let (group, chain): (Option<[u8; 16]>, u64) = (row.get(6)?, row.get(7)?);
    let Some(saying) = Saying::from_bytes(&row.get::<_, Vec<u8>>(8)?) else { return Ok(None) };
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
