//! Groups: their public state, members and epochs.

use std::collections::{BTreeSet, HashMap};

use qpc_chassis::db::{Arg, DbError, Dialect, Tx};
use qpc_wire::{DeviceId, GroupId, v1::GroupKind};

use super::Store;
use crate::{domain::direct::Pair, error::Error};

/// A stored group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Direct or not.
    pub kind: GroupKind,
    /// Current epoch.
    pub epoch: u64,
    /// Sealed public state.
    pub state: Vec<u8>,
}

/// What fanning out needs to know of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// Current epoch.
    pub epoch: u64,
    /// Member devices.
    pub members: Vec<DeviceId>,
}

/// A group to be.
#[derive(Debug)]
pub struct NewGroup {
    /// Its id.
    pub id: GroupId,
    /// Direct or not.
    pub kind: GroupKind,
    /// Epoch after its first commit.
    pub epoch: u64,
    /// Sealed public state.
    pub state: Vec<u8>,
    /// Member devices.
    pub members: Vec<DeviceId>,
    /// The pair of a direct conversation.
    pub pair: Option<Pair>,
}

/// The step from one epoch to the next.
#[derive(Debug)]
pub struct Change {
    /// The group.
    pub id: GroupId,
    /// Epoch before.
    pub from: u64,
    /// Sealed public state after.
    pub state: Vec<u8>,
    /// Devices that join.
    pub added: Vec<DeviceId>,
    /// Devices that leave.
    pub removed: Vec<DeviceId>,
}

impl Store {
    /// A stored group.
    pub async fn group(&self, id: &GroupId) -> Result<Option<GroupRow>, DbError> {
        let row = self.db.row("SELECT kind, epoch, state FROM mls_group WHERE id = $1", &[id.into()]).await?;
        row.map(|row| {
            let kind = i32::try_from(row.int(0)?).ok().and_then(|kind| GroupKind::try_from(kind).ok());
            Ok(GroupRow {
                kind: kind.ok_or(DbError::Damaged("group kind"))?,
                epoch: row.uint(1)?,
                state: row.bytes(2)?,
            })
        })
        .transpose()
    }

    /// Epoch and members of each of `groups` that exists.
    pub async fn rosters(tx: &mut Tx, groups: &BTreeSet<GroupId>) -> Result<HashMap<GroupId, Roster>, DbError> {
        const SQL_ALL: &str = "SELECT g.id, g.epoch, m.device FROM mls_group g \
             JOIN group_member m ON m.group_id = g.id WHERE g.id = ANY($1)";
        const SQL_ONE: &str = "SELECT g.id, g.epoch, m.device FROM mls_group g \
             JOIN group_member m ON m.group_id = g.id WHERE g.id = $1";
        let rows = match tx.dialect() {
            Dialect::Postgres => {
                let ids: Vec<&[u8]> = groups.iter().map(AsRef::as_ref).collect();
                tx.rows(SQL_ALL, &[Arg::ByteArrays(&ids)]).await?
            }
            Dialect::Sqlite => {
                let mut rows = Vec::new();
                for group in groups {
                    rows.extend(tx.rows(SQL_ONE, &[group.into()]).await?);
                }
                rows
            }
        };
        let mut rosters: HashMap<GroupId, Roster> = HashMap::with_capacity(groups.len());
        for row in rows {
            let roster = rosters.entry(GroupId(row.array(0)?)).or_default();
            roster.epoch = row.uint(1)?;
            roster.members.push(DeviceId(row.array(2)?));
        }
        Ok(rosters)
    }

    /// Registers a group. Of two that found a direct conversation for one pair at the same time, one gets
    /// [`Error::ConversationExists`].
    pub async fn create_group(tx: &mut Tx, group: &NewGroup) -> Result<(), Error> {
        if let Some(pair) = group.pair {
            let inserted = tx
                .execute(
                    "INSERT INTO direct_pair (low, high, group_id) VALUES ($1, $2, $3) ON CONFLICT (low, high) DO NOTHING",
                    &[(&pair.low).into(), (&pair.high).into(), (&group.id).into()],
                )
                .await?;
            if inserted == 0 {
                let row = tx
                    .row(
                        "SELECT group_id FROM direct_pair WHERE low = $1 AND high = $2",
                        &[(&pair.low).into(), (&pair.high).into()],
                    )
                    .await?
                    .ok_or(DbError::Damaged("direct pair"))?;
                return Err(Error::ConversationExists(GroupId(row.array(0)?)));
            }
        }
        let inserted = tx
            .execute(
                "INSERT INTO mls_group (id, kind, epoch, state) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
                &[(&group.id).into(), Arg::Int(group.kind as i64), group.epoch.into(), (&group.state).into()],
            )
            .await?;
        if inserted == 0 {
            return Err(Error::GroupExists);
        }
        add_members(tx, &group.id, &group.members).await
    }

    /// Takes the step, or says in which epoch the group is: exactly one commit wins an epoch (G4).
    pub async fn advance(tx: &mut Tx, change: &Change) -> Result<(), Error> {
        let won = tx
            .execute(
                "UPDATE mls_group SET epoch = epoch + 1, state = $3 WHERE id = $1 AND epoch = $2",
                &[(&change.id).into(), change.from.into(), (&change.state).into()],
            )
            .await?;
        if won == 0 {
            let row = tx
                .row("SELECT epoch FROM mls_group WHERE id = $1", &[(&change.id).into()])
                .await?
                .ok_or(Error::NoSuchGroup)?;
            return Err(Error::WrongEpoch { current: row.uint(0)? });
        }
        for device in &change.removed {
            tx.execute(
                "DELETE FROM group_member WHERE group_id = $1 AND device = $2",
                &[(&change.id).into(), device.into()],
            )
            .await?;
        }
        add_members(tx, &change.id, &change.added).await
    }
}

async fn add_members(tx: &mut Tx, group: &GroupId, devices: &[DeviceId]) -> Result<(), Error> {
    for device in devices {
        tx.execute(
            "INSERT INTO group_member (group_id, device) VALUES ($1, $2) ON CONFLICT (group_id, device) DO NOTHING",
            &[group.into(), device.into()],
        )
        .await?;
    }
    Ok(())
}
