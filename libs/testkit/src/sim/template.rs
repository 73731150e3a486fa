//! What every simulation begins with: accounts registered, devices logged in, KeyPackages published. Made once in a
//! process, by the real code, since passwords are expensive on purpose; each simulation begins with a copy.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use qpc_chassis::runtime::sim::Disk;
use qpc_sdk::{Client, DeviceId, Suite, transport::Trust};

use super::world::{Opening, Servers, open};

/// Accounts, and how many devices each has had before it.
pub(super) const DEVICES: [(&str, usize); 5] = [("alice", 0), ("bob", 0), ("alice", 1), ("carol", 0), ("bob", 1)];
/// Those of them that seal what they send.
pub(super) const SEALED: [usize; 2] = [2, 3];
/// Time that a device gets to connect and to publish.
const PATIENCE: Duration = Duration::from_secs(60);
/// Milliseconds between the template and the simulations.
const LATER_MS: u64 = 10 * 60 * 1000;

/// See the module.
pub(super) struct Template {
    pub(super) database: Disk,
    pub(super) devices: Vec<(Disk, DeviceId)>,
    pub(super) trust: Trust,
    /// When simulations begin, Unix milliseconds. Close to the machine's clock, which openmls reads by itself.
    pub(super) start_ms: u64,
}

/// The template of this process.
pub(super) fn template() -> Result<&'static Template> {
    static MADE: OnceLock<Result<Template>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let made = std::thread::spawn(|| super::virtual_runtime()?.block_on(make())).join();
        made.unwrap_or_else(|_| Err(anyhow!("the template panicked")))
    });
    made.as_ref().map_err(|error| anyhow!("the template: {error:#}"))
}

#[allow(clippy::disallowed_methods, reason = "what openmls reads by itself must be near")]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

async fn make() -> Result<Template> {
    let start_ms = now_ms();
    let folder = tempfile::tempdir()?;
    let config = qpc_gateway::Config { data: folder.path().to_owned(), ..Default::default() };
    // Nobody looks at it: the network of a simulation has no TLS.
    let certificate = qpc_gateway::tls::load(&config, &mut qpc_chassis::Runtime::system().rng())?.leaf().clone();
    let trust = Trust::Certificates(vec![certificate]);

    let database = Disk::default();
    let mut servers = Servers::new(0, start_ms, database.clone());
    servers.start_all().await?;
    let mut devices = Vec::new();
    let mut keys = std::collections::BTreeMap::new();
    for (name, _) in DEVICES {
        let disk = Disk::default();
        let mut node = servers.node(disk.clone());
        let opening = Opening {
            name,
            gateway: 0,
            suite: Suite::Classic,
            sync_every: PATIENCE,
            account_key: keys.get(name).copied(),
            sealed: false,
            trust: trust.clone(),
        };
        let client = open(&mut node, opening).await?;
        connected(&client).await.with_context(|| format!("device of {name}"))?;
        keys.entry(name).or_insert_with(|| *client.export_account_key());
        devices.push((disk, client.whoami().await?.device));
        client.close().await;
    }
    // The databases are copied while nobody uses them.
    for node in servers.gateways.iter_mut().chain(servers.services.iter_mut().flatten()) {
        node.stop(&servers.beside);
    }
    servers.beside.drain(PATIENCE).await;
    Ok(Template { database: database.fork(), devices, trust, start_ms: start_ms + LATER_MS })
}

async fn connected(client: &Client) -> Result<()> {
    tokio::time::timeout(PATIENCE, client.connect()).await??;
    Ok(())
}
