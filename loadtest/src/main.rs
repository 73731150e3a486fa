//! See README.md.

mod blobs;
mod echo;
mod groups;
mod idle;
mod messages;
mod raw;
mod report;
mod traces;
mod user;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use qpc_sdk::transport::{Connector, Trust};

use messages::Manner;
use report::Report;
use user::World;

/// Measures a running cluster, if there is one, and an embedded server that it starts itself. Run it through `cargo xtask bench`.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Database of the cluster
    #[arg(long)]
    postgres: Option<String>,
    /// HOST:PORT of a gateway of the cluster; once for each
    #[arg(long = "gateway")]
    gateways: Vec<String>,
    /// Certificate of the gateways
    #[arg(long)]
    ca_cert: Option<PathBuf>,
    /// Process of the first gateway
    #[arg(long)]
    gateway_pid: Option<u32>,
    /// The qpc-server binary
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// Write the rows to this file
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// Shorter phases and fewer idle connections
    #[arg(long, global = true)]
    quick: bool,
}

#[derive(Subcommand)]
enum Command {
    /// The ceiling of a gateway call: echoes frames, prints its address and the file of its certificate
    #[command(hide = true)]
    EchoServer {
        /// Where to put the certificate
        #[arg(long)]
        cert: PathBuf,
    },
    /// The ceiling of files: takes and gives bytes, prints its address
    #[command(hide = true)]
    CopyServer {
        /// Where to put the certificate
        #[arg(long)]
        cert: PathBuf,
    },
    /// Groups of up to 2,000 leaves beside bare openmls; needs no cluster
    Groups {
        /// Where stores and databases are put while it runs
        #[arg(long)]
        folder: PathBuf,
        /// Length of a credential of bare openmls; ours are device certificates of 137 bytes
        #[arg(long, default_value_t = 137, value_name = "BYTES")]
        credential: usize,
    },
    /// What traces cost; needs no cluster
    Traces {
        /// The qpc-server binary
        #[arg(long)]
        server_bin: PathBuf,
    },
}

/// How long and how much.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    phase: Duration,
    idle_connections: usize,
    /// Messages encrypted in advance for each sender.
    prepared: usize,
    /// Files of which the median counts.
    files: usize,
}

/// Clients that send at the same time where a rate is measured.
pub(crate) const SENDERS: usize = 64;
/// Pairs that talk where a latency is measured.
pub(crate) const PAIRS: usize = 16;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    match &args.command {
        Some(Command::EchoServer { cert }) => return echo::serve(cert).await,
        Some(Command::CopyServer { cert }) => return blobs::serve(cert).await,
        Some(Command::Groups { folder, credential }) => {
            return groups::run(folder, args.quick, *credential, args.json.as_deref()).await;
        }
        Some(Command::Traces { server_bin }) => {
            return traces::run(server_bin, scale(args.quick), args.json.as_deref()).await;
        }
        None => {}
    }
    let scale = scale(args.quick);
    let mut report = Report::default();
    if !args.gateways.is_empty() {
        cluster(&args, scale, &mut report).await?;
    }
    embedded(&args, scale, &mut report).await?;
    report.print();
    if let Some(file) = &args.json {
        report.write(file)?;
    }
    Ok(())
}

fn scale(quick: bool) -> Scale {
    if quick {
        Scale { phase: Duration::from_secs(2), idle_connections: 500, prepared: 700, files: 3 }
    } else {
        Scale { phase: Duration::from_secs(6), idle_connections: 2000, prepared: 1900, files: 7 }
    }
}

async fn cluster(args: &Args, scale: Scale, report: &mut Report) -> Result<()> {
    let trust = Trust::PemFile(args.ca_cert.clone().context("--ca-cert is missing")?);
    let connectors = connectors(&args.gateways, &trust)?;
    let first = connectors.first().context("--gateway is missing")?;

    report.step("quinn echo ceiling");
    let ceiling = echo::ceiling(scale).await?;
    report.step("gateway ping");
    let ping = echo::ping_rate(first, scale).await?;
    report.rate("ping", ping, Some(ceiling), Some(0.5));

    if let Some(pid) = args.gateway_pid {
        report.step("idle connections");
        report.at_most("idle connection", "KiB", idle::kib_per_connection(first, pid, scale).await?, 64.0);
    }

    let mut world = World::new(connectors);
    report.step("raw Postgres inserts");
    let url = args.postgres.as_ref().context("--postgres is missing")?;
    let ceiling = raw::postgres(url, scale).await?;
    report.step("cluster: accepted messages");
    let accepted = messages::accepted(&mut world, scale, Manner::Named).await?;
    report.rate("cluster accepted", accepted, Some(ceiling), Some(0.5));
    report.step("cluster: latency");
    messages::latencies(&mut world, scale).await?.report("cluster", report);
    report.step("files");
    report.figure("encrypt and hash a file".into(), "MB/s", blobs::client_cost()?);
    let (rates, ceiling) = blobs::rates(&mut world, scale.files).await?;
    rates.report("cluster", ceiling, report);
    Ok(())
}

async fn embedded(args: &Args, scale: Scale, report: &mut Report) -> Result<()> {
    let Some(binary) = &args.server_bin else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let server = user::EmbeddedServer::start(binary, folder.path(), &[]).await?;
    let connectors = connectors(std::slice::from_ref(&server.address), &Trust::PemFile(server.cert.clone()))?;
    let mut world = World::new(connectors);
    report.step("raw SQLite inserts");
    let ceiling = raw::sqlite(scale).await?;
    report.step("embedded: accepted messages");
    let accepted = messages::accepted(&mut world, scale, Manner::Named).await?;
    report.rate("embedded accepted", accepted, Some(ceiling), None);
    for (name, manner) in [("by delivery key", Manner::Key), ("by token", Manner::Token)] {
        report.step(&format!("embedded: accepted messages, sealed {name}"));
        let sealed = messages::accepted(&mut world, scale, manner).await?;
        report.rate(&format!("embedded accepted, sealed {name}"), sealed, Some(accepted), None);
    }
    report.step("embedded: latency");
    messages::latencies(&mut world, scale).await?.report("embedded", report);
    report.step("embedded: files");
    let (rates, ceiling) = blobs::rates(&mut world, scale.files).await?;
    rates.report("embedded", ceiling, report);
    server.stop().await
}

fn connectors(addresses: &[String], trust: &Trust) -> Result<Vec<Connector>> {
    addresses
        .iter()
        .map(|address| Ok(Connector::new(address, Some("localhost"), trust, qpc_sdk::Runtime::system())?))
        .collect()
}
