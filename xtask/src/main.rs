//! Chores of the repository: `cargo xtask --help`.
//!
//! - [`test`]: everything a change must pass, against servers of its own;
//! - [`tidy`]: the rules of the architecture that the compiler does not know;
//! - [`cluster`], [`bench`]: the separate-processes shape on this machine;
//! - [`chart`]: the Helm chart, rendered and judged without a cluster;
//! - [`deploy`]: ways to run it beside the chart, judged without cluster, engine or cloud;
//! - [`sim`]: the installation in virtual time, under faults;
//! - [`images`]: static binaries and the images of the services;
//! - [`kube`]: a Kubernetes API server with its etcd on this machine;
//! - [`docs`]: reference pages and dashboards made from the source;
//! - [`observe`]: alerts and dashboards against what a cluster says of itself;
//! - [`servers`], [`process`], [`reaper`]: Postgres, NATS and Redis started, and everything stopped again;
//! - [`tools`]: programs that are built from Go modules or taken from PyPI.
//!
//! Linux only: processes are told apart through /proc.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a terminal program")]
#![allow(clippy::disallowed_methods, reason = "no simulation runs here, so the clock and the environment are free")]

mod bench;
mod chart;
mod cluster;
mod deploy;
mod docs;
mod folder;
mod images;
mod kube;
mod methods;
mod metrics;
mod observe;
mod performance;
mod process;
mod reaper;
mod repo;
mod report;
mod servers;
mod sim;
mod step;
mod test;
mod tidy;
mod tools;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the quicprochat repository")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, rules, all tests and the demo; installs and starts the servers that the tests need
    Test {
        /// Only what needs no server
        #[arg(long)]
        quick: bool,
    },
    /// The rules of the architecture that the compiler does not know
    Tidy,
    /// Gateways and services as separate processes on this machine
    Cluster {
        #[command(subcommand)]
        action: Action,
        /// Where the cluster lives [default: .cluster of the repository]
        #[arg(long, global = true)]
        dir: Option<PathBuf>,
    },
    /// The Helm chart
    Chart {
        #[command(subcommand)]
        action: Chart,
    },
    /// Tiltfile, kustomizations, Terraform and compose file, without a cluster, a cloud or an engine
    Deploy,
    /// A Kubernetes API server with its etcd on this machine, without nodes
    Kube {
        #[command(subcommand)]
        action: Kube,
        /// Where it lives [default: .kube-test of the repository]
        #[arg(long, global = true)]
        dir: Option<PathBuf>,
    },
    /// Speed of both shapes beside the ceilings they are judged by
    Bench {
        #[command(subcommand)]
        what: Option<Bench>,
        /// A short run, to see that it works
        #[arg(long, global = true)]
        quick: bool,
        /// Writes the rows to this file
        #[arg(long, global = true)]
        json: Option<PathBuf>,
    },
    /// Whole installations with their clients in virtual time, where a seed decides who does what and what goes wrong
    Sim(sim::Options),
    /// Static binaries of the services with their SBOMs, and an image of each by buildah
    Images(images::Options),
    /// Alerts by their unit tests, dashboards against the metrics of a cluster over which people talk
    Observe {
        /// Only the alerts, which need no cluster
        #[arg(long)]
        quick: bool,
    },
    /// Makes the reference pages and the dashboards, which derive from the source
    Docs {
        /// Only says whether they are up to date
        #[arg(long)]
        check: bool,
        /// Writes the page of figures from the JSON of `cargo xtask bench`; what is not given stays as it is there
        #[arg(long, value_name = "FILE", conflicts_with = "check")]
        performance: Option<PathBuf>,
        /// The same of its part on groups, from the JSON of `cargo xtask bench groups`
        #[arg(long, value_name = "FILE", conflicts_with = "check")]
        groups: Option<PathBuf>,
        /// The same of its part on traces, from the JSON of `cargo xtask bench traces`
        #[arg(long, value_name = "FILE", conflicts_with = "check")]
        traces: Option<PathBuf>,
    },
    /// Stops what it is told about once its standard input ends
    #[command(hide = true)]
    Reap,
}

#[derive(Subcommand)]
enum Chart {
    /// Lint, examples, refusals, their properties, golden renders, schemas of Kubernetes, checkov; builds helm once
    Check {
        /// What the examples make now is what they should make
        #[arg(long)]
        bless: bool,
    },
    /// Builds and installs the programs that its checks need, which are kept in the target folder
    Tools,
}

#[derive(Subcommand)]
enum Bench {
    /// Groups of up to 2,000 devices beside bare openmls: bytes and time of each step; starts no servers
    Groups,
    /// Servers that trace nothing, and all or a part of their calls; starts no others
    Traces,
}

#[derive(Subcommand)]
enum Kube {
    /// Builds it, the first time, and starts it
    Up,
    /// Stops it and removes its data
    Down,
    /// Says where it is, and whether it runs
    Status,
}

#[derive(Subcommand)]
enum Action {
    /// Starts Postgres, NATS, Redis, two gateways, two of each service and of the admin API
    Up {
        /// Unoptimised binaries, which build faster
        #[arg(long)]
        dev: bool,
    },
    /// Stops them and removes their data
    Down {
        /// Leaves the data for the next start
        #[arg(long)]
        keep_data: bool,
    },
    /// Says what runs, where, and whether it is ready
    Status {
        /// One JSON object on stdout
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Test { quick } => test::run(quick),
        Task::Tidy => tidy::run(),
        Task::Cluster { action, dir } => cluster::run(&action, dir),
        Task::Chart { action: Chart::Check { bless } } => chart::run(bless),
        Task::Chart { action: Chart::Tools } => chart::tools(),
        Task::Deploy => deploy::run(),
        Task::Kube { action, dir } => kube::run(&action, dir),
        Task::Bench { what: None, quick, json } => bench::run(quick, json),
        Task::Bench { what: Some(Bench::Groups), quick, json } => bench::groups(quick, json),
        Task::Bench { what: Some(Bench::Traces), quick, json } => bench::traces(quick, json),
        Task::Observe { quick } => observe::run(quick),
        Task::Sim(options) => sim::run(&options),
        Task::Images(options) => images::run(&options),
        Task::Docs { check, performance: None, groups: None, traces: None } => docs::run(check),
        Task::Docs { performance, groups, traces, .. } => {
            performance::write([performance.as_deref(), groups.as_deref(), traces.as_deref()]).map(|()| true)
        }
        Task::Reap => reaper::reap(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
