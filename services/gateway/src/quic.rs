//! The QUIC carrier: endpoint, accept loop, the task of a connection, drain.

use std::{sync::Arc, time::Duration};

use qpc_wire::frame::ErrorCode;
use quinn::{Endpoint, IdleTimeout, Incoming, ServerConfig, TransportConfig, VarInt, crypto::rustls::QuicServerConfig};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::{
    GatewayError, Limits,
    address::Network,
    admission::{Pending, Slot, Verdict},
    carrier::Connection,
    config::{FAREWELL, FINISH},
    core::Core,
    edge::Edge,
    link::Link,
    stream,
    tls::{self, Identity},
};

/// Bytes of one stream that may be unread here.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same of all streams of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes to one client that may be unacknowledged.
const SEND_WINDOW: u64 = 1 << 20;
/// Bytes kept for connections that are not accepted yet: one of them, and all.
const INCOMING_BUFFER: u64 = 16 << 10;
const INCOMING_BUFFER_TOTAL: u64 = 4 << 20;

/// Opens the port.
pub(crate) async fn listen(core: &Core, edge: &Edge, identity: &Identity) -> Result<Endpoint, GatewayError> {
    let tls = tls::server_config(identity, edge.ticketer(core))?;
    edge.listen(core, server_config(&core.config.limits, tls)?).await
}

fn server_config(limits: &Limits, tls: rustls::ServerConfig) -> Result<ServerConfig, GatewayError> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.max_streams.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        // Keeping a connection alive is the client's business; one that does not is dropped.
        .keep_alive_interval(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(limits.idle_timeout_ms))));
    let crypto = QuicServerConfig::try_from(tls)?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::new(transport))
        .max_incoming(limits.max_pending)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL);
    Ok(server)
}

/// Accepts connections until it is to leave, then drains (G12): no new connections, `Drain` to all, calls in flight end, what
/// is left is closed.
pub(crate) fn start(core: &Arc<Core>, endpoint: Endpoint) {
    let core = core.clone();
    core.clone().deps.runtime.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = core.leaving.cancelled() => break,
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => admit(&core, incoming),
                    None => break,
                },
            }
        }
        core.begin_drain();
        core.connections.close();
        loop {
            tokio::select! {
                biased;
                () = core.connections.wait() => break,
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => incoming.refuse(),
                    None => break,
                },
            }
        }
        endpoint.close((ErrorCode::Draining as u32).into(), b"");
        // Gives the closing packets time to leave; a client that does not hear them finds out by its idle timeout.
        if timeout(FAREWELL, endpoint.wait_idle()).await.is_err() {
            tracing::debug!("some clients did not confirm the end");
        }
        core.empty.cancel();
    });
}

fn admit(core: &Arc<Core>, incoming: Incoming) {
    let network = Network::from(incoming.remote_address().ip());
    let task = core.clone();
    match core.admission.judge(network, incoming.remote_address_validated()) {
        Verdict::Accept(pending, slot) => {
            let connection = async move {
                if let Some(connection) = handshake(&task, incoming, pending).await {
                    run(task, connection, slot).await;
                }
            };
            core.deps.runtime.spawn(core.connections.track_future(connection));
        }
        Verdict::Explain(pending) => {
            core.metrics.refused.inc();
            let refusal = async move {
                if let Some(connection) = handshake(&task, incoming, pending).await {
                    connection.close(ErrorCode::TooMany as u32, b"too many connections from your address");
                }
            };
            core.deps.runtime.spawn(core.connections.track_future(refusal));
        }
        Verdict::Retry => {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
        }
        Verdict::Refuse => {
            core.metrics.refused.inc();
            incoming.refuse();
        }
    }
}

/// The key exchange happens here, in the connection's own task, so that it uses all cores.
async fn handshake(core: &Core, incoming: Incoming, _pending: Pending) -> Option<Connection> {
    let limit = Duration::from_millis(core.config.limits.handshake_ms);
    match incoming.accept() {
        Ok(connecting) => match timeout(limit, connecting).await {
            Ok(Ok(connection)) => {
                core.metrics.handshakes.inc();
                return Some(Connection::Quic(connection));
            }
            Ok(Err(error)) => tracing::debug!(%error, "handshake failed"),
            Err(_) => tracing::debug!("handshake took too long"),
        },
        Err(error) => tracing::debug!(%error, "handshake refused"),
    }
    core.metrics.handshakes_failed.inc();
    None
}

/// The one task of a connection: starts a task for each stream, watches the clock for the session.
pub(crate) async fn run(core: Arc<Core>, connection: Connection, slot: Slot) {
    let Some(link) = Link::new(core.clone(), connection, slot) else { return };
    core.metrics.connections.inc();
    core.registry.open(&link);
    if core.drain_until().is_some() {
        link.drain();
    }
    serve(&link).await;
    link.closed();
    core.registry.close(&link);
    core.metrics.connections.dec();
}

async fn serve(link: &Arc<Link>) {
    // Boxed, since most connections of most gateways are idle and have none.
    let mut timer = link.timer().map(|at| Box::pin(sleep_until(at)));
    loop {
        tokio::select! {
            biased;
            () = link.changed.notified() => timer = link.timer().map(|at| Box::pin(sleep_until(at))),
            () = wait(&mut timer) => {
                if link.core.drain_until().is_some_and(|until| until <= Instant::now()) {
                    return finish(link).await;
                }
                link.expire();
                timer = link.timer().map(|at| Box::pin(sleep_until(at)));
            }
            stream = link.connection.accept_bi() => match stream {
                Ok((send, recv)) => {
                    let call = link.enter();
                    link.core.deps.runtime.spawn(stream::serve(link.clone(), call, send, recv));
                }
                Err(_) => return,
            },
        }
    }
}

async fn wait(timer: &mut Option<std::pin::Pin<Box<tokio::time::Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}

/// The client has not left in time: what is in flight ends, then the connection is closed.
async fn finish(link: &Link) {
    let until = Instant::now() + FINISH;
    while !link.is_idle() {
        if timeout_at(until, link.changed.notified()).await.is_err() {
            break;
        }
    }
    link.close(ErrorCode::Draining);
}
