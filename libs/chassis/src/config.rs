//! Settings that every server process has. Each is a flag and an environment variable; defaults fit one machine.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{bus, cache, db::Migrate, telemetry::LogFormat};

/// What a process of the cluster runs on.
#[derive(Debug, Clone, clap::Args)]
pub struct Infra {
    #[command(flatten)]
    pub bus: bus::Setting,
    /// Database: postgres://USER@HOST/NAME
    #[arg(long, env = "QPC_DB", default_value = "postgres://qpc@127.0.0.1/qpc", hide_env_values = true)]
    pub db: String,
    /// File with that URL, instead
    #[arg(long, env = "QPC_DB_FILE", value_name = "FILE", conflicts_with = "db")]
    pub db_file: Option<PathBuf>,
    /// Connections to Postgres
    #[arg(long, env = "QPC_DB_POOL", default_value_t = 8)]
    pub db_pool: u32,
    /// What to do about a schema that is older than this program, or a database that was put back from a copy
    #[arg(long, env = "QPC_MIGRATE", value_enum, default_value = "apply")]
    pub migrate: Migrate,
    #[command(flatten)]
    pub cache: cache::Setting,
    /// File with the secret shared by all replicas: 64 hexadecimal digits
    #[arg(long, env = "QPC_SECRET_FILE", default_value = "/etc/quicprochat/secret")]
    pub secret_file: PathBuf,
    #[command(flatten)]
    pub process: Process,
}

impl Infra {
    /// The database setting, see [`crate::db::Db::open`].
    pub fn database(&self) -> Result<String, Unreadable> {
        self.db_file.as_deref().map_or_else(|| Ok(self.db.clone()), read)
    }
}

/// A file that a setting names cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unreadable {
    /// Which file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// What such a file holds, without white space around it.
pub(crate) fn read(path: &Path) -> Result<String, Unreadable> {
    let text = fs::read_to_string(path).map_err(|source| Unreadable { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

/// One call in a hundred.
const TRACE_RATIO: f64 = 0.01;

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "a number from 0 to 1".to_owned())
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
    /// Collector of traces: an OTLP/gRPC URL; none when left out
    #[arg(long, env = "QPC_OTLP", value_name = "URL")]
    pub otlp: Option<String>,
    /// Authority of the collector's certificate, PEM, for an https URL
    #[arg(long, env = "QPC_OTLP_CA", value_name = "FILE", requires = "otlp")]
    pub otlp_ca: Option<PathBuf>,
    /// Part of the calls that is traced, 0 to 1
    #[arg(long, env = "QPC_TRACE_RATIO", default_value_t = TRACE_RATIO, value_parser = ratio)]
    pub trace_ratio: f64,
    /// Seconds that work in progress gets on SIGTERM
    #[arg(long, env = "QPC_DRAIN_SECONDS", default_value_t = 30)]
    pub drain_seconds: u64,
}

impl Default for Process {
    /// Without pages and traces.
    fn default() -> Self {
        Self {
            observe: None,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            otlp: None,
            otlp_ca: None,
            trace_ratio: TRACE_RATIO,
            drain_seconds: 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Infra, Process};

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        process: Process,
    }

    #[derive(clap::Parser)]
    struct Cluster {
        #[command(flatten)]
        infra: Infra,
    }

    #[test]
    fn urls_with_passwords_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "postgres://qpc:secret@db/qpc\n").unwrap();
        let parse = |args: &[&str]| {
            let args = args.iter().map(|arg| arg.replace("FILE", &file.display().to_string()));
            Cluster::try_parse_from(std::iter::once("x".to_owned()).chain(args)).map(|cli| cli.infra)
        };
        assert_eq!(parse(&["--db-file", "FILE"]).unwrap().database().unwrap(), "postgres://qpc:secret@db/qpc");
        assert_eq!(parse(&["--db", "sqlite:x"]).unwrap().database().unwrap(), "sqlite:x");
        let lost = parse(&["--db-file", "FILE.lost"]).unwrap().database().unwrap_err();
        assert!(lost.to_string().contains("url.lost: "), "{lost}");
        for both in [["--db-file", "FILE", "--db", "x"], ["--cache-file", "FILE", "--cache", "x"]] {
            assert!(parse(&both).is_err(), "which of the two counts is not guessed");
        }
    }

    #[test]
    fn a_ratio_is_a_part_of_one() {
        let parse = |ratio| Cli::try_parse_from(["x", "--trace-ratio", ratio]).map(|cli| cli.process.trace_ratio);
        assert_eq!(parse("0.25").unwrap(), 0.25);
        assert_eq!((parse("0").unwrap(), parse("1").unwrap()), (0.0, 1.0));
        for ratio in ["1.1", "-0.1", "NaN", "half", ""] {
            assert!(parse(ratio).is_err(), "{ratio}");
        }
        let plain = Cli::try_parse_from(["x"]).unwrap().process;
        assert_eq!(format!("{plain:?}"), format!("{:?}", Process::default()));
    }
}
