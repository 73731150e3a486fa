//! What is remembered of a running cluster.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{process::Tracked, servers::ports};

const FILE: &str = "state.json";

/// A running cluster.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// HOST:PORT for clients.
    pub(crate) gateways: Vec<String>,
    /// What clients verify the gateways with.
    pub(crate) ca_cert: PathBuf,
    /// HOST:PORT of the admin API.
    pub(crate) admins: Vec<String>,
    /// Holds what `qpc admin` needs to be let in there.
    pub(crate) admin_folder: PathBuf,
    pub(crate) postgres: String,
    pub(crate) nats: String,
    pub(crate) redis: String,
    /// Holds the data of Postgres; it may lie outside the cluster's folder.
    pub(crate) postgres_folder: PathBuf,
    pub(crate) processes: Vec<Process>,
}

/// One of its processes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    #[serde(flatten)]
    pub(crate) tracked: Tracked,
    pub(crate) log: PathBuf,
    /// Where it answers.
    pub(crate) address: String,
    /// Port of /readyz; the servers have none.
    pub(crate) observe: Option<u16>,
}

impl State {
    /// Reads it; none when no cluster was started in `folder`.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display())).map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Writes it.
    pub(crate) fn store(&self, folder: &Path) -> Result<()> {
        let (path, draft) = (folder.join(FILE), folder.join("state.json.new"));
        fs::write(&draft, serde_json::to_vec_pretty(self)?).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
    }

    /// Removes it.
    pub(crate) fn forget(folder: &Path) -> Result<()> {
        fs::remove_file(folder.join(FILE)).context("remove the state file")
    }

    /// A command that calls the admin API, for the binary `qpc`.
    pub(super) fn admin_command(&self, qpc: &str) -> String {
        let api = self.admins.first().map_or("", String::as_str);
        format!("{qpc} admin --api {api} --folder {} stats", self.admin_folder.display())
    }

    /// Process ids of the gateways, in their order.
    pub(crate) fn gateway_pids(&self) -> impl Iterator<Item = u32> {
        self.processes
            .iter()
            .filter(|process| process.tracked.name.starts_with("gateway"))
            .map(|process| process.tracked.pid)
    }
}

/// A process as it is now.
#[derive(Serialize)]
pub(super) struct Look<'a> {
    name: &'a str,
    pid: u32,
    alive: bool,
    pub(super) ready: bool,
    address: &'a str,
    observe: Option<String>,
    log: &'a Path,
}

impl Process {
    pub(super) fn look(&self) -> Look<'_> {
        let alive = self.tracked.is_alive();
        Look {
            name: &self.tracked.name,
            pid: self.tracked.pid,
            alive,
            ready: alive && self.observe.is_none_or(ports::is_ready),
            address: &self.address,
            observe: self.observe.map(|port| format!("127.0.0.1:{port}")),
            log: &self.log,
        }
    }
}

impl fmt::Display for Look<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.alive, self.ready) {
            (false, _) => "dead",
            (true, false) => "unready",
            (true, true) => "ready",
        };
        write!(f, "{:<14} {:>8}  {word:<8} {:<22} {}", self.name, self.pid, self.address, self.log.display())
    }
}
