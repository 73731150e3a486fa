//! Postgres, NATS and Redis of our own, and an API server of Kubernetes: free loopback ports, own data folders, no system
//! service relied on or touched.

mod install;
pub(crate) mod kube;
mod nats;
pub(crate) mod ports;
mod postgres;
pub(crate) mod prometheus;
mod redis;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    process::{self, Rank, Signal, Tracked, wait_until},
    reaper::Reaper,
};

/// Time that a server gets to answer.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Another process may take a port between the look and the bind; then another port is tried.
const ATTEMPTS: usize = 3;

/// Where the servers answer.
pub(crate) struct Servers {
    pub(crate) postgres: String,
    pub(crate) nats: String,
    pub(crate) redis: String,
    pub(crate) processes: Vec<Tracked>,
}

/// Installs what is missing, without starting anything.
pub(crate) fn install() -> Result<()> {
    install::ensure()
}

/// Where everything of Postgres goes when the cluster lives in `folder`: there, or outside when the user that Postgres
/// runs as cannot come there.
pub(crate) fn postgres_folder(folder: &Path) -> Result<PathBuf> {
    postgres::home(folder)
}

/// Starts the three. `folder` is ours; `postgres` comes from [`postgres_folder`].
pub(crate) fn start(folder: &Path, postgres: &Path, reaper: &mut Reaper) -> Result<Servers> {
    let mut processes = Vec::new();
    let nats = nats::start(folder, reaper, &mut processes)?;
    let redis = redis::start(folder, reaper, &mut processes)?;
    let postgres = postgres::start(folder, postgres, reaper, &mut processes)?;
    Ok(Servers { postgres, nats, redis, processes })
}

/// What differs between the servers.
struct Start<'a> {
    name: &'a str,
    log: PathBuf,
    signal: Signal,
    command: &'a dyn Fn(u16) -> Result<Command>,
    ready: &'a dyn Fn(u16) -> bool,
}

/// Starts a server on a free port and waits until it answers there.
fn launch(start: &Start<'_>, reaper: &mut Reaper, processes: &mut Vec<Tracked>) -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let port = ports::tcp()?;
        let command = (start.command)(port)?;
        let (mut child, tracked) = process::spawn(start.name, &command, &start.log, Rank::Server, start.signal)?;
        reaper.stop(&tracked)?;
        if wait_ready(&mut child, || (start.ready)(port)) {
            processes.push(tracked);
            return Ok(port);
        }
        process::stop(std::slice::from_ref(&tracked));
        child.wait()?;
    }
    bail!("{} does not start; the end of {}:\n{}", start.name, start.log.display(), process::tail(&start.log))
}

fn wait_ready(child: &mut Child, ready: impl Fn() -> bool) -> bool {
    let mut answers = false;
    wait_until(READY_WITHIN, || {
        let ended = !matches!(child.try_wait(), Ok(None));
        // Asked only while the child lives: on a port lost to another process somebody else would answer.
        answers = !ended && ready() && matches!(child.try_wait(), Ok(None));
        ended || answers
    });
    answers
}
