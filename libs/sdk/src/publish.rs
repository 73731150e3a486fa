//! What others need to reach this device while it is offline: its queue key, and KeyPackages in stock.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use qpc_crypto::{Suite, mls::key_package};
use qpc_wire::{
    methods::{UploadHybridKey, UploadKeyPackage},
    proofs, v1,
};

use crate::{
    Error,
    client::Inner,
    outbox::is_no_verdict,
    retry,
    store::{Identity, Tx},
    transport::Connection,
};

/// Single-use KeyPackages of each suite at the server.
const STOCK: u32 = 20;
/// Time between two looks at the stock. The server gives up packages shortly before they expire, without a word.
const STOCK_EVERY_MS: u64 = 24 * 60 * 60 * 1000;
/// Age at which a last-resort package is replaced; it expires after 84 days like any other.
const LAST_RESORT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// Time for which an upload is repeated as it is; half of what the server remembers a key.
const REPEAT_MS: u64 = 12 * 60 * 60 * 1000;
const QUEUE_KEY: &str = "queue key";

/// Publishes what was not published before, finishes uploads that were cut short, and looks after the stock once a day.
pub(crate) async fn ensure(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    let now_ms = inner.runtime.now_ms();
    if inner.store.run(|tx| tx.published_at_ms(QUEUE_KEY)).await? == 0 {
        let public_key = inner.identity.queue_key.public_bytes();
        let signature = inner.identity.device_key.sign(&proofs::queue_key(&public_key));
        let request =
            v1::UploadHybridKeyRequest { public_key: public_key.into(), signature: Bytes::copy_from_slice(&signature) };
        retry::call::<UploadHybridKey>(&inner.runtime, connection, &request).await?;
        inner.store.run(move |tx| tx.set_published(QUEUE_KEY, now_ms)).await?;
    }
    for suite in Suite::ALL {
        upload(inner, connection, suite).await?;
        let looked_at_ms = inner.store.run(move |tx| tx.published_at_ms(&stock_name(suite))).await?;
        if looked_at_ms + STOCK_EVERY_MS <= now_ms {
            restock(inner, connection, suite).await?;
        }
    }
    Ok(())
}

/// Fills the stock up again.
pub(crate) async fn refill(
    inner: &Arc<Inner>,
    connection: &Connection,
    event: v1::KeyPackageLowEvent,
) -> Result<(), Error> {
    let Some(suite) = u16::try_from(event.suite).ok().and_then(Suite::from_id) else { return Ok(()) };
    upload(inner, connection, suite).await?;
    restock(inner, connection, suite).await
}

fn stock_name(suite: Suite) -> String {
    format!("key packages {}", suite.id())
}

fn last_resort_name(suite: Suite) -> String {
    format!("last resort {}", suite.id())
}

/// Asks how many there are, since an event may be old news, and brings what is missing.
async fn restock(inner: &Inner, connection: &Connection, suite: Suite) -> Result<(), Error> {
    let question = v1::UploadKeyPackageRequest {
        idempotency_key: inner.idempotency_key().to_bytes(),
        suite: suite.id().into(),
        ..Default::default()
    };
    let answer = retry::call::<UploadKeyPackage>(&inner.runtime, connection, &question).await?;
    let missing = STOCK.saturating_sub(answer.available);
    let (identity, key, now_ms) = (inner.identity.clone(), inner.idempotency_key(), inner.runtime.now_ms());
    inner
        .store
        .run(move |tx| {
            tx.set_published(&stock_name(suite), now_ms)?;
            let renew = tx.published_at_ms(&last_resort_name(suite))? + LAST_RESORT_MS <= now_ms;
            if missing == 0 && !renew {
                return Ok(());
            }
            if renew {
                tx.set_published(&last_resort_name(suite), now_ms)?;
            }
            generate(tx, &identity, key.to_bytes(), suite, missing, renew)
        })
        .await?;
    upload(inner, connection, suite).await
}

/// Makes packages and the request that uploads them. Their secrets are in the store before anybody can use them.
fn generate(
    tx: &Tx<'_>,
    identity: &Identity,
    idempotency_key: Bytes,
    suite: Suite,
    count: u32,
    with_last_resort: bool,
) -> Result<(), Error> {
    let mls = tx.mls();
    let one = |last_resort| {
        key_package::generate(&mls, &identity.device_key, &identity.certificate, suite, last_resort).map(Bytes::from)
    };
    let request = v1::UploadKeyPackageRequest {
        idempotency_key,
        suite: suite.id().into(),
        key_packages: (0..count).map(|_| one(false)).collect::<Result<_, _>>()?,
        last_resort: if with_last_resort { one(true)? } else { Bytes::new() },
    };
    tx.insert_upload(suite.id(), &request.encode_to_vec())
}

/// Sends the packages that are made and not confirmed, if there are any.
async fn upload(inner: &Inner, connection: &Connection, suite: Suite) -> Result<(), Error> {
    let Some(request) = inner.store.run(move |tx| tx.upload(suite.id())).await? else { return Ok(()) };
    let request = v1::UploadKeyPackageRequest::decode(request.as_slice())?;
    let now_ms = inner.runtime.now_ms();
    let made_ms = inner.store.run(move |tx| tx.published_at_ms(&stock_name(suite))).await?;
    // Packages that were accepted unheard may be handed out by now. While the server remembers the key it knows them
    // again; later it would take them for new ones.
    if made_ms + REPEAT_MS <= now_ms {
        return inner.store.run(move |tx| tx.remove_upload(suite.id())).await;
    }
    match retry::call::<UploadKeyPackage>(&inner.runtime, connection, &request).await {
        Ok(_) => {}
        Err(error) if error.is_transient() || error.code().is_none_or(is_no_verdict) => return Err(error.into()),
        // No room, or not wanted: the next look asks how many are missing and makes new ones.
        Err(error) => tracing::info!(%error, "packages refused"),
    }
    inner.store.run(move |tx| tx.remove_upload(suite.id())).await
}
