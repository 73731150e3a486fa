//! What a collector learns of a client that was told to send traces there.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]

mod common;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use common::{
    Server,
    shell::{json, run, said},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use prost::Message as _;
use tonic::{
    Request, Response, Status,
    transport::{self, server::TcpIncoming},
};

const TEXT: &str = "a text for bob alone";

#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

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

impl Collected {
    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().unwrap().clone();
        let resources = requests.into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_told_to_sends_its_calls_and_nothing_of_what_is_in_them() {
    let server = Server::start().await;
    for name in ["alice", "bob"] {
        json(&server, name, &["register-user", name], 0).await;
    }
    json(&server, "alice", &["dm", "bob"], 0).await;
    let (collected, incoming) = (Collected::default(), TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap());
    let url = format!("http://{}", incoming.local_addr().unwrap());
    let service = TraceServiceServer::new(collected.clone());
    tokio::spawn(transport::Server::builder().add_service(service).serve_with_incoming(incoming));

    let quiet = run(&server, "alice", &["send", "@bob", "before"]).await;
    assert!(quiet.status.success() && collected.spans().is_empty(), "{}", said(&quiet));
    let sent = run(&server, "alice", &["send", "@bob", TEXT, "--otlp", &url, "-vv"]).await;
    assert!(sent.status.success() && !said(&sent).contains("qpc::trace"), "{}", said(&sent));
    let spans = collected.spans();
    let names: BTreeSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(names.contains("SessionAttach") && names.contains("Enqueue"), "{names:?}");
    let keys: BTreeSet<_> =
        spans.iter().flat_map(|span| &span.attributes).map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, BTreeSet::from(["code", "service"]));
    assert!(spans.iter().all(|span| span.events.is_empty() && span.links.is_empty()));
    let bytes: Vec<u8> = collected.0.lock().unwrap().iter().flat_map(|request| request.encode_to_vec()).collect();
    for secret in [TEXT, "alice", "bob", "pw alice"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }

    let refused = run(&server, "alice", &["whoami", "--otlp", "https://localhost:1"]).await;
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("--otlp-ca"), "{}", said(&refused));
}
