//! What traces cost: the same messages over servers of which one traces nothing, and others a part of the calls.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use qpc_sdk::transport::Trust;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::{
    Scale, connectors,
    messages::{self, Manner},
    report::Report,
    user::{EmbeddedServer, World, task},
};

/// Parts of the calls; without any, nothing is sent anywhere.
const RATIOS: [Option<&str>; 4] = [None, Some("0"), Some("0.01"), Some("1")];
/// Each is measured so often, in turn; the median counts.
const ROUNDS: usize = 5;

pub(crate) async fn run(binary: &Path, scale: Scale, json: Option<&Path>) -> Result<()> {
    let (mut report, collector) = (Report::default(), Collector::start()?);
    let folder = tempfile::tempdir()?;
    let mut servers = Vec::new();
    for ratio in RATIOS {
        let folder = folder.path().join(ratio.unwrap_or("none"));
        let url = format!("http://{}", collector.address);
        let flags = ratio.map(|ratio| ["--otlp", &url, "--trace-ratio", ratio]);
        let server = EmbeddedServer::start(binary, &folder, flags.as_ref().map_or(&[], |flags| flags)).await?;
        let trust = Trust::PemFile(server.cert.clone());
        let world = World::new(connectors(std::slice::from_ref(&server.address), &trust)?);
        servers.push((server, world, Vec::new()));
    }
    for round in 1..=ROUNDS {
        for ((_, world, rates), ratio) in servers.iter_mut().zip(RATIOS) {
            report.step(&format!("round {round} of {ROUNDS}, ratio {}", ratio.unwrap_or("none")));
            rates.push(messages::accepted(world, scale, Manner::Named).await?);
        }
    }
    let mut without = None;
    for ((server, _, mut rates), ratio) in servers.into_iter().zip(RATIOS) {
        rates.sort_by(f64::total_cmp);
        let median = rates.get(ROUNDS / 2).copied().context("no round")?;
        let name = ratio.map_or("no traces".to_owned(), |ratio| format!("traces, ratio {ratio}"));
        report.rate(&name, median, without, None);
        without = without.or(Some(median));
        server.stop().await?;
    }
    let spans = collector.spans.load(Ordering::Relaxed);
    ensure!(spans > 0, "no span has arrived");
    report.figure("spans that arrived".to_owned(), "", spans as f64);
    report.print();
    json.map_or(Ok(()), |file| report.write(file))
}

/// Takes spans and counts them.
struct Collector {
    address: SocketAddr,
    spans: Arc<AtomicU64>,
}

struct Count(Arc<AtomicU64>);

#[tonic::async_trait]
impl TraceService for Count {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans: usize = resources.flat_map(|resource| resource.scope_spans).map(|scope| scope.spans.len()).sum();
        self.0.fetch_add(spans as u64, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn start() -> Result<Self> {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?;
        let (address, spans) = (incoming.local_addr()?, Arc::new(AtomicU64::new(0)));
        let service = TraceServiceServer::new(Count(spans.clone()));
        // Ends with the program.
        drop(task(Server::builder().add_service(service).serve_with_incoming(incoming)));
        Ok(Self { address, spans })
    }
}
