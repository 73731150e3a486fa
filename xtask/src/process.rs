//! Processes that outlive a function: started in a session of their own, known by id and start time, stopped in order.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Time between two looks at something that is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// Time that a process gets between the polite signal and SIGKILL.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Time that the kernel gets to remove a killed process.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a log that a message shows.
const TAIL: usize = 3000;

/// How a process is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Signal {
    /// SIGTERM.
    Term,
    /// SIGINT, for Postgres: stop now, in order, without waiting for clients.
    Int,
}

/// Processes of a higher rank are stopped, and gone, before those of a lower one are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rank {
    /// Postgres, NATS, Redis.
    Server,
    /// What runs on them.
    Service,
    /// What clients talk to, and steps of a test run.
    Edge,
}

/// A process with its group, found again after this program has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tracked {
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// Clock ticks from boot to its start. With the id it names one process even after the id is used again.
    pub(crate) start: u64,
    pub(crate) rank: Rank,
    pub(crate) signal: Signal,
}

impl Tracked {
    /// The process `pid`, which leads its group.
    pub(crate) fn new(name: &str, pid: u32, rank: Rank, signal: Signal) -> Result<Self> {
        let start = stat(pid).with_context(|| format!("{name} ended at once"))?.start;
        Ok(Self { name: name.to_owned(), pid, start, rank, signal })
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|found| found.start == self.start && !found.ended)
    }

    /// Living processes of its group.
    fn group(&self) -> Vec<u32> {
        if stat(self.pid).is_some_and(|found| found.start != self.start) {
            // The id was used again, which the kernel does only when the group is empty.
            return Vec::new();
        }
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                stat(*pid).is_some_and(|found| found.group == self.pid && found.start >= self.start && !found.ended)
            })
            .collect()
    }
}

struct Stat {
    ended: bool,
    group: u32,
    start: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc_pid_stat(5). The name in parentheses may itself hold spaces and parentheses.
fn parse_stat(line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        group: fields.get(2)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// Starts `command` in a session of its own, so that neither the end of this program nor Ctrl-C reaches it, with its
/// output appended to `log`.
pub(crate) fn spawn(name: &str, command: &Command, log: &Path, rank: Rank, signal: Signal) -> Result<(Child, Tracked)> {
    let output = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))?;
    // setsid(1) becomes the program, so the id stays.
    let mut detached = Command::new("setsid");
    detached.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => detached.env(key, value),
            None => detached.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        detached.current_dir(folder);
    }
    let child = detached
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("start {name} (setsid of util-linux)"))?;
    let tracked = Tracked::new(name, child.id(), rank, signal)?;
    Ok((child, tracked))
}

/// Stops `processes` with their groups: rank by rank, politely, then with SIGKILL. Returns what was not polite.
pub(crate) fn stop(processes: &[Tracked]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut ranks: Vec<Rank> = processes.iter().map(|process| process.rank).collect();
    ranks.sort_unstable();
    ranks.dedup();
    for rank in ranks.into_iter().rev() {
        let mut left: Vec<&Tracked> = processes.iter().filter(|process| process.rank == rank).collect();
        for process in &left {
            let name = match process.signal {
                Signal::Term => "TERM",
                Signal::Int => "INT",
            };
            send(name, process);
        }
        if wait_until(STOP_WITHIN, || {
            left.retain(|process| !process.group().is_empty());
            left.is_empty()
        }) {
            continue;
        }
        for process in &left {
            notes.push(format!("{} did not stop within {} s and was killed", process.name, STOP_WITHIN.as_secs()));
            send("KILL", process);
        }
        wait_until(KILL_WITHIN, || left.iter().all(|process| process.group().is_empty()));
    }
    notes
}

/// Signals the whole group at once, so that no child forked meanwhile is missed. Goes through the shell's own kill, which
/// every machine has; a safe call is not in std.
fn send(signal: &str, process: &Tracked) {
    if process.group().is_empty() {
        return;
    }
    // It may end between the look and the signal, so a failure says nothing.
    let _ = Command::new("sh")
        .args(["-c", "kill -s \"$0\" -- \"-$1\"", signal, &process.pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Looks at `done` until it holds, for at most `limit`.
pub(crate) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL)..]).into_owned();
    text.lines().map(|line| format!("  | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Rank, Signal, Tracked, parse_stat, spawn, stop, wait_until};
    use crate::folder;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 1 40 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9";
        let found = parse_stat(line).unwrap();
        assert_eq!((found.ended, found.group, found.start), (false, 40, 777));
    }

    #[test]
    fn a_group_is_stopped_and_a_stranger_with_the_same_id_is_not() {
        let base = folder::temporary("process").unwrap();
        let mut script = Command::new("sh");
        script.args(["-c", "sleep 600 & exec sleep 600"]);
        let (mut child, tracked) = spawn("sleep", &script, &base.join("log"), Rank::Edge, Signal::Term).unwrap();
        assert!(wait_until(std::time::Duration::from_secs(10), || tracked.group().len() == 2));

        let stranger = Tracked { start: tracked.start - 1, ..tracked.clone() };
        assert!(!stranger.is_alive());
        stop(&[stranger]);
        assert!(tracked.is_alive());

        assert!(stop(std::slice::from_ref(&tracked)).is_empty());
        assert!(!tracked.is_alive() && tracked.group().is_empty());
        child.wait().unwrap();
        folder::remove(&base).unwrap();
    }
}
