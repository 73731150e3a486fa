//! The command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "prints what is asked for")]

use std::{fs, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{Parser, Subcommand};
use qpc_chassis::{Runtime, health, metrics::Metrics, probe, run};

use crate::{Config, Deps, OperatorError, crd, rules, start};

const NAME: &str = "qpc-operator";

/// Looks after a quicprochat installation on Kubernetes
#[derive(Parser)]
#[command(name = NAME, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    print: Option<Print>,
    #[command(flatten)]
    config: Config,
    /// Asks the operator with the same --observe whether it is ready, and ends: with 0 if it is
    #[arg(long)]
    probe: bool,
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
        None if cli.probe => probe::run(cli.config.process.observe),
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

/// Runs until SIGTERM or SIGINT.
fn run(config: Config) -> ExitCode {
    let process = config.process.clone();
    run::on_threads(NAME, &process, async {
        let runtime = Runtime::system();
        if let Err(error) = begin(&runtime, config).await {
            tracing::error!(%error, "{NAME} cannot start");
            return ExitCode::FAILURE;
        }
        tracing::info!("{NAME} is running");
        run::wait_for_signal().await;
        let drained = runtime.drain(Duration::from_secs(process.drain_seconds)).await;
        tracing::info!(drained, "{NAME} has stopped");
        if drained { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

async fn begin(runtime: &Runtime, config: Config) -> Result<(), OperatorError> {
    let settings = kube::Config::infer().await?;
    let namespace = config.namespace.unwrap_or_else(|| settings.default_namespace.clone());
    let identity = config.identity.unwrap_or_else(|| format!("{NAME}-{}", hex::encode(runtime.random::<4>())));
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
