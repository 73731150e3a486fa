//! Redis as a cache: it saves nothing.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use super::{Start, install, launch, ports};
use crate::{
    process::{Signal, Tracked},
    reaper::Reaper,
};

/// Returns the URL.
pub(super) fn start(folder: &Path, reaper: &mut Reaper, processes: &mut Vec<Tracked>) -> Result<String> {
    let program = install::find("redis-server").context("redis-server is gone")?;
    let command = |port: u16| {
        let mut command = Command::new(&program);
        command.arg("--port").arg(port.to_string()).arg("--dir").arg(folder).current_dir(folder);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        Ok(command)
    };
    let port = launch(
        &Start {
            name: "redis",
            log: folder.join("redis.log"),
            signal: Signal::Term,
            command: &command,
            ready: &|port| ports::ask(port, b"PING\r\n").is_some_and(|answer| answer.starts_with("+PONG")),
        },
        reaper,
        processes,
    )?;
    Ok(format!("redis://127.0.0.1:{port}/0"))
}
