//! A revoked device loses its sessions at every gateway, whatever becomes of doorbells.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use qpc_chassis::bus::LocalBus;
use qpc_gateway::Config;
use qpc_wire::{
    Access, Code, DeviceId,
    frame::ErrorCode,
    methods::{Fetch, FetchLinkAnswer, LinkOffer, TABLE},
    v1::{self, EventType},
};

use tokio::time::Instant;

use crate::support::{Client, Edge, LosingBus, config, device, soon, token, until};

/// Looks often enough for a test, and for no chance to make good what a doorbell should have done elsewhere.
fn looking() -> Config {
    Config { revocations_ms: 10, ..config() }
}

async fn assert_ended(client: &Client) {
    assert_eq!(client.push().await.0, EventType::SessionEnded);
    assert_eq!(client.call::<Fetch>(&Default::default()).await.unwrap_err().code, Code::Unauthenticated);
}

/// A device may be attached at several gateways, of which presence knows the last.
async fn attached_twice(one: &Edge, two: &Edge, device: DeviceId) -> [Client; 2] {
    let clients = [one.attached(device).await, two.attached(device).await];
    assert_eq!(one.presence(device).await.unwrap(), two.gateway.id);
    clients
}

#[tokio::test]
async fn a_doorbell_ends_the_sessions_of_a_device_at_every_gateway() {
    let one = Edge::start(config()).await;
    let two = one.another(config()).await;
    let revoked = attached_twice(&one, &two, device(1)).await;
    let others = attached_twice(&one, &two, device(2)).await;
    one.ring_everywhere(device(1)).await;
    for client in &revoked {
        assert_ended(client).await;
    }
    for client in &others {
        client.call::<Fetch>(&Default::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_gateway_looks_for_revocations_whose_doorbells_were_lost() {
    let one = Edge::start_on(Arc::new(LosingBus::default()), looking()).await;
    let two = one.another(looking()).await;
    let revoked = attached_twice(&one, &two, device(1)).await;
    let others = attached_twice(&one, &two, device(2)).await;
    // Several, so that one answer does not hold them all.
    *one.backend.revoked.lock().unwrap() = [7, 8, 9, 1].map(device).to_vec();
    one.ring_everywhere(device(1)).await;
    for client in &revoked {
        assert_ended(client).await;
    }
    for client in &others {
        client.call::<Fetch>(&Default::default()).await.unwrap();
    }
}

/// With the settings as they come, and every doorbell lost. The promise is of the product, so this is timed.
#[tokio::test]
async fn a_session_is_over_within_five_seconds_at_every_gateway() {
    let as_it_comes = || Config { revocations_ms: Config::default().revocations_ms, ..config() };
    let one = Edge::start_on(Arc::new(LosingBus::default()), as_it_comes()).await;
    let two = one.another(as_it_comes()).await;
    let revoked = attached_twice(&one, &two, device(1)).await;
    let begun = Instant::now();
    one.backend.revoked.lock().unwrap().push(device(1));
    for client in &revoked {
        assert_ended(client).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_gateway_looks_again_after_auth_was_away() {
    let edge = Edge::start_on(Arc::new(LosingBus::default()), looking()).await;
    let client = edge.attached(device(1)).await;
    edge.backend.feed_is_away.store(true, Ordering::SeqCst);
    edge.backend.revoked.lock().unwrap().push(device(1));
    client.call::<Fetch>(&Default::default()).await.expect("nobody could tell");
    edge.backend.feed_is_away.store(false, Ordering::SeqCst);
    assert_ended(&client).await;
}

#[tokio::test]
async fn a_gateway_looks_while_it_drains() {
    let edge = Edge::start_on(Arc::new(LosingBus::default()), Config { drain_grace_ms: 60_000, ..looking() }).await;
    let client = edge.attached(device(1)).await;
    let drained = edge.deps.runtime.drain(Duration::from_secs(10));
    let ended = async {
        assert_eq!(client.push().await.0, EventType::Drain);
        edge.backend.revoked.lock().unwrap().push(device(1));
        assert_ended(&client).await;
        client.connection.close(0u32.into(), b"");
    };
    let (drained, ()) = tokio::join!(drained, ended);
    assert!(drained);
}

#[tokio::test]
async fn only_revocations_after_the_start_are_heard_and_all_of_them_after_a_restore() {
    let (deps, backend_deps, backend) = Edge::services(Arc::new(LosingBus::default())).await;
    *backend.revoked.lock().unwrap() = [1, 8, 9].map(device).to_vec();
    let edge = Edge::gateway(deps, backend_deps, backend, looking()).await;
    // Auth attaches no device that was revoked; this one shows that nothing old is heard.
    let client = edge.attached(device(1)).await;
    let late = edge.attached(device(2)).await;
    edge.backend.revoked.lock().unwrap().push(device(2));
    assert_ended(&late).await;
    client.call::<Fetch>(&Default::default()).await.unwrap();
    // The numbers begin anew.
    *edge.backend.revoked.lock().unwrap() = vec![device(1)];
    assert_ended(&client).await;
}

#[tokio::test]
async fn a_session_that_auth_approved_before_the_device_was_revoked_does_not_begin() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    edge.backend.attaches.forget_permits(usize::MAX);
    let revoked = async {
        until(|| edge.backend.attaching.load(Ordering::SeqCst) == 1).await;
        edge.ring_everywhere(device(1)).await;
        edge.heard().await;
        edge.backend.attaches.add_permits(10);
    };
    let (attached, ()) = tokio::join!(client.attach(token(device(1), u64::MAX)), revoked);
    assert_eq!(attached.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(client.call::<Fetch>(&Default::default()).await.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(edge.metric("gateway_sessions"), 0);
    client.attach(token(device(2), u64::MAX)).await.unwrap();
}

#[tokio::test]
async fn no_session_begins_before_its_end_could_be_heard() {
    let (deps, backend_deps, backend) = Edge::services(Arc::new(LocalBus::default())).await;
    backend.feed_is_away.store(true, Ordering::SeqCst);
    let edge = Edge::gateway(deps, backend_deps, backend, looking()).await;
    let client = edge.client().await;
    let refused = client.attach(token(device(1), u64::MAX)).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    assert!(refused.retry_after_ms > 0);
    assert_eq!(edge.backend.attaching.load(Ordering::SeqCst), 0);
    edge.backend.feed_is_away.store(false, Ordering::SeqCst);
    soon(async { while client.attach(token(device(1), u64::MAX)).await.is_err() {} }).await;
    client.call::<Fetch>(&Default::default()).await.unwrap();
}

#[tokio::test]
async fn methods_of_services_do_not_exist_for_clients() {
    let edge = Edge::start(config()).await;
    let (anonymous, attached) = (edge.client().await, edge.attached(device(1)).await);
    let internal: Vec<_> = TABLE.iter().filter(|info| info.access == Access::Service).collect();
    assert!(!internal.is_empty());
    for client in [&anonymous, &attached] {
        for info in &internal {
            let frame = [info.id.to_be_bytes().as_slice(), &[0, 0, 0, 1], &0u32.to_be_bytes()].concat();
            assert_eq!(client.raw(&frame).await, Err(ErrorCode::UnknownMethod as u64), "{}", info.name);
        }
        client.ping().await;
    }
    assert_eq!(edge.metric("gateway_bad_frames_total"), 2 * internal.len() as i64);
}

#[tokio::test]
async fn a_device_without_a_session_can_ask_to_be_linked() {
    let edge = Edge::start(config()).await;
    let client = edge.client().await;
    client.call::<LinkOffer>(&v1::LinkOfferRequest::default()).await.unwrap();
    let seen = edge.backend.seen.lock().unwrap().take().unwrap();
    assert_eq!(seen.identity, None);
    assert!(!seen.address_hash.is_empty(), "by which offers are limited");
    let answer = client.call::<FetchLinkAnswer>(&v1::FetchLinkAnswerRequest::default()).await.unwrap();
    assert_eq!(&answer.answer[..], b"answer");
}
