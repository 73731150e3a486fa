//! Settings of the process.

use qpc_chassis::config::Process;

/// See the module.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Namespace that is looked after; that of the pod when left out
    #[arg(long, env = "QPC_NAMESPACE")]
    pub namespace: Option<String>,
    /// Name among the replicas, of which one works at a time; made at random when left out
    #[arg(long, env = "QPC_OPERATOR_IDENTITY")]
    pub identity: Option<String>,
    #[command(flatten)]
    pub process: Process,
}
