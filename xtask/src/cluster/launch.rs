//! Starting a cluster.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{State, state::Process};
use crate::{
    folder,
    process::{self, Rank, Signal, wait_until},
    reaper::Reaper,
    repo,
    servers::{self, Servers, ports},
    step::{self, Show},
};

/// Services of the cluster beside the gateways and the admin API, each run in the folder of the cluster (bodies of blobs lie below it), with
/// flags: every client of a cluster on one machine comes from one address,
/// and a load generator does what thousands of people do. Sending is never refused, and counted as anywhere.
const SERVICES: [(&str, &[&str]); 4] = [
    (
        "auth",
        &["--registrations-per-address", "off", "--login-failures-per-address", "off", "--links-per-address", "off"],
    ),
    ("keypackage", &["--key-package-fetches", "off"]),
    ("delivery", &["--sends", "64:1000000/1s", "--inbound-bytes", "1G:1G/1s", "--groups-founded", "off"]),
    ("blob", &[]),
];
/// Processes of each.
const REPLICAS: usize = 2;
/// Time that a process gets to be ready; the first of a service also brings its schema up to date.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Time that a build gets on a slow machine.
const BUILD_WITHIN: Duration = Duration::from_secs(7200);

/// How the binaries are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Release,
    Dev,
}

impl Profile {
    /// Path of a binary.
    pub(crate) fn binary(self, name: &str) -> Result<PathBuf> {
        let folder = match self {
            Self::Release => "release",
            Self::Dev => "debug",
        };
        let path = repo::target()?.join(folder).join(name);
        ensure!(path.is_file(), "{} was not built", path.display());
        Ok(path)
    }
}

/// Builds all binaries.
pub(crate) fn build(reaper: &mut Reaper, profile: Profile) -> Result<()> {
    // The whole workspace at once: one choice of features, so that no dependency is compiled twice.
    let mut args = vec!["build", "--workspace", "--bins"];
    if profile == Profile::Release {
        args.push("--release");
    }
    let output = step::run(reaper, "cargo build", &mut repo::cargo(&args), BUILD_WITHIN, Show::Yes)?;
    ensure!(output.success, "it does not compile");
    Ok(())
}

/// Starts servers, services and gateways in `folder`, which is ours, and waits until all are ready.
pub(crate) fn start(folder: &Path, profile: Profile, reaper: &mut Reaper) -> Result<State> {
    let postgres_folder = servers::postgres_folder(folder)?;
    println!("starting Postgres, NATS and Redis");
    let servers = servers::start(folder, &postgres_folder, reaper)?;
    let mut launcher = Launcher::new(folder, profile, &servers, reaper)?;

    println!("starting services");
    let mut started = Vec::new();
    for (service, args) in SERVICES {
        for replica in 1..=REPLICAS {
            let address = format!("qpc.rpc.{service}");
            started.push(launcher.spawn(service, replica, Rank::Service, address, args)?);
        }
    }
    for child in &mut started {
        launcher.wait(child)?;
    }

    println!("starting gateways");
    let data = folder.join("gateway");
    let mut gateways = Vec::new();
    for replica in 1..=REPLICAS {
        let address = format!("127.0.0.1:{}", ports::udp()?);
        let data = data.display().to_string();
        // Every client of a cluster on one machine comes from one address.
        let args = [
            "--listen",
            &address,
            "--data",
            &data,
            "--drain-grace-ms",
            "2000",
            "--max-connections-per-address",
            "100000",
        ];
        let mut child = launcher.spawn("gateway", replica, Rank::Edge, address.clone(), &args)?;
        // One after the other: the first makes the certificate that the second finds.
        launcher.wait(&mut child)?;
        gateways.push(address);
    }
    let ca_cert = data.join("cert.pem");
    ensure!(ca_cert.is_file(), "the gateways made no {}", ca_cert.display());
    let (admins, admin_folder) = start_admins(&mut launcher)?;
    let processes = launcher.processes;
    let Servers { postgres, nats, redis, .. } = servers;
    Ok(State { gateways, ca_cert, admins, admin_folder, postgres, nats, redis, postgres_folder, processes })
}

/// The admin API; returns where it is served, and the folder of its certificates.
fn start_admins(launcher: &mut Launcher<'_>) -> Result<(Vec<String>, PathBuf)> {
    println!("starting the admin API");
    let folder = launcher.folder.join("admin");
    let data = folder.display().to_string();
    let mut addresses = Vec::new();
    for replica in 1..=REPLICAS {
        let address = format!("127.0.0.1:{}", ports::tcp()?);
        let args = ["--admin-listen", &address, "--admin-data", &data];
        let mut child = launcher.spawn("admin", replica, Rank::Edge, address.clone(), &args)?;
        // As with the gateways, the first makes the certificates.
        launcher.wait(&mut child)?;
        addresses.push(address);
    }
    let certificate = folder.join("admin.pem");
    ensure!(certificate.is_file(), "the admin API made no {}", certificate.display());
    Ok((addresses, folder))
}

struct Launcher<'a> {
    folder: &'a Path,
    profile: Profile,
    /// Flags of every process.
    infra: Vec<String>,
    reaper: &'a mut Reaper,
    processes: Vec<Process>,
}

/// A process that may not be ready yet.
struct Started {
    child: Child,
    name: String,
    observe: u16,
    log: PathBuf,
}

impl<'a> Launcher<'a> {
    fn new(folder: &'a Path, profile: Profile, servers: &Servers, reaper: &'a mut Reaper) -> Result<Self> {
        let secret = folder.join("secret");
        make_secret(&secret)?;
        let flags = [
            ("--bus", servers.nats.clone()),
            ("--db", servers.postgres.clone()),
            ("--cache", servers.redis.clone()),
            ("--secret-file", secret.display().to_string()),
            // Enough for the gateways' grace and what follows it.
            ("--drain-seconds", "12".to_owned()),
        ];
        let infra = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let addresses = [&servers.nats, &servers.redis, &servers.postgres];
        let processes = servers.processes.iter().zip(addresses).map(|(tracked, url)| Process {
            tracked: tracked.clone(),
            log: folder.join(format!("{}.log", tracked.name)),
            address: host_and_port(url),
            observe: None,
        });
        Ok(Self { folder, profile, infra, reaper, processes: processes.collect() })
    }

    fn spawn(&mut self, service: &str, replica: usize, rank: Rank, address: String, args: &[&str]) -> Result<Started> {
        let name = format!("{service}-{replica}");
        let (observe, log) = (ports::tcp()?, self.folder.join(format!("{name}.log")));
        let mut command = Command::new(self.profile.binary(&format!("qpc-{service}"))?);
        command.args(&self.infra).arg("--observe").arg(format!("127.0.0.1:{observe}")).args(args);
        // The log is a file.
        command.current_dir(self.folder).env("NO_COLOR", "1");
        let (child, tracked) = process::spawn(&name, &command, &log, rank, Signal::Term)?;
        self.reaper.stop(&tracked)?;
        self.processes.push(Process { tracked, log: log.clone(), address, observe: Some(observe) });
        Ok(Started { child, name, observe, log })
    }

    fn wait(&self, started: &mut Started) -> Result<()> {
        let (mut ready, mut ended) = (false, false);
        wait_until(READY_WITHIN, || {
            ended = !matches!(started.child.try_wait(), Ok(None));
            ready = !ended && ports::is_ready(started.observe);
            ended || ready
        });
        if !ready {
            let word = if ended { "ended" } else { "is not ready" };
            bail!("{} {word}; the end of {}:\n{}", started.name, started.log.display(), process::tail(&started.log));
        }
        println!("  {} is ready", started.name);
        Ok(())
    }
}

/// The secret that all replicas share; one that was kept is used again.
fn make_secret(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let failed = || format!("write {}", path.display());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(failed)?;
    file.write_all(folder::random_hex(32)?.as_bytes()).with_context(failed)
}

/// HOST:PORT of a URL.
fn host_and_port(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority).to_owned()
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn addresses_are_read_from_urls() {
        assert_eq!(host_and_port("postgres://qpc@localhost:5/qpc?host=/a@b"), "localhost:5");
        assert_eq!(host_and_port("nats://127.0.0.1:4"), "127.0.0.1:4");
    }
}
