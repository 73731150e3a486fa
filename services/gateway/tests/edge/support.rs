//! A gateway under test, its stand-in services, and a client that can also misbehave.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message;
use qpc_chassis::{
    Runtime,
    bus::{Bus, BusError, LocalBus, Subscription},
    push::{Doorbell, EVERYWHERE, subject},
    rpc::{Ctx, Router, ServeOptions, serve},
    run::Deps,
    secrets::Secrets,
};
use qpc_gateway::{Config, Gateway, Limits};
use qpc_wire::{
    AccountId, Code, DeviceId, Method, Status,
    frame::{self, PUSH_HEADER, PushHeader, RESPONSE_HEADER, ResponseHeader},
    methods::{
        Enqueue, Fetch, FetchLinkAnswer, LinkOffer, OpaqueLoginStart, Ping, RevokedSince, SessionAttach, SessionEnd,
    },
    v1::{self, EventType},
};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, ReadError, ReadToEndError, TokioRuntime,
    TransportConfig, VarInt, crypto::rustls::QuicClientConfig,
};
use rustls::{RootCertStore, crypto::aws_lc_rs};
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};

use crate::switch::Balancer;

/// Upper bound of every wait; reached only by a failing test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("nothing happened in time")
}

/// Waits for a condition that other tasks bring about.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// What the stand-in services know and have seen.
pub(crate) struct Backend {
    pub(crate) entries: Mutex<Vec<v1::Entry>>,
    pub(crate) fetches: AtomicUsize,
    pub(crate) enqueues: AtomicUsize,
    /// Enqueue answers once it gets a permit.
    pub(crate) gate: Semaphore,
    pub(crate) seen: Mutex<Option<Ctx>>,
    pub(crate) lie_about_device: AtomicBool,
    /// What RevokedSince tells, by sequence from 1.
    pub(crate) revoked: Mutex<Vec<DeviceId>>,
    /// RevokedSince fails.
    pub(crate) feed_is_away: AtomicBool,
    /// SessionAttach answers once it gets a permit.
    pub(crate) attaches: Semaphore,
    pub(crate) attaching: AtomicUsize,
}

impl Backend {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            fetches: AtomicUsize::new(0),
            enqueues: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            seen: Mutex::default(),
            lie_about_device: AtomicBool::new(false),
            revoked: Mutex::default(),
            feed_is_away: AtomicBool::new(false),
            attaches: Semaphore::new(Semaphore::MAX_PERMITS),
            attaching: AtomicUsize::new(0),
        })
    }
}

/// A token that says it all: account, device, expiry.
pub(crate) fn token(device: DeviceId, expires_at_ms: u64) -> Bytes {
    [[7; 16].as_slice(), &device.0, &expires_at_ms.to_be_bytes()].concat().into()
}

async fn attach(
    backend: Arc<Backend>,
    _: Ctx,
    request: v1::SessionAttachRequest,
) -> Result<v1::SessionAttachResponse, Status> {
    backend.attaching.fetch_add(1, Ordering::SeqCst);
    let _permit = backend.attaches.acquire().await.unwrap();
    let token = request.session_token;
    if token.len() != 40 {
        return Err(Status::new(Code::Unauthenticated, "no such session"));
    }
    let device_id = if backend.lie_about_device.load(Ordering::SeqCst) { Bytes::new() } else { token.slice(16..32) };
    let expires_at_ms = u64::from_be_bytes(token[32..].try_into().unwrap());
    Ok(v1::SessionAttachResponse { account_id: token.slice(..16), device_id, expires_at_ms })
}

async fn fetch(backend: Arc<Backend>, _: Ctx, request: v1::FetchRequest) -> Result<v1::FetchResponse, Infallible2> {
    backend.fetches.fetch_add(1, Ordering::SeqCst);
    let all = backend.entries.lock().unwrap().clone();
    let head = all.last().map_or(0, |entry| entry.seq);
    let entries = all.into_iter().filter(|entry| entry.seq > request.after).collect();
    Ok(v1::FetchResponse { entries, head, acked: 0 })
}

/// Answers are short, so that a gateway has to ask more than once.
async fn revoked_since(
    backend: Arc<Backend>,
    _: Ctx,
    request: v1::RevokedSinceRequest,
) -> Result<v1::RevokedSinceResponse, Status> {
    if backend.feed_is_away.load(Ordering::SeqCst) {
        return Err(Status::unavailable("not now", 100));
    }
    let all = backend.revoked.lock().unwrap().clone();
    let head = all.len() as u64;
    let feed = all.into_iter().zip(1..).map(|(device, seq)| v1::Revocation { seq, device_id: device.to_bytes() });
    let revocations = feed.filter(|revocation| revocation.seq > request.after).take(2).collect();
    Ok(v1::RevokedSinceResponse { revocations, head })
}

/// For handlers that do not fail.
#[derive(Debug)]
pub(crate) struct Infallible2(Infallible);

impl std::fmt::Display for Infallible2 {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {}
    }
}

impl std::error::Error for Infallible2 {}

impl From<Infallible2> for Status {
    fn from(error: Infallible2) -> Self {
        match error.0 {}
    }
}

async fn start_backend(deps: &Deps) -> Arc<Backend> {
    let backend = Backend::new();
    let auth = Router::new(backend.clone(), deps.runtime.clone())
        .on::<SessionAttach, _, _, _>(attach)
        .on::<RevokedSince, _, _, _>(revoked_since)
        .on::<LinkOffer, _, _, _>(async |backend: Arc<Backend>, ctx, _| {
            *backend.seen.lock().unwrap() = Some(ctx);
            Ok::<_, Infallible2>(v1::LinkOfferResponse::default())
        })
        .on::<FetchLinkAnswer, _, _, _>(async |_, _, _| {
            Ok::<_, Infallible2>(v1::FetchLinkAnswerResponse { answer: Bytes::from_static(b"answer") })
        })
        .on::<SessionEnd, _, _, _>(async |_, _, _| Ok::<_, Infallible2>(v1::SessionEndResponse {}))
        .on::<OpaqueLoginStart, _, _, _>(async |backend: Arc<Backend>, ctx, _| {
            *backend.seen.lock().unwrap() = Some(ctx);
            Ok::<_, Infallible2>(v1::OpaqueLoginStartResponse::default())
        });
    let delivery = Router::new(backend.clone(), deps.runtime.clone())
        .on::<Fetch, _, _, _>(fetch)
        .on::<Enqueue, _, _, _>(async |backend: Arc<Backend>, ctx, _| {
            *backend.seen.lock().unwrap() = Some(ctx);
            backend.enqueues.fetch_add(1, Ordering::SeqCst);
            backend.gate.acquire().await.unwrap().forget();
            Ok::<_, Infallible2>(v1::EnqueueResponse::default())
        });
    serve(deps, "auth", auth, ServeOptions::default()).await.unwrap();
    serve(deps, "delivery", delivery, ServeOptions::default()).await.unwrap();
    backend
}

/// A gateway with its surroundings.
pub(crate) struct Edge {
    pub(crate) gateway: Gateway,
    /// The gateway's own; its runtime can be drained alone.
    pub(crate) deps: Deps,
    pub(crate) backend: Arc<Backend>,
    backend_deps: Deps,
    _folder: TempDir,
}

pub(crate) fn config() -> Config {
    // A lost doorbell must not be made good by chance while a test waits for a push.
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        presence_ms: 600_000,
        look_ms: 600_000,
        revocations_ms: 600_000,
        ..Config::default()
    }
}

pub(crate) fn with_limits(limits: Limits) -> Config {
    Config { limits, ..config() }
}

impl Edge {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_on(Arc::new(LocalBus::default()), config).await
    }

    pub(crate) async fn start_on(bus: Arc<dyn Bus>, config: Config) -> Self {
        let (deps, backend_deps, backend) = Self::services(bus).await;
        Self::gateway(deps, backend_deps, backend, config).await
    }

    /// Services, and what a gateway of theirs is given.
    pub(crate) async fn services(bus: Arc<dyn Bus>) -> (Deps, Deps, Arc<Backend>) {
        let runtime = Runtime::system();
        let deps = Deps { bus, ..Deps::local(runtime, Secrets::new([7; 32]), String::new()) };
        let backend_deps = Deps { runtime: Runtime::system(), ..deps.clone() };
        let backend = start_backend(&backend_deps).await;
        (deps, backend_deps, backend)
    }

    pub(crate) async fn gateway(deps: Deps, backend_deps: Deps, backend: Arc<Backend>, config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data: folder.path().to_owned(), ..config };
        let gateway = qpc_gateway::start(deps.clone(), config).await.unwrap();
        Self { gateway, deps, backend, backend_deps, _folder: folder }
    }

    /// One more gateway before the same services.
    pub(crate) async fn another(&self, config: Config) -> Self {
        let deps = Deps { runtime: Runtime::system(), metrics: Arc::default(), ..self.deps.clone() };
        Self::gateway(deps, self.backend_deps.clone(), self.backend.clone(), config).await
    }

    /// The same with a cache that nobody else has.
    pub(crate) async fn another_without_cache(&self, config: Config) -> Self {
        let alone = Deps::local(Runtime::system(), self.deps.secrets.clone(), String::new());
        let deps = Deps { bus: self.deps.bus.clone(), ..alone };
        Self::gateway(deps, self.backend_deps.clone(), self.backend.clone(), config).await
    }

    /// What auth does when a device was revoked.
    pub(crate) async fn ring_everywhere(&self, device: DeviceId) {
        let body = v1::SessionEndedEvent {}.encode_to_vec().into();
        self.deps.push().ring_everywhere(vec![Doorbell { device, event: EventType::SessionEnded, body }]).await;
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(client_config(self, |_| {})).await.unwrap()
    }

    pub(crate) async fn client_with(&self, config: ClientConfig) -> Result<Client, ConnectionError> {
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let connection = soon(endpoint.connect_with(config, self.gateway.local_addr, "localhost").unwrap()).await?;
        Ok(Client { connection, next: AtomicU32::new(1), _endpoint: endpoint })
    }

    /// A client behind a balancer, and its endpoint.
    pub(crate) async fn client_over(&self, balancer: &Balancer) -> (Client, Endpoint) {
        let config = EndpointConfig::default();
        let endpoint =
            Endpoint::new_with_abstract_socket(config, None, balancer.socket(), Arc::new(TokioRuntime)).unwrap();
        let connecting = endpoint.connect_with(client_config(self, |_| {}), balancer.known, "localhost").unwrap();
        let connection = soon(connecting).await.unwrap();
        (Client { connection, next: AtomicU32::new(1), _endpoint: endpoint.clone() }, endpoint)
    }

    pub(crate) async fn attached(&self, device: DeviceId) -> Client {
        let client = self.client().await;
        client.attach(token(device, u64::MAX)).await.unwrap();
        client
    }

    pub(crate) async fn ring(&self, device: DeviceId, event: EventType, message: impl Message) {
        let body = message.encode_to_vec().into();
        self.deps.push().ring(vec![Doorbell { device, event, body }]).await;
    }

    /// Returns when every doorbell rung before has been heard.
    pub(crate) async fn heard(&self) {
        for subject in [subject(&self.gateway.id), EVERYWHERE.to_owned()] {
            self.deps.bus.request(subject, Bytes::new(), PATIENCE).await.unwrap();
        }
    }

    pub(crate) async fn presence(&self, device: DeviceId) -> Option<String> {
        self.deps.cache.get_many(vec![format!("presence:{device}")]).await.unwrap().remove(0)
    }

    pub(crate) fn metric(&self, name: &str) -> i64 {
        let text = self.deps.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("qpc_{name} "))).unwrap();
        line.parse().unwrap()
    }

    pub(crate) fn mail(&self, seq: u64) {
        self.backend.entries.lock().unwrap().push(v1::Entry { seq, body: None });
    }
}

/// A client's TLS and transport settings, the latter changed by `change`.
pub(crate) fn client_config(edge: &Edge, change: impl FnOnce(&mut TransportConfig)) -> ClientConfig {
    client_config_with(edge, b"qpc", aws_lc_rs::default_provider(), change)
}

pub(crate) fn client_config_with(
    edge: &Edge,
    alpn: &[u8],
    provider: rustls::crypto::CryptoProvider,
    change: impl FnOnce(&mut TransportConfig),
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(edge.gateway.certificate_der.clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    change(&mut transport);
    config.transport_config(Arc::new(transport));
    config
}

/// A response, or the number with which the stream was reset.
pub(crate) type Outcome = Result<(u8, Bytes), u64>;

pub(crate) struct Client {
    pub(crate) connection: Connection,
    next: AtomicU32,
    _endpoint: Endpoint,
}

impl Client {
    /// Sends `bytes` on a new stream, ends it, reads the answer.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Outcome {
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        // Fails when the gateway has stopped the stream already; what matters is the answer.
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        soon(answer(recv)).await
    }

    /// Sends `bytes` on a new stream and leaves it open.
    pub(crate) async fn unfinished(&self, bytes: &[u8]) -> Outcome {
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        soon(answer(recv)).await
    }

    pub(crate) async fn call<M: Method>(&self, request: &M::Request) -> Result<M::Response, Status> {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let frame = frame::request(M::INFO.id, id, request).unwrap();
        let (status, body) = self.raw(&frame).await.expect("stream reset");
        if status != 0 {
            return Err(Status::decode(status, body));
        }
        Ok(M::Response::decode(body).unwrap())
    }

    pub(crate) async fn ping(&self) {
        let payload = Bytes::from_static(b"still here");
        let answer = self.call::<Ping>(&v1::PingRequest { payload: payload.clone() }).await.unwrap();
        assert_eq!(answer.payload, payload);
    }

    pub(crate) async fn attach(&self, session_token: Bytes) -> Result<v1::SessionAttachResponse, Status> {
        let request = v1::SessionAttachRequest { session_token, device_proof: Bytes::new() };
        self.call::<SessionAttach>(&request).await
    }

    /// The next push.
    pub(crate) async fn push(&self) -> (EventType, Bytes) {
        soon(async {
            let mut stream = self.connection.accept_uni().await.unwrap();
            let bytes = Bytes::from(stream.read_to_end(1 << 20).await.unwrap());
            let header = PushHeader::decode(bytes[..PUSH_HEADER].try_into().unwrap()).unwrap();
            let body = bytes.slice(PUSH_HEADER..);
            assert_eq!(header.payload_len, body.len());
            (EventType::try_from(i32::from(header.event_type)).unwrap(), body)
        })
        .await
    }

    pub(crate) fn grant_pushes(&self, streams: u32) {
        self.connection.set_max_concurrent_uni_streams(VarInt::from_u32(streams));
    }

    /// The number with which the gateway closes the connection.
    pub(crate) async fn closed(&self) -> u64 {
        match soon(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("{other}"),
        }
    }
}

async fn answer(mut recv: quinn::RecvStream) -> Outcome {
    match recv.read_to_end(2 << 20).await {
        Ok(bytes) => {
            let bytes = Bytes::from(bytes);
            let header = ResponseHeader::decode(bytes[..RESPONSE_HEADER].try_into().unwrap()).unwrap();
            let body = bytes.slice(RESPONSE_HEADER..);
            assert_eq!(header.payload_len, body.len());
            Ok((header.status, body))
        }
        Err(ReadToEndError::Read(ReadError::Reset(code))) => Err(code.into_inner()),
        Err(other) => panic!("{other}"),
    }
}

pub(crate) fn device(byte: u8) -> DeviceId {
    DeviceId([byte; 16])
}

pub(crate) fn account() -> AccountId {
    AccountId([7; 16])
}

/// A bus that loses every doorbell for all gateways.
#[derive(Default)]
pub(crate) struct LosingBus(LocalBus);

impl Bus for LosingBus {
    fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> BoxFuture<'_, Result<Bytes, BusError>> {
        self.0.request(subject, payload, timeout)
    }

    fn publish(&self, subject: String, payload: Bytes) -> BoxFuture<'_, Result<(), BusError>> {
        if subject == EVERYWHERE {
            return Box::pin(async { Ok(()) });
        }
        self.0.publish(subject, payload)
    }

    fn subscribe(
        &self,
        subject: String,
        queue_group: Option<String>,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, BusError>> {
        self.0.subscribe(subject, queue_group)
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.0.flush()
    }

    fn doubt(&self) -> watch::Receiver<u64> {
        self.0.doubt()
    }
}
