//! Whom this account knows, whom it has blocked, and conversations that strangers have begun.

use qpc_wire::{AccountId, GroupId};
use rusqlite::params;

use super::Tx;
use crate::{Error, MessageId, own};

/// Where a conversation stands with this account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This account takes part.
    Accepted = 0,
    /// A stranger has begun it, and waits for an answer without being told anything.
    Requested = 1,
    /// It was declined: it is not shown.
    Declined = 2,
}

impl Standing {
    pub(super) fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Accepted,
            1 => Self::Requested,
            _ => Self::Declined,
        }
    }
}

impl Tx<'_> {
    pub(crate) fn standing(&self, conversation: GroupId) -> Result<Standing, Error> {
        let sql = "SELECT standing FROM conversations WHERE id = ?1";
        Ok(self.sql.query_row(sql, [conversation.as_ref()], |row| row.get(0).map(Standing::from_u8))?)
    }

    pub(crate) fn set_standing(&self, conversation: GroupId, standing: Standing) -> Result<(), Error> {
        let sql = "UPDATE conversations SET standing = ?2 WHERE id = ?1";
        self.sql.execute(sql, params![conversation.as_ref(), standing as u8])?;
        Ok(())
    }

    /// The last `limit` messages of others in a conversation, and whether they were read here.
    pub(crate) fn written_by_others(
        &self,
        conversation: GroupId,
        own: AccountId,
        limit: usize,
    ) -> Result<Vec<(MessageId, bool)>, Error> {
        let sql =
            "SELECT id, seen FROM messages WHERE conversation = ?1 AND sender_account <> ?2 ORDER BY n DESC LIMIT ?3";
        let mut statement = self.sql.prepare_cached(sql)?;
        let rows = statement.query_map(params![conversation.as_ref(), own.as_ref(), limit], |row| {
            Ok((MessageId(row.get(0)?), row.get(1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether this account has a direct conversation with another that it takes part in, beside the one in question.
    pub(crate) fn is_contact(&self, account: AccountId, beside: GroupId) -> Result<bool, Error> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM conversations WHERE kind = 1 AND peer = ?1 AND standing = 0 AND id <> ?2)";
        Ok(self.sql.query_row(sql, [account.as_ref(), beside.as_ref()], |row| row.get(0))?)
    }

    pub(crate) fn is_blocked(&self, account: AccountId) -> Result<bool, Error> {
        Ok(self.synced_value(&own::block_key(account))?.is_some_and(|value| value == [1]))
    }

    /// Accounts that are blocked.
    pub(crate) fn blocked(&self) -> Result<Vec<AccountId>, Error> {
        let sql = "SELECT substr(name, 7) FROM synced WHERE name LIKE 'block/%' AND value = x'01' ORDER BY name";
        let mut statement = self.sql.prepare_cached(sql)?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(names.iter().filter_map(|name| own::id(name)).map(AccountId).collect())
    }
}
