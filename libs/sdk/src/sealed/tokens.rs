//! Tokens, fetched ahead: when one is spent, nothing is asked for, and when some are asked for, none is spent because of it.
//!
//! The server's key for them is asked for on a connection of its own that says nothing of this device, and pinned: a server
//! that gives people keys of their own would recognise their tokens by them.

use std::{sync::Arc, time::Duration};

use qpc_crypto::token::{self, TokenRequest};
use qpc_wire::{
    Code, IdempotencyKey,
    limits::MAX_TOKENS,
    methods::{IssueTokens, TokenKeys},
    v1,
};
use tokio_util::sync::CancellationToken;

use super::connections;
use crate::{
    Error, Event,
    client::Inner,
    outbox::is_no_verdict,
    retry,
    runtime::planted::{Mistake, planted},
    transport::Connection,
};

/// Tokens in stock below which more are asked for.
const LOW: usize = 25;
/// Time within which that is done, at a moment of chance. Who has none at all asks at once.
const WITHIN: Duration = Duration::from_secs(20 * 60);
/// Pause after a failure, at most; the server may ask for a longer one.
const PAUSE: Duration = Duration::from_secs(60);

/// Keeps tokens in stock, until told to stop.
pub(crate) async fn keep(inner: &Arc<Inner>, connection: &Connection, stop: &CancellationToken) {
    if !inner.sealed {
        return;
    }
    loop {
        let filled = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            filled = fill(inner, connection) => filled,
        };
        // Whoever is told to wait is not woken before.
        let (pause, asked) = match filled {
            Ok(_) => (inner.runtime.jittered(WITHIN), Duration::ZERO),
            Err(error) => (inner.runtime.jittered(PAUSE), not_filled(inner, error)),
        };
        let woken = async {
            tokio::time::sleep(asked).await;
            inner.token_wake.notified().await;
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = woken => {}
            () = tokio::time::sleep(pause.max(asked)) => {}
        }
    }
}

/// Says why there are no tokens where a person should know. Returns how long the server wants to be left alone.
fn not_filled(inner: &Inner, error: Error) -> Duration {
    tracing::info!(%error, "no tokens");
    match error {
        Error::Call(error) => Duration::from_millis(error.status().map_or(0, |status| status.retry_after_ms)),
        error @ (Error::TokenKeyChanged(_) | Error::Token(_)) => {
            inner.events.emit(Event::TokensRefused(Arc::new(error)));
            Duration::ZERO
        }
        _ => Duration::ZERO,
    }
}

/// Asks for tokens if few are left. Returns how many there are.
pub(crate) async fn fill(inner: &Inner, connection: &Connection) -> Result<usize, Error> {
    let (count, waiting) = inner.store.run(|tx| Ok((tx.count_tokens()?, tx.token_request()?.is_some()))).await?;
    if count >= LOW && !waiting {
        return Ok(count);
    }
    let current = key_epoch(inner).await?;
    let mut rng = inner.runtime.rng();
    let key = inner.idempotency_key();
    let (key, request) = inner
        .store
        .run(move |tx| match tx.token_request()? {
            Some((key, request)) if request.key_epoch() == current => Ok((key, request)),
            _ => {
                let request = if planted(Mistake::NumbersTokens) {
                    let nonces = (0..MAX_TOKENS).map(|n| numbered(key, n)).collect();
                    TokenRequest::of_nonces(&mut rng, current, nonces)
                } else {
                    TokenRequest::new(&mut rng, current, MAX_TOKENS)
                };
                let request = request.map_err(Error::Token)?;
                tx.put_token_request(key, &request)?;
                Ok((key, request))
            }
        })
        .await?;
    let asked = v1::IssueTokensRequest {
        idempotency_key: key.to_bytes(),
        key_epoch: request.key_epoch(),
        blinded: request.blinded(),
    };
    match retry::call::<IssueTokens>(&inner.runtime, connection, &asked).await {
        Ok(answer) => {
            inner
                .store
                .run(move |tx| {
                    let public = tx.token_key(request.key_epoch())?.ok_or(Error::Incomplete("a key of tokens"))?;
                    let tokens = request.finish(&public, &answer.evaluated, &answer.proof).map_err(Error::Token)?;
                    tx.end_token_request(&tokens)?;
                    tx.count_tokens()
                })
                .await
        }
        Err(error) => {
            // Another key is the current one by now, or what was kept is not taken: the next try begins anew.
            let anew = error.code().is_some_and(|code| !is_no_verdict(code)) && !error.is_transient();
            if anew && error.code() != Some(Code::ResourceExhausted) {
                inner.store.run(|tx| tx.end_token_request(&[])).await?;
            }
            Err(error.into())
        }
    }
}

/// The mistake of that name.
fn numbered(key: IdempotencyKey, n: usize) -> [u8; 32] {
    let mut nonce = [0; 32];
    nonce[..16].copy_from_slice(key.as_ref());
    nonce[24..].copy_from_slice(&(n as u64).to_be_bytes());
    nonce
}

/// Number of the key under which tokens are issued now. It is asked for when the clock says that there must be another one.
async fn key_epoch(inner: &Inner) -> Result<u64, Error> {
    let expected = token::key_epoch(inner.runtime.now_ms());
    if let Some(known) = inner.store.run(|tx| tx.newest_token_key()).await?
        && known >= expected
    {
        return Ok(known);
    }
    let connection = connections::connect(inner).await?;
    let answer = retry::call::<TokenKeys>(&inner.runtime, &connection, &v1::TokenKeysRequest {}).await;
    connection.close();
    let keys = answer?.keys;
    let current = keys.first().map(|key| key.key_epoch).ok_or(Error::Incomplete("a key of tokens"))?;
    inner
        .store
        .run(move |tx| {
            for key in &keys {
                if !tx.pin_token_key(key)? {
                    return Err(Error::TokenKeyChanged(key.key_epoch));
                }
            }
            Ok(current)
        })
        .await
}
