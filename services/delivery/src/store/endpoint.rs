//! Where devices are woken, and which of them are to be. Nothing of it stands in the way of a message: who is to be woken is
//! read from mailboxes, some endpoints at a time.

use qpc_chassis::db::{Arg, DbError, Dialect, Row};
use qpc_wire::DeviceId;

use super::Store;

/// Milliseconds for which a claim keeps others away: longer than any request takes.
const LEASE_MS: u64 = 60_000;
/// Whoever has not come after being woken is woken again after this time, milliseconds: a push service may have lost it.
const AGAIN_MS: u64 = 24 * 60 * 60 * 1000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Whether a device can be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// It can.
    Set = 1,
    /// The push service says that there is no such subscription.
    Gone = 2,
    /// The push service takes nothing.
    Refused = 3,
}

/// What is kept of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Sealed; empty unless it is set.
    pub sealed: Vec<u8>,
    /// See there.
    pub state: EndpointState,
    /// Days since 1970.
    pub since_day: u64,
}

/// A device that is to be woken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub device: DeviceId,
    /// Its endpoint, sealed.
    pub sealed: Vec<u8>,
    /// Newest sequence of its mailbox.
    pub head: u64,
    /// Times in a row that there was no answer, or a request to come later.
    pub failures: u64,
    /// Times in a row that the push service refused.
    pub refusals: u64,
}

/// When a device is due.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Unix milliseconds.
    pub now_ms: u64,
    /// How long something has to wait in its mailbox, milliseconds.
    pub after_ms: u64,
}

// A gap has no payload, and is as old as anything. Only mailboxes in which something waits are looked into for its age.
macro_rules! due {
    ($lock:literal) => {
        concat!(
            "SELECT e.device, e.endpoint, h.last_seq, e.failures, e.refusals FROM push_endpoint e \
             JOIN mailbox_head h ON h.device = e.device \
             WHERE e.device > $1 AND e.device <= $2 AND e.state = 1 AND e.next_ms <= $3 AND h.last_seq > h.acked \
             AND (e.woken_seq <= h.acked OR (e.woken_seq < h.last_seq AND e.next_ms <= $4)) \
             AND $5 >= COALESCE((SELECT p.accepted_ms FROM mailbox_entry m LEFT JOIN payload p ON p.id = m.payload_id \
             WHERE m.device = e.device ORDER BY m.seq LIMIT 1), 0) \
             ORDER BY e.device LIMIT $6",
            $lock
        )
    };
}
const DUE: &str = due!("");
/// Rows that another replica has claimed are passed over.
const CLAIM_POSTGRES: &str = due!(" FOR UPDATE OF e SKIP LOCKED");

impl Store {
    /// Keeps where `device` is woken. The pause that it has to make between two wake-ups goes on, though not beyond
    /// `pause_ms`, so that nobody is called more often by taking turns between endpoints.
    pub async fn set_endpoint(
        &self,
        device: &DeviceId,
        sealed: &[u8],
        now_ms: u64,
        pause_ms: u64,
    ) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "INSERT INTO push_endpoint AS e (device, endpoint, state, since_day, woken_seq, failures, refusals, next_ms) \
             VALUES ($1, $2, 1, $3, 0, 0, 0, 0) ON CONFLICT (device) DO UPDATE SET endpoint = EXCLUDED.endpoint, \
             state = EXCLUDED.state, since_day = EXCLUDED.since_day, woken_seq = 0, failures = 0, refusals = 0, \
             next_ms = CASE WHEN e.next_ms < $4 THEN e.next_ms ELSE $4 END",
            &[device.into(), sealed.into(), (now_ms / DAY_MS).into(), now_ms.saturating_add(pause_ms).into()],
        )
        .await?;
        tx.commit().await
    }

    /// Wakes `device` no more. When it may be woken next stays, so that nobody gets more by taking one away and setting another.
    pub async fn clear_endpoint(&self, device: &DeviceId) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        let sql = "UPDATE push_endpoint SET endpoint = $2, state = 0 WHERE device = $1";
        tx.execute(sql, &[device.into(), [].as_slice().into()]).await?;
        tx.commit().await
    }

    /// Forgets a device that is gone.
    pub async fn remove_endpoint(&self, device: &DeviceId) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        tx.execute("DELETE FROM push_endpoint WHERE device = $1", &[device.into()]).await?;
        tx.commit().await
    }

    /// Where `device` is woken.
    pub async fn endpoint(&self, device: &DeviceId) -> Result<Option<Endpoint>, DbError> {
        let sql = "SELECT endpoint, state, since_day FROM push_endpoint WHERE device = $1";
        let Some(row) = self.db.row(sql, &[device.into()]).await? else { return Ok(None) };
        let state = match row.int(1)? {
            0 => return Ok(None),
            1 => EndpointState::Set,
            2 => EndpointState::Gone,
            3 => EndpointState::Refused,
            _ => return Err(DbError::Damaged("state of an endpoint")),
        };
        Ok(Some(Endpoint { sealed: row.bytes(0)?, state, since_day: row.uint(2)? }))
    }

    /// The last of the next `count` devices above `after` that can be woken; `None` when there are not so many.
    pub async fn endpoints_end(&self, after: &DeviceId, count: u64) -> Result<Option<DeviceId>, DbError> {
        let sql = "SELECT device FROM push_endpoint WHERE device > $1 ORDER BY device LIMIT 1 OFFSET $2";
        let row = self.db.row(sql, &[after.into(), (count - 1).into()]).await?;
        row.map(|row| Ok(DeviceId(row.array(0)?))).transpose()
    }

    /// Claims up to `most` of the devices above `after` and up to `to` that are to be woken: for a minute no other replica
    /// gets them. A claim that nobody settles lapses, and the device is woken by the next.
    pub async fn claim_due(
        &self,
        after: &DeviceId,
        to: &DeviceId,
        times: Times,
        most: usize,
    ) -> Result<Vec<Due>, DbError> {
        let Times { now_ms, after_ms } = times;
        let args = [
            Arg::from(after),
            to.into(),
            now_ms.into(),
            now_ms.saturating_sub(AGAIN_MS).into(),
            now_ms.saturating_sub(after_ms).into(),
            (most as u64).into(),
        ];
        // Mostly there is nothing to do, and readers are in nobody's way.
        if self.db.rows(DUE, &args).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.begin().await?;
        let sql = match tx.dialect() {
            Dialect::Postgres => CLAIM_POSTGRES,
            Dialect::Sqlite => DUE,
        };
        let due = tx.rows(sql, &args).await?.iter().map(due).collect::<Result<Vec<_>, _>>()?;
        for Due { device, .. } in &due {
            let sql = "UPDATE push_endpoint SET next_ms = $2 WHERE device = $1";
            tx.execute(sql, &[device.into(), (now_ms + LEASE_MS).into()]).await?;
        }
        tx.commit().await?;
        Ok(due)
    }

    /// The push service has taken it. Nothing happens, here and below, when the device has another endpoint by now.
    pub async fn settle_woken(&self, due: &Due, next_ms: u64) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "UPDATE push_endpoint SET woken_seq = $3, failures = 0, refusals = 0, next_ms = $4 \
             WHERE device = $1 AND endpoint = $2",
            &[(&due.device).into(), (&due.sealed).into(), due.head.into(), next_ms.into()],
        )
        .await?;
        tx.commit().await
    }

    /// It has not: `failures` and `refusals` are what they are now.
    pub async fn settle_failed(&self, due: &Due, next_ms: u64) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "UPDATE push_endpoint SET failures = $3, refusals = $4, next_ms = $5 WHERE device = $1 AND endpoint = $2",
            &[(&due.device).into(), (&due.sealed).into(), due.failures.into(), due.refusals.into(), next_ms.into()],
        )
        .await?;
        tx.commit().await
    }

    /// It will not: the endpoint goes, and what has become of it stays for the device to read.
    pub async fn settle_over(&self, due: &Due, state: EndpointState, now_ms: u64) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        tx.execute(
            "UPDATE push_endpoint SET endpoint = $3, state = $4, since_day = $5 WHERE device = $1 AND endpoint = $2",
            &[
                (&due.device).into(),
                (&due.sealed).into(),
                Arg::Bytes(&[]),
                Arg::Int(state as i64),
                (now_ms / DAY_MS).into(),
            ],
        )
        .await?;
        tx.commit().await
    }
}

fn due(row: &Row) -> Result<Due, DbError> {
    Ok(Due {
        device: DeviceId(row.array(0)?),
        sealed: row.bytes(1)?,
        head: row.uint(2)?,
        failures: row.uint(3)?,
        refusals: row.uint(4)?,
    })
}
