use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use qpc_auth::Config;
use qpc_chassis::limits::{Limit, Limits};
use qpc_crypto::sha256;
use qpc_wire::{Code, Status, methods, v1};

use crate::{
    login::BrokenCache,
    world::{Connection, World, bytes, code, connection},
};

const LIFETIME: Duration = Duration::from_secs(10 * 60);

fn id(offer: &[u8]) -> Bytes {
    bytes(&sha256(&[offer])[..16])
}

async fn offer(world: &World, from: &Connection, offer: &[u8]) -> Result<u64, Status> {
    let request = v1::LinkOfferRequest { link_id: id(offer), offer: bytes(offer) };
    world.call::<methods::LinkOffer>(from, request).await.map(|response| response.expires_in_ms)
}

async fn fetch_offer(world: &World, from: &Connection, link_id: Bytes) -> Result<Bytes, Status> {
    let request = v1::FetchLinkOfferRequest { link_id };
    world.call::<methods::FetchLinkOffer>(from, request).await.map(|response| response.offer)
}

async fn answer(world: &World, from: &Connection, link_id: Bytes, answer: &[u8]) -> Result<(), Status> {
    let request = v1::LinkAnswerRequest { link_id, answer: bytes(answer) };
    world.call::<methods::LinkAnswer>(from, request).await.map(|_| ())
}

async fn fetch_answer(world: &World, from: &Connection, link_id: Bytes) -> Result<Bytes, Status> {
    let request = v1::FetchLinkAnswerRequest { link_id };
    world.call::<methods::FetchLinkAnswer>(from, request).await.map(|response| response.answer)
}

#[tokio::test]
async fn a_new_device_offers_and_one_of_the_account_answers() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (new, old) = (connection(5), alice.attached(3));
    let link = id(b"offer");
    assert_eq!(offer(&world, &new, b"offer").await.unwrap(), 600_000);
    assert_eq!(fetch_answer(&world, &new, link.clone()).await.unwrap(), bytes(b""), "none yet");
    assert_eq!(fetch_offer(&world, &old, link.clone()).await.unwrap(), bytes(b"offer"));
    answer(&world, &old, link.clone(), b"answer").await.unwrap();
    for from in [&new, &connection(6), &old] {
        assert_eq!(fetch_answer(&world, from, link.clone()).await.unwrap(), bytes(b"answer"));
    }
}

#[tokio::test]
async fn the_first_answer_stands() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (mallory, _) = world.logged_in("mallory").await;
    let link = id(b"offer");
    offer(&world, &connection(5), b"offer").await.unwrap();
    for _ in 0..2 {
        answer(&world, &alice.attached(3), link.clone(), b"first").await.expect("a repetition changes nothing");
    }
    assert_eq!(code(answer(&world, &alice.attached(3), link.clone(), b"second").await), Code::AlreadyExists);
    assert_eq!(code(answer(&world, &mallory.attached(3), link.clone(), b"other").await), Code::AlreadyExists);
    assert_eq!(fetch_answer(&world, &connection(5), link).await.unwrap(), bytes(b"first"));
}

#[tokio::test]
async fn a_link_has_the_id_of_its_offer_and_a_size() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (new, old) = (connection(5), alice.attached(3));
    let make = |link_id: Bytes, offer: &[u8]| {
        let request = v1::LinkOfferRequest { link_id, offer: bytes(offer) };
        world.call::<methods::LinkOffer>(&new, request)
    };
    assert_eq!(code(make(id(b"another"), b"offer").await), Code::InvalidArgument);
    assert_eq!(code(make(id(b"offer").slice(..15), b"offer").await), Code::InvalidArgument);
    assert_eq!(code(make(bytes(&sha256(&[b"offer"])), b"offer").await), Code::InvalidArgument);
    assert_eq!(code(make(bytes(b""), b"offer").await), Code::InvalidArgument);
    assert_eq!(code(offer(&world, &new, b"").await), Code::InvalidArgument);
    assert_eq!(code(offer(&world, &new, &[7; 4097]).await), Code::InvalidArgument);
    assert_eq!(code(fetch_offer(&world, &old, id(b"offer")).await), Code::NotFound, "nothing was kept");

    let largest = [7; 4096];
    offer(&world, &new, &largest).await.unwrap();
    assert_eq!(fetch_offer(&world, &old, id(&largest)).await.unwrap(), bytes(&largest));
    assert_eq!(code(answer(&world, &old, id(&largest), b"").await), Code::InvalidArgument);
    assert_eq!(code(answer(&world, &old, id(&largest), &[8; 16 * 1024 + 1]).await), Code::InvalidArgument);
    answer(&world, &old, id(&largest), &[8; 16 * 1024]).await.unwrap();
    assert_eq!(fetch_answer(&world, &new, id(&largest)).await.unwrap(), bytes(&[8; 16 * 1024]));
}

#[tokio::test]
async fn only_a_device_sees_offers_and_answers_them() {
    let world = World::new().await;
    let stranger = connection(6);
    offer(&world, &connection(5), b"offer").await.unwrap();
    assert_eq!(code(fetch_offer(&world, &stranger, id(b"offer")).await), Code::Unauthenticated);
    assert_eq!(code(answer(&world, &stranger, id(b"offer"), b"answer").await), Code::Unauthenticated);
    assert_eq!(fetch_answer(&world, &stranger, id(b"offer")).await.unwrap(), bytes(b""));
}

#[tokio::test]
async fn links_are_gone_after_ten_minutes_however_often_they_are_repeated() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (new, old) = (connection(5), alice.attached(3));
    let link = id(b"offer");
    offer(&world, &new, b"offer").await.unwrap();
    world.pass(LIFETIME - Duration::from_millis(1));
    assert_eq!(offer(&world, &new, b"offer").await.unwrap(), 1);
    answer(&world, &old, link.clone(), b"answer").await.unwrap();
    assert_eq!(fetch_answer(&world, &new, link.clone()).await.unwrap(), bytes(b"answer"));

    world.pass(Duration::from_millis(1));
    assert_eq!(code(fetch_offer(&world, &old, link.clone()).await), Code::NotFound);
    assert_eq!(code(fetch_answer(&world, &new, link.clone()).await), Code::NotFound);
    assert_eq!(code(answer(&world, &old, link.clone(), b"late").await), Code::NotFound);
    assert_eq!(offer(&world, &new, b"offer").await.unwrap(), 600_000, "begun anew");
    assert_eq!(fetch_answer(&world, &new, link).await.unwrap(), bytes(b""), "without the old answer");
}

#[tokio::test]
async fn an_address_makes_six_offers_and_one_every_two_minutes() {
    let world = World::new().await;
    let from = |address| Connection { address, ..connection(5) };
    for number in 0..6 {
        offer(&world, &from(b"one"), &[number]).await.unwrap();
    }
    world.pass(Duration::from_secs(50));
    let refused = offer(&world, &from(b"one"), &[6]).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 70_000));
    offer(&world, &from(b"one"), &[0]).await.expect("repetitions are free");
    offer(&world, &from(b"two"), &[6]).await.expect("another address");
    for number in 10..20 {
        offer(&world, &from(b""), &[number]).await.expect("no address, no limit");
    }
    world.pass(Duration::from_secs(70));
    offer(&world, &from(b"one"), &[7]).await.expect("two minutes are over");
    let refused = offer(&world, &from(b"one"), &[8]).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 120_000));
}

#[tokio::test]
async fn all_together_make_ten_thousand_offers_in_ten_minutes() {
    let world = World::new().await;
    let (of_all, address) = (Limit::new("link-all", "10000:10000/10m".parse().unwrap()), b"a crowd");
    for _ in 0..9_999 {
        Limits::new(&world.deps).admit("offers", [of_all.one(&[])]).await.unwrap();
    }
    let from = Connection { address, ..connection(5) };
    offer(&world, &from, b"last").await.unwrap();
    for _ in 0..20 {
        let refused = offer(&world, &from, b"beyond").await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 60));
    }
    world.pass(Duration::from_millis(60));
    offer(&world, &from, b"beyond").await.expect("what all are refused is not at the cost of the address");
}

#[tokio::test]
async fn without_a_cache_nobody_links() {
    let world = World::with(Config::default(), |_| Arc::new(BrokenCache)).await;
    let refused = offer(&world, &connection(5), b"offer").await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    assert!(refused.retry_after_ms > 0);
    assert_eq!(code(fetch_answer(&world, &connection(5), id(b"offer")).await), Code::Unavailable);
}
