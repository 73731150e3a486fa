//! How many connections a gateway has, by its own word.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Time for all of it.
const WITHIN: Duration = Duration::from_secs(2);
/// Bytes of a page of metrics.
const MAX_PAGE: usize = 1 << 20;
/// The metric.
const CONNECTIONS: &str = "qpc_gateway_connections";

/// Asks gateways.
pub(crate) trait Scrape: Send + Sync {
    /// Connections of the gateway whose pages are at `address`; `None` when it does not say.
    fn connections(&self, address: SocketAddr) -> BoxFuture<'_, Option<u64>>;
}

/// By HTTP.
pub(crate) struct Http;

impl Scrape for Http {
    fn connections(&self, address: SocketAddr) -> BoxFuture<'_, Option<u64>> {
        Box::pin(async move { tokio::time::timeout(WITHIN, page(address)).await.ok()?.and_then(|page| find(&page)) })
    }
}

async fn page(address: SocketAddr) -> Option<String> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get("/metrics").header(HOST, address.to_string()).body(Empty::<Bytes>::new()).ok()?;
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let body = Limited::new(response.into_body(), MAX_PAGE).collect().await.ok()?;
        String::from_utf8(body.to_bytes().to_vec()).ok()
    };
    // The connection is driven beside the request, and ends with it.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        page = &mut answer => page,
        _ = &mut connection => answer.await,
    }
}

fn find(page: &str) -> Option<u64> {
    let value = page.lines().find_map(|line| line.strip_prefix(CONNECTIONS)?.strip_prefix(' '))?;
    value.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc, time::Duration};

    use qpc_chassis::{Runtime, health, metrics::Metrics};

    use super::{Http, Scrape as _, find};

    #[tokio::test]
    async fn a_process_of_ours_says_how_many_connections_it_has() {
        let (runtime, metrics) = (Runtime::system(), Arc::<Metrics>::default());
        metrics.gauge("gateway_connections", "Open client connections").set(42);
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let address = health::serve(listen, &runtime, metrics, Arc::default()).await.unwrap();
        assert_eq!(Http.connections(address).await, Some(42));
        assert!(runtime.drain(Duration::from_secs(5)).await);
        assert_eq!(Http.connections(address).await, None);
    }

    #[test]
    fn only_the_metric_of_that_name_is_taken() {
        let page = "# TYPE qpc_gateway_connections gauge\nqpc_gateway_connections_refused_total 7\nqpc_gateway_connections 3\n# EOF\n";
        assert_eq!(find(page), Some(3));
        assert_eq!(find("qpc_gateway_connections_refused_total 7\n"), None);
        assert_eq!(find("qpc_gateway_connections x\n"), None);
    }
}
