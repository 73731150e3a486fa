//! `cargo xtask bench`, `cargo xtask bench groups`, `cargo xtask bench traces`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    cluster::{self, Profile},
    folder,
    reaper::Reaper,
    repo, servers,
    step::{self, Show},
};

/// The whole measurement.
const WITHIN: Duration = Duration::from_secs(3600);
/// /tmp may be memory, where a promise of durability costs nothing; this is a disk.
const DISK: &str = "/var/tmp";

/// Returns whether it ran and met its targets, as far as the load generator says so by its exit code.
pub(crate) fn run(quick: bool, json: Option<PathBuf>) -> Result<bool> {
    servers::install()?;
    let mut reaper = Reaper::start()?;
    cluster::build(&mut reaper, Profile::Release)?;

    let folder = folder::temporary_in(Path::new(DISK), "bench")?;
    reaper.remove(&folder)?;
    let postgres = servers::postgres_folder(&folder)?;
    if postgres != folder {
        reaper.remove(&postgres)?;
    }
    let state = cluster::start(&folder, Profile::Release, &mut reaper)?;

    let mut command = Command::new(Profile::Release.binary("qpc-loadtest")?);
    command.current_dir(repo::root()).arg("--postgres").arg(&state.postgres);
    for gateway in &state.gateways {
        command.arg("--gateway").arg(gateway);
    }
    command.arg("--ca-cert").arg(&state.ca_cert);
    if let Some(pid) = state.gateway_pids().next() {
        command.arg("--gateway-pid").arg(pid.to_string());
    }
    command.arg("--server-bin").arg(Profile::Release.binary("qpc-server")?);
    finish(&mut reaper, command, quick, json)
}

/// The same for groups, which need no cluster. Returns whether it ran.
pub(crate) fn groups(quick: bool, json: Option<PathBuf>) -> Result<bool> {
    let mut reaper = Reaper::start()?;
    cluster::build(&mut reaper, Profile::Release)?;
    let folder = folder::temporary_in(Path::new(DISK), "groups")?;
    reaper.remove(&folder)?;
    let mut command = Command::new(Profile::Release.binary("qpc-loadtest")?);
    command.current_dir(repo::root()).arg("groups").arg("--folder").arg(&folder);
    finish(&mut reaper, command, quick, json)
}

/// The same for traces. Returns whether it ran.
pub(crate) fn traces(quick: bool, json: Option<PathBuf>) -> Result<bool> {
    let mut reaper = Reaper::start()?;
    cluster::build(&mut reaper, Profile::Release)?;
    let mut command = Command::new(Profile::Release.binary("qpc-loadtest")?);
    command.current_dir(repo::root()).arg("traces").arg("--server-bin").arg(Profile::Release.binary("qpc-server")?);
    finish(&mut reaper, command, quick, json)
}

fn finish(reaper: &mut Reaper, mut command: Command, quick: bool, json: Option<PathBuf>) -> Result<bool> {
    if let Some(json) = json {
        command.arg("--json").arg(env::current_dir().context("current folder")?.join(json));
    }
    if quick {
        command.arg("--quick");
    }
    Ok(step::run(reaper, "qpc-loadtest", &mut command, WITHIN, Show::Yes)?.success)
}
