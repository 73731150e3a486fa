//! A mutating call takes effect once per key for 24 hours, whatever the replica and the number of restarts (G10).
//!
//! The key is claimed in the transaction of the call itself. Of two concurrent calls with one key, the second waits for
//! the first and then finds its answer; a call that fails leaves no claim.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use qpc_wire::{DeviceId, IdempotencyKey};

use super::{Arg, Db, DbError, Dialect, Row, Tx};
use crate::runtime::planted::{Mistake, planted};

/// How long a key is remembered, milliseconds.
const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// Rows removed by one [`sweep`] at the most.
pub const SWEEP: u64 = 10_000;

/// A call as its key sees it.
#[derive(Debug, Clone, Copy)]
pub struct IdempotentCall {
    id: [u8; 32],
    request_hash: [u8; 32],
    expires_ms: u64,
}

impl IdempotentCall {
    /// `caller` is absent on anonymous connections: then the 16 random bytes of the key must be unique by themselves.
    pub fn new(caller: Option<DeviceId>, key: IdempotencyKey, request_hash: [u8; 32], now_ms: u64) -> Self {
        let mut id = [0; 32];
        id[..16].copy_from_slice(&caller.map_or([0; 16], |device| device.0));
        id[16..].copy_from_slice(&key.0);
        Self { id, request_hash, expires_ms: now_ms + KEPT_MS }
    }
}

/// What a key stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is new and now taken: do the work, then [`remember`].
    Fresh,
    /// The work was done before, with this encoded response.
    Done(Vec<u8>),
}

/// Takes the key of `call`. Fails with [`DbError::KeyReused`] when it stands for another request.
pub async fn claim(tx: &mut Tx, call: &IdempotentCall) -> Result<Claim, DbError> {
    let inserted = tx
        .execute(
            "INSERT INTO idempotency (id, request_hash, response, expires_ms) VALUES ($1, $2, NULL, $3) ON CONFLICT (id) DO NOTHING",
            &[call.id.as_slice().into(), call.request_hash.as_slice().into(), call.expires_ms.into()],
        )
        .await?;
    if inserted == 1 || planted(Mistake::ForgetsKeys) {
        return Ok(Claim::Fresh);
    }
    stored(tx, call).await.map(Claim::Done)
}

/// Keeps the response of a call that [`claim`] called fresh; commit follows.
pub async fn remember(tx: &mut Tx, call: &IdempotentCall, response: &[u8]) -> Result<(), DbError> {
    tx.execute("UPDATE idempotency SET response = $2 WHERE id = $1", &[call.id.as_slice().into(), response.into()])
        .await?;
    Ok(())
}

/// What [`claim_all`] says of one call.
#[derive(Debug, PartialEq, Eq)]
pub enum BatchClaim {
    /// The key is new; its response is stored with the transaction.
    Fresh,
    /// The work was done before, or earlier in this batch, with this encoded response.
    Done(Vec<u8>),
    /// The key stands for another request.
    Reused,
}

/// Takes the keys of a batch whose encoded responses are known before the work is done: one statement on Postgres. Keys
/// are locked in ascending order, so that concurrent batches never wait for each other in a circle.
pub async fn claim_all(tx: &mut Tx, calls: &[(IdempotentCall, Bytes)]) -> Result<Vec<BatchClaim>, DbError> {
    let mut fresh = match tx.dialect() {
        Dialect::Postgres => insert_all(tx, calls).await?,
        Dialect::Sqlite => insert_each(tx, calls).await?,
    };
    let mut claims = Vec::with_capacity(calls.len());
    for (call, _) in calls {
        if fresh.remove(&call.id) || planted(Mistake::ForgetsKeys) {
            claims.push(BatchClaim::Fresh);
            continue;
        }
        claims.push(match stored(tx, call).await {
            Ok(response) => BatchClaim::Done(response),
            Err(DbError::KeyReused) => BatchClaim::Reused,
            Err(error) => return Err(error),
        });
    }
    Ok(claims)
}

async fn insert_all(tx: &mut Tx, calls: &[(IdempotentCall, Bytes)]) -> Result<HashSet<[u8; 32]>, DbError> {
    // Of equal keys the first one counts, and sorting in the database would not keep it the first.
    let mut seen = HashSet::with_capacity(calls.len());
    let calls: Vec<_> = calls.iter().filter(|(call, _)| seen.insert(call.id)).collect();
    let ids: Vec<&[u8]> = calls.iter().map(|(call, _)| call.id.as_slice()).collect();
    let hashes: Vec<&[u8]> = calls.iter().map(|(call, _)| call.request_hash.as_slice()).collect();
    let responses: Vec<&[u8]> = calls.iter().map(|(_, response)| response.as_ref()).collect();
    let expiries: Vec<i64> = calls.iter().map(|(call, _)| call.expires_ms as i64).collect();
    let rows = tx
        .rows(
            "INSERT INTO idempotency (id, request_hash, response, expires_ms) \
             SELECT * FROM UNNEST($1::BYTEA[], $2::BYTEA[], $3::BYTEA[], $4::BIGINT[]) AS t (id, h, r, e) ORDER BY id \
             ON CONFLICT (id) DO NOTHING RETURNING id",
            &[Arg::ByteArrays(&ids), Arg::ByteArrays(&hashes), Arg::ByteArrays(&responses), Arg::Ints(&expiries)],
        )
        .await?;
    rows.iter().map(|row| row.array(0)).collect()
}

async fn insert_each(tx: &mut Tx, calls: &[(IdempotentCall, Bytes)]) -> Result<HashSet<[u8; 32]>, DbError> {
    let mut fresh = HashSet::new();
    for (call, response) in calls {
        let inserted = tx
            .execute(
                "INSERT INTO idempotency (id, request_hash, response, expires_ms) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
                &[
                    call.id.as_slice().into(),
                    call.request_hash.as_slice().into(),
                    response.into(),
                    call.expires_ms.into(),
                ],
            )
            .await?;
        if inserted == 1 {
            fresh.insert(call.id);
        }
    }
    Ok(fresh)
}

/// Gives back keys that [`claim_all`] called fresh and whose work is refused after all.
pub async fn release(tx: &mut Tx, calls: &[IdempotentCall]) -> Result<(), DbError> {
    for call in calls {
        tx.execute("DELETE FROM idempotency WHERE id = $1", &[call.id.as_slice().into()]).await?;
    }
    Ok(())
}

/// The response that `call` had before, if it was made: for work whose preparation would fail the second time.
pub async fn replay<R: prost::Message + Default>(db: &Db, call: &IdempotentCall) -> Result<Option<R>, DbError> {
    let found = db.row(FIND, &[call.id.as_slice().into()]).await?;
    let Some(row) = found.filter(|_| !planted(Mistake::ForgetsKeys)) else { return Ok(None) };
    decode(&response_of(&row, call)?).map(Some)
}

const FIND: &str = "SELECT request_hash, response FROM idempotency WHERE id = $1";

async fn stored(tx: &mut Tx, call: &IdempotentCall) -> Result<Vec<u8>, DbError> {
    let row = tx.row(FIND, &[call.id.as_slice().into()]).await?.ok_or(DbError::Damaged("idempotency row"))?;
    response_of(&row, call)
}

fn response_of(row: &Row, call: &IdempotentCall) -> Result<Vec<u8>, DbError> {
    if row.bytes(0)? != call.request_hash {
        return Err(DbError::KeyReused);
    }
    row.optional_bytes(1)?.ok_or(DbError::Damaged("idempotency row"))
}

fn decode<R: prost::Message + Default>(response: &[u8]) -> Result<R, DbError> {
    R::decode(response).map_err(|_| DbError::Damaged("idempotent response"))
}

/// Runs `work` in one transaction, once for the key of `call`; a repetition gets the first response.
pub async fn once<R, E>(
    db: &Db,
    call: &IdempotentCall,
    work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<R, E>>,
) -> Result<R, E>
where
    R: prost::Message + Default,
    E: From<DbError>,
{
    let mut tx = db.begin().await?;
    if let Claim::Done(response) = claim(&mut tx, call).await? {
        return Ok(decode(&response)?);
    }
    let response = work(&mut tx).await?;
    remember(&mut tx, call, &response.encode_to_vec()).await?;
    tx.commit().await?;
    Ok(response)
}

/// Forgets keys that have expired; returns how many.
pub async fn sweep(db: &Db, now_ms: u64) -> Result<u64, DbError> {
    let mut tx = db.begin().await?;
    let removed = tx
        .execute(
            "DELETE FROM idempotency WHERE id IN (SELECT id FROM idempotency WHERE expires_ms <= $1 LIMIT $2)",
            &[now_ms.into(), SWEEP.into()],
        )
        .await?;
    tx.commit().await?;
    Ok(removed)
}
