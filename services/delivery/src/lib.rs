//! Mailboxes and groups.
//!
//! A message comes in through [`api`], is checked there, and is made durable by a [`committer`], which puts as many
//! messages as have gathered into one transaction. A commit to a group is checked against the group's public state in
//! `handshake` and decided by a compare-and-set in [`store`]. What is large lies once in the store, sealed by the `vault`,
//! and is pointed to. Rules without I/O are in [`domain`]; doorbells to devices
//! in `events`. A device that no doorbell reaches is woken from outside (`wake`).

pub mod api;
pub mod committer;
mod config;
pub mod domain;
mod error;
mod events;
mod handshake;
mod jobs;
pub mod store;
mod vault;
mod waiting;
mod wake;

use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use qpc_chassis::{
    Runtime,
    db::Schema,
    limits::{Leases, Limit},
    push::Push,
    rpc::{Client, Router, ServeOptions, serve},
    run::{Deps, StartError},
};
use qpc_crypto::{FrankingKey, ReceiptKey, token::TokenKeys};
use qpc_wire::{limits::MAX_GROUP_LEAVES, methods, v1::Pointer};

pub use config::Config;
pub use error::Error;
pub use wake::{Contact, InvalidContact};

use committer::{Committers, Terms, Worker};
use store::{MIGRATIONS, Store};
use vault::Vault;
use waiting::Waiting;
use wake::Waker;

/// Name of the service.
pub const SERVICE: &str = "delivery";

/// Its tables.
pub const SCHEMA: Schema = Schema { service: SERVICE, migrations: MIGRATIONS, restored: Some(store::restored) };

/// What every handler works with.
pub struct State {
    runtime: Runtime,
    store: Store,
    push: Push,
    client: Client,
    committers: Committers,
    receipt_key: Arc<ReceiptKey>,
    vault: Arc<Vault>,
    /// None where nobody is woken.
    waker: Option<Arc<Waker>>,
    /// Those under which auth issues tokens.
    token_keys: TokenKeys,
    waiting: Arc<Waiting>,
    undecryptable: Counter,
    acknowledged: Counter,
    kept_ms: u64,
    group_leaves: usize,
    sends: Leases,
    founded: Leases,
}

impl State {
    /// When what is accepted now expires, Unix milliseconds.
    fn expires_ms(&self) -> u64 {
        self.runtime.now_ms() + self.kept_ms
    }

    /// A pointer to what is shared under `id`, with its key.
    fn pointer(&self, id: &[u8], size: u64) -> Pointer {
        let key = Bytes::copy_from_slice(&self.vault.shared_key(id));
        Pointer { id: Bytes::copy_from_slice(id), size, key }
    }
}

/// Opens the store and serves until shutdown. Returns once calls are taken.
pub async fn start(deps: Deps, config: Config) -> Result<(), StartError> {
    let store = Store::new(deps.open_db(&SCHEMA).await?);
    let kept_ms = config.message_days * 24 * 60 * 60 * 1000;
    let receipt_key = Arc::new(ReceiptKey::from_bytes(&deps.secrets.derive("delivery/receipt")));
    let franking_key = FrankingKey::from_bytes(&deps.secrets.derive("delivery/franking"));
    let worker = Worker::new(
        deps.runtime.clone(),
        store.clone(),
        deps.push(),
        receipt_key.clone(),
        franking_key,
        Terms { kept_ms, inbound: config.inbound_bytes },
        &deps.metrics,
    );
    let vault = Arc::new(Vault::new(deps.secrets.derive("delivery/group-state")));
    let waker = Waker::new(&deps, &store, &vault, &config);
    let waiting = Arc::new(Waiting::new(&deps.metrics));
    let state = Arc::new(State {
        runtime: deps.runtime.clone(),
        store: store.clone(),
        push: deps.push(),
        client: deps.client(),
        committers: Committers::start(config.committers, config.commit_batch, worker),
        receipt_key,
        vault,
        waker: waker.clone(),
        token_keys: TokenKeys::new(deps.secrets.derive("token/keys")),
        waiting: waiting.clone(),
        undecryptable: deps.metrics.counter("delivery_undecryptable", "Entries that devices could not decrypt"),
        acknowledged: deps.metrics.counter("delivery_acknowledged", "Entries that devices have acknowledged"),
        kept_ms,
        group_leaves: config.group_leaves.min(MAX_GROUP_LEAVES),
        sends: Leases::new(&deps, Limit::new("send", config.sends), "messages to this group"),
        founded: Leases::new(&deps, Limit::new("found", config.groups_founded), "groups founded"),
    });
    let router = Router::new(state, deps.runtime.clone())
        .on::<methods::Enqueue, _, _, _>(api::enqueue::handle)
        .on::<methods::BatchEnqueue, _, _, _>(api::batch_enqueue::handle)
        .on::<methods::Fetch, _, _, _>(api::fetch::handle)
        .on::<methods::Peek, _, _, _>(api::peek::handle)
        .on::<methods::Ack, _, _, _>(api::ack::handle)
        .on::<methods::Relay, _, _, _>(api::relay::handle)
        .on::<methods::SealedEnqueue, _, _, _>(api::sealed_enqueue::handle)
        .on::<methods::CreateGroup, _, _, _>(api::create_group::handle)
        .on::<methods::CommitGroup, _, _, _>(api::commit_group::handle)
        .on::<methods::FetchGroupInfo, _, _, _>(api::fetch_group_info::handle)
        .on::<methods::LeaveGroup, _, _, _>(api::leave_group::handle)
        .on::<methods::StagePart, _, _, _>(api::stage_part::handle)
        .on::<methods::FetchPart, _, _, _>(api::fetch_part::handle)
        .on::<methods::SetPushEndpoint, _, _, _>(api::set_push_endpoint::handle)
        .on::<methods::RemovePushEndpoint, _, _, _>(api::remove_push_endpoint::handle)
        .on::<methods::FetchPushEndpoint, _, _, _>(api::fetch_push_endpoint::handle)
        .on::<methods::CountDeliveries, _, _, _>(api::count_deliveries::handle)
        .on::<methods::ForgetDevice, _, _, _>(api::forget_device::handle)
        .on::<methods::ForgetAccount, _, _, _>(api::forget_account::handle)
        .on::<methods::ReportMailboxes, _, _, _>(api::report_mailboxes::handle);
    jobs::start(&deps, store, waker, waiting);
    serve(&deps, SERVICE, router, ServeOptions::default()).await?;
    Ok(())
}
