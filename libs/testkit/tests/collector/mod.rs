//! A collector of traces, and a process that sends everything to it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, mpsc},
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use qpc_trace::export::{ExportError, Exporter, Settings};
use tokio::runtime::Handle;
use tonic::{
    Request, Response, Status,
    transport::{Server, ServerTlsConfig, server::TcpIncoming},
};
use tracing_subscriber::{Layer as _, filter::EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::common::Log;

/// What has arrived.
#[derive(Debug, Clone, Default)]
pub struct Collected(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collected {
    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.0.lock().unwrap().clone()
    }

    pub fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collected {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector, and what sends to it.
pub struct Collector {
    pub address: SocketAddr,
    pub collected: Collected,
    handle: Handle,
}

impl Collector {
    /// Its thread lives longer than the runtime of any one test.
    pub fn start(tls: Option<ServerTlsConfig>) -> Self {
        let (collected, (sender, started)) = (Collected::default(), mpsc::channel());
        let service = TraceServiceServer::new(collected.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async move {
                let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                sender.send((incoming.local_addr().unwrap(), Handle::current())).unwrap();
                let mut server = Server::builder();
                if let Some(tls) = tls {
                    server = server.tls_config(tls).unwrap();
                }
                server.add_service(service).serve_with_incoming(incoming).await.unwrap();
            });
        });
        let (address, handle) = started.recv().unwrap();
        Self { address, collected, handle }
    }

    /// Every call is sampled.
    pub fn exporter(&self, endpoint: String, ca: Option<PathBuf>) -> Result<Exporter, ExportError> {
        let _runtime = self.handle.enter();
        Exporter::start(Settings { endpoint, ca, name: "qpc-test", ratio: 1.0, key: [7; 16] })
    }
}

/// The collector of the process, what sends to it, and what this process logs.
pub struct Traced {
    collected: Collected,
    exporter: Exporter,
    pub log: Log,
}

/// One for the process: the first caller decides what is logged.
pub fn traced(filter: &str) -> &'static Traced {
    static TRACED: OnceLock<Traced> = OnceLock::new();
    TRACED.get_or_init(|| {
        let (collector, log) = (Collector::start(None), Log::default());
        let exporter = collector.exporter(format!("http://{}", collector.address), None).unwrap();
        tracing_subscriber::registry()
            .with(exporter.layer())
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .with_writer(log.clone())
                    .with_filter(EnvFilter::new(format!("{filter},qpc::trace=off"))),
            )
            .init();
        Traced { collected: collector.collected, exporter, log }
    })
}

impl Traced {
    /// Everything that was recorded so far, as it was sent.
    pub fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.exporter.flush();
        self.collected.requests()
    }

    /// The spans of it.
    pub fn spans(&self) -> Vec<Span> {
        self.exporter.flush();
        self.collected.spans()
    }

    /// Traces whose first span, of a client or of a gateway, is called `method`, once one is `whole`.
    pub async fn traces(&self, method: &str, whole: impl Fn(&Tree) -> bool) -> Vec<Tree> {
        for _ in 0..600 {
            let spans = tokio::task::block_in_place(|| self.spans());
            let roots: Vec<_> =
                spans.iter().filter(|span| span.parent_span_id.is_empty() && span.name == method).collect();
            let trees: Vec<Tree> = roots.iter().map(|root| Tree::of((*root).clone(), &spans)).collect();
            if trees.iter().any(&whole) {
                return trees;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no whole trace of {method}");
    }
}

/// A span and those below it, in the order in which they began.
#[derive(Debug, Clone)]
pub struct Tree {
    pub span: Span,
    pub below: Vec<Tree>,
}

impl Tree {
    fn of(span: Span, all: &[Span]) -> Self {
        let mut below: Vec<Span> = all
            .iter()
            .filter(|other| other.parent_span_id == span.span_id && other.trace_id == span.trace_id)
            .cloned()
            .collect();
        below.sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
        Self { below: below.into_iter().map(|child| Self::of(child, all)).collect(), span }
    }

    /// Attributes.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let value = |value: Option<Value>| match value {
            Some(Value::StringValue(text)) => text,
            other => format!("{other:?}"),
        };
        let pairs = self.span.attributes.iter().cloned();
        pairs.map(|pair| (pair.key, value(pair.value.and_then(|any| any.value)))).collect()
    }

    /// `service/name`, or the name alone.
    pub fn name(&self) -> String {
        match self.attributes().get("service") {
            Some(service) => format!("{service}/{}", self.span.name),
            None => self.span.name.clone(),
        }
    }

    /// Every span of it.
    pub fn all(&self) -> Vec<&Tree> {
        let mut all = vec![self];
        self.below.iter().for_each(|child| all.extend(child.all()));
        all
    }

    /// Names of the spans down to the first that is called `last`.
    pub fn path(&self, last: &str) -> Option<Vec<String>> {
        if self.name() == last {
            return Some(vec![self.name()]);
        }
        self.below.iter().find_map(|child| child.path(last)).map(|mut path| {
            path.insert(0, self.name());
            path
        })
    }
}
