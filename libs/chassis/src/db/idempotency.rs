//! A mutating call takes effect once per key for 24 hours, whatever the replica and the number of restarts (G10).
//!
//! The key is claimed in the transaction of the call itself. Of two concurrent calls with one key, the second waits for
//! the first and then finds its answer; a call that fails leaves no claim.

use futures_util::future::BoxFuture;
use qpc_wire::{DeviceId, IdempotencyKey};

use super::{Db, DbError, Tx};

/// How long a key is remembered, milliseconds.
const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// Rows removed by one sweep.
const SWEEP: i64 = 10_000;

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

    /// Caller and key.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// SHA-256 of method and request.
    pub fn request_hash(&self) -> &[u8; 32] {
        &self.request_hash
    }

    /// Unix milliseconds.
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
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
    if inserted == 1 {
        return Ok(Claim::Fresh);
    }
    let row = tx
        .row("SELECT request_hash, response FROM idempotency WHERE id = $1", &[call.id.as_slice().into()])
        .await?
        .ok_or(DbError::Damaged("idempotency row"))?;
    if row.bytes(0)? != call.request_hash {
        return Err(DbError::KeyReused);
    }
    row.optional_bytes(1)?.map(Claim::Done).ok_or(DbError::Damaged("idempotency row"))
}

/// Keeps the response of a call that [`claim`] called fresh; commit follows.
pub async fn remember(tx: &mut Tx, call: &IdempotentCall, response: &[u8]) -> Result<(), DbError> {
    tx.execute("UPDATE idempotency SET response = $2 WHERE id = $1", &[call.id.as_slice().into(), response.into()])
        .await?;
    Ok(())
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
        return R::decode(response.as_slice()).map_err(|_| DbError::Damaged("idempotent response").into());
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
