//! People: the account key under which each name was met, and what happens when another one is shown.
//!
//! A pin never changes by itself. Another key is kept beside it, the person is told, and what is written to the direct
//! conversation waits until the person has decided: for the new key ([`Tx::accept_peer`]) or for the old one
//! ([`Tx::refuse_other`]).

use qpc_crypto::account_id;
use qpc_wire::AccountId;
use rusqlite::{OptionalExtension as _, params};

use super::Tx;
use crate::{Error, PeerTrust};

/// How far the account of a name is believed, as a number, for the account that stands in the place of `{}`.
const TRUST: &str = "COALESCE(
        (SELECT CASE WHEN p.other_key IS NOT NULL AND p.other_refused = 0 THEN 2
                     WHEN EXISTS (SELECT 1 FROM synced s WHERE s.name = 'verified/' || p.username
                                  AND s.value = p.account_key) THEN 1
                     ELSE 0 END FROM peers p WHERE p.account = {} ORDER BY p.pinned_at_ms LIMIT 1),
        (SELECT 3 FROM former_peers f WHERE f.account = {}), 0)";

/// What a key is to the name under which it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nobody of that name was met before.
    Unknown,
    /// The one that is pinned.
    Pinned,
    /// Another one than that of this account.
    Other {
        /// Whose key is pinned.
        pinned: AccountId,
        /// Whether it is shown for the first time.
        news: bool,
    },
}

/// A name with its key, and another one that waits for a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) key: [u8; 32],
    pub(crate) other: Option<[u8; 32]>,
    pub(crate) trust: PeerTrust,
}

/// [`TRUST`] of an account.
pub(super) fn trust_sql(account: &str) -> String {
    TRUST.replace("{}", account)
}

impl PeerTrust {
    pub(super) fn from_u8(number: u8) -> Self {
        match number {
            1 => Self::Verified,
            2 => Self::Changed,
            3 => Self::Former,
            _ => Self::Unverified,
        }
    }
}

impl Tx<'_> {
    /// Holds `name` to the key under which it is seen first. Another key later is kept as such.
    pub(crate) fn pin_peer(&self, name: &str, key: &[u8; 32]) -> Result<Shown, Error> {
        let shown = self.compare_peer(name, key)?;
        if shown == Shown::Unknown {
            self.insert_peer(name, key)?;
            return Ok(Shown::Pinned);
        }
        Ok(shown)
    }

    fn insert_peer(&self, name: &str, key: &[u8; 32]) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO peers (username, account, account_key, pinned_at_ms) VALUES (?1, ?2, ?3, ?4)",
            params![name, account_id(key).as_ref(), key.as_slice(), self.now_ms()],
        )?;
        Ok(())
    }

    /// [`Self::pin_peer`] of a name that must have no other key. Asks for no more than the first version of the tables has: a
    /// backup is put back in that of its time.
    pub(crate) fn pin_self(&self, name: &str, key: &[u8; 32]) -> Result<(), Error> {
        let sql = "SELECT account_key FROM peers WHERE username = ?1";
        let known: Option<[u8; 32]> = self.sql.query_row(sql, [name], |row| row.get(0)).optional()?;
        match known {
            None => self.insert_peer(name, key),
            Some(known) if known == *key => Ok(()),
            Some(_) => Err(Error::IdentityChanged(name.to_owned())),
        }
    }

    /// Compares a key with the one that is pinned. Another one is kept, to be decided about, unless it was before.
    pub(crate) fn compare_peer(&self, name: &str, key: &[u8; 32]) -> Result<Shown, Error> {
        let Some(peer) = self.peer(name)? else { return Ok(Shown::Unknown) };
        if peer.key == *key {
            return Ok(Shown::Pinned);
        }
        let news = self.sql.execute(
            "UPDATE peers SET other_key = ?2, other_at_ms = ?3, other_refused = 0
             WHERE username = ?1 AND other_key IS NOT ?2",
            params![name, key.as_slice(), self.now_ms()],
        )?;
        Ok(Shown::Other { pinned: account_id(&peer.key), news: news == 1 })
    }

    /// What is known of a name.
    pub(crate) fn peer(&self, name: &str) -> Result<Option<Peer>, Error> {
        let sql =
            format!("SELECT account_key, other_key, {} FROM peers WHERE username = ?1", trust_sql("peers.account"));
        let mut statement = self.sql.prepare_cached(&sql)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Peer { key: row.get(0)?, other: row.get(1)?, trust: PeerTrust::from_u8(row.get(2)?) })
        };
        Ok(statement.query_row([name], read).optional()?)
    }

    /// A person has decided for another key than the pinned one. Whoever had the name keeps it in conversations of before.
    pub(crate) fn accept_peer(&self, name: &str, key: &[u8; 32]) -> Result<(), Error> {
        let Some(peer) = self.peer(name)?.filter(|peer| peer.key != *key) else { return Ok(()) };
        let (before, now) = (account_id(&peer.key), account_id(key));
        self.sql.execute("DELETE FROM former_peers WHERE account = ?1", [now.as_ref()])?;
        self.sql.execute(
            "INSERT OR REPLACE INTO former_peers (account, username) VALUES (?1, ?2)",
            params![before.as_ref(), name],
        )?;
        self.sql.execute(
            "UPDATE peers SET account = ?2, account_key = ?3, pinned_at_ms = ?4, other_key = NULL, other_refused = 0
             WHERE username = ?1",
            params![name, now.as_ref(), key.as_slice(), self.now_ms()],
        )?;
        Ok(())
    }

    /// A person has decided that the pinned key stays. Tells whether there was anything to decide.
    pub(crate) fn refuse_other(&self, name: &str) -> Result<bool, Error> {
        let sql =
            "UPDATE peers SET other_refused = 1 WHERE username = ?1 AND other_key IS NOT NULL AND other_refused = 0";
        Ok(self.sql.execute(sql, [name])? == 1)
    }

    pub(crate) fn pinned_account(&self, name: &str) -> Result<Option<AccountId>, Error> {
        let id: Option<[u8; 16]> =
            self.sql.query_row("SELECT account FROM peers WHERE username = ?1", [name], |row| row.get(0)).optional()?;
        Ok(id.map(AccountId))
    }

    /// All names that are pinned, with their account keys.
    pub(crate) fn peers(&self) -> Result<Vec<(String, [u8; 32])>, Error> {
        let mut statement = self.sql.prepare_cached("SELECT username, account_key FROM peers ORDER BY pinned_at_ms")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The name that the directory has confirmed for an account.
    pub(crate) fn peer_name(&self, account: AccountId) -> Result<Option<String>, Error> {
        let sql = "SELECT username FROM peers WHERE account = ?1 ORDER BY pinned_at_ms LIMIT 1";
        let found = self.sql.query_row(sql, [account.as_ref()], |row| row.get(0)).optional()?;
        if found.is_some() {
            return Ok(found);
        }
        let sql = "SELECT username FROM former_peers WHERE account = ?1";
        Ok(self.sql.query_row(sql, [account.as_ref()], |row| row.get(0)).optional()?)
    }

    /// How far an account is believed to be the person of its name.
    pub(crate) fn peer_trust(&self, account: AccountId) -> Result<PeerTrust, Error> {
        let mut statement = self.sql.prepare_cached(&format!("SELECT {}", trust_sql("?1")))?;
        Ok(statement.query_row([account.as_ref()], |row| row.get(0).map(PeerTrust::from_u8))?)
    }
}
