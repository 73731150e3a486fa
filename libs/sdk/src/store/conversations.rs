//! Conversations: what is known of each group beside its MLS state.

use qpc_crypto::{Conversation, Suite};
use qpc_wire::{AccountId, DeviceId, GroupId};
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Identity, Tx};
use crate::Error;

/// Epochs whose members are remembered; receipts are about recent ones.
const EPOCHS_KEPT: u64 = 64;

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConversationState {
    Creating = 0,
    Active = 1,
    Removed = 2,
}

/// A conversation as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationInfo {
    /// Its group.
    pub id: GroupId,
    /// The other account.
    pub peer: AccountId,
    /// The other's name, once the directory has confirmed it.
    pub peer_name: Option<String>,
    /// Cipher suite of the group.
    pub suite: Suite,
    /// MLS epoch.
    pub epoch: u64,
    /// Whether messages can be sent; false after this device was removed.
    pub active: bool,
    /// Messages here.
    pub messages: u64,
    /// Unix milliseconds of the last message, or of the beginning.
    pub last_at_ms: u64,
}

const SELECT: &str = "SELECT c.id, c.peer, (SELECT username FROM peers p WHERE p.account = c.peer LIMIT 1), c.suite,
        c.epoch, c.state, (SELECT count(*) FROM messages m WHERE m.conversation = c.id),
        COALESCE((SELECT max(sent_at_ms) FROM messages m WHERE m.conversation = c.id), c.created_at_ms) AS last
     FROM conversations c";

fn read(row: &Row<'_>) -> rusqlite::Result<ConversationInfo> {
    Ok(ConversationInfo {
        id: GroupId(row.get(0)?),
        peer: AccountId(row.get(1)?),
        peer_name: row.get(2)?,
        // Only suites that we speak are ever written.
        suite: Suite::from_id(row.get(3)?).unwrap_or_default(),
        epoch: row.get(4)?,
        active: row.get::<_, u8>(5)? == ConversationState::Active as u8,
        messages: row.get(6)?,
        last_at_ms: row.get(7)?,
    })
}

impl Tx<'_> {
    /// All that exist at the server, the liveliest first.
    pub(crate) fn conversations(&self) -> Result<Vec<ConversationInfo>, Error> {
        let mut statement =
            self.sql.prepare_cached(&format!("{SELECT} WHERE c.state <> 0 ORDER BY last DESC, c.id"))?;
        let rows = statement.query_map([], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn conversation(&self, id: GroupId) -> Result<Option<ConversationInfo>, Error> {
        let mut statement = self.sql.prepare_cached(&format!("{SELECT} WHERE c.state <> 0 AND c.id = ?1"))?;
        Ok(statement.query_row([id.as_ref()], read).optional()?)
    }

    /// The direct conversation with an account, and whether it exists at the server already.
    pub(crate) fn conversation_with(&self, peer: AccountId) -> Result<Option<(GroupId, bool)>, Error> {
        let found = self
            .sql
            .query_row(
                "SELECT id, state FROM conversations WHERE peer = ?1 AND state <> 2 ORDER BY state DESC LIMIT 1",
                [peer.as_ref()],
                |row| Ok((GroupId(row.get(0)?), row.get::<_, u8>(1)? == ConversationState::Active as u8)),
            )
            .optional()?;
        Ok(found)
    }

    pub(crate) fn put_conversation(
        &self,
        group: &Conversation,
        peer: AccountId,
        state: ConversationState,
    ) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO conversations (id, peer, suite, epoch, first_epoch, state, created_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)
             ON CONFLICT (id) DO UPDATE
             SET epoch = excluded.epoch, first_epoch = excluded.first_epoch, state = excluded.state",
            params![
                group.group_id().as_ref(),
                peer.as_ref(),
                group.suite().id(),
                group.epoch(),
                state as u8,
                self.now_ms()
            ],
        )?;
        Ok(())
    }

    /// The epoch in which this device came in; none for a group it is not in.
    pub(crate) fn first_epoch(&self, id: GroupId) -> Result<Option<u64>, Error> {
        let sql = "SELECT first_epoch FROM conversations WHERE id = ?1";
        Ok(self.sql.query_row(sql, [id.as_ref()], |row| row.get(0)).optional()?)
    }

    pub(crate) fn delete_conversation(&self, id: GroupId) -> Result<(), Error> {
        self.sql.execute("DELETE FROM conversations WHERE id = ?1", [id.as_ref()])?;
        self.sql.execute("DELETE FROM epochs WHERE conversation = ?1", [id.as_ref()])?;
        Ok(())
    }

    /// Follows the group into its current epoch: notes the epoch and who else is in it.
    pub(crate) fn note_epoch(&self, group: &Conversation, identity: &Identity) -> Result<(), Error> {
        let (id, epoch) = (group.group_id(), group.epoch());
        let state = if group.is_active() { ConversationState::Active } else { ConversationState::Removed };
        self.sql.execute(
            "UPDATE conversations SET epoch = ?2, state = ?3 WHERE id = ?1",
            params![id.as_ref(), epoch, state as u8],
        )?;
        let own = identity.device();
        let others: Vec<u8> = group
            .members()
            .iter()
            .map(|member| member.device_id())
            .filter(|device| *device != own)
            .flat_map(|device| device.0)
            .collect();
        self.sql.execute(
            "INSERT OR REPLACE INTO epochs (conversation, epoch, devices) VALUES (?1, ?2, ?3)",
            params![id.as_ref(), epoch, others],
        )?;
        self.sql.execute(
            "DELETE FROM epochs WHERE conversation = ?1 AND epoch < ?2",
            params![id.as_ref(), epoch.saturating_sub(EPOCHS_KEPT)],
        )?;
        Ok(())
    }

    /// The other devices of a group in an epoch; none for an epoch this device has not seen.
    pub(crate) fn others_in_epoch(&self, id: GroupId, epoch: u64) -> Result<Option<Vec<DeviceId>>, Error> {
        let devices: Option<Vec<u8>> = self
            .sql
            .query_row(
                "SELECT devices FROM epochs WHERE conversation = ?1 AND epoch = ?2",
                params![id.as_ref(), epoch],
                |row| row.get(0),
            )
            .optional()?;
        let ids = |bytes: Vec<u8>| bytes.as_chunks::<{ DeviceId::LEN }>().0.iter().map(|id| DeviceId(*id)).collect();
        Ok(devices.map(ids))
    }

    /// The MLS state of a conversation.
    pub(crate) fn load_group(&self, id: GroupId) -> Result<Conversation, Error> {
        Conversation::load(&self.mls(), id)?.ok_or(Error::UnknownConversation(id))
    }
}
