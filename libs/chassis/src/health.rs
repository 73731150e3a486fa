//! `/metrics`, `/healthz` (the process lives) and `/readyz` (it can do its work) over HTTP/1.1.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::{Runtime, metrics::Metrics};

/// Longest time a readiness check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// The readiness checks of a process.
#[derive(Default)]
pub struct Health {
    checks: Mutex<Vec<(&'static str, Check)>>,
}

impl Health {
    /// Adds something that must work for this process to be ready.
    pub fn check(&self, name: &'static str, check: impl Fn() -> BoxFuture<'static, bool> + Send + Sync + 'static) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).push((name, Arc::new(check)));
    }

    /// Name and result of each check.
    pub async fn run(&self) -> Vec<(&'static str, bool)> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut results = Vec::with_capacity(checks.len());
        for (name, check) in checks {
            results.push((name, tokio::time::timeout(CHECK_TIMEOUT, check()).await.unwrap_or(false)));
        }
        results
    }
}

/// Serves the three pages on `address` until shutdown; returns the bound address.
pub async fn serve(
    address: SocketAddr,
    runtime: &Runtime,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let task_runtime = runtime.clone();
    runtime.spawn(async move {
        loop {
            let stream = tokio::select! {
                () = task_runtime.shutdown().cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "observability connection failed");
                        continue;
                    }
                },
            };
            let (metrics, health, shutdown) = (metrics.clone(), health.clone(), task_runtime.shutdown().clone());
            task_runtime.spawn(async move {
                let pages = service_fn(move |request| page(request, metrics.clone(), health.clone()));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(5))
                    .serve_connection(TokioIo::new(stream), pages);
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    result = connection => if let Err(error) = result {
                        tracing::debug!(%error, "observability request");
                    },
                }
            });
        }
    });
    Ok(bound)
}

async fn page(
    request: Request<Incoming>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match request.uri().path() {
        "/metrics" => {
            metrics.ready(&health.run().await);
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.render())
        }
        "/healthz" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" => {
            let results = health.run().await;
            let ready = results.iter().all(|(_, ok)| *ok);
            let lines = results.iter().map(|(name, ok)| format!("{name}: {}\n", if *ok { "ok" } else { "failed" }));
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, "text/plain", lines.collect())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "pages: /metrics /healthz /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use qpc_wire::Code;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn pages_say_whether_the_process_lives_is_ready_and_how_fast_it_answers() {
        let (runtime, metrics, health) = (Runtime::system(), Arc::<Metrics>::default(), Arc::<Health>::default());
        let works = Arc::new(AtomicBool::new(true));
        let checked = works.clone();
        health.check("database", move || {
            let works = checked.load(Ordering::SeqCst);
            Box::pin(async move { works })
        });
        metrics.call("delivery", "Enqueue", Code::Ok, Duration::from_millis(3), None);
        let listen = "127.0.0.1:0".parse().unwrap();
        let address = serve(listen, &runtime, metrics, health).await.unwrap();

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let ready = get(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("database: ok\n"), "{ready}");
        works.store(false, Ordering::SeqCst);
        let unready = get(address, "/readyz").await;
        assert!(unready.starts_with("HTTP/1.1 503") && unready.ends_with("database: failed\n"), "{unready}");
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"), "unready is not dead");
        let figures = get(address, "/metrics").await;
        assert!(figures.contains("qpc_ready{check=\"database\"} 0\n"), "{figures}");
        let count = r#"qpc_call_seconds_count{service="delivery",method="Enqueue",code="CODE_OK"} 1"#;
        assert!(figures.contains(count), "{figures}");
        assert!(get(address, "/else").await.starts_with("HTTP/1.1 404"));
        assert!(runtime.drain(Duration::from_secs(5)).await);
    }
}
