//! The whole server in a folder: made on first start, found again on the second, private.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use qpc_chassis::{config::Process, rpc};
use qpc_server::{Embedded, Options};
use qpc_wire::{
    Code, Method, bus,
    methods::{BlobStat, Peek, ServerInfo, UploadHybridKey},
};

const GRACE: Duration = Duration::from_secs(10);

fn process() -> Process {
    Process { drain_seconds: 10, ..Process::default() }
}

fn options(data: &Path) -> Options {
    Options { listen: ([127, 0, 0, 1], 0).into(), data: data.to_owned(), ..Options::default() }
}

async fn start(data: &Path) -> Embedded {
    qpc_server::start(options(data), &process()).await.unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_folder_is_made_once_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = start(&data).await;
    assert_ne!(first.local_addr().port(), 0);
    assert_eq!(first.certificate, data.join("cert.pem"));
    let certificate = first.gateway.certificate_der.clone();
    assert!(first.shutdown(GRACE).await);
    assert_eq!([mode(&data), mode(&data.join("secret")), mode(&data.join("key.pem"))], [0o700, 0o600, 0o600]);

    let second = start(&data).await;
    assert_eq!(second.gateway.certificate_der, certificate);
    assert!(second.shutdown(GRACE).await);
}

/// What a process shows is what the page says, and the other way round.
#[tokio::test]
async fn the_page_of_metrics_has_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    server.deps.metrics.call("gateway", "Ping", Code::Ok, Duration::from_millis(1), None);
    let figures = server.deps.metrics.render();
    assert!(server.shutdown(GRACE).await);
    let page = include_str!("../../../docs/reference/metrics.md");
    let mut shown: Vec<String> = Vec::new();
    for line in figures.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(page.contains(&format!("| `{name}{suffix}` | {kind} |")), "{line} is not on the page");
        shown.push(format!("{name}{suffix}"));
    }
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `qpc_")?.split_once('`'));
    // The operator is a process of its own.
    let rows = rows.filter(|(name, _)| !name.starts_with("operator_"));
    let missing: Vec<_> = rows.map(|(name, _)| format!("qpc_{name}")).filter(|name| !shown.contains(name)).collect();
    // Nobody is refused by a bus within the process. A family shows nothing before somebody was refused, or before the page
    // was asked for over HTTP.
    assert_eq!(missing, ["qpc_bus_denied_total", "qpc_limit_refusals_total", "qpc_ready"]);
}

#[tokio::test]
async fn every_service_answers_and_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let checks = server.deps.health.run().await;
    assert!(checks.len() >= 5 && checks.iter().all(|(_, ok)| *ok), "{checks:?}");
    for info in [ServerInfo::INFO, UploadHybridKey::INFO, Peek::INFO, BlobStat::INFO] {
        let call = bus::Call {
            method: info.id.into(),
            correlation_id: vec![0; 12].into(),
            deadline_ms: u64::MAX,
            ..Default::default()
        };
        // Even a refusal is an answer.
        rpc::forward(&*server.deps.bus, info.owner.name(), call, GRACE).await.unwrap();
    }
    assert!(server.shutdown(GRACE).await);
}

#[tokio::test]
async fn production_without_a_certificate_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let production = Options { production: true, ..options(&data) };
    let error = qpc_server::start(production, &process()).await.err().unwrap().to_string();
    assert!(error.contains("--tls-cert"), "{error}");
    assert!(!data.exists());
}
