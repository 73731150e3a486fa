//! `cargo xtask test`.

use std::{env, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    chart, deploy, folder, observe,
    reaper::Reaper,
    repo,
    report::{Count, Report},
    servers::{
        self, Servers,
        kube::{self, Kube},
    },
    step::{self, Show},
    tidy,
};

/// Formatting and lookups.
const SHORT: Duration = Duration::from_secs(300);
/// Anything that compiles everything on a slow machine.
const LONG: Duration = Duration::from_secs(7200);

/// In the names of all tests that need an API server of Kubernetes.
const KUBE_TESTS: &str = "real_api_server::";

/// Returns whether everything passed.
pub(crate) fn run(quick: bool) -> Result<bool> {
    let mut reaper = Reaper::start()?;
    let mut report = Report::new();
    let (mut servers, mut kube) = (None, None);
    if !quick {
        report.step("servers", || {
            let folder = folder::temporary("test")?;
            reaper.remove(&folder)?;
            servers = Some(start_servers(&folder, &mut reaper)?);
            kube = start_kube(&folder, &mut reaper)?;
            Ok(Count::one(true))
        });
    }
    report.step("fmt", || {
        component(&mut reaper, "rustfmt", "fmt")?;
        cargo(&mut reaper, "fmt", &["fmt", "--all", "--check"], SHORT)
    });
    report.step("clippy", || {
        component(&mut reaper, "clippy", "clippy")?;
        let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        cargo(&mut reaper, "clippy", &args, LONG)
    });
    report.step("tidy", || tidy::run().map(Count::one));
    if !quick {
        report.step("alerts", || observe::alerts(&mut reaper));
        report.step("chart", || chart::check(&mut reaper, kube.as_ref(), false));
        deploy::steps(&mut report, &mut reaper);
    }
    if quick {
        report.step("test", || tests(&mut reaper, None, None));
    } else if let Some(servers) = &servers {
        // The same targets and features as the tests, so that the demo's binary is among what they share.
        let built =
            report.step("build", || cargo(&mut reaper, "build", &["build", "--workspace", "--all-targets"], LONG));
        if built {
            report.step("test", || tests(&mut reaper, Some(servers), kube.as_ref()));
            report.step("demo", || demo(&mut reaper).map(|()| Count::one(true)));
            report.step("people", || deploy::people(&mut reaper));
            report.step("dashboards", || observe::recorded(&mut reaper));
        }
    }
    if !quick {
        println!("== stopping the servers");
    }
    // Before the sum, so that nothing is printed after it.
    drop(reaper);
    Ok(report.finish())
}

fn start_servers(folder: &Path, reaper: &mut Reaper) -> Result<Servers> {
    servers::install()?;
    let postgres = servers::postgres_folder(folder)?;
    if postgres != folder {
        reaper.remove(&postgres)?;
    }
    let servers = servers::start(folder, &postgres, reaper)?;
    println!("Postgres {}\nNATS     {}\nRedis    {}", servers.postgres, servers.nats, servers.redis);
    Ok(servers)
}

/// An API server, where Go can build one. Its process is stopped with the others.
fn start_kube(folder: &Path, reaper: &mut Reaper) -> Result<Option<Kube>> {
    let Some(program) = kube::program()? else {
        println!("tests against an API server of Kubernetes are left out");
        return Ok(None);
    };
    let kube = kube::start(program, folder, reaper, &mut Vec::new())?;
    println!("Kubernetes {}", kube.kubeconfig.display());
    Ok(Some(kube))
}

/// Installs a component of the toolchain that is missing.
fn component(reaper: &mut Reaper, name: &str, subcommand: &str) -> Result<()> {
    let mut version = repo::cargo(&[subcommand, "--version"]);
    if step::run(reaper, name, &mut version, SHORT, Show::No)?.success {
        return Ok(());
    }
    println!("installing the Rust component {name}");
    let mut add = Command::new("rustup");
    add.args(["component", "add", name]).current_dir(repo::root());
    let added = step::run(reaper, "rustup", &mut add, SHORT, Show::Yes)
        .with_context(|| format!("{name} is missing; install it with the Rust toolchain"))?;
    ensure!(added.success, "{name} is missing, and rustup could not add it");
    Ok(())
}

fn cargo(reaper: &mut Reaper, name: &str, args: &[&str], limit: Duration) -> Result<Count> {
    Ok(Count::one(step::run(reaper, name, &mut repo::cargo(args), limit, Show::Yes)?.success))
}

fn tests(reaper: &mut Reaper, servers: Option<&Servers>, kube: Option<&Kube>) -> Result<Count> {
    let mut command = repo::cargo(&["test", "--workspace", "--no-fail-fast"]);
    if let Some(servers) = servers {
        command
            .args(["--", "--include-ignored"])
            .env("QPC_TEST_POSTGRES", &servers.postgres)
            .env("QPC_TEST_NATS", &servers.nats)
            .env("QPC_TEST_REDIS", &servers.redis);
        match kube {
            Some(kube) => command.env("QPC_TEST_KUBE", &kube.kubeconfig),
            None => command.args(["--skip", KUBE_TESTS]),
        };
    }
    let output = step::run(reaper, "cargo test", &mut command, LONG, Show::Yes)?;
    Ok(Count::of_tests(&output.stdout, output.success))
}

fn demo(reaper: &mut Reaper) -> Result<()> {
    let program = repo::target()?.join("debug").join(format!("qpc{}", env::consts::EXE_SUFFIX));
    let mut command = Command::new(&program);
    command.args(["demo", "--json"]).current_dir(repo::root());
    let output = step::run(reaper, &shown(&program), &mut command, SHORT, Show::No)?;
    ensure!(output.success, "qpc demo --json failed; it printed: {}", output.stdout);
    let found = check_demo(&output.stdout)?;
    println!("qpc demo --json: {found}");
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Judges what the demo printed; returns it in short.
fn check_demo(stdout: &str) -> Result<String> {
    let object: Value = serde_json::from_str(stdout).with_context(|| format!("not one JSON object: {stdout}"))?;
    let number = |name: &str| object[name].as_u64().with_context(|| format!("no count {name} in {object}"));
    let (accepted, delivered) = (number("accepted")?, number("delivered")?);
    let receipts = number("receipts_verified")?;
    let suite = object["suite"].as_str().unwrap_or_default();
    if accepted == 0 || delivered != accepted || receipts != accepted || suite.is_empty() {
        bail!("{accepted} accepted, {delivered} delivered, {receipts} receipts verified, suite {suite:?}");
    }
    Ok(format!("{accepted} accepted, {delivered} delivered, {receipts} receipts verified, {suite}"))
}

#[cfg(test)]
mod tests {
    use super::check_demo;

    #[test]
    fn a_demo_that_lost_or_did_nothing_is_refused() {
        let good = r#"{"accepted":3,"delivered":3,"receipts_verified":3,"suite":"X","messages":[]}"#;
        assert!(check_demo(good).is_ok());
        for (from, to) in [
            (r#""delivered":3"#, r#""delivered":2"#),
            (r#""receipts_verified":3"#, r#""receipts_verified":0"#),
            (r#""suite":"X""#, r#""suite":"""#),
            (r#""accepted":3,"#, ""),
            (":3", ":0"),
        ] {
            assert!(check_demo(&good.replace(from, to)).is_err(), "{to}");
        }
        assert!(check_demo("").is_err());
    }
}
