//! `cargo xtask cluster`: the separate-processes shape on this machine.

mod launch;
mod state;

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    Action, folder,
    process::{self, Tracked},
    reaper::Reaper,
    repo, servers,
};

pub(crate) use launch::{Profile, build, start};
pub(crate) use state::{Process, State};

/// Returns whether all is well.
pub(crate) fn run(action: &Action, folder: Option<PathBuf>) -> Result<bool> {
    let folder = match folder {
        // Processes outlive this one's current folder.
        Some(folder) => env::current_dir().context("current folder")?.join(folder),
        None => repo::root().join(".cluster"),
    };
    match action {
        Action::Up { dev } => up(&folder, if *dev { Profile::Dev } else { Profile::Release }),
        Action::Down { keep_data } => down(&folder, *keep_data),
        Action::Status { json } => status(&folder, *json),
    }
}

fn up(folder: &Path, profile: Profile) -> Result<bool> {
    if let Some(state) = State::load(folder)? {
        let word = if state.processes.iter().any(|process| process.tracked.is_alive()) { "runs" } else { "has died" };
        bail!("a cluster {word} in {}; see `cargo xtask cluster status`, end it with `down`", folder.display());
    }
    folder::own(folder)?;
    servers::install()?;
    let mut reaper = Reaper::start()?;
    build(&mut reaper, profile)?;
    let qpc = profile.binary("qpc")?;
    let state = start(folder, profile, &mut reaper)?;
    state.store(folder)?;
    reaper.leave()?;
    println!("\nThe cluster is ready. Each in a terminal of its own:");
    for (user, gateway) in ["alice", "bob"].into_iter().zip(&state.gateways) {
        println!("  {} repl -u {user} --server {gateway} --ca-cert {}", qpc.display(), state.ca_cert.display());
    }
    println!("What operators do:\n  {}", state.admin_command(&qpc.display().to_string()));
    println!("End it with: cargo xtask cluster down --dir {}", folder.display());
    Ok(true)
}

fn down(folder: &Path, keep_data: bool) -> Result<bool> {
    let state = State::load(folder)?;
    if state.is_none() && !folder::is_own(folder) {
        println!("no cluster in {}", folder.display());
        return Ok(true);
    }
    if let Some(state) = &state {
        let processes: Vec<Tracked> = state.processes.iter().map(|process| process.tracked.clone()).collect();
        println!("stopping gateways, then services, then servers");
        for note in process::stop(&processes) {
            println!("{note}");
        }
        State::forget(folder)?;
    }
    if keep_data {
        println!("stopped; data stays in {}", folder.display());
        return Ok(true);
    }
    let postgres = match state {
        Some(state) => state.postgres_folder,
        None => servers::postgres_folder(folder)?,
    };
    folder::remove(&postgres)?;
    folder::remove(folder)?;
    println!("stopped; data removed");
    Ok(true)
}

fn status(folder: &Path, json: bool) -> Result<bool> {
    let Some(state) = State::load(folder)? else {
        if json {
            println!("{}", serde_json::json!({ "running": false, "processes": [] }));
        } else {
            println!("no cluster in {}; start one with: cargo xtask cluster up", folder.display());
        }
        return Ok(false);
    };
    let looks: Vec<state::Look<'_>> = state.processes.iter().map(state::Process::look).collect();
    let all_ready = looks.iter().all(|look| look.ready);
    if json {
        let object = serde_json::json!({
            "running": all_ready,
            "gateways": state.gateways,
            "ca_cert": state.ca_cert,
            "admins": state.admins,
            "admin_folder": state.admin_folder,
            "postgres": state.postgres,
            "nats": state.nats,
            "redis": state.redis,
            "processes": looks,
        });
        println!("{}", serde_json::to_string_pretty(&object)?);
    } else {
        println!("{:<14} {:>8}  {:<8} {:<22} log", "process", "pid", "state", "address");
        for look in &looks {
            println!("{look}");
        }
        println!("Postgres {}\nCA certificate {}", state.postgres, state.ca_cert.display());
        println!("Admin API: {}", state.admin_command("qpc"));
    }
    Ok(all_ready)
}
