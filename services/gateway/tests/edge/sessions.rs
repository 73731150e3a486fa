//! Attaching, what only an attached connection may do, and how a session ends.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use qpc_chassis::rpc::Identity;
use qpc_wire::{
    Access, Code, Status,
    methods::{Enqueue, Fetch, FetchWait, Peek, SessionEnd, TABLE, UploadHybridKey},
    v1::{self, EventType},
};

use crate::support::{Edge, account, config, device, soon, token, until};

fn enqueue() -> v1::EnqueueRequest {
    v1::EnqueueRequest { idempotency_key: Bytes::from_static(&[1; 16]), ..Default::default() }
}

#[tokio::test]
async fn an_anonymous_connection_is_refused_what_needs_a_device() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    for info in TABLE.iter().filter(|info| info.access == Access::Device) {
        let frame = [info.id.to_be_bytes().as_slice(), &[0, 0, 0, 1], &1000u32.to_be_bytes(), &[0; 1000]].concat();
        let (status, body) = client.raw(&frame).await.unwrap();
        assert_eq!(Status::decode(status, body).code, Code::Unauthenticated, "{}", info.name);
    }
    assert_eq!(edge.backend.enqueues.load(Ordering::SeqCst), 0);
    client.ping().await;
}

#[tokio::test]
async fn an_attached_connection_calls_as_its_device() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    assert_eq!(edge.presence(device(1)).await.unwrap(), edge.gateway.id);
    edge.backend.gate.add_permits(1);
    client.call::<Enqueue>(&enqueue()).await.unwrap();
    let seen = edge.backend.seen.lock().unwrap().take().unwrap();
    assert_eq!(seen.identity, Some(Identity { account: account(), device: device(1) }));
}

#[tokio::test]
async fn a_refused_token_leaves_the_connection_anonymous_and_usable() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    let refused = client.attach(Bytes::from_static(b"stolen")).await.unwrap_err();
    assert_eq!(refused.code, Code::Unauthenticated);
    assert_eq!(client.call::<Fetch>(&Default::default()).await.unwrap_err().code, Code::Unauthenticated);
    client.attach(token(device(1), u64::MAX)).await.unwrap();
    client.call::<Fetch>(&Default::default()).await.unwrap();
}

#[tokio::test]
async fn a_second_attach_is_refused_and_the_first_holds() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    let refused = client.attach(token(device(2), u64::MAX)).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert_eq!(edge.presence(device(2)).await, None);
    client.call::<Fetch>(&Default::default()).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_auth_that_makes_no_sense_attaches_nobody() {
    let edge = Edge::start(config()).await;
    edge.backend.lie_about_device.store(true, Ordering::SeqCst);
    let client = edge.client().await;
    assert_eq!(client.attach(token(device(1), u64::MAX)).await.unwrap_err().code, Code::Internal);
    edge.backend.lie_about_device.store(false, Ordering::SeqCst);
    client.attach(token(device(1), u64::MAX)).await.unwrap();
}

#[tokio::test]
async fn an_expired_session_makes_the_connection_anonymous() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    client.attach(token(device(1), edge.deps.runtime.now_ms() + 100)).await.unwrap();
    assert_eq!(client.push().await.0, EventType::SessionEnded);
    assert_eq!(client.call::<Fetch>(&Default::default()).await.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(edge.metric("gateway_sessions"), 0);
    client.attach(token(device(1), u64::MAX)).await.unwrap();
    client.call::<Fetch>(&Default::default()).await.unwrap();
}

#[tokio::test]
async fn a_revoked_session_ends_at_once_on_all_connections_of_the_device() {
    let edge = Edge::start(config()).await;
    let (one, two, other) =
        (edge.attached(device(1)).await, edge.attached(device(1)).await, edge.attached(device(2)).await);
    edge.ring(device(1), EventType::SessionEnded, v1::SessionEndedEvent {}).await;
    for client in [&one, &two] {
        assert_eq!(client.push().await.0, EventType::SessionEnded);
        assert_eq!(client.call::<Fetch>(&Default::default()).await.unwrap_err().code, Code::Unauthenticated);
    }
    other.call::<Fetch>(&Default::default()).await.unwrap();
    soon(async {
        while edge.presence(device(1)).await.is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_can_end_its_own_session() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    let end = |session_token| v1::SessionEndRequest { idempotency_key: Bytes::from_static(&[1; 16]), session_token };
    client.call::<SessionEnd>(&end("another session of the device".into())).await.unwrap();
    client.call::<Fetch>(&Default::default()).await.unwrap();
    client.call::<SessionEnd>(&end(token(device(1), u64::MAX))).await.unwrap();
    assert_eq!(client.call::<Fetch>(&Default::default()).await.unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten() {
    let edge = Edge::start(config()).await;
    let (gone, stays) = (edge.attached(device(1)).await, edge.attached(device(1)).await);
    gone.connection.close(0u32.into(), b"");
    until(|| edge.metric("gateway_sessions") == 1).await;
    assert!(edge.presence(device(1)).await.is_some());
    stays.connection.close(0u32.into(), b"");
    until(|| edge.metric("gateway_connections") == 0).await;
    soon(async {
        while edge.presence(device(1)).await.is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_said_so() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    let missing = client.call::<UploadHybridKey>(&Default::default()).await.unwrap_err();
    assert_eq!(missing.code, Code::Unavailable);
    assert!(missing.retry_after_ms > 0 && !missing.correlation_id.is_empty());
    assert_eq!(client.call::<Peek>(&Default::default()).await.unwrap_err().code, Code::Unimplemented);
    client.ping().await;
}

#[tokio::test]
async fn a_wait_ends_when_the_session_does() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    let request = v1::FetchWaitRequest { timeout_ms: 30_000, ..Default::default() };
    let ended = async {
        until(|| edge.backend.fetches.load(Ordering::SeqCst) == 1).await;
        edge.ring(device(1), EventType::SessionEnded, v1::SessionEndedEvent {}).await;
    };
    let (answer, ()) = tokio::join!(client.call::<FetchWait>(&request), ended);
    assert_eq!(answer.unwrap_err().code, Code::Unauthenticated);
}
