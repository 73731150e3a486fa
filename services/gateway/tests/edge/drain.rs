//! A gateway that goes away loses no call (G12).

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use prost::Message;
use qpc_gateway::Config;
use qpc_wire::{
    frame::ErrorCode,
    methods::{Enqueue, FetchWait},
    v1::{self, EventType},
};

use crate::support::{Edge, PATIENCE, client_config, config, device, until};

fn enqueue() -> v1::EnqueueRequest {
    v1::EnqueueRequest { idempotency_key: Bytes::from_static(&[1; 16]), ..Default::default() }
}

#[tokio::test]
async fn clients_are_told_calls_end_and_nobody_new_comes_in() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    assert_eq!(edge.metric("gateway_draining"), 0);
    // As long as a certificate of ours may be good.
    let year_4096 = 67_090_118_400;
    assert_eq!(edge.metric(r#"certificate_not_after_seconds{certificate="gateway"}"#), year_4096);
    let call = async {
        let answer = client.call::<Enqueue>(&enqueue()).await;
        client.connection.close(0u32.into(), b"");
        answer
    };
    let drain = async {
        until(|| edge.backend.enqueues.load(Ordering::SeqCst) == 1).await;
        edge.deps.runtime.drain(PATIENCE).await
    };
    let watch = async {
        let (event, body) = client.push().await;
        assert_eq!(event, EventType::Drain);
        assert_eq!(edge.metric("gateway_draining"), 1);
        let within = v1::DrainEvent::decode(body).unwrap().within_ms;
        assert!((1..=20_000).contains(&within), "{within}");
        assert!(edge.client_with(client_config(&edge, |_| {})).await.is_err());
        client.ping().await;
        edge.backend.gate.add_permits(1);
    };
    let (answer, drained, ()) = tokio::join!(call, drain, watch);
    answer.unwrap();
    assert!(drained);
    assert_eq!(edge.presence(device(1)).await, None);
    assert_eq!(edge.metric("gateway_connections"), 0);
}

#[tokio::test]
async fn a_client_that_stays_is_closed_after_its_call() {
    let edge = Edge::start(Config { drain_grace_ms: 50, ..config() }).await;
    let (busy, idle) = (edge.attached(device(1)).await, edge.client().await);
    let request = enqueue();
    let drain = async {
        until(|| edge.backend.enqueues.load(Ordering::SeqCst) == 1).await;
        edge.deps.runtime.drain(PATIENCE).await
    };
    let watch = async {
        // Grace is over for the idle one, and so for the busy one.
        assert_eq!(idle.closed().await, ErrorCode::Draining as u64);
        edge.backend.gate.add_permits(1);
    };
    let (answer, drained, ()) = tokio::join!(busy.call::<Enqueue>(&request), drain, watch);
    answer.unwrap();
    assert_eq!(busy.closed().await, ErrorCode::Draining as u64);
    assert!(drained);
}

#[tokio::test]
async fn a_wait_for_mail_does_not_hold_up_the_drain() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    let call = async {
        let request = v1::FetchWaitRequest { timeout_ms: 30_000, ..Default::default() };
        let answer = client.call::<FetchWait>(&request).await;
        client.connection.close(0u32.into(), b"");
        answer
    };
    let drain = async {
        until(|| edge.backend.fetches.load(Ordering::SeqCst) == 1).await;
        edge.deps.runtime.drain(PATIENCE).await
    };
    let (answer, drained) = tokio::join!(call, drain);
    assert!(answer.unwrap().entries.is_empty());
    assert!(drained);
}

#[tokio::test]
async fn a_gateway_without_clients_is_gone_at_once() {
    let edge = Edge::start(config()).await;
    assert!(edge.deps.health.run().await.iter().all(|(_, ok)| *ok));
    assert!(edge.deps.runtime.drain(Duration::from_secs(2)).await);
}
