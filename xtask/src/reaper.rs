//! Cleaning up that cannot be missed. A second process is told what runs and which folders are temporary; when its
//! standard input ends, for whatever reason (the work is done, an error, a panic, Ctrl-C, SIGKILL), it stops the processes
//! and removes the folders.

use std::{
    env,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{
    folder,
    process::{self, Tracked},
};

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Stop(Tracked),
    Remove(PathBuf),
    /// The process has ended by itself.
    Forget(u32),
    /// Everything stays as it is.
    Leave,
}

/// The other side of the pipe. Dropped, it waits until everything is gone.
pub(crate) struct Reaper {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Reaper {
    /// Starts the second process.
    pub(crate) fn start() -> Result<Self> {
        let program = env::current_exe().context("own program")?;
        let mut process = Command::new(program)
            .arg("reap")
            .current_dir("/")
            .stdin(Stdio::piped())
            // A group of its own: Ctrl-C is for the others.
            .process_group(0)
            .spawn()
            .context("start the cleaner")?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// Has `process` stopped at the end.
    pub(crate) fn stop(&mut self, process: &Tracked) -> Result<()> {
        self.tell(&Order::Stop(process.clone()))
    }

    /// Has `folder` removed at the end.
    pub(crate) fn remove(&mut self, folder: &Path) -> Result<()> {
        self.tell(&Order::Remove(folder.to_path_buf()))
    }

    /// `pid` has ended by itself.
    pub(crate) fn forget(&mut self, pid: u32) -> Result<()> {
        self.tell(&Order::Forget(pid))
    }

    /// Leaves everything running.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.tell(&Order::Leave)
    }

    fn tell(&mut self, order: &Order) -> Result<()> {
        let pipe = self.pipe.as_mut().context("the cleaner is gone")?;
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        pipe.write_all(&line).context("tell the cleaner")
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Err(error) = self.process.wait() {
            eprintln!("cleaning up: {error}");
        }
    }
}

/// The second process.
pub(crate) fn reap() -> Result<bool> {
    let (mut processes, mut folders) = (Vec::<Tracked>::new(), Vec::new());
    for line in io::stdin().lock().lines() {
        // A line cut off by a kill is the last one.
        let Ok(order) = serde_json::from_str(&line?) else { break };
        match order {
            Order::Stop(process) => processes.push(process),
            Order::Remove(folder) => folders.push(folder),
            Order::Forget(pid) => processes.retain(|process| process.pid != pid),
            Order::Leave => return Ok(true),
        }
    }
    for note in process::stop(&processes) {
        complain(&note);
    }
    let mut clean = true;
    for path in folders.iter().rev() {
        if let Err(error) = folder::remove(path) {
            complain(&format!("{error:#}"));
            clean = false;
        }
    }
    Ok(clean)
}

/// The terminal may be gone, which `eprintln!` would take for a reason to panic.
fn complain(note: &str) {
    let _ = writeln!(io::stderr(), "cleaning up: {note}");
}
