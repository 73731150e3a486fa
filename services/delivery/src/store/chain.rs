//! What moves with every message of a group: its head, locked for as long as a transaction takes, and the chain of its
//! receipts. Groups are locked in ascending order, and before mailboxes.

use std::collections::{BTreeMap, BTreeSet};

use qpc_chassis::{
    db::{Arg, DbError, Dialect, Row, Tx},
    runtime::planted::{Mistake, planted},
};
use qpc_crypto::receipt::Link;
use qpc_wire::{DeviceId, GroupId};

use super::Store;
use crate::{domain::mailbox::PAST_EPOCHS, error::Error};

/// The locked head of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Current epoch.
    pub epoch: u64,
    /// The last one in which a device has come.
    pub joined: u64,
    /// Changes of the state so far.
    pub revision: u64,
    /// What took its place.
    pub successor: Option<GroupId>,
    /// Place of the next receipt.
    pub link: Link,
}

impl Head {
    /// Compares it with what a change was made from.
    pub fn expect(&self, epoch: u64, revision: u64) -> Result<(), Error> {
        if let Some(successor) = self.successor {
            return Err(Error::Replaced(successor));
        }
        if planted(Mistake::IgnoresEpoch) {
            return Ok(());
        }
        match (self.epoch == epoch, self.revision == revision) {
            (false, _) => Err(Error::WrongEpoch { current: self.epoch }),
            (true, false) => Err(Error::Moved),
            (true, true) => Ok(()),
        }
    }
}

/// What fanning out needs to know of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// Its head.
    pub head: Head,
    /// Devices that get messages, with the numbers of their roles.
    pub members: BTreeMap<DeviceId, u8>,
    /// Of the epochs that a message may be of.
    pub marks: BTreeMap<u64, Mark>,
}

/// What an epoch is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What all members of the epoch have in common and the server knows too.
    pub tag: [u8; 16],
    /// Hash of what they have in common and the server does not know, if a commit has brought it.
    pub delivery_key: Option<[u8; 32]>,
}

pub(super) fn successor(row: &Row, column: usize) -> Result<Option<GroupId>, DbError> {
    let bytes = row.bytes(column)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(|id| Some(GroupId(id))).map_err(|_| DbError::Damaged("successor"))
}

impl Store {
    /// Locks those of `groups` that exist until the transaction ends.
    pub async fn lock(tx: &mut Tx, groups: &BTreeSet<GroupId>) -> Result<BTreeMap<GroupId, Head>, DbError> {
        const ALL: &str = "SELECT id, epoch, revision, successor, seq, chain, chain_ms, joined_epoch FROM mls_group \
             WHERE id = ANY($1) ORDER BY id FOR UPDATE";
        // A transaction of SQLite has the whole database to itself.
        const ONE: &str =
            "SELECT id, epoch, revision, successor, seq, chain, chain_ms, joined_epoch FROM mls_group WHERE id = $1";
        rows_of(tx, groups, ALL, ONE)
            .await?
            .iter()
            .map(|row| {
                let link = Link { seq: row.uint(4)? + 1, prev: row.array(5)?, not_before_ms: row.uint(6)? };
                let (epoch, revision, joined) = (row.uint(1)?, row.uint(2)?, row.uint(7)?);
                let head = Head { epoch, joined, revision, successor: successor(row, 3)?, link };
                Ok((GroupId(row.array(0)?), head))
            })
            .collect()
    }

    /// [`Self::lock`] of one group, or [`Error::NoSuchGroup`].
    pub async fn lock_one(tx: &mut Tx, group: GroupId) -> Result<Head, Error> {
        Self::lock(tx, &BTreeSet::from([group])).await?.remove(&group).ok_or(Error::NoSuchGroup)
    }

    /// Locks those of `groups` that exist, and reads who is in them.
    pub async fn rosters(tx: &mut Tx, groups: &BTreeSet<GroupId>) -> Result<BTreeMap<GroupId, Roster>, DbError> {
        const MEMBERS: &str = "SELECT group_id, device, role FROM group_member WHERE group_id = ANY($1)";
        const MEMBERS_OF_ONE: &str = "SELECT group_id, device, role FROM group_member WHERE group_id = $1";
        const MARKS: &str = "SELECT e.group_id, e.epoch, e.tag, e.key_hash FROM group_epoch e JOIN mls_group g \
             ON g.id = e.group_id WHERE e.group_id = ANY($1) AND e.epoch >= g.epoch - $2";
        const MARKS_OF_ONE: &str = "SELECT e.group_id, e.epoch, e.tag, e.key_hash FROM group_epoch e JOIN mls_group g \
             ON g.id = e.group_id WHERE e.group_id = $1 AND e.epoch >= g.epoch - $2";
        let heads = Self::lock(tx, groups).await?;
        let mut rosters: BTreeMap<GroupId, Roster> = heads
            .into_iter()
            .map(|(id, head)| (id, Roster { head, members: BTreeMap::new(), marks: BTreeMap::new() }))
            .collect();
        for row in rows_of(tx, groups, MEMBERS, MEMBERS_OF_ONE).await? {
            if let Some(roster) = rosters.get_mut(&GroupId(row.array(0)?)) {
                let role = u8::try_from(row.int(2)?).map_err(|_| DbError::Damaged("role"))?;
                roster.members.insert(DeviceId(row.array(1)?), role);
            }
        }
        for row in rows_with(tx, groups, MARKS, MARKS_OF_ONE, &[PAST_EPOCHS.into()]).await? {
            if let Some(roster) = rosters.get_mut(&GroupId(row.array(0)?)) {
                let delivery_key = match row.bytes(3)? {
                    empty if empty.is_empty() => None,
                    hash => Some(hash.try_into().map_err(|_| DbError::Damaged("delivery key"))?),
                };
                roster.marks.insert(row.uint(1)?, Mark { tag: row.array(2)?, delivery_key });
            }
        }
        Ok(rosters)
    }

    /// Moves the chains of `groups`, which are locked, to the places where the next receipts stand.
    pub async fn follow(tx: &mut Tx, places: &BTreeMap<GroupId, Link>) -> Result<(), DbError> {
        match tx.dialect() {
            Dialect::Postgres => {
                let ids: Vec<&[u8]> = places.keys().map(AsRef::as_ref).collect();
                let seqs: Vec<i64> = places.values().map(|next| (next.seq - 1) as i64).collect();
                let chains: Vec<&[u8]> = places.values().map(|next| next.prev.as_slice()).collect();
                let times: Vec<i64> = places.values().map(|next| next.not_before_ms as i64).collect();
                tx.execute(
                    "UPDATE mls_group g SET seq = t.s, chain = t.c, chain_ms = t.m FROM \
                     UNNEST($1::BYTEA[], $2::BIGINT[], $3::BYTEA[], $4::BIGINT[]) AS t (i, s, c, m) WHERE g.id = t.i",
                    &[Arg::ByteArrays(&ids), Arg::Ints(&seqs), Arg::ByteArrays(&chains), Arg::Ints(&times)],
                )
                .await?;
            }
            Dialect::Sqlite => {
                for (group, next) in places {
                    let sql = "UPDATE mls_group SET seq = $2, chain = $3, chain_ms = $4 WHERE id = $1";
                    let (seq, chain) = (next.seq - 1, next.prev.as_slice());
                    tx.execute(sql, &[group.into(), seq.into(), chain.into(), next.not_before_ms.into()]).await?;
                }
            }
        }
        Ok(())
    }
}

async fn rows_of(
    tx: &mut Tx,
    groups: &BTreeSet<GroupId>,
    all: &'static str,
    one: &'static str,
) -> Result<Vec<Row>, DbError> {
    rows_with(tx, groups, all, one, &[]).await
}

/// Rows of all `groups` in one statement on Postgres, of one after the other on SQLite, which has no arrays.
async fn rows_with(
    tx: &mut Tx,
    groups: &BTreeSet<GroupId>,
    all: &'static str,
    one: &'static str,
    more: &[Arg<'_>],
) -> Result<Vec<Row>, DbError> {
    match tx.dialect() {
        Dialect::Postgres => {
            let ids: Vec<&[u8]> = groups.iter().map(AsRef::as_ref).collect();
            tx.rows(all, &[&[Arg::ByteArrays(&ids)], more].concat()).await
        }
        Dialect::Sqlite => {
            let mut rows = Vec::new();
            for group in groups {
                rows.extend(tx.rows(one, &[&[Arg::from(group)], more].concat()).await?);
            }
            Ok(rows)
        }
    }
}
