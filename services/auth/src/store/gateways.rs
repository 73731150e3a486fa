//! Gateways as they were last heard, and what there is in numbers.

use qpc_chassis::db::{DbError, Row, Tx};
use qpc_wire::{admin::v1::Gateway, v1::ReportGatewayRequest};

use super::Store;
use crate::error::Error;

/// A gateway that was not heard for so long is gone, milliseconds.
const SILENT_MS: u64 = 30_000;

/// Numbers of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) users: u64,
    pub(crate) banned: u64,
    pub(crate) devices: u64,
    pub(crate) sessions: u64,
    pub(crate) open_reports: u64,
}

impl Store {
    /// Keeps what a gateway says of itself; returns whether it is to drain.
    pub(crate) async fn hear_gateway(&self, told: &ReportGatewayRequest, now_ms: u64) -> Result<bool, Error> {
        let mut tx = self.db().begin().await?;
        let row = tx
            .row(
                "INSERT INTO gateways (gateway_id, version, connections, sessions, draining, heard_ms, drain_asked) \
                 VALUES ($1, $2, $3, $4, $5, $6, 0) ON CONFLICT (gateway_id) DO UPDATE SET version = excluded.version, \
                 connections = excluded.connections, sessions = excluded.sessions, draining = excluded.draining, \
                 heard_ms = excluded.heard_ms RETURNING drain_asked",
                &[
                    told.gateway_id.as_str().into(),
                    told.version.as_str().into(),
                    told.connections.into(),
                    told.sessions.into(),
                    u64::from(told.draining).into(),
                    now_ms.into(),
                ],
            )
            .await?
            .ok_or(DbError::Damaged("gateway"))?;
        let drain = row.uint(0)? != 0;
        tx.commit().await?;
        Ok(drain)
    }

    /// Forgets gateways that are gone.
    pub(crate) async fn sweep_gateways(&self, now_ms: u64) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        tx.execute("DELETE FROM gateways WHERE heard_ms < $1", &[now_ms.saturating_sub(SILENT_MS).into()]).await?;
        Ok(tx.commit().await?)
    }
}

/// Gateways that are there.
pub(crate) async fn list(tx: &mut Tx, now_ms: u64) -> Result<Vec<Gateway>, DbError> {
    let rows = tx
        .rows(
            "SELECT gateway_id, version, connections, sessions, draining, heard_ms FROM gateways \
             WHERE heard_ms >= $1 ORDER BY gateway_id",
            &[now_ms.saturating_sub(SILENT_MS).into()],
        )
        .await?;
    let gateway = |row: &Row| {
        Ok(Gateway {
            gateway_id: row.text(0)?,
            version: row.text(1)?,
            connections: row.uint(2)?,
            sessions: row.uint(3)?,
            draining: row.uint(4)? != 0,
            heard_at_ms: row.uint(5)?,
        })
    };
    rows.iter().map(gateway).collect()
}

/// Has a gateway drain when it is next heard.
pub(crate) async fn drain(tx: &mut Tx, gateway: &str, now_ms: u64) -> Result<(), Error> {
    let asked = tx
        .execute(
            "UPDATE gateways SET drain_asked = 1 WHERE gateway_id = $1 AND heard_ms >= $2",
            &[gateway.into(), now_ms.saturating_sub(SILENT_MS).into()],
        )
        .await?;
    if asked == 0 { Err(Error::UnknownGateway) } else { Ok(()) }
}

/// Counts everything.
pub(crate) async fn counts(tx: &mut Tx, now_ms: u64) -> Result<Counts, DbError> {
    let row = tx
        .row(
            "SELECT (SELECT COUNT(*) FROM accounts), (SELECT COUNT(*) FROM bans), \
             (SELECT COUNT(*) FROM devices WHERE revoked_ms = 0), \
             (SELECT COUNT(*) FROM sessions WHERE expires_ms > $1), \
             (SELECT COUNT(*) FROM reports WHERE resolved_ms = 0)",
            &[now_ms.into()],
        )
        .await?
        .ok_or(DbError::Damaged("counts"))?;
    Ok(Counts {
        users: row.uint(0)?,
        banned: row.uint(1)?,
        devices: row.uint(2)?,
        sessions: row.uint(3)?,
        open_reports: row.uint(4)?,
    })
}
