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
    retry,
    store::{Identity, Tx},
    transport::Connection,
};

/// Single-use KeyPackages of each suite at the server.
const STOCK: u32 = 20;
const QUEUE_KEY: &str = "queue key";

/// Publishes what was not published before, and finishes uploads that were cut short.
pub(crate) async fn ensure(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    if !inner.store.run(|tx| tx.is_published(QUEUE_KEY)).await? {
        let public_key = inner.identity.queue_key.public_bytes();
        let signature = inner.identity.device_key.sign(&proofs::queue_key(&public_key));
        let request =
            v1::UploadHybridKeyRequest { public_key: public_key.into(), signature: Bytes::copy_from_slice(&signature) };
        retry::call::<UploadHybridKey>(&inner.runtime, connection, &request).await?;
        inner.store.run(|tx| tx.set_published(QUEUE_KEY)).await?;
    }
    for suite in Suite::ALL {
        let what = format!("key packages {}", suite.id());
        let identity = inner.identity.clone();
        let key = inner.idempotency_key();
        inner
            .store
            .run(move |tx| {
                if tx.is_published(&what)? {
                    return Ok(());
                }
                tx.set_published(&what)?;
                generate(tx, &identity, key.to_bytes(), suite, STOCK, true)
            })
            .await?;
        upload(inner, connection, suite).await?;
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
    let missing = STOCK.saturating_sub(event.available);
    let (identity, key) = (inner.identity.clone(), inner.idempotency_key());
    inner
        .store
        .run(move |tx| match tx.upload(suite.id())? {
            None if missing > 0 => generate(tx, &identity, key.to_bytes(), suite, missing, false),
            _ => Ok(()),
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

async fn upload(inner: &Inner, connection: &Connection, suite: Suite) -> Result<(), Error> {
    let Some(request) = inner.store.run(move |tx| tx.upload(suite.id())).await? else { return Ok(()) };
    let request = v1::UploadKeyPackageRequest::decode(request.as_slice())?;
    retry::call::<UploadKeyPackage>(&inner.runtime, connection, &request).await?;
    inner.store.run(move |tx| tx.remove_upload(suite.id())).await
}
