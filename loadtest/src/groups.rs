//! Groups of 2 to 2,000 leaves: what each step costs in bytes and time, beside bare openmls doing the same in this process.

mod bare;
mod delivery;
mod member;
mod ours;
mod world;

use std::{fs, path::Path};

use anyhow::Result;
use qpc_crypto::Suite;
use serde::Serialize;

use delivery::Seen;
use world::{Place, STEPS, Samples, Side, Step, WARM_STEPS, World};

/// What our client may take, of what openmls takes.
const TARGET: f64 = 1.3;
/// What a joiner may get apart from what all share, bytes.
const JOINER_BYTES: f64 = 2048.0;

/// What is printed, in this order.
const WHAT: [&str; 15] = [
    "update",
    "update, received",
    "add one",
    "add one, received",
    "add 50",
    "add 50, received",
    "remove",
    "remove, received",
    "join",
    "external join",
    "external join, received",
    "encrypt",
    "decrypt",
    // Parts of the above.
    "(load)",
    "(load and note epoch)",
];

/// One step in one group.
#[derive(Serialize)]
struct Row {
    suite: &'static str,
    leaves: usize,
    /// "cold": as it was filled; "warm": after updates.
    tree: &'static str,
    step: &'static str,
    /// Of the commit or message.
    bytes: Option<usize>,
    openmls_bytes: Option<usize>,
    memory: Times,
    disk: Times,
    server: Times,
}

/// Medians in milliseconds.
#[derive(Serialize)]
struct Times {
    ours: Option<f64>,
    openmls: Option<f64>,
    ratio: Option<f64>,
    /// Of the fastest repetitions, which tells more when the machine is busy with something else.
    fastest_ratio: Option<f64>,
}

/// Something that stands for itself.
#[derive(Serialize)]
struct Check {
    name: String,
    value: f64,
    unit: &'static str,
    /// Exactly, or below it.
    target: Option<f64>,
    met: Option<bool>,
}

#[derive(Serialize, Default)]
struct Report {
    rows: Vec<Row>,
    checks: Vec<Check>,
}

/// Measures, prints, and writes the rows to `json`. `credential`: bytes of a credential of openmls; ours have 137. Stores and databases lie in `folder` while it runs.
pub(crate) async fn run(folder: &Path, quick: bool, credential: usize, json: Option<&Path>) -> Result<()> {
    let mut report = Report::default();
    let sizes: &[(usize, usize)] = if quick { &[(2, 3), (50, 2)] } else { &[(2, 9), (50, 7), (500, 3), (2000, 2)] };
    for suite in Suite::ALL {
        let leaves = match (quick, suite) {
            (true, _) => 101,
            (false, Suite::Classic) => 2000,
            // What is counted does not depend on the suite, and what a joiner gets not on the size.
            (false, Suite::Hybrid) => 502,
        };
        report.seen(suite, leaves, &delivery::run(folder, suite, leaves).await?);
        for (leaves, repetitions) in sizes {
            group(folder, suite, *leaves, *repetitions, credential, &mut report)?;
        }
    }
    report.print_sum();
    if let Some(file) = json {
        fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}

fn group(
    folder: &Path,
    suite: Suite,
    leaves: usize,
    repetitions: usize,
    credential: usize,
    report: &mut Report,
) -> Result<()> {
    // A group of two is too small for devices in memory and with a disk at the same time.
    let places: &[&[Place]] =
        if leaves == 2 { &[&[Place::Memory], &[Place::Disk]] } else { &[&[Place::Memory, Place::Disk]] };
    let mut worlds = Vec::new();
    for places in places {
        for side in [Side::Ours, Side::Bare] {
            worlds.push((side, World::new(side, suite, leaves, places, credential, folder)?));
        }
    }
    let (ours, bare) = rounds(&mut worlds, &STEPS, repetitions)?;
    report.group(suite, leaves, "cold", &ours, &bare);
    if leaves > 2 {
        for (_, world) in &mut worlds {
            world.warm()?;
        }
        let (ours, bare) = rounds(&mut worlds, &WARM_STEPS, repetitions)?;
        report.group(suite, leaves, "warm", &ours, &bare);
    }
    Ok(())
}

/// Both sides in turn, so that what else the machine does meets both.
fn rounds(worlds: &mut [(Side, World)], steps: &[Step], repetitions: usize) -> Result<(Samples, Samples)> {
    let (mut ours, mut bare) = (Samples::default(), Samples::default());
    for _ in 0..repetitions {
        for step in steps {
            for (side, world) in &mut *worlds {
                world.step(*step, if *side == Side::Ours { &mut ours } else { &mut bare })?;
            }
        }
    }
    Ok((ours, bare))
}

impl Times {
    fn of(what: &'static str, place: Place, ours: &Samples, bare: &Samples) -> Self {
        let ratio = |ours: Option<f64>, openmls: Option<f64>| ours.zip(openmls).map(|(ours, openmls)| ours / openmls);
        let fastest_ratio = ratio(ours.fastest(what, place), bare.fastest(what, place));
        let (ours, openmls) = (ours.median(what, place), bare.median(what, place));
        Self { ours, openmls, ratio: ratio(ours, openmls), fastest_ratio }
    }
}

#[allow(clippy::print_stdout, reason = "a command line program")]
impl Report {
    fn group(&mut self, suite: Suite, leaves: usize, tree: &'static str, ours: &Samples, bare: &Samples) {
        let size = |samples: &Samples, what| samples.bytes.get(what).copied();
        println!(
            "\n{} suite, {leaves} leaves, {tree} tree ({} bytes, openmls {}; Welcome of one {}, openmls {}); milliseconds",
            suite.name(),
            size(ours, "tree").unwrap_or_default(),
            size(bare, "tree").unwrap_or_default(),
            size(ours, "welcome").unwrap_or_default(),
            size(bare, "welcome").unwrap_or_default(),
        );
        println!(
            "{:<24} {:>8} {:>8} | {:>8} {:>8} {:>6} {:>7} | {:>8} {:>8} {:>6} {:>7} | {:>8} {:>8}",
            "",
            "bytes",
            "openmls",
            "memory",
            "openmls",
            "ratio",
            "fastest",
            "disk",
            "openmls",
            "ratio",
            "fastest",
            "server",
            "openmls"
        );
        for step in WHAT {
            let times = |place| Times::of(step, place, ours, bare);
            let (memory, disk, server) = (times(Place::Memory), times(Place::Disk), times(Place::Server));
            if memory.ours.is_none() && disk.ours.is_none() {
                continue;
            }
            let (bytes, openmls_bytes) = (size(ours, step), size(bare, step));
            let row = Row { suite: suite.name(), leaves, tree, step, bytes, openmls_bytes, memory, disk, server };
            row.print();
            self.rows.push(row);
        }
    }

    fn seen(&mut self, suite: Suite, leaves: usize, seen: &Seen) {
        let group = format!("{} {leaves}", suite.name());
        let mut check = |name: &str, unit, value: f64, target: Option<f64>, exact: bool| {
            let met = target.map(|target| if exact { value == target } else { value < target });
            let check = Check { name: format!("{group}: {name}"), value, unit, target, met };
            check.print();
            self.checks.push(check);
        };
        check("payload rows of a message", "", seen.payloads as f64, Some(1.0), true);
        check("mailbox rows of a message", "", seen.entries as f64, Some((leaves - 1) as f64), true);
        check("transactions of a message", "", seen.transactions as f64, Some(1.0), true);
        check("message in a mailbox", "B", seen.entry_bytes as f64, None, false);
        check("Enqueue", "ms", seen.message_ms, None, false);
        check("CommitGroup, all joiners at once", "ms", seen.add_ms, None, false);
        check("CommitGroup, update", "ms", seen.update_ms, None, false);
        check("joiner gets until all are added", "B", seen.joiner_bytes as f64, Some(JOINER_BYTES), false);
        check("joiners share", "B", seen.shared_bytes as f64, None, false);
    }

    fn print_sum(&self) {
        let missed = |times: fn(&Row) -> &Times| {
            let ratios = self.rows.iter().filter_map(|row| Some((times(row).ratio?, row)));
            ratios.filter(|(ratio, row)| *ratio > TARGET && !row.step.starts_with('(')).count()
        };
        println!(
            "\nsteps above {TARGET} of openmls: {} in memory, {} on disk",
            missed(|row| &row.memory),
            missed(|row| &row.disk)
        );
    }
}

#[allow(clippy::print_stdout, reason = "a command line program")]
impl Row {
    fn print(&self) {
        let whole = |value: Option<usize>| value.map(|value| value.to_string()).unwrap_or_default();
        let number = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
        let times = |times: &Times| {
            let [ours, openmls, ratio, fastest] =
                [times.ours, times.openmls, times.ratio, times.fastest_ratio].map(number);
            format!("{ours:>8} {openmls:>8} {ratio:>6} {fastest:>7}")
        };
        println!(
            "{:<24} {:>8} {:>8} | {} | {} | {:>8} {:>8}",
            self.step,
            whole(self.bytes),
            whole(self.openmls_bytes),
            times(&self.memory),
            times(&self.disk),
            number(self.server.ours),
            number(self.server.openmls),
        );
    }
}

#[allow(clippy::print_stdout, reason = "a command line program")]
impl Check {
    fn print(&self) {
        println!(
            "{:<104} {:>12.2} {:<3} {:>8}  {}",
            self.name,
            self.value,
            self.unit,
            self.target.map(|target| target.to_string()).unwrap_or_default(),
            self.met.map(|met| if met { "yes" } else { "NO" }).unwrap_or_default(),
        );
    }
}
