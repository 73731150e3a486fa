//! `cargo xtask deploy`: the ways to run quicprochat beside the chart, judged without a cluster, an engine or a cloud.
//!
//! - [`tilt`]: the Tiltfile with the scripts and the people that it starts;
//! - [`manifests`]: the kustomizations;
//! - [`terraform`]: its modules;
//! - [`compose`]: the installation on one machine.

mod compose;
mod manifests;
mod terraform;
mod tilt;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    reaper::Reaper,
    repo,
    report::{Count, Report},
    servers::prometheus,
    step::{self, Show},
    tools,
};

/// Scripts of Python that print a line for each check.
const CHECKS: &str = "xtask/checks";
/// One script.
const WITHIN: Duration = Duration::from_secs(600);

const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";
const KUSTOMIZE: &str = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1";

/// Returns whether everything passed.
pub(crate) fn run() -> Result<bool> {
    let mut reaper = Reaper::start()?;
    let mut report = Report::new();
    steps(&mut report, &mut reaper);
    let built = report.step("build", || {
        let mut command = repo::cargo(&["build", "-p", "qpc-server", "-p", "qpc-cli"]);
        Ok(Count::one(step::run(&mut reaper, "cargo build", &mut command, 6 * WITHIN, Show::Yes)?.success))
    });
    if built {
        report.step("people", || people(&mut reaper));
    }
    drop(reaper);
    Ok(report.finish())
}

/// What needs nothing of ours that is built.
pub(crate) fn steps(report: &mut Report, reaper: &mut Reaper) {
    report.step("tilt", || tilt::check(reaper));
    report.step("manifests", || manifests::check(reaper));
    report.step("terraform", || terraform::check(reaper));
    report.step("compose", || compose::check(reaper));
}

/// The two whom Tilt's button makes, at a server of their own. The unoptimised binaries are there.
pub(crate) fn people(reaper: &mut Reaper) -> Result<Count> {
    tilt::people(reaper)
}

/// Runs a script with what it needs of PyPI.
fn script(reaper: &mut Reaper, name: &str, packages: &[&str], args: &[&str]) -> Result<Count> {
    let Some(programs) = tools::python(packages) else { return Ok(skipped("Python with packages of PyPI")) };
    let mut command = Command::new(programs.join("python"));
    command.arg(Path::new(CHECKS).join(name)).arg(repo::root()).args(args).current_dir(repo::root());
    // Nothing is left in the tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = step::run(reaper, name, &mut command, WITHIN, Show::Yes)?;
    Ok(Count::of_lines(&output.stdout, output.success))
}

/// A program as an argument of a script, which leaves out what it cannot do without it.
fn argument(program: Option<&Path>) -> String {
    program.map_or_else(|| "-".to_owned(), |path| path.display().to_string())
}

fn helm() -> Option<PathBuf> {
    tools::go_tool("helm", HELM)
}

fn kustomize() -> Option<PathBuf> {
    tools::go_tool("kustomize", KUSTOMIZE)
}

fn promtool() -> Option<PathBuf> {
    prometheus::program("promtool")
}

fn skipped(what: &str) -> Count {
    println!("skipped: no {what}");
    Count { ignored: 1, ..Count::default() }
}

/// A program of PATH.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Standard output of a command that succeeds.
fn output(command: &mut Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = command.output().with_context(|| format!("start {name}"))?;
    anyhow::ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}
