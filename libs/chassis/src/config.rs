//! Settings that every server process has. Each is a flag and an environment variable; defaults fit one machine.

use std::{net::SocketAddr, path::PathBuf};

use crate::telemetry::LogFormat;

/// What a process of the cluster runs on.
#[derive(Debug, Clone, clap::Args)]
pub struct Infra {
    /// Bus: a NATS URL
    #[arg(long, env = "QPC_BUS", default_value = "nats://127.0.0.1:4222")]
    pub bus: String,
    /// Database: postgres://USER@HOST/NAME
    #[arg(long, env = "QPC_DB", default_value = "postgres://qpc@127.0.0.1/qpc", hide_env_values = true)]
    pub db: String,
    /// Connections to Postgres
    #[arg(long, env = "QPC_DB_POOL", default_value_t = 8)]
    pub db_pool: u32,
    /// Cache: redis://HOST:PORT/DB
    #[arg(long, env = "QPC_CACHE", default_value = "redis://127.0.0.1:6379/0", hide_env_values = true)]
    pub cache: String,
    /// File with the secret shared by all replicas: 64 hexadecimal digits
    #[arg(long, env = "QPC_SECRET_FILE", default_value = "/etc/quicprochat/secret")]
    pub secret_file: PathBuf,
    #[command(flatten)]
    pub process: Process,
}

/// What every process has, in the cluster and embedded.
#[derive(Debug, Clone, clap::Args)]
pub struct Process {
    /// Address of /metrics, /healthz and /readyz; none when left out
    #[arg(long, env = "QPC_OBSERVE")]
    pub observe: Option<SocketAddr>,
    /// What to log, e.g. info or warn,qpc_delivery=debug
    #[arg(long, env = "QPC_LOG", default_value = "info")]
    pub log: String,
    /// Form of log lines
    #[arg(long, env = "QPC_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Seconds that work in progress gets on SIGTERM
    #[arg(long, env = "QPC_DRAIN_SECONDS", default_value_t = 30)]
    pub drain_seconds: u64,
}
