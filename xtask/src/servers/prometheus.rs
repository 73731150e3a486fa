//! Prometheus, for checks of alerts and dashboards: it asks given processes every second.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Start, install, launch, ports};
use crate::{process::Signal, reaper::Reaper};

/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const MAX_ANSWER: u64 = 64 << 20;

/// Path of one of its programs, installed if need be; none where that cannot be done.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    install::optional(name, "prometheus")
}

/// One that runs.
pub(crate) struct Prometheus {
    port: u16,
}

impl Prometheus {
    /// Starts it in `folder` over `targets`, pairs of job and port, with the alerts of `rules`.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        rules: &Path,
        targets: &[(String, u16)],
        reaper: &mut Reaper,
    ) -> Result<Self> {
        let config = folder.join("prometheus.yaml");
        let mut text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [{:?}]\n\
             scrape_configs:\n",
            rules.display().to_string(),
        );
        let mut jobs: Vec<&str> = targets.iter().map(|(job, _)| job.as_str()).collect();
        jobs.dedup();
        for job in jobs {
            let of_it = targets.iter().filter(|(other, _)| other == job).map(|(_, port)| format!("'127.0.0.1:{port}'"));
            let addresses = of_it.collect::<Vec<_>>().join(", ");
            writeln!(text, "  - {{job_name: {job}, static_configs: [{{targets: [{addresses}]}}]}}")?;
        }
        fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        let command = |port: u16| {
            let mut command = Command::new(program);
            command.arg(format!("--config.file={}", config.display()));
            command.arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command.args(["--enable-feature=exemplar-storage", "--log.level=warn"]).current_dir(folder);
            Ok(command)
        };
        let port = launch(
            &Start {
                name: "prometheus",
                log: folder.join("prometheus.log"),
                signal: Signal::Term,
                command: &command,
                ready: &|port| {
                    let question = b"GET /-/ready HTTP/1.0\r\n\r\n";
                    ports::ask(port, question).is_some_and(|answer| answer.contains(" 200 "))
                },
            },
            reaper,
            &mut Vec::new(),
        )?;
        Ok(Self { port })
    }

    /// `data` of what its API answers.
    pub(crate) fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let mut query = String::new();
        for (name, value) in parameters {
            let separator = if query.is_empty() { '?' } else { '&' };
            write!(query, "{separator}{name}={}", encode(value))?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN).context("Prometheus")?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        // Of this version, answers come in one piece.
        stream.write_all(format!("GET /api/v1/{path}{query} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer).context("answer of Prometheus")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer of Prometheus")?;
        let mut body: Value = serde_json::from_str(body).with_context(|| format!("not JSON: {body}"))?;
        ensure!(body["status"] == "success", "{path}{query}: {}", body["error"]);
        match body.get_mut("data") {
            Some(data) => Ok(data.take()),
            None => bail!("{path}: no data"),
        }
    }
}

/// A value of a query.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}
