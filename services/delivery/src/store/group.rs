//! Groups: their public state, members, epochs, and who takes the place of whom.

use qpc_chassis::db::{Arg, DbError, Tx};
use qpc_crypto::receipt::Link;
use qpc_wire::{AccountId, DeviceId, GroupId, v1::GroupKind};

use super::{Head, Mark, Store, chain};
use crate::{domain::direct::Pair, error::Error};

/// Epochs of a group whose tags are kept.
const KEPT_TAGS: u64 = 64;

/// A stored group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// What it is for.
    pub kind: GroupKind,
    /// Current epoch.
    pub epoch: u64,
    /// Changes of the state so far.
    pub revision: u64,
    /// What took its place.
    pub successor: Option<GroupId>,
    /// Id of what joiners share, and the epoch that it is of; empty when there was none yet.
    pub shared: (Vec<u8>, u64),
    /// Sealed public state.
    pub state: Vec<u8>,
}

/// A device that gets what is sent to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// Its account.
    pub account: AccountId,
    /// Role of the account in the group's policy, by its number.
    pub role: u8,
}

/// Of what there is one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Single {
    /// The conversation of two accounts.
    Direct(Pair),
    /// The devices of one account.
    Own(AccountId),
}

/// A group to be.
#[derive(Debug)]
pub struct NewGroup {
    /// Its id.
    pub id: GroupId,
    /// What it is for.
    pub kind: GroupKind,
    /// Epoch after its first commit.
    pub epoch: u64,
    /// What that epoch is known by.
    pub mark: Mark,
    /// Sealed public state.
    pub state: Vec<u8>,
    /// Member devices.
    pub members: Vec<Member>,
    /// What it is the only one of.
    pub single: Option<Single>,
    /// The group whose place it takes.
    pub predecessor: Option<GroupId>,
    /// Place of the next receipt.
    pub next: Link,
    /// What its first joiners share.
    pub shared: Option<[u8; 16]>,
}

/// The step from one revision to the next: a commit, or a proposal that leaves the epoch as it is.
#[derive(Debug)]
pub struct Change {
    /// The group.
    pub id: GroupId,
    /// Epoch after it.
    pub epoch: u64,
    /// What that epoch is known by when it is new.
    pub mark: Option<Mark>,
    /// Sealed public state after it.
    pub state: Vec<u8>,
    /// Devices that join.
    pub added: Vec<Member>,
    /// Devices that leave.
    pub removed: Vec<DeviceId>,
    /// Accounts whose role is another one now.
    pub roles: Vec<(AccountId, u8)>,
    /// Place of the next receipt.
    pub next: Link,
    /// What joiners of the new epoch share.
    pub shared: Option<[u8; 16]>,
}

impl Store {
    /// A stored group.
    pub async fn group(&self, id: &GroupId) -> Result<Option<GroupRow>, DbError> {
        let row = self
            .db
            .row(
                "SELECT g.kind, g.epoch, g.revision, g.successor, g.shared_id, g.shared_epoch, s.state FROM mls_group g \
                 JOIN group_state s ON s.group_id = g.id WHERE g.id = $1",
                &[id.into()],
            )
            .await?;
        row.map(|row| {
            let kind = i32::try_from(row.int(0)?).ok().and_then(|kind| GroupKind::try_from(kind).ok());
            Ok(GroupRow {
                kind: kind.ok_or(DbError::Damaged("group kind"))?,
                epoch: row.uint(1)?,
                revision: row.uint(2)?,
                successor: chain::successor(&row, 3)?,
                shared: (row.bytes(4)?, row.uint(5)?),
                state: row.bytes(6)?,
            })
        })
        .transpose()
    }

    /// The devices that get what is sent to a group, in ascending order.
    pub async fn members(&self, id: &GroupId) -> Result<Vec<Member>, DbError> {
        let sql = "SELECT device, account, role FROM group_member WHERE group_id = $1 AND role > 0 ORDER BY device";
        let rows = self.db.rows(sql, &[id.into()]).await?;
        rows.iter()
            .map(|row| {
                let role = u8::try_from(row.int(2)?).map_err(|_| DbError::Damaged("role"))?;
                Ok(Member { device: DeviceId(row.array(0)?), account: AccountId(row.array(1)?), role })
            })
            .collect()
    }

    /// Registers a group. Of two that are made at the same time where there can be one only, one gets
    /// [`Error::ConversationExists`].
    pub async fn create_group(tx: &mut Tx, group: &NewGroup) -> Result<(), Error> {
        match group.single {
            Some(Single::Direct(pair)) => claim_pair(tx, group, &pair).await?,
            Some(Single::Own(account)) => claim_own(tx, group, &account).await?,
            None => {}
        }
        let shared: &[u8] = group.shared.as_ref().map_or(&[], |id| id);
        let inserted = tx
            .execute(
                "INSERT INTO mls_group (id, kind, epoch, revision, seq, chain, successor, shared_id, shared_epoch, chain_ms) \
                 VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $3, $8) ON CONFLICT (id) DO NOTHING",
                &[
                    (&group.id).into(),
                    Arg::Int(group.kind as i64),
                    group.epoch.into(),
                    (group.next.seq - 1).into(),
                    group.next.prev.as_slice().into(),
                    Arg::Bytes(&[]),
                    shared.into(),
                    group.next.not_before_ms.into(),
                ],
            )
            .await?;
        if inserted == 0 {
            return Err(Error::GroupExists);
        }
        if let Some(predecessor) = &group.predecessor {
            // Invites come along, and so does how often they were used.
            let sql = "INSERT INTO invite_use (group_id, invite_key, uses) \
                 SELECT $1, invite_key, uses FROM invite_use WHERE group_id = $2";
            tx.execute(sql, &[(&group.id).into(), predecessor.into()]).await?;
        }
        let state = "INSERT INTO group_state (group_id, state) VALUES ($1, $2)";
        tx.execute(state, &[(&group.id).into(), (&group.state).into()]).await?;
        keep_mark(tx, &group.id, group.epoch, &group.mark).await?;
        if let Some(predecessor) = &group.predecessor {
            let sql = "UPDATE mls_group SET successor = $2, revision = revision + 1 WHERE id = $1";
            tx.execute(sql, &[predecessor.into(), (&group.id).into()]).await?;
        }
        add_members(tx, &group.id, &group.members).await
    }

    /// Takes the step: exactly one commit wins an epoch (G4). The group must be locked and its head compared, see
    /// [`Head::expect`].
    pub async fn advance(tx: &mut Tx, change: &Change) -> Result<(), Error> {
        let (id, next) = (&change.id, &change.next);
        tx.execute(
            "UPDATE mls_group SET epoch = $2, revision = revision + 1, seq = $3, chain = $4, chain_ms = $5 WHERE id = $1",
            &[
                id.into(),
                change.epoch.into(),
                (next.seq - 1).into(),
                next.prev.as_slice().into(),
                next.not_before_ms.into(),
            ],
        )
        .await?;
        let state = "UPDATE group_state SET state = $2 WHERE group_id = $1";
        tx.execute(state, &[id.into(), (&change.state).into()]).await?;
        if !change.added.is_empty() {
            tx.execute("UPDATE mls_group SET joined_epoch = epoch WHERE id = $1", &[id.into()]).await?;
        }
        if let Some(shared) = &change.shared {
            let sql = "UPDATE mls_group SET shared_id = $2, shared_epoch = epoch WHERE id = $1";
            tx.execute(sql, &[id.into(), shared.as_slice().into()]).await?;
        }
        if let Some(mark) = &change.mark {
            keep_mark(tx, id, change.epoch, mark).await?;
        }
        for device in &change.removed {
            let sql = "DELETE FROM group_member WHERE group_id = $1 AND device = $2";
            tx.execute(sql, &[id.into(), device.into()]).await?;
        }
        for (account, role) in &change.roles {
            let sql = "UPDATE group_member SET role = $3 WHERE group_id = $1 AND account = $2 AND role > 0";
            tx.execute(sql, &[id.into(), account.into(), Arg::Int(i64::from(*role))]).await?;
        }
        add_members(tx, id, &change.added).await
    }

    /// Points joiners of `epoch` to `shared`, unless the group has moved on.
    pub async fn point(tx: &mut Tx, id: &GroupId, epoch: u64, shared: &[u8; 16]) -> Result<(), DbError> {
        let sql = "UPDATE mls_group SET shared_id = $3, shared_epoch = $2 WHERE id = $1 AND epoch = $2";
        tx.execute(sql, &[id.into(), epoch.into(), shared.as_slice().into()]).await.map(|_| ())
    }

    /// Lets a pair found another conversation.
    pub async fn free_pair(tx: &mut Tx, id: &GroupId) -> Result<(), DbError> {
        tx.execute("DELETE FROM direct_pair WHERE group_id = $1", &[id.into()]).await.map(|_| ())
    }

    /// Removes a group that has no members any more, with everything of it. What stands in mailboxes stays there.
    pub async fn delete_group(tx: &mut Tx, id: &GroupId) -> Result<(), DbError> {
        for sql in [
            "DELETE FROM mls_group WHERE id = $1",
            "DELETE FROM group_state WHERE group_id = $1",
            "DELETE FROM group_member WHERE group_id = $1",
            "DELETE FROM group_epoch WHERE group_id = $1",
            "DELETE FROM invite_use WHERE group_id = $1",
            "DELETE FROM direct_pair WHERE group_id = $1",
            "DELETE FROM own_group WHERE group_id = $1",
        ] {
            tx.execute(sql, &[id.into()]).await?;
        }
        Ok(())
    }

    /// Whether `device` is told from its tag to have forked, or to be in an epoch that is still to come. An epoch whose tag is
    /// not kept any more says nothing, nor does a group that the device is not in.
    pub async fn has_forked(&self, device: &DeviceId, id: &GroupId, epoch: u64, tag: &[u8]) -> Result<bool, DbError> {
        let row = self
            .db
            .row(
                "SELECT g.epoch, COALESCE(e.tag, $4) FROM mls_group g \
                 JOIN group_member m ON m.group_id = g.id AND m.device = $1 AND m.role > 0 \
                 LEFT JOIN group_epoch e ON e.group_id = g.id AND e.epoch = $3 WHERE g.id = $2",
                &[device.into(), id.into(), epoch.into(), tag.into()],
            )
            .await?;
        row.map_or(Ok(false), |row| Ok(epoch > row.uint(0)? || row.bytes(1)? != tag))
    }

    /// Takes the head of the group that `group` is to replace, which must be locked, and checks that `account` may do so.
    pub async fn check_predecessor(
        tx: &mut Tx,
        head: Option<&Head>,
        predecessor: &GroupId,
        account: &AccountId,
        least: u8,
    ) -> Result<(), Error> {
        let head = head.ok_or(Error::NoSuchGroup)?;
        if let Some(successor) = head.successor {
            return Err(Error::Replaced(successor));
        }
        let sql = "SELECT COALESCE(MAX(role), 0) FROM group_member WHERE group_id = $1 AND account = $2";
        let role = tx.row(sql, &[predecessor.into(), account.into()]).await?.map_or(Ok(0), |row| row.int(0))?;
        match role {
            0 => Err(Error::NoSuchGroup),
            role if role < i64::from(least) => Err(Error::NotAdmin),
            _ => Ok(()),
        }
    }
}

async fn claim_pair(tx: &mut Tx, group: &NewGroup, pair: &Pair) -> Result<(), Error> {
    if let Some(predecessor) = &group.predecessor {
        let sql = "DELETE FROM direct_pair WHERE group_id = $1 RETURNING low, high";
        if let Some(row) = tx.row(sql, &[predecessor.into()]).await? {
            let before = Pair { low: AccountId(row.array(0)?), high: AccountId(row.array(1)?) };
            if before != *pair {
                return Err(Error::NotDirect);
            }
        }
    }
    let accounts = [Arg::from(&pair.low), (&pair.high).into()];
    let inserted = tx
        .execute(
            "INSERT INTO direct_pair (low, high, group_id) VALUES ($1, $2, $3) ON CONFLICT (low, high) DO NOTHING",
            &[accounts[0], accounts[1], (&group.id).into()],
        )
        .await?;
    if inserted == 1 {
        return Ok(());
    }
    let sql = "SELECT group_id FROM direct_pair WHERE low = $1 AND high = $2";
    let row = tx.row(sql, &accounts).await?.ok_or(DbError::Damaged("direct pair"))?;
    Err(Error::ConversationExists(GroupId(row.array(0)?)))
}

async fn claim_own(tx: &mut Tx, group: &NewGroup, account: &AccountId) -> Result<(), Error> {
    if let Some(predecessor) = &group.predecessor {
        let sql = "DELETE FROM own_group WHERE account = $1 AND group_id = $2";
        tx.execute(sql, &[account.into(), predecessor.into()]).await?;
    }
    let sql = "INSERT INTO own_group (account, group_id) VALUES ($1, $2) ON CONFLICT (account) DO NOTHING";
    if tx.execute(sql, &[account.into(), (&group.id).into()]).await? == 1 {
        return Ok(());
    }
    let sql = "SELECT group_id FROM own_group WHERE account = $1";
    let row = tx.row(sql, &[account.into()]).await?.ok_or(DbError::Damaged("own group"))?;
    Err(Error::ConversationExists(GroupId(row.array(0)?)))
}

async fn keep_mark(tx: &mut Tx, id: &GroupId, epoch: u64, mark: &Mark) -> Result<(), DbError> {
    let sql = "INSERT INTO group_epoch (group_id, epoch, tag, key_hash) VALUES ($1, $2, $3, $4)";
    let key: &[u8] = mark.delivery_key.as_ref().map_or(&[], |hash| hash);
    tx.execute(sql, &[id.into(), epoch.into(), mark.tag.as_slice().into(), key.into()]).await?;
    let sql = "DELETE FROM group_epoch WHERE group_id = $1 AND epoch <= $2";
    tx.execute(sql, &[id.into(), epoch.saturating_sub(KEPT_TAGS).into()]).await.map(|_| ())
}

async fn add_members(tx: &mut Tx, group: &GroupId, members: &[Member]) -> Result<(), Error> {
    for member in members {
        tx.execute(
            "INSERT INTO group_member (group_id, device, account, role) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (group_id, device) DO NOTHING",
            &[group.into(), (&member.device).into(), (&member.account).into(), Arg::Int(i64::from(member.role))],
        )
        .await?;
    }
    Ok(())
}
