//! The first call that is refused, and until when.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Device, MockClock, World};
use prost::Message;
use qpc_delivery::Config;
use qpc_wire::{
    Code, Status,
    methods::{BatchEnqueue, CreateGroup, Enqueue},
    v1::{BatchEnqueueRequest, GroupKind, enqueue_result},
};

fn wait<R>(result: Result<R, Status>) -> (Code, u64) {
    let refused = result.err().expect("the call was to be refused");
    (refused.code, refused.retry_after_ms)
}

async fn send(world: &World, from: &Device, group: &mut qpc_crypto::Conversation, text: &str) -> Result<(), Status> {
    let request = world.message(from, group, text);
    world.call::<Enqueue>(from, &request).await.map(drop)
}

#[tokio::test]
async fn a_device_sends_sixty_messages_to_a_group_and_one_every_second() {
    let clock = MockClock::now();
    let world = World::start_at(clock.clone(), Config::default()).await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let mut other = world.group(GroupKind::Direct, &alice, &[&carol]).await;
    for number in 0..60 {
        send(&world, &alice, &mut group[0], &number.to_string()).await.unwrap();
    }
    assert_eq!(wait(send(&world, &alice, &mut group[0], "60").await), (Code::ResourceExhausted, 1_000));
    clock.pass(300);
    assert_eq!(wait(send(&world, &alice, &mut group[0], "60").await), (Code::ResourceExhausted, 700));
    send(&world, &alice, &mut other[0], "to another group").await.unwrap();
    send(&world, &bob, &mut group[1], "from another device").await.unwrap();
    clock.pass(700);
    send(&world, &alice, &mut group[0], "60").await.unwrap();
    assert_eq!(wait(send(&world, &alice, &mut group[0], "61").await), (Code::ResourceExhausted, 1_000));
    assert_eq!(world.fetch(&bob, 1).await.entries.len(), 61, "what was refused is nowhere");
}

#[tokio::test]
async fn items_of_a_batch_count_one_by_one() {
    let world = World::start_at(MockClock::now(), Config::default()).await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let items = (0..80).map(|number: u32| world.message(&alice, &mut group[0], &number.to_string())).collect();
    let results = world.call::<BatchEnqueue>(&alice, &BatchEnqueueRequest { items }).await.unwrap().results;
    let refused = |result: &enqueue_result::Result| match result {
        enqueue_result::Result::Error(error) => Some((error.code(), error.retry_after_ms)),
        enqueue_result::Result::Receipt(_) => None,
    };
    let refused: Vec<_> = results.iter().filter_map(|item| refused(item.result.as_ref().unwrap())).collect();
    assert_eq!(refused, vec![(Code::ResourceExhausted, 1_000); 20]);
}

#[tokio::test]
async fn a_mailbox_takes_so_many_bytes_and_refills() {
    let clock = MockClock::now();
    let config = Config { inbound_bytes: "4K:1K/1s".parse().unwrap(), ..Config::default() };
    let world = World::start_at(clock.clone(), config).await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob, &carol]).await;
    let mut pair = world.group(GroupKind::Direct, &alice, &[&carol]).await;
    let mut left: i64 = 4096;
    let full = loop {
        let request = world.message(&alice, &mut group[0], "some text");
        let size = request.payload.len() as i64;
        match world.call::<Enqueue>(&alice, &request).await {
            Ok(_) if left >= size => left -= size,
            Err(refused) if left < size => break (refused, request, (size - left) as u64),
            other => panic!("{other:?} with {left} bytes left for {size}"),
        }
    };
    let (refused, request, missing) = full;
    // A byte takes 976 whole microseconds, so that sums are a little shorter than the sum of shares.
    let expected = (missing * 1000).div_ceil(1024);
    assert_eq!(refused.code, Code::ResourceExhausted);
    assert!(refused.retry_after_ms.abs_diff(expected) <= 1, "{} for {expected}", refused.retry_after_ms);
    assert!(refused.message.contains("mailbox"), "{}", refused.message);

    // Carol is in both, Bob's mailbox alone is not why the pair is refused.
    assert_eq!(wait(send(&world, &alice, &mut pair[0], "some text").await).0, Code::ResourceExhausted);
    clock.pass(refused.retry_after_ms - 1);
    assert_eq!(wait(world.call::<Enqueue>(&alice, &request).await), (Code::ResourceExhausted, 1));
    world.update(&alice, &mut group[0]).await.expect("a commit is not refused");
    clock.pass(1);
    world.call::<Enqueue>(&alice, &request).await.expect("it fits now, under the same key");
}

#[tokio::test]
async fn a_full_mailbox_refuses_one_message_of_a_batch_and_not_its_neighbours() {
    let config = Config { inbound_bytes: "2K:1K/1s".parse().unwrap(), ..Config::default() };
    let world = World::start_at(MockClock::now(), config).await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let mut pair = world.group(GroupKind::Direct, &alice, &[&carol]).await;
    let mut items: Vec<_> =
        (0..20).map(|number: u32| world.message(&alice, &mut group[0], &number.to_string())).collect();
    items.insert(10, world.message(&alice, &mut pair[0], "between"));
    items.push(world.message(&alice, &mut pair[0], "after"));
    let size = items[0].payload.len();
    assert!(items.iter().all(|item| item.encoded_len() < 2048) && size * 20 > 2048);
    let results = world.call::<BatchEnqueue>(&alice, &BatchEnqueueRequest { items }).await.unwrap().results;
    let accepted = |index: &usize| matches!(results[*index].result, Some(enqueue_result::Result::Receipt(_)));
    assert!(accepted(&10) && accepted(&21), "another mailbox is another matter");
    let of_bob = (0..21).filter(|index| *index != 10).filter(accepted).count();
    assert_eq!(of_bob, 2048 / size);
    assert_eq!(world.fetch(&bob, 1).await.entries.len(), of_bob);
    assert_eq!(world.fetch(&carol, 1).await.entries.len(), 2);
}

#[tokio::test]
async fn what_never_fits_is_refused_for_good() {
    let config = Config { inbound_bytes: "10:1/1s".parse().unwrap(), ..Config::default() };
    let world = World::start_with(config).await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    assert_eq!(wait(send(&world, &alice, &mut group[0], "x").await), (Code::ResourceExhausted, 0));
}

#[tokio::test]
async fn an_account_founds_a_hundred_groups_an_hour() {
    let clock = MockClock::now();
    let world = World::start_at(clock.clone(), Config::default()).await;
    let (alice, bob) = (world.device(), world.device());
    let second = world.sibling(&alice);
    let mut first = None;
    for number in 0..100 {
        let founder = if number % 2 == 0 { &alice } else { &second };
        let (_, request) = world.founding(GroupKind::Group, founder, &[]);
        world.call::<CreateGroup>(founder, &request).await.unwrap();
        first.get_or_insert(request);
    }
    let (_, beyond) = world.founding(GroupKind::Group, &alice, &[]);
    assert_eq!(wait(world.call::<CreateGroup>(&alice, &beyond).await), (Code::ResourceExhausted, 36_000));
    world.call::<CreateGroup>(&alice, &first.unwrap()).await.expect("a repetition is free");
    let (_, of_bob) = world.founding(GroupKind::Group, &bob, &[]);
    world.call::<CreateGroup>(&bob, &of_bob).await.expect("another account");
    clock.pass(35_999);
    assert_eq!(wait(world.call::<CreateGroup>(&alice, &beyond).await), (Code::ResourceExhausted, 1));
    clock.pass(1);
    world.call::<CreateGroup>(&alice, &beyond).await.expect("one comes back every 36 s");
}
