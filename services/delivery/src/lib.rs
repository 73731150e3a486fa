//! Mailboxes and groups.
//!
//! A message comes in through [`api`], is checked there, and is made durable by a [`committer`], which puts as many
//! messages as have gathered into one transaction. A commit to a group is checked against the group's public state in
//! `handshake` and decided by a compare-and-set in [`store`]. Rules without I/O are in [`domain`]; doorbells to devices
//! in `events`.

pub mod api;
pub mod committer;
mod config;
pub mod domain;
mod error;
mod events;
mod handshake;
mod jobs;
pub mod store;

use std::sync::Arc;

use qpc_chassis::{
    Runtime,
    push::Push,
    rpc::{Client, Router, ServeOptions, serve},
    run::{Deps, StartError},
};
use qpc_crypto::ReceiptKey;
use qpc_wire::{limits::MAX_GROUP_LEAVES, methods};

pub use config::Config;
pub use error::Error;

use committer::{Committers, Worker};
use store::{MIGRATIONS, Store};

/// Name of the service.
pub const SERVICE: &str = "delivery";

/// What every handler works with.
pub struct State {
    runtime: Runtime,
    store: Store,
    push: Push,
    client: Client,
    committers: Committers,
    receipt_key: Arc<ReceiptKey>,
    state_key: [u8; 32],
    kept_ms: u64,
    group_leaves: usize,
}

impl State {
    /// When what is accepted now expires, Unix milliseconds.
    fn expires_ms(&self) -> u64 {
        self.runtime.now_ms() + self.kept_ms
    }
}

/// Opens the store and serves until shutdown. Returns once calls are taken.
pub async fn start(deps: Deps, config: Config) -> Result<(), StartError> {
    let store = Store::new(deps.open_db(SERVICE, MIGRATIONS).await?);
    let kept_ms = config.message_days * 24 * 60 * 60 * 1000;
    let receipt_key = Arc::new(ReceiptKey::from_bytes(&deps.secrets.derive("delivery/receipt")));
    let worker =
        Worker::new(deps.runtime.clone(), store.clone(), deps.push(), receipt_key.clone(), kept_ms, &deps.metrics);
    let state = Arc::new(State {
        runtime: deps.runtime.clone(),
        store: store.clone(),
        push: deps.push(),
        client: deps.client(),
        committers: Committers::start(config.committers, config.commit_batch, worker),
        receipt_key,
        state_key: deps.secrets.derive("delivery/group-state"),
        kept_ms,
        group_leaves: config.group_leaves.min(MAX_GROUP_LEAVES),
    });
    let router = Router::new(state, deps.runtime.clone())
        .on::<methods::Enqueue, _, _, _>(api::enqueue::handle)
        .on::<methods::BatchEnqueue, _, _, _>(api::batch_enqueue::handle)
        .on::<methods::Fetch, _, _, _>(api::fetch::handle)
        .on::<methods::Peek, _, _, _>(api::peek::handle)
        .on::<methods::Ack, _, _, _>(api::ack::handle)
        .on::<methods::CreateGroup, _, _, _>(api::create_group::handle)
        .on::<methods::CommitGroup, _, _, _>(api::commit_group::handle);
    jobs::start(&deps, store);
    serve(&deps, SERVICE, router, ServeOptions::default()).await?;
    Ok(())
}
