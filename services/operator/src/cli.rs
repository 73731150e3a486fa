//! The command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "prints what is asked for")]

use std::{fs, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{Parser, Subcommand};
use qpc_chassis::{Runtime, health, metrics::Metrics, telemetry};
use tokio::signal::unix::{SignalKind, signal};

use crate::{Config, Deps, OperatorError, crd, rules, start};

/// Looks after a quicprochat installation on Kubernetes
#[derive(Parser)]
#[command(name = "qpc-operator", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    print: Option<Print>,
    #[command(flatten)]
    config: Config,
}

#[derive(Subcommand)]
enum Print {
    /// Prints the definitions of Realm and FederationPeer as YAML
    Crds {
        /// Writes each to a file of this folder instead
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Prints what the operator must be allowed as YAML, a list of rules for a Role
    Rules {
        /// Release that it looks after
        #[arg(long, default_value = rules::RELEASE_IN_CHART)]
        release: String,
    },
}

/// `main` of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.print {
        None => run(cli.config),
        Some(print) => match show(&print) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn show(print: &Print) -> Result<(), Box<dyn std::error::Error>> {
    match print {
        Print::Crds { folder: None } => {
            for (_, text) in crd::files()? {
                println!("---\n{}", text.trim_end());
            }
        }
        Print::Crds { folder: Some(folder) } => {
            fs::create_dir_all(folder)?;
            for (name, text) in crd::files()? {
                fs::write(folder.join(name), text)?;
            }
        }
        Print::Rules { release } => print!("{}", rules::yaml(release)?),
    }
    Ok(())
}

/// Runs until SIGTERM or SIGINT. As `qpc_chassis::run::main`, without what the operator lacks.
fn run(config: Config) -> ExitCode {
    let threads = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(threads) => threads,
        Err(error) => {
            eprintln!("qpc-operator cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let grace = Duration::from_secs(config.process.drain_seconds);
    threads.block_on(async {
        let telemetry = match telemetry::init("qpc-operator", &config.process) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                eprintln!("qpc-operator cannot start: {error}");
                return ExitCode::FAILURE;
            }
        };
        let runtime = Runtime::system();
        if let Err(error) = begin(&runtime, config).await {
            tracing::error!(%error, "qpc-operator cannot start");
            return ExitCode::FAILURE;
        }
        tracing::info!("qpc-operator is running");
        wait_for_signal().await;
        let drained = runtime.drain(grace).await;
        tracing::info!(drained, "qpc-operator has stopped");
        telemetry.stop().await;
        if drained { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

async fn begin(runtime: &Runtime, config: Config) -> Result<(), OperatorError> {
    let settings = kube::Config::infer().await?;
    let namespace = config.namespace.unwrap_or_else(|| settings.default_namespace.clone());
    let identity = config.identity.unwrap_or_else(|| format!("qpc-operator-{}", hex::encode(runtime.random::<4>())));
    let client = kube::Client::try_from(settings)?;
    let (metrics, health) = (Arc::<Metrics>::default(), Arc::default());
    let deps = Deps { runtime: runtime.clone(), client, metrics: Arc::clone(&metrics), health: Arc::clone(&health) };
    start(deps, &namespace, &identity);
    if let Some(address) = config.process.observe {
        let bound = health::serve(address, runtime, metrics, health).await.map_err(OperatorError::Observe)?;
        tracing::info!(address = %bound, "metrics and health");
    }
    tracing::info!(namespace, identity, "candidate");
    Ok(())
}

async fn wait_for_signal() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no signals, stopping"),
    }
}
