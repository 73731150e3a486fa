//! Codes by which accounts may be registered, kept as keyed hashes.

use qpc_chassis::db::{DbError, Row, Tx};
use qpc_wire::{admin::v1::Invite, v1::InviteVerdict};

use super::Store;
use crate::{admission::Refused, error::Error};

/// Invites that an installation keeps.
pub(crate) const MOST: u64 = 10_000;
/// Invites that one sweep forgets.
const SWEEP: u64 = 1_000;

/// An invite that is made.
pub(crate) struct NewInvite<'a> {
    pub(crate) id: [u8; 16],
    /// Keyed hash of the code.
    pub(crate) lookup: [u8; 32],
    pub(crate) uses: u32,
    pub(crate) note: &'a str,
    pub(crate) now_ms: u64,
    pub(crate) expires_ms: u64,
}

/// Keeps an invite, unless there are too many.
pub(crate) async fn create(tx: &mut Tx, invite: &NewInvite<'_>) -> Result<(), Error> {
    let count = tx.row("SELECT COUNT(*) FROM account_invites", &[]).await?.map_or(Ok(0), |row| row.uint(0))?;
    if count >= MOST {
        return Err(Error::TooManyInvites);
    }
    tx.execute(
        "INSERT INTO account_invites (invite_id, lookup, uses, used, created_ms, expires_ms, note) \
         VALUES ($1, $2, $3, 0, $4, $5, $6)",
        &[
            invite.id.as_slice().into(),
            invite.lookup.as_slice().into(),
            invite.uses.into(),
            invite.now_ms.into(),
            invite.expires_ms.into(),
            invite.note.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The newest invites of before `before_ms`, expired ones too.
pub(crate) async fn list(tx: &mut Tx, before_ms: u64, limit: u64) -> Result<Vec<Invite>, DbError> {
    let before = i64::try_from(before_ms).unwrap_or(i64::MAX);
    let rows = tx
        .rows(
            "SELECT invite_id, uses, used, created_ms, expires_ms, note FROM account_invites \
             WHERE created_ms < $1 ORDER BY created_ms DESC, invite_id LIMIT $2",
            &[before.into(), limit.into()],
        )
        .await?;
    rows.iter().map(invite).collect()
}

fn invite(row: &Row) -> Result<Invite, DbError> {
    Ok(Invite {
        invite_id: row.bytes(0)?.into(),
        uses: row.uint(1)?,
        used: row.uint(2)?,
        created_at_ms: row.uint(3)?,
        expires_at_ms: row.uint(4)?,
        note: row.text(5)?,
    })
}

/// Makes an invite void.
pub(crate) async fn revoke(tx: &mut Tx, id: &[u8]) -> Result<(), Error> {
    match tx.execute("DELETE FROM account_invites WHERE invite_id = $1", &[id.into()]).await? {
        0 => Err(Error::UnknownInvite),
        _ => Ok(()),
    }
}

impl Store {
    /// Uses an invite once, as a part of the registration: what is rolled back is not used.
    pub(crate) async fn use_invite(tx: &mut Tx, lookup: &[u8; 32], now_ms: u64) -> Result<(), Error> {
        // Of two who show the last use at the same time, the second waits here for the first.
        let used = tx
            .execute(
                "UPDATE account_invites SET used = used + 1 WHERE lookup = $1 AND used < uses AND expires_ms > $2",
                &[lookup.as_slice().into(), now_ms.into()],
            )
            .await?;
        if used == 1 {
            return Ok(());
        }
        let sql = "SELECT expires_ms FROM account_invites WHERE lookup = $1";
        let verdict = match tx.row(sql, &[lookup.as_slice().into()]).await? {
            None => InviteVerdict::Unknown,
            Some(row) if row.uint(0)? <= now_ms => InviteVerdict::Expired,
            Some(_) => InviteVerdict::UsedUp,
        };
        Err(Refused::Invite(verdict).into())
    }

    /// Forgets some of the invites that have expired before `before_ms`; tells how many.
    pub(crate) async fn sweep_invites(&self, before_ms: u64) -> Result<u64, Error> {
        let mut tx = self.db().begin().await?;
        let removed = tx
            .execute(
                "DELETE FROM account_invites WHERE invite_id IN \
                 (SELECT invite_id FROM account_invites WHERE expires_ms < $1 LIMIT $2)",
                &[before_ms.into(), SWEEP.into()],
            )
            .await?;
        tx.commit().await?;
        Ok(removed)
    }
}
