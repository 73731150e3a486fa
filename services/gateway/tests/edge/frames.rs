//! Bad input costs its own stream, with a number; the connection lives on until there is too much of it.

use bytes::Bytes;
use prost::Message;
use qpc_gateway::Limits;
use qpc_wire::{
    Code, Method, Status,
    frame::{self, ErrorCode, REQUEST_HEADER},
    limits::MAX_FRAME_PAYLOAD,
    methods::{OpaqueLoginStart, Ping},
    v1,
};

use crate::support::{Client, Edge, config, with_limits};

fn header(method: u16, len: u32) -> Vec<u8> {
    [method.to_be_bytes().as_slice(), &7u32.to_be_bytes(), &len.to_be_bytes()].concat()
}

fn ping(payload: usize) -> Bytes {
    frame::request(Ping::INFO.id, 7, &v1::PingRequest { payload: vec![5; payload].into() }).unwrap()
}

async fn assert_reset(client: &Client, bytes: &[u8], code: ErrorCode) {
    let outcome = client.raw(bytes).await;
    assert_eq!(outcome.unwrap_err(), code as u64, "{code:?} for {} bytes", bytes.len());
    client.ping().await;
}

#[tokio::test]
async fn each_bad_frame_resets_its_stream_and_the_connection_lives() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    let whole = ping(300);

    for cut in [0, 1, REQUEST_HEADER - 1, REQUEST_HEADER, whole.len() - 1] {
        assert_reset(&client, &whole[..cut], ErrorCode::Malformed).await;
    }
    assert_reset(&client, &[&whole[..], b"x"].concat(), ErrorCode::Malformed).await;
    assert_reset(&client, &[&whole[..], &whole[..]].concat(), ErrorCode::Malformed).await;
    assert_reset(&client, &header(Ping::INFO.id, MAX_FRAME_PAYLOAD as u32 + 1), ErrorCode::Oversized).await;
    assert_reset(&client, &header(Ping::INFO.id, u32::MAX), ErrorCode::Oversized).await;
    for unknown in [0, 1, 105, 899, u16::MAX] {
        assert_reset(&client, &header(unknown, 0), ErrorCode::UnknownMethod).await;
    }
    assert_eq!(edge.metric("gateway_bad_frames_total"), 14);
    assert_eq!(edge.metric("gateway_connections"), 1);
}

#[tokio::test]
async fn an_oversized_frame_is_refused_before_its_payload() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    let outcome = client.unfinished(&header(Ping::INFO.id, MAX_FRAME_PAYLOAD as u32 + 1)).await;
    assert_eq!(outcome.unwrap_err(), ErrorCode::Oversized as u64);
    client.ping().await;
}

#[tokio::test]
async fn frames_of_every_size_come_back_whole() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    for size in [0, 1, 1000, 70_000, MAX_FRAME_PAYLOAD - 4] {
        let frame = ping(size);
        let (status, body) = client.raw(&frame).await.unwrap();
        assert_eq!(status, 0);
        assert!(body == frame.slice(REQUEST_HEADER..), "{size} bytes");
    }
}

#[tokio::test]
async fn a_frame_may_arrive_byte_by_byte() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    let (mut send, mut recv) = client.connection.open_bi().await.unwrap();
    for byte in ping(20) {
        send.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    send.finish().unwrap();
    assert_eq!(recv.read_to_end(1000).await.unwrap()[0], 0);
}

#[tokio::test]
async fn a_payload_that_is_no_message_is_an_invalid_argument() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    for method in [Ping::INFO.id, OpaqueLoginStart::INFO.id] {
        let (status, body) = client.raw(&[header(method, 1), vec![0xff]].concat()).await.unwrap();
        let refused = Status::decode(status, body);
        assert_eq!(refused.code, Code::InvalidArgument);
        assert_eq!(refused.correlation_id.len(), 25, "{}", refused.correlation_id);
        assert!(refused.correlation_id.ends_with("-00000007"));
    }
    client.ping().await;
}

#[tokio::test]
async fn a_slow_sender_loses_the_stream_only() {
    let edge = Edge::start(with_limits(Limits { first_frame_ms: 50, ..Limits::default() })).await;
    let client = edge.client().await;
    let whole = ping(300);
    for part in [1, REQUEST_HEADER, whole.len() - 1, whole.len()] {
        // Even the last one: the frame is there, its end is not.
        assert_eq!(client.unfinished(&whole[..part]).await.unwrap_err(), ErrorCode::TooSlow as u64, "{part}");
    }
    client.ping().await;
}

#[tokio::test]
async fn a_connection_that_keeps_sending_garbage_is_closed() {
    let edge = Edge::start(with_limits(Limits { max_bad_frames: 3, ..Limits::default() })).await;
    let client = edge.client().await;
    for _ in 0..2 {
        assert_reset(&client, b"garbage", ErrorCode::Malformed).await;
    }
    let (mut send, _recv) = client.connection.open_bi().await.unwrap();
    send.write_all(b"garbage").await.unwrap();
    send.finish().unwrap();
    assert_eq!(client.closed().await, ErrorCode::Abuse as u64);
    edge.client().await.ping().await;
}

#[tokio::test]
async fn many_calls_at_once_do_not_wait_for_each_other() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    // One stream that never gets on.
    let (mut stuck, _recv) = client.connection.open_bi().await.unwrap();
    stuck.write_all(&[0]).await.unwrap();
    futures_util::future::join_all((0..100).map(|_| client.ping())).await;
}

#[tokio::test]
async fn a_call_carries_what_the_connection_knows() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    let (mut binding, mut correlation) = ([0; 32], [0; 8]);
    client.connection.export_keying_material(&mut binding, b"EXPORTER-qpc-channel-binding", b"").unwrap();
    client.connection.export_keying_material(&mut correlation, b"EXPORTER-qpc-correlation", b"").unwrap();
    let request = v1::OpaqueLoginStartRequest::default().encode_to_vec();
    client.raw(&[header(OpaqueLoginStart::INFO.id, request.len() as u32), request].concat()).await.unwrap();
    let seen = edge.backend.seen.lock().unwrap().take().unwrap();
    assert_eq!(seen.binding().unwrap(), &binding);
    assert_eq!(seen.correlation, qpc_wire::CorrelationId::new(correlation, 7));
    assert_eq!(seen.identity, None);
    assert_eq!(seen.address_hash.len(), 16);
}
