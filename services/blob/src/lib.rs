//! Large files, which clients have encrypted: brought and taken in parts, found by the SHA-256 of what is stored.
//!
//! A call enters at [`api`], one file per method, with [`Blobs`] as its state. Control calls come over the bus, bodies over
//! pipes beside it (`qpc_chassis::bulk`). [`store`] knows what there is; bodies lie on a disk or in S3
//! (`qpc_chassis::objects`), one object for each part. [`slots`] bounds the parts in memory; [`jobs`] removes what nobody
//! has finished or used for too long.

mod api;
mod config;
mod domain;
mod error;
mod jobs;
mod slots;
mod store;

use std::{path::Path, sync::Arc};

use qpc_chassis::{
    Runtime, bulk,
    db::Schema,
    objects::Objects,
    rpc::{self, Client, ServeOptions},
    run::{Deps, StartError},
};
use qpc_wire::Owner;

pub use config::Config;

use crate::{slots::Slots, store::Store};

/// Name of the service on the bus, in the database and in metrics.
pub const SERVICE: &str = Owner::Blob.name();

/// Its tables.
pub const SCHEMA: Schema = Schema { service: SERVICE, migrations: store::MIGRATIONS, restored: None };

/// Folder of the bodies when no other is given.
const DEFAULT_FOLDER: &str = "qpc-data/blobs";

/// What the handlers share.
struct Blobs {
    runtime: Runtime,
    store: Store,
    objects: Objects,
    slots: Slots,
    client: Client,
    config: Config,
}

/// Starts the service; it runs until the runtime of `deps` is drained. Returns once it answers calls.
pub async fn start(deps: Deps, config: Config) -> Result<(), StartError> {
    let store = Store::new(deps.open_db(&SCHEMA).await?);
    let objects = Objects::open(&config.objects, Path::new(DEFAULT_FOLDER))?;
    let checked = objects.clone();
    deps.health.check("bodies", move || {
        let objects = checked.clone();
        Box::pin(async move { objects.ping().await.is_ok() })
    });
    jobs::start(&deps, &store, &objects);
    let (address, tls) = (config.address(), config.bulk_tls.clone());
    let state = Arc::new(Blobs {
        runtime: deps.runtime.clone(),
        store,
        objects,
        slots: Slots::new(&deps.metrics),
        client: deps.client(),
        config,
    });
    bulk::serve(&deps, SERVICE, &address, &tls, api::bulk_router(state.clone())).await?;
    rpc::serve(&deps, SERVICE, api::router(state, &deps.runtime), ServeOptions::default()).await?;
    Ok(())
}
