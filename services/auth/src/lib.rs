//! Accounts, logins, devices and sessions: who somebody is, and which of their machines is calling.
//!
//! A call enters at [`api`], one file per method, with [`Auth`] as its state. What needs neither clock nor database is in
//! [`domain`]: the rules of a registration and the content of a login state. [`store`] keeps accounts, devices and
//! sessions; [`setups`] the secrets of OPAQUE; [`attempts`] limits guesses at passwords, and [`links`] keeps there
//! what a new device and an old one say to each other; [`admission`] says who may register, [`recoveries`] limits tries to come back without any device;
//! [`events`] is what devices hear; [`forget`] has other services delete what they keep of revoked devices and deleted
//! accounts; [`admin`] is what operators may do, with an audit log; [`jobs`] removes what has expired, and accounts that
//! admins want gone.
//!
//! Between the two steps of a login the server remembers nothing: its state travels to the client and back, sealed for
//! this service and this connection.

mod admin;
mod admission;
mod api;
mod attempts;
mod config;
mod domain;
mod error;
mod events;
mod forget;
mod jobs;
mod links;
mod recoveries;
mod setups;
mod store;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use qpc_chassis::{
    Runtime,
    db::Schema,
    limits::{Leases, Limit, Limits},
    push::Push,
    rpc::{self, Client, ServeOptions},
    run::{Deps, StartError},
};
use qpc_crypto::{FrankingKey, ReceiptKey, token::TokenKeys};
use qpc_wire::Owner;

pub use config::{Config, Registration};

use crate::{
    admission::Admission, attempts::Attempts, domain::name_key::NameKey, forget::Forget, links::Links,
    recoveries::Recoveries, setups::Setups, store::Store,
};

/// Name of the service on the bus, in the database and in metrics.
pub const SERVICE: &str = Owner::Auth.name();

/// Its tables.
pub const SCHEMA: Schema = Schema { service: SERVICE, migrations: store::MIGRATIONS, restored: Some(store::restored) };

/// What the handlers share.
struct Auth {
    runtime: Runtime,
    store: Store,
    setups: Setups,
    attempts: Attempts,
    admission: Admission,
    links: Links,
    recoveries: Recoveries,
    limits: Limits,
    registrations: Limit,
    lookups: Leases,
    reports: Leases,
    forget: Arc<Forget>,
    push: Push,
    /// To delivery.
    client: Client,
    /// Authenticates the audit log.
    audit_key: [u8; 32],
    audit_entries: Counter,
    /// Seals login states.
    state_key: [u8; 32],
    /// Public half of the key that delivery signs receipts with.
    receipt_key: [u8; 32],
    /// Checks the tags of delivery.
    franking_key: FrankingKey,
    /// Those by which delivery knows tokens.
    token_keys: TokenKeys,
    /// Hashes the names of deleted accounts.
    name_key: NameKey,
    config: Config,
}

impl Auth {
    /// Under which the name of a deleted account is kept, so that the database does not show it.
    fn name_tag(&self, username: &str) -> [u8; 32] {
        self.name_key.tag(username)
    }
}

/// Starts the service; it runs until the runtime of `deps` is drained. Returns once it answers calls.
pub async fn start(deps: Deps, config: Config) -> Result<(), StartError> {
    let store = Store::new(deps.open_db(&SCHEMA).await?);
    let setup_key = deps.secrets.derive("auth/opaque-setup");
    let setups = Setups::load(&store, &setup_key, &mut deps.runtime.rng(), deps.runtime.now_ms()).await?;
    let forget = Arc::new(Forget::new(store.clone(), deps.client()));
    let name_key = NameKey::new(deps.secrets.derive("auth/deleted-name"));
    jobs::start(&deps, &store, &forget, name_key, config.audit_days);
    let auth = Auth {
        runtime: deps.runtime.clone(),
        store,
        setups,
        attempts: Attempts::new(&deps, &config),
        admission: Admission::new(&deps, &config),
        links: Links::new(&deps, &config),
        recoveries: Recoveries::new(&deps, &config),
        limits: Limits::new(&deps),
        registrations: Limit::new("registration", config.registrations_per_address),
        lookups: Leases::new(&deps, Limit::new("lookup", config.name_lookups), "names looked up"),
        reports: Leases::new(&deps, Limit::new("report", config.reports), "reports"),
        forget,
        push: deps.push(),
        client: deps.client(),
        audit_key: deps.secrets.derive("auth/audit"),
        audit_entries: deps.metrics.counter("audit_entries", "Entries that admins have left in the audit log"),
        state_key: deps.secrets.derive("auth/login-state"),
        receipt_key: ReceiptKey::from_bytes(&deps.secrets.derive("delivery/receipt")).public(),
        franking_key: FrankingKey::from_bytes(&deps.secrets.derive("delivery/franking")),
        token_keys: TokenKeys::new(deps.secrets.derive("token/keys")),
        name_key,
        config,
    };
    rpc::serve(&deps, SERVICE, api::router(Arc::new(auth), &deps.runtime), ServeOptions::default()).await?;
    Ok(())
}
