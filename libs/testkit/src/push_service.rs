//! A push service on this machine, over HTTPS: it answers as it is told and remembers what it heard.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Bytes, Incoming},
    header::{LOCATION, RETRY_AFTER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Of HTTP.
    pub method: Method,
    /// Path of the URL.
    pub path: String,
    /// All of them.
    pub headers: HeaderMap,
    /// Bytes of the body.
    pub body: usize,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy)]
struct Answer {
    status: u16,
    retry_after_s: Option<u64>,
}

#[derive(Default)]
struct State {
    heard: Mutex<Vec<Heard>>,
    answers: Mutex<VecDeque<Answer>>,
}

/// See the module. Ends with its process.
pub struct PushService {
    address: SocketAddr,
    folder: tempfile::TempDir,
    state: Arc<State>,
}

impl PushService {
    /// Starts one with a certificate of its own.
    #[allow(clippy::disallowed_methods, clippy::expect_used, reason = "tests wait for none of its tasks")]
    pub async fn start() -> Self {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])
                .expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), cert.pem()).expect("a file");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a key of the certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::<State>::default();
        let served = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), served.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(state.clone(), request));
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self { address, folder, state }
    }

    /// An endpoint.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.address)
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate, PEM.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Answers a request, after those that were said before, with this status; all others are answered with 201.
    pub fn answer(&self, status: u16, retry_after_s: Option<u64>) {
        let mut answers = self.state.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push_back(Answer { status, retry_after_s });
    }

    /// What came so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.state.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came so far to one endpoint.
    pub fn heard_at(&self, path: &str) -> Vec<Heard> {
        self.heard().into_iter().filter(|heard| heard.path.trim_start_matches('/') == path).collect()
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_or(usize::MAX, |body| body.to_bytes().len());
    let heard = Heard { method: head.method, path: head.uri.path().to_owned(), headers: head.headers, body };
    let answer = state.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let Answer { status, retry_after_s } = answer.unwrap_or(Answer { status: 201, retry_after_s: None });
    state.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    let mut response = Response::builder().status(status);
    if let Some(seconds) = retry_after_s {
        response = response.header(RETRY_AFTER, seconds);
    }
    if (300..400).contains(&status) {
        response = response.header(LOCATION, "/elsewhere");
    }
    Ok(response.body(Empty::new()).unwrap_or_default())
}
