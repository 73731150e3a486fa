//! Doorbells: how they reach a client, and that losing one costs time only (G3, G11).

use std::sync::atomic::Ordering;

use bytes::Bytes;
use prost::Message;
use qpc_chassis::push::subject;
use qpc_gateway::{Config, Limits};
use qpc_wire::{
    bus,
    methods::FetchWait,
    v1::{self, EventType},
};

use crate::support::{Edge, client_config, config, device, token, until, with_limits};

fn wait_for_mail(timeout_ms: u32) -> v1::FetchWaitRequest {
    v1::FetchWaitRequest { after: 0, limit: 0, timeout_ms }
}

async fn wait_until_looked(edge: &Edge) {
    until(|| edge.backend.fetches.load(Ordering::SeqCst) > 0).await;
}

#[tokio::test]
async fn a_doorbell_becomes_a_push_at_every_connection_of_the_device() {
    let edge = Edge::start(config()).await;
    let (one, two) = (edge.attached(device(1)).await, edge.attached(device(1)).await);
    let event = v1::MailboxEvent { head: 5, entries: vec![v1::Entry { seq: 5, body: None }] };
    edge.ring(device(2), EventType::Mailbox, v1::MailboxEvent::default()).await;
    edge.ring(device(1), EventType::Mailbox, event.clone()).await;
    edge.ring(device(1), EventType::KeyPackageLow, v1::KeyPackageLowEvent { suite: 79, available: 3 }).await;
    for client in [one, two] {
        let (kind, body) = client.push().await;
        assert_eq!((kind, v1::MailboxEvent::decode(body).unwrap()), (EventType::Mailbox, event.clone()));
        let (kind, body) = client.push().await;
        assert_eq!((kind, v1::KeyPackageLowEvent::decode(body).unwrap().available), (EventType::KeyPackageLow, 3));
    }
}

#[tokio::test]
async fn doorbells_that_make_no_sense_are_ignored() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    let strange = [(1, 0), (1, 99), (1, u32::MAX), (1, EventType::Drain as u32)].map(|(byte, event_type)| bus::Push {
        device_id: device(byte).to_bytes(),
        event_type,
        body: Bytes::new(),
    });
    let nobody = bus::Push { event_type: 1, ..Default::default() };
    let batch = bus::PushBatch { pushes: strange.into_iter().chain([nobody]).collect() };
    let bus = &edge.deps.bus;
    bus.publish(subject(&edge.gateway.id), batch.encode_to_vec().into()).await.unwrap();
    bus.publish(subject(&edge.gateway.id), Bytes::from_static(&[0xff])).await.unwrap();
    edge.ring(device(1), EventType::Mailbox, v1::MailboxEvent::default()).await;
    assert_eq!(client.push().await.0, EventType::Mailbox);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_to_pull_once_it_does() {
    let edge = Edge::start(with_limits(Limits { push_queue: 4, ..Limits::default() })).await;
    let transport = client_config(&edge, |transport| {
        transport.max_concurrent_uni_streams(0u32.into());
    });
    let client = edge.client_with(transport).await.unwrap();
    client.attach(token(device(1), u64::MAX)).await.unwrap();
    for head in 1..=20 {
        edge.ring(device(1), EventType::Mailbox, v1::MailboxEvent { head, entries: vec![] }).await;
    }
    edge.heard().await;
    assert!(edge.metric("gateway_pushes_dropped_total") >= 15);
    // The connection is as good as any other meanwhile.
    client.ping().await;

    client.grant_pushes(100);
    let mut heads = Vec::new();
    loop {
        match client.push().await {
            (EventType::Mailbox, body) => heads.push(v1::MailboxEvent::decode(body).unwrap().head),
            (event, _) => {
                assert_eq!(event, EventType::PullAgain);
                break;
            }
        }
    }
    assert!((4..=5).contains(&heads.len()) && heads.is_sorted(), "{heads:?}");
}

#[tokio::test]
async fn fetch_wait_returns_upon_a_doorbell() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    let rung = async {
        wait_until_looked(&edge).await;
        edge.mail(1);
        edge.ring(device(1), EventType::Mailbox, v1::MailboxEvent { head: 1, entries: vec![] }).await;
    };
    let request = wait_for_mail(30_000);
    let (answer, ()) = tokio::join!(client.call::<FetchWait>(&request), rung);
    assert_eq!(answer.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn fetch_wait_finds_mail_whose_doorbell_was_lost() {
    let edge = Edge::start(Config { look_ms: 10, ..config() }).await;
    let client = edge.attached(device(1)).await;
    let lost = async {
        wait_until_looked(&edge).await;
        edge.mail(1);
    };
    let request = wait_for_mail(30_000);
    let (answer, ()) = tokio::join!(client.call::<FetchWait>(&request), lost);
    assert_eq!(answer.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn fetch_wait_looks_once_more_at_its_end_and_does_not_wait_for_what_is_there() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    let answer = client.call::<FetchWait>(&wait_for_mail(30)).await.unwrap();
    assert!(answer.entries.is_empty());
    assert_eq!(edge.backend.fetches.load(Ordering::SeqCst), 2);
    edge.mail(1);
    let answer = client.call::<FetchWait>(&wait_for_mail(30_000)).await.unwrap();
    assert_eq!((answer.entries.len(), answer.head), (1, 1));
    assert_eq!(edge.backend.fetches.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_wait_that_the_client_gives_up_ends() {
    let edge = Edge::start(config()).await;
    let client = edge.attached(device(1)).await;
    {
        let request = wait_for_mail(30_000);
        let waiting = client.call::<FetchWait>(&request);
        tokio::select! {
            _ = waiting => panic!("there is no mail"),
            () = wait_until_looked(&edge) => {}
        }
    }
    until(|| edge.metric("gateway_streams") == 0).await;
}

#[tokio::test]
async fn a_device_whose_registration_was_lost_is_told_to_pull() {
    let edge = Edge::start(Config { presence_ms: 20, ..config() }).await;
    let client = edge.attached(device(1)).await;
    let lost = edge.deps.cache.remove_if(format!("presence:{}", device(1)), edge.gateway.id.clone()).await.unwrap();
    assert!(lost);
    assert_eq!(client.push().await.0, EventType::PullAgain);
    assert_eq!(edge.presence(device(1)).await.unwrap(), edge.gateway.id);
}

#[tokio::test]
async fn doubt_about_the_bus_makes_every_device_pull() {
    let edge = Edge::start(config()).await;
    let clients = [edge.attached(device(1)).await, edge.attached(device(2)).await];
    // Somebody else's queue overflows: nobody can know whose doorbells were lost.
    let _slow = edge.deps.bus.subscribe("slow".to_owned(), None).await.unwrap();
    let mut doubt = edge.deps.bus.doubt();
    while !doubt.has_changed().unwrap() {
        edge.deps.bus.publish("slow".to_owned(), Bytes::new()).await.unwrap();
    }
    doubt.mark_unchanged();
    for client in clients {
        assert_eq!(client.push().await.0, EventType::PullAgain);
    }
}
