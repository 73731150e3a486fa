//! What a device leaves behind so that others can reach it while it is offline: KeyPackages to add it to groups with, and
//! the public key that its mailbox is sealed to.
//!
//! A call enters at [`api`], one file per method, with [`Keypackages`] as its state. [`domain`] says which packages and
//! keys are acceptable; [`store`] keeps them and hands each single-use package out once, however many replicas claim at
//! the same time (G6); [`events`] tells a device that it runs low; [`jobs`] removes packages that nobody could use.

mod api;
mod config;
mod domain;
mod error;
mod events;
mod jobs;
mod store;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use qpc_chassis::{
    Runtime,
    db::Schema,
    limits::{Limit, Limits},
    push::Push,
    rpc::{self, Client, ServeOptions},
    run::{Deps, StartError},
};
use qpc_wire::Owner;

pub use config::Config;

use crate::store::Store;

/// Name of the service on the bus, in the database and in metrics.
pub const SERVICE: &str = Owner::Keypackage.name();

/// Its tables.
pub const SCHEMA: Schema = Schema { service: SERVICE, migrations: store::MIGRATIONS, restored: Some(store::restored) };

/// What the handlers share.
struct Keypackages {
    runtime: Runtime,
    store: Store,
    push: Push,
    /// To auth, which knows the certificates of devices.
    client: Client,
    limits: Limits,
    fetches: Limit,
    taken: Counter,
    last_resorts: Counter,
    config: Config,
}

/// Starts the service; it runs until the runtime of `deps` is drained. Returns once it answers calls.
pub async fn start(deps: Deps, config: Config) -> Result<(), StartError> {
    let store = Store::new(deps.open_db(&SCHEMA).await?);
    jobs::start(&deps, &store);
    let state = Keypackages {
        runtime: deps.runtime.clone(),
        store,
        push: deps.push(),
        client: deps.client(),
        limits: Limits::new(&deps),
        fetches: Limit::new("key-package", config.key_package_fetches),
        taken: deps.metrics.counter("keypackage_taken", "Packages handed out, those of last resort included"),
        last_resorts: deps.metrics.counter("keypackage_last_resorts", "Packages of last resort handed out"),
        config,
    };
    rpc::serve(&deps, SERVICE, api::router(Arc::new(state), &deps.runtime), ServeOptions::default()).await?;
    Ok(())
}
