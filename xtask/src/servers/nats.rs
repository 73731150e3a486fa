//! NATS core: nothing durable, so no JetStream and no store.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{Start, install, launch, ports};
use crate::{
    process::{Signal, Tracked},
    reaper::Reaper,
};

/// A frame of 1 MiB with its headers must fit.
const MAX_PAYLOAD: usize = 2 << 20;

/// Returns the URL.
pub(super) fn start(folder: &Path, reaper: &mut Reaper, processes: &mut Vec<Tracked>) -> Result<String> {
    let program = install::find("nats-server").context("nats-server is gone")?;
    let command = |port: u16| {
        let config = folder.join("nats.conf");
        let text = format!("listen: \"127.0.0.1:{port}\"\nmax_payload: {MAX_PAYLOAD}\n");
        fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        let mut command = Command::new(&program);
        command.arg("-c").arg(config).current_dir(folder);
        Ok(command)
    };
    let port = launch(
        &Start {
            name: "nats",
            log: folder.join("nats.log"),
            signal: Signal::Term,
            command: &command,
            ready: &|port| ports::ask(port, b"").is_some_and(|answer| answer.starts_with("INFO ")),
        },
        reaper,
        processes,
    )?;
    Ok(format!("nats://127.0.0.1:{port}"))
}
