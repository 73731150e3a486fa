//! How many connections, and on what terms.

use qpc_gateway::{Config, Limits};
use qpc_wire::{Code, frame::ErrorCode};
use quinn::ConnectionError;
use rustls::crypto::aws_lc_rs;

use crate::support::{Edge, client_config_with, config, device, token, until, with_limits};

#[tokio::test]
async fn too_many_anonymous_connections_of_an_address_are_told_so() {
    let edge = Edge::start(with_limits(Limits { max_connections_per_address: 2, ..Limits::default() })).await;
    let (one, _two) = (edge.client().await, edge.client().await);
    assert_eq!(edge.client().await.closed().await, ErrorCode::TooMany as u64);
    assert_eq!(edge.metric("gateway_connections_refused_total"), 1);
    // One with a session does not count.
    one.attach(token(device(1), u64::MAX)).await.unwrap();
    let three = edge.client().await;
    three.ping().await;
    // Nor does one that has left.
    three.connection.close(0u32.into(), b"");
    until(|| edge.metric("gateway_connections") == 2).await;
    edge.client().await.ping().await;
}

#[tokio::test]
async fn a_device_has_so_many_connections_and_no_more() {
    let edge = Edge::start(with_limits(Limits { max_connections_per_device: 2, ..Limits::default() })).await;
    let (one, _two) = (edge.attached(device(1)).await, edge.attached(device(1)).await);
    let three = edge.client().await;
    let refused = three.attach(token(device(1), u64::MAX)).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 30_000));
    three.attach(token(device(2), u64::MAX)).await.unwrap();
    one.connection.close(0u32.into(), b"");
    until(|| edge.metric("gateway_connections") == 2).await;
    edge.attached(device(1)).await;
}

#[tokio::test]
async fn a_crowd_of_handshakes_proves_its_address_and_gets_in() {
    let limits = Limits { retry_pending_per_address: 0, ..Limits::default() };
    let edge = Edge::start(with_limits(limits)).await;
    edge.client().await.ping().await;
}

#[tokio::test]
async fn handshakes_are_counted_by_how_they_end() {
    let edge = Edge::start(config()).await;
    edge.client().await.ping().await;
    assert_eq!((edge.metric("gateway_handshakes_total"), edge.metric("gateway_handshakes_failed_total")), (1, 0));
    // It speaks another protocol.
    let stranger = client_config_with(&edge, b"h3", aws_lc_rs::default_provider(), |_| {});
    assert!(edge.client_with(stranger).await.is_err());
    until(|| edge.metric("gateway_handshakes_failed_total") == 1).await;
    assert_eq!(edge.metric("gateway_handshakes_total"), 1);
}

#[tokio::test]
async fn the_hybrid_key_exchange_works_alone() {
    let edge = Edge::start(config()).await;
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(provider.kx_groups.len(), 1);
    let hybrid = client_config_with(&edge, b"qpc", provider, |_| {});
    edge.client_with(hybrid).await.unwrap().ping().await;
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let edge = Edge::start(config()).await;
    let other = client_config_with(&edge, b"h3", aws_lc_rs::default_provider(), |_| {});
    assert!(matches!(edge.client_with(other).await, Err(ConnectionError::ConnectionClosed(_))));
}

#[tokio::test]
async fn production_does_not_start_with_a_certificate_of_its_own() {
    let edge = Edge::start(config()).await;
    let folder = tempfile::tempdir().unwrap();
    let production = Config { production: true, data: folder.path().to_owned(), ..config() };
    let error = qpc_gateway::start(edge.deps.clone(), production).await.unwrap_err().to_string();
    assert!(error.contains("--tls-cert") && error.contains("--tls-key"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
