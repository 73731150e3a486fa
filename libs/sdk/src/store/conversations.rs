//! Conversations, and what is known of the groups that carry them beside their MLS state.

use std::collections::BTreeSet;

use qpc_crypto::{Conversation, Suite, mls::Kind};
use qpc_wire::{AccountId, DeviceId, GroupId};
use rusqlite::{OptionalExtension as _, Row, params};

use super::{ChoreKind, Group, Identity, Standing, Tx, peers::trust_sql};
use crate::{Error, PeerTrust};

/// Epochs whose members are remembered; receipts are about recent ones.
const EPOCHS_KEPT: u64 = 64;
/// Time after which a device renews its leaf although nothing calls for it, so that what was stolen once becomes useless.
pub(crate) const RENEW_EVERY_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// The conversation with oneself, which has no group: nothing of it leaves this device. No policy names this id.
pub(crate) const NOTES: GroupId = GroupId::NIL;

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConversationState {
    Creating = 0,
    Active = 1,
    Removed = 2,
    Left = 3,
    /// Known from another device of this account, which is to let this one in.
    Awaited = 4,
}

/// What a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationKind {
    /// Of two accounts.
    Direct,
    /// Of any number of accounts.
    Group,
    /// Of all devices of this account; not for people.
    Own,
    /// Of this device alone.
    Notes,
}

impl ConversationKind {
    pub(crate) fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Direct,
            3 => Self::Own,
            4 => Self::Notes,
            _ => Self::Group,
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Direct => 1,
            Self::Group => 2,
            Self::Own => 3,
            Self::Notes => 4,
        }
    }
}

impl From<Kind> for ConversationKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Direct => Self::Direct,
            Kind::Group => Self::Group,
            Kind::Own => Self::Own,
        }
    }
}

/// A conversation as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationInfo {
    /// Stays the same when another group carries the conversation on.
    pub id: GroupId,
    /// What it is.
    pub kind: ConversationKind,
    /// The name that an admin gave a group.
    pub name: Option<String>,
    /// What this account calls it.
    pub petname: Option<String>,
    /// The other account of a direct one.
    pub peer: Option<AccountId>,
    /// The other's name, once the directory has confirmed it.
    pub peer_name: Option<String>,
    /// How far that is believed. While it is [`PeerTrust::Changed`], what is written waits.
    pub trust: PeerTrust,
    /// Cipher suite of the group.
    pub suite: Suite,
    /// MLS epoch.
    pub epoch: u64,
    /// Whether messages can be sent; false after this device has left or was removed.
    pub active: bool,
    /// Whether this account has left, rather than being removed.
    pub left: bool,
    /// Whether this device is yet to be let in by another one of the account.
    pub awaited: bool,
    /// Whether the group cannot be followed at the moment; that heals by itself.
    pub stuck: bool,
    /// Messages here.
    pub messages: u64,
    /// Of them, those of others that nobody has read here.
    pub unread: u64,
    /// Of the unread ones, those that name this account or answer it.
    pub for_us: u64,
    /// How long what is written now stays after it was read, milliseconds; 0 for ever.
    pub expires_after_ms: u64,
    /// Whether this account takes part.
    pub standing: Standing,
    /// Whether the other account of a direct one is blocked.
    pub blocked: bool,
    /// Messages that are known to be missing, and that nobody had who was asked.
    pub missing: u64,
    /// Unix milliseconds of the last message, or of the beginning.
    pub last_at_ms: u64,
}

const SELECT: &str = "SELECT c.id, c.kind, c.name, c.peer,
        COALESCE((SELECT username FROM peers p WHERE p.account = c.peer LIMIT 1),
            (SELECT username FROM former_peers f WHERE f.account = c.peer)), g.suite, g.epoch, c.state, g.stuck,
        (SELECT count(*) FROM messages m WHERE m.conversation = c.id AND m.kind <> 3),
        (SELECT count(*) FROM messages m WHERE m.conversation = c.id AND m.seen = 0 AND m.kind < 2),
        (SELECT count(*) FROM holes h JOIN groups hg ON hg.id = h.group_id
            WHERE hg.conversation = c.id AND h.state = 1),
        COALESCE((SELECT max(sent_at_ms) FROM messages m WHERE m.conversation = c.id), c.created_at_ms) AS last,
        (SELECT CAST(value AS TEXT) FROM synced WHERE synced.name = 'petname/' || lower(hex(c.id)) AND value <> x''),
        (SELECT count(*) FROM messages m WHERE m.conversation = c.id AND m.seen = 0 AND m.for_us = 1), c.expires_after_ms, c.standing,
        EXISTS (SELECT 1 FROM synced WHERE synced.name = 'block/' || lower(hex(c.peer)) AND value = x'01'),
        {trust}
     FROM conversations c LEFT JOIN groups g ON g.id = c.group_id";

fn select(rest: &str) -> String {
    format!("{} {rest}", SELECT.replace("{trust}", &trust_sql("c.peer")))
}

fn read(row: &Row<'_>) -> rusqlite::Result<ConversationInfo> {
    Ok(ConversationInfo {
        id: GroupId(row.get(0)?),
        kind: ConversationKind::from_u8(row.get(1)?),
        name: row.get(2)?,
        peer: row.get::<_, Option<[u8; 16]>>(3)?.map(AccountId),
        peer_name: row.get(4)?,
        // Only suites that we speak are ever written.
        suite: row.get::<_, Option<u16>>(5)?.and_then(Suite::from_id).unwrap_or_default(),
        epoch: row.get::<_, Option<u64>>(6)?.unwrap_or_default(),
        active: row.get::<_, u8>(7)? == ConversationState::Active as u8,
        left: row.get::<_, u8>(7)? == ConversationState::Left as u8,
        awaited: row.get::<_, u8>(7)? == ConversationState::Awaited as u8,
        stuck: row.get::<_, Option<bool>>(8)?.unwrap_or_default(),
        messages: row.get(9)?,
        unread: row.get(10)?,
        missing: row.get(11)?,
        last_at_ms: row.get(12)?,
        petname: row.get(13)?,
        for_us: row.get(14)?,
        expires_after_ms: row.get(15)?,
        standing: Standing::from_u8(row.get(16)?),
        blocked: row.get(17)?,
        trust: PeerTrust::from_u8(row.get(18)?),
    })
}

impl Tx<'_> {
    /// All that exist at the server and were not declined, the liveliest first. The one of the own devices is not among them.
    pub(crate) fn conversations(&self) -> Result<Vec<ConversationInfo>, Error> {
        let sql = select("WHERE c.state <> 0 AND c.kind <> 3 AND c.standing <> 2 ORDER BY last DESC, c.id");
        let mut statement = self.sql.prepare_cached(&sql)?;
        let rows = statement.query_map([], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// All of which another device of the account is told: not the own devices' and not the notes.
    pub(crate) fn all_conversations(&self) -> Result<Vec<ConversationInfo>, Error> {
        let sql = select("WHERE c.state <> 0 AND c.kind IN (1, 2) ORDER BY c.created_at_ms");
        let mut statement = self.sql.prepare_cached(&sql)?;
        let rows = statement.query_map([], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn conversation(&self, id: GroupId) -> Result<Option<ConversationInfo>, Error> {
        let mut statement = self.sql.prepare_cached(&select("WHERE c.state <> 0 AND c.id = ?1"))?;
        Ok(statement.query_row([id.as_ref()], read).optional()?)
    }

    /// Conversations with a group that this device is in.
    pub(crate) fn active_conversations(&self) -> Result<Vec<GroupId>, Error> {
        let mut statement =
            self.sql.prepare_cached("SELECT id FROM conversations WHERE state = 1 AND group_id IS NOT NULL")?;
        let rows = statement.query_map([], |row| row.get(0).map(GroupId))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The direct conversation with an account, and whether it exists at the server already.
    pub(crate) fn conversation_with(&self, peer: AccountId) -> Result<Option<(GroupId, bool)>, Error> {
        let found = self
            .sql
            .query_row(
                "SELECT id, state FROM conversations WHERE peer = ?1 AND state < 2 AND group_id IS NOT NULL
                 ORDER BY state DESC LIMIT 1",
                [peer.as_ref()],
                |row| Ok((GroupId(row.get(0)?), row.get::<_, u8>(1)? == ConversationState::Active as u8)),
            )
            .optional()?;
        Ok(found)
    }

    /// The conversation of this account's devices, if it has one.
    pub(crate) fn own_conversation(&self) -> Result<Option<GroupId>, Error> {
        let sql = "SELECT id FROM conversations WHERE kind = 3 AND state = 1 LIMIT 1";
        Ok(self.sql.query_row(sql, [], |row| row.get(0).map(GroupId)).optional()?)
    }

    /// The conversation that a group carries, or carried.
    pub(crate) fn conversation_of(&self, group: GroupId) -> Result<Option<GroupId>, Error> {
        let sql = "SELECT conversation FROM groups WHERE id = ?1";
        Ok(self.sql.query_row(sql, [group.as_ref()], |row| row.get(0).map(GroupId)).optional()?)
    }

    /// The group that carries a conversation.
    pub(crate) fn current_group(&self, conversation: GroupId) -> Result<GroupId, Error> {
        let found: Option<(Option<[u8; 16]>, u8)> = self
            .sql
            .query_row("SELECT group_id, state FROM conversations WHERE id = ?1", [conversation.as_ref()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match found {
            Some((Some(group), _)) => Ok(GroupId(group)),
            Some((None, state)) if state == ConversationState::Awaited as u8 => Err(Error::NotLetIn),
            Some((None, _)) => Err(Error::NotMember),
            None => Err(Error::UnknownConversation(conversation)),
        }
    }

    /// The MLS state of a group.
    pub(crate) fn load_group(&self, id: GroupId) -> Result<Group<'_>, Error> {
        self.find_group(id)?.ok_or(Error::UnknownConversation(id))
    }

    /// The MLS state of the group that carries a conversation; an error when this device is not in it.
    pub(crate) fn load_current(&self, conversation: GroupId) -> Result<Group<'_>, Error> {
        let group = self.find_group(self.current_group(conversation)?)?;
        group.filter(|group| group.is_active()).ok_or(Error::NotMember)
    }

    /// Keeps a group that this device founds, was let in or has joined, and makes it the one that carries its
    /// conversation.
    pub(crate) fn put_group(
        &self,
        group: &Conversation,
        identity: &Identity,
        state: ConversationState,
    ) -> Result<(), Error> {
        let (policy, id) = (group.policy()?, group.group_id());
        self.forget_loaded(id);
        let kind = ConversationKind::from(policy.kind);
        let own = identity.account();
        let peer = match kind {
            ConversationKind::Direct => {
                group.members().iter().map(|member| member.account_id()).find(|account| *account != own)
            }
            _ => None,
        };
        self.sql.execute(
            "INSERT INTO groups (id, conversation, suite, epoch, since_epoch, first_epoch, renewed_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?4, ?4, ?5)
             ON CONFLICT (id) DO UPDATE
             SET since_epoch = CASE WHEN stuck THEN since_epoch ELSE excluded.since_epoch END,
                 chain_first = CASE WHEN stuck THEN chain_first ELSE 0 END,
                 chain_seen = CASE WHEN stuck THEN chain_seen ELSE 0 END,
                 interrupted = CASE WHEN stuck THEN interrupted ELSE 0 END,
                 epoch = excluded.epoch, first_epoch = excluded.first_epoch, stuck = 0, tag_told = 0",
            params![id.as_ref(), policy.conversation.as_ref(), group.suite().id(), group.epoch(), self.now_ms()],
        )?;
        self.sql.execute(
            "INSERT INTO conversations (id, kind, peer, group_id, state, created_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO UPDATE
             SET group_id = excluded.group_id, state = excluded.state, peer = COALESCE(peer, excluded.peer)",
            params![
                policy.conversation.as_ref(),
                kind.number(),
                peer.map(|peer| peer.0),
                id.as_ref(),
                state as u8,
                self.now_ms()
            ],
        )?;
        // Of a server that was restored from an older state, what came after is of no group that there is.
        self.sql
            .execute("DELETE FROM epochs WHERE group_id = ?1 AND epoch > ?2", params![id.as_ref(), group.epoch()])?;
        self.put_chore(policy.conversation, ChoreKind::Renew, RENEW_EVERY_MS)
    }

    /// Keeps a conversation of which this device has no group yet, and the notes, which never have one. `alive`: the account
    /// is in it.
    pub(crate) fn put_bare_conversation(
        &self,
        id: GroupId,
        kind: ConversationKind,
        peer: Option<AccountId>,
        created_at_ms: u64,
        alive: bool,
    ) -> Result<(), Error> {
        let state = match (kind, alive) {
            (ConversationKind::Notes, _) => ConversationState::Active,
            (_, true) => ConversationState::Awaited,
            (_, false) => ConversationState::Removed,
        };
        self.sql.execute(
            "INSERT INTO conversations (id, kind, peer, state, created_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET peer = COALESCE(peer, excluded.peer)",
            params![id.as_ref(), kind.number(), peer.map(|peer| peer.0), state as u8, created_at_ms],
        )?;
        Ok(())
    }

    pub(crate) fn set_conversation_state(&self, id: GroupId, state: ConversationState) -> Result<(), Error> {
        self.sql.execute("UPDATE conversations SET state = ?2 WHERE id = ?1", params![id.as_ref(), state as u8])?;
        Ok(())
    }

    /// Keeps a name unless a later one is known. Tells whether it is now the name.
    pub(crate) fn set_name(&self, id: GroupId, name: &str, at_ms: u64) -> Result<bool, Error> {
        let changed = self.sql.execute(
            "UPDATE conversations SET name = ?2, name_at_ms = ?3
             WHERE id = ?1 AND (name_at_ms < ?3 OR name_at_ms = ?3 AND name < ?2)",
            params![id.as_ref(), name, at_ms],
        )?;
        Ok(changed == 1)
    }

    /// The name of a conversation and when it was given.
    pub(crate) fn name(&self, id: GroupId) -> Result<Option<(String, u64)>, Error> {
        let sql = "SELECT name, name_at_ms FROM conversations WHERE id = ?1 AND name IS NOT NULL";
        Ok(self.sql.query_row(sql, [id.as_ref()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    /// Forgets a group that never came to be, and its conversation if it was to begin with it. One that this device has
    /// been in before stays, as it stands.
    pub(crate) fn delete_group_unless_known(&self, id: GroupId) -> Result<(), Error> {
        self.sql.execute("DELETE FROM conversations WHERE group_id = ?1 AND state = 0", [id.as_ref()])?;
        let unknown = self.sql.execute(
            "DELETE FROM groups WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM conversations WHERE group_id = ?1)",
            [id.as_ref()],
        )?;
        if unknown == 1 {
            self.sql.execute("DELETE FROM epochs WHERE group_id = ?1", [id.as_ref()])?;
        }
        Ok(())
    }

    /// Forgets the secrets of a group, unless a change of it waits for its answer. Its receipts stay.
    pub(crate) fn retire_group(&self, id: GroupId) -> Result<(), Error> {
        if self.is_pending(id)? {
            return Ok(());
        }
        if let Some(group) = self.find_group(id)? {
            group.into_inner().delete(&self.mls())?;
        }
        Ok(())
    }

    /// Forgets the secrets of all groups that have carried a conversation and do so no more.
    pub(crate) fn retire_former_groups(&self, conversation: GroupId) -> Result<(), Error> {
        let current = self.current_group(conversation)?;
        if self.conversation(conversation)?.is_some_and(|info| !info.active) {
            self.retire_group(current)?;
        }
        let mut statement = self.sql.prepare_cached("SELECT id FROM groups WHERE conversation = ?1 AND id <> ?2")?;
        let rows =
            statement.query_map(params![conversation.as_ref(), current.as_ref()], |row| row.get(0).map(GroupId))?;
        rows.collect::<Result<Vec<_>, _>>()?.into_iter().try_for_each(|group| self.retire_group(group))
    }

    /// The epoch in which this device came in, and that in which it did so for the last time; none for a group it is not
    /// in.
    pub(crate) fn entry_epochs(&self, id: GroupId) -> Result<Option<(u64, u64)>, Error> {
        let sql = "SELECT since_epoch, first_epoch FROM groups WHERE id = ?1";
        Ok(self.sql.query_row(sql, [id.as_ref()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    /// Whether what comes of a group cannot be followed.
    pub(crate) fn is_stuck(&self, id: GroupId) -> Result<bool, Error> {
        let sql = "SELECT stuck FROM groups WHERE id = ?1";
        Ok(self.sql.query_row(sql, [id.as_ref()], |row| row.get(0)).optional()?.unwrap_or_default())
    }

    pub(crate) fn set_stuck(&self, id: GroupId) -> Result<(), Error> {
        self.sql.execute("UPDATE groups SET stuck = 1 WHERE id = ?1", [id.as_ref()])?;
        Ok(())
    }

    /// There is nothing to be followed any more.
    pub(crate) fn clear_stuck(&self, id: GroupId) -> Result<(), Error> {
        self.sql.execute("UPDATE groups SET stuck = 0 WHERE id = ?1", [id.as_ref()])?;
        Ok(())
    }

    /// When this device last renewed its leaf, Unix milliseconds.
    pub(crate) fn renewed_at_ms(&self, id: GroupId) -> Result<u64, Error> {
        let sql = "SELECT renewed_at_ms FROM groups WHERE id = ?1";
        Ok(self.sql.query_row(sql, [id.as_ref()], |row| row.get(0)).optional()?.unwrap_or_default())
    }

    pub(crate) fn set_renewed(&self, id: GroupId) -> Result<(), Error> {
        self.sql.execute("UPDATE groups SET renewed_at_ms = ?2 WHERE id = ?1", params![id.as_ref(), self.now_ms()])?;
        Ok(())
    }

    /// Follows the group into its current epoch: notes the epoch and who else is in it.
    pub(crate) fn note_epoch(&self, group: &Conversation, identity: &Identity) -> Result<(), Error> {
        let (id, epoch) = (group.group_id(), group.epoch());
        let (device, account, members) = (identity.device(), identity.account(), group.members());
        let mut accounts: BTreeSet<AccountId> = members.iter().map(|member| member.account_id()).collect();
        accounts.remove(&account);
        // Where the other has left, there is nobody to talk to; the next conversation of the two is another one.
        let over = !group.is_active() || accounts.is_empty() && group.policy()?.kind == Kind::Direct;
        let state = if over { ConversationState::Removed } else { ConversationState::Active };
        self.sql.execute("UPDATE groups SET epoch = ?2 WHERE id = ?1", params![id.as_ref(), epoch])?;
        self.sql.execute(
            // A row that stays as it is costs a page all the same.
            "UPDATE conversations SET state = ?2 WHERE group_id = ?1 AND state < 3 AND state <> ?2",
            params![id.as_ref(), state as u8],
        )?;
        let devices = members.iter().map(|member| member.device_id()).filter(|other| *other != device);
        let devices: Vec<u8> = devices.flat_map(|device| device.0).collect();
        let accounts: Vec<u8> = accounts.into_iter().flat_map(|account| account.0).collect();
        self.sql.execute(
            "INSERT INTO epochs (group_id, epoch, devices, accounts) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (group_id, epoch) DO UPDATE SET devices = excluded.devices, accounts = excluded.accounts",
            params![id.as_ref(), epoch, devices, accounts],
        )?;
        self.sql.execute(
            "DELETE FROM epochs WHERE group_id = ?1 AND epoch < ?2",
            params![id.as_ref(), epoch.saturating_sub(EPOCHS_KEPT)],
        )?;
        Ok(())
    }

    /// The other devices of a group in an epoch; none for an epoch this device has not seen.
    pub(crate) fn others_in_epoch(&self, id: GroupId, epoch: u64) -> Result<Option<Vec<DeviceId>>, Error> {
        Ok(self.in_epoch("devices", id, epoch)?.map(|ids| ids.into_iter().map(DeviceId).collect()))
    }

    /// A device says that it leaves; messages no longer go to it.
    pub(crate) fn note_leaver(&self, id: GroupId, epoch: u64, device: DeviceId) -> Result<(), Error> {
        let mut leavers = self.leavers(id, epoch)?;
        leavers.push(device);
        // Joined here: SQLite would make a text of two blobs.
        let leavers: Vec<u8> = leavers.into_iter().flat_map(|device| device.0).collect();
        self.sql.execute(
            "UPDATE epochs SET leavers = ?3 WHERE group_id = ?1 AND epoch = ?2",
            params![id.as_ref(), epoch, leavers],
        )?;
        Ok(())
    }

    /// The other accounts of a group in the last epoch that this device has followed it to.
    pub(crate) fn last_accounts(&self, id: GroupId) -> Result<Option<Vec<AccountId>>, Error> {
        let sql = "SELECT max(epoch) FROM epochs WHERE group_id = ?1";
        let last: Option<u64> = self.sql.query_row(sql, [id.as_ref()], |row| row.get(0))?;
        last.map_or(Ok(None), |epoch| self.accounts_in_epoch(id, epoch))
    }

    /// Devices that said in an epoch that they leave, in that order.
    pub(crate) fn leavers(&self, id: GroupId, epoch: u64) -> Result<Vec<DeviceId>, Error> {
        let ids = self.in_epoch("leavers", id, epoch)?.unwrap_or_default();
        Ok(ids.into_iter().map(DeviceId).collect())
    }

    /// The other accounts of a group in an epoch; none for an epoch this device has not seen.
    pub(crate) fn accounts_in_epoch(&self, id: GroupId, epoch: u64) -> Result<Option<Vec<AccountId>>, Error> {
        Ok(self.in_epoch("accounts", id, epoch)?.map(|ids| ids.into_iter().map(AccountId).collect()))
    }

    fn in_epoch(&self, column: &'static str, id: GroupId, epoch: u64) -> Result<Option<Vec<[u8; 16]>>, Error> {
        let mut statement =
            self.sql.prepare_cached(&format!("SELECT {column} FROM epochs WHERE group_id = ?1 AND epoch = ?2"))?;
        let ids: Option<Vec<u8>> = statement.query_row(params![id.as_ref(), epoch], |row| row.get(0)).optional()?;
        Ok(ids.map(|ids| ids.as_chunks::<16>().0.to_vec()))
    }

    /// Groups whose tag of the current epoch was not compared yet, with that epoch; at most `limit`.
    pub(crate) fn untold_epochs(&self, limit: usize) -> Result<Vec<(GroupId, u64)>, Error> {
        let mut statement = self.sql.prepare_cached(
            "SELECT g.id, g.epoch FROM groups g JOIN conversations c ON c.group_id = g.id
             WHERE c.state = 1 AND g.stuck = 0 AND g.tag_told <> g.epoch LIMIT ?1",
        )?;
        let rows = statement.query_map([limit], |row| Ok((GroupId(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The server may have forgotten epochs that it knew: the tags of all groups are compared again.
    pub(crate) fn untell_epochs(&self) -> Result<(), Error> {
        self.sql.execute("UPDATE groups SET tag_told = -1", [])?;
        Ok(())
    }

    pub(crate) fn set_told(&self, id: GroupId, epoch: u64) -> Result<(), Error> {
        self.sql.execute("UPDATE groups SET tag_told = ?2 WHERE id = ?1", params![id.as_ref(), epoch])?;
        Ok(())
    }
}
