//! One program of a longer run: its output shown as it comes, its time limited, its group stopped at the end.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{self, Rank, Signal, Tracked, wait_until},
    reaper::Reaper,
};

/// What a program left.
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) stdout: String,
}

/// Whether the output of a step is for people.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Yes,
    No,
}

/// Runs `command` to its end, for at most `limit`.
pub(crate) fn run(
    reaper: &mut Reaper,
    name: &str,
    command: &mut Command,
    limit: Duration,
    show: Show,
) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let tracked = Tracked::new(name, child.id(), Rank::Edge, Signal::Term)?;
    reaper.stop(&tracked)?;
    let stdout = child.stdout.take().context("no output")?;
    let reader = thread::spawn(move || read(BufReader::new(stdout), show));

    let mut ended = None;
    let in_time = wait_until(limit, || {
        ended = child.try_wait().transpose();
        ended.is_some()
    });
    // Whatever a test left behind also holds the pipe open.
    process::stop(std::slice::from_ref(&tracked));
    let status = match ended {
        Some(status) => status?,
        None => child.wait()?,
    };
    reaper.forget(tracked.pid)?;
    let stdout = reader.join().unwrap_or_default();
    if !in_time {
        bail!("{name} took longer than {} s and was stopped", limit.as_secs());
    }
    Ok(Output { success: status.success(), stdout })
}

fn read(mut stdout: impl BufRead, show: Show) -> String {
    let (mut all, mut line) = (String::new(), Vec::new());
    while matches!(stdout.read_until(b'\n', &mut line), Ok(count) if count > 0) {
        let text = String::from_utf8_lossy(&line);
        if show == Show::Yes {
            print!("{text}");
        }
        all.push_str(&text);
        line.clear();
    }
    all
}
