//! `cargo xtask kube`: a Kubernetes API server with its etcd, for tests and for looking at what the chart renders.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    Kube, folder,
    process::{self, Tracked},
    reaper::Reaper,
    repo,
    servers::kube,
};

/// What runs, in its folder.
const STATE: &str = "state.json";

/// Returns whether all is well.
pub(crate) fn run(action: &Kube, folder: Option<PathBuf>) -> Result<bool> {
    let folder = match folder {
        // The process outlives this one's current folder.
        Some(folder) => env::current_dir().context("current folder")?.join(folder),
        None => repo::root().join(".kube-test"),
    };
    match action {
        Kube::Up => up(&folder),
        Kube::Down => down(&folder),
        Kube::Status => status(&folder),
    }
}

fn up(folder: &Path) -> Result<bool> {
    if let Some(process) = load(folder)? {
        let word = if process.is_alive() { "runs" } else { "has died" };
        bail!("an API server {word} in {}; end it with `cargo xtask kube down`", folder.display());
    }
    let Some(program) = kube::program()? else { return Ok(false) };
    folder::own(folder)?;
    let mut reaper = Reaper::start()?;
    let mut processes = Vec::new();
    let kubectl = format!("{} {}", program.display(), kube::KUBECTL);
    let server = kube::start(program, folder, &mut reaper, &mut processes)?;
    let state = folder.join(STATE);
    fs::write(&state, serde_json::to_vec(&processes.first())?).with_context(|| format!("write {}", state.display()))?;
    reaper.leave()?;
    println!("The API server is ready:\n  export KUBECONFIG={}", server.kubeconfig.display());
    println!("  alias kubectl={kubectl:?}");
    println!("End it with: cargo xtask kube down --dir {}", folder.display());
    Ok(true)
}

fn down(folder: &Path) -> Result<bool> {
    if !folder::is_own(folder) {
        println!("no API server in {}", folder.display());
        return Ok(true);
    }
    for note in load(folder)?.iter().flat_map(|process| process::stop(std::slice::from_ref(process))) {
        println!("{note}");
    }
    folder::remove(folder)?;
    println!("stopped; data removed");
    Ok(true)
}

fn status(folder: &Path) -> Result<bool> {
    let Some(process) = load(folder)? else {
        println!("no API server in {}; start one with: cargo xtask kube up", folder.display());
        return Ok(false);
    };
    let alive = process.is_alive();
    let word = if alive { "runs" } else { "has died" };
    println!("{} (pid {}) {word}\nKUBECONFIG={}", process.name, process.pid, folder.join("kube/kubeconfig").display());
    Ok(alive)
}

fn load(folder: &Path) -> Result<Option<Tracked>> {
    let path = folder.join(STATE);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} is damaged", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}
