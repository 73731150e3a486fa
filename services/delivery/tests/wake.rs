//! Devices that are away are woken by a push service, and it learns nothing else.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic)]

mod common;
#[path = "../../../libs/testkit/src/push_service.rs"]
#[allow(dead_code, reason = "shared with whole installations")]
mod push_service;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{Device, MockClock, World, code};
use push_service::PushService;
use qpc_chassis::{Runtime, db::contract::fresh_database};
use qpc_crypto::{Conversation, vapid};
use qpc_delivery::Config;
use qpc_wire::{
    Code,
    methods::{Ack, Enqueue, FetchPushEndpoint, ForgetAccount, RemovePushEndpoint, ReportMailboxes, SetPushEndpoint},
    v1::{
        AckRequest, FetchPushEndpointRequest, FetchPushEndpointResponse, ForgetAccountRequest, GroupKind,
        PushEndpointState, RemovePushEndpointRequest, ReportMailboxesRequest, SetPushEndpointRequest,
    },
};
use rand::RngCore;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const CONTACT: &str = "mailto:push@example.org";

fn config(push: &PushService) -> Config {
    Config {
        wake_contact: Some(CONTACT.parse().unwrap()),
        wake_allow: vec!["127.0.0.0/8".parse().unwrap()],
        wake_ca: Some(push.ca()),
        ..Config::default()
    }
}

/// Looks until it is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let looked = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looked).await.unwrap_or_else(|_| panic!("{what} did not happen"));
}

async fn endpoint(world: &World, device: &Device) -> FetchPushEndpointResponse {
    world.call::<FetchPushEndpoint>(device, &FetchPushEndpointRequest {}).await.unwrap()
}

async fn set(world: &World, device: &Device, url: String) {
    world.call::<SetPushEndpoint>(device, &SetPushEndpointRequest { url }).await.unwrap();
}

async fn acknowledge(world: &World, device: &Device) {
    let seq = world.fetch(device, 0).await.head;
    world.call::<Ack>(device, &AckRequest { seq, ..AckRequest::default() }).await.unwrap();
}

/// A figure of all replicas.
fn counted(world: &World, name: &str) -> usize {
    let rendered = world.deps.metrics.render();
    let figures = rendered.lines().filter_map(|line| line.strip_prefix("qpc_delivery_wakes_")?.strip_prefix(name));
    figures.filter_map(|rest| rest.strip_prefix("_total ")?.parse::<usize>().ok()).sum()
}

/// Waits until what came of every request is written down.
async fn settled(world: &World, push: &PushService) {
    until("what came of it", || counted(world, "sent") + counted(world, "failed") == push.heard().len()).await;
}

/// Somebody writes to somebody who has read everything so far and can be woken.
struct Pair {
    alice: Device,
    bob: Device,
    group: Vec<Conversation>,
    path: String,
}

impl Pair {
    async fn new(world: &World, push: &PushService, path: &str) -> Self {
        let (alice, bob) = (world.device(), world.device());
        let group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
        acknowledge(world, &bob).await;
        set(world, &bob, push.url(path)).await;
        Self { alice, bob, group, path: path.to_owned() }
    }

    async fn write(&mut self, world: &World) {
        let request = world.message(&self.alice, &mut self.group[0], "hello");
        world.call::<Enqueue>(&self.alice, &request).await.unwrap();
    }

    /// So often so far, and what came of it is written down.
    async fn woken(&self, world: &World, push: &PushService, times: usize) {
        until("a wake-up", || push.heard_at(&self.path).len() >= times).await;
        settled(world, push).await;
        assert_eq!(push.heard_at(&self.path).len(), times, "{}", self.path);
    }
}

/// Shows that nobody else was woken meanwhile: wakes somebody twice, one after the other, for which every endpoint was looked at.
struct Others(Pair);

impl Others {
    async fn new(world: &World, push: &PushService) -> Self {
        Self(Pair::new(world, push, "others").await)
    }

    async fn pass(&mut self, world: &World, push: &PushService, clock: &MockClock) {
        for _ in 0..2 {
            let before = push.heard_at("others").len();
            acknowledge(world, &self.0.bob).await;
            self.0.write(world).await;
            clock.pass(30_000);
            self.0.woken(world, push, before + 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_are_one_request_that_says_nothing() {
    let (push, clock) = (PushService::start().await, MockClock::now());
    let world = World::start_at(clock.clone(), config(&push)).await;
    let mut pair = Pair::new(&world, &push, "bob").await;
    let mut others = Others::new(&world, &push).await;
    for _ in 0..5 {
        pair.write(&world).await;
    }
    clock.pass(5_000);
    pair.woken(&world, &push, 1).await;

    let heard = push.heard_at("bob").remove(0);
    assert_eq!((heard.method.as_str(), heard.body), ("POST", 0));
    let header = |name: &str| heard.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-length").as_deref(), Some("0"));
    assert_eq!(header("ttl").as_deref(), Some("2592000"));
    assert_eq!((header("urgency").as_deref(), header("topic").as_deref()), (Some("high"), Some("wake")));
    let names: BTreeSet<&str> = heard.headers.keys().map(|name| name.as_str()).collect();
    let known = ["accept", "authorization", "content-length", "host", "topic", "ttl", "urgency"];
    assert_eq!(names, BTreeSet::from(known), "and nothing else");
    let (key, claims) = vapid::read(&header("authorization").unwrap()).unwrap();
    assert_eq!(key, endpoint(&world, &pair.bob).await.server_key);
    assert_eq!(claims["aud"], push.origin());
    assert_eq!(claims["sub"], CONTACT);
    let left_s = claims["exp"].as_u64().unwrap() - world.deps.runtime.now_ms() / 1000;
    assert!((1..=24 * 60 * 60).contains(&left_s), "{left_s}");

    // Whoever does not come is not called again, however much comes.
    pair.write(&world).await;
    others.pass(&world, &push, &clock).await;
    pair.woken(&world, &push, 1).await;
    acknowledge(&world, &pair.bob).await;
    pair.write(&world).await;
    clock.pass(5_000);
    pair.woken(&world, &push, 2).await;
    assert_eq!((counted(&world, "sent"), counted(&world, "failed")), (4, 0), "of two people");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fetches_is_not_woken() {
    let (push, clock) = (PushService::start().await, MockClock::now());
    let world = World::start_at(clock.clone(), config(&push)).await;
    let mut pair = Pair::new(&world, &push, "bob").await;
    let mut others = Others::new(&world, &push).await;
    for _ in 0..3 {
        pair.write(&world).await;
        acknowledge(&world, &pair.bob).await;
    }
    others.pass(&world, &push, &clock).await;
    pair.woken(&world, &push, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_woken_and_never_came_is_woken_again_after_a_day() {
    let (push, clock) = (PushService::start().await, MockClock::now());
    let world = World::start_at(clock.clone(), config(&push)).await;
    let mut pair = Pair::new(&world, &push, "bob").await;
    pair.write(&world).await;
    clock.pass(5_000);
    pair.woken(&world, &push, 1).await;
    pair.write(&world).await;
    clock.pass(DAY_MS + 30_000);
    pair.woken(&world, &push, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_forgotten_and_its_device_told() {
    let (push, clock) = (PushService::start().await, MockClock::now());
    let world = World::start_at(clock.clone(), config(&push)).await;
    for status in [404, 410] {
        let path = format!("gone-{status}");
        let mut pair = Pair::new(&world, &push, &path).await;
        let before = endpoint(&world, &pair.bob).await;
        assert_eq!((before.state(), before.url), (PushEndpointState::Set, push.url(&path)));
        push.answer(status, None);
        pair.write(&world).await;
        clock.pass(5_000);
        pair.woken(&world, &push, 1).await;
        let after = endpoint(&world, &pair.bob).await;
        assert_eq!((after.state(), after.url.as_str()), (PushEndpointState::Gone, ""));
        assert_eq!(after.since_day, world.deps.runtime.now_ms() / DAY_MS);
        assert_eq!(after.server_key.len(), vapid::PUBLIC_LEN);
        // A new subscription is woken for what waits.
        set(&world, &pair.bob, push.url(&format!("new-{status}"))).await;
        clock.pass(60_000);
        until("a wake-up", || push.heard_at(&format!("new-{status}")).len() == 1).await;
        settled(&world, &push).await;
    }
    assert_eq!(counted(&world, "removed"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_service_that_asks_for_time_gets_it() {
    let (push, clock) = (PushService::start().await, MockClock::now());
    let world = World::start_at(clock.clone(), config(&push)).await;
    let mut others = Others::new(&world, &push).await;
    let mut pair = Pair::new(&world, &push, "bob").await;
    push.answer(429, Some(600));
    pair.write(&world).await;
    clock.pass(5_000);
    pair.woken(&world, &push, 1).await;
    // A minute of ten.
    others.pass(&world, &push, &clock).await;
    pair.woken(&world, &push, 1).await;
    clock.pass(539_000);
    others.pass(&world, &push, &clock).await;
    pair.woken(&world, &push, 2).await;
    assert_eq!(endpoint(&world, &pair.bob).await.state(), PushEndpointState::Set);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_service_that_refuses_is_given_up_and_redirects_are_not_followed() {
    let (push, clock) = (PushService::start().await, MockClock::now());
    let world = World::start_at(clock.clone(), config(&push)).await;
    let mut pair = Pair::new(&world, &push, "bob").await;
    pair.write(&world).await;
    for (n, status) in [307, 403, 400, 401, 413].into_iter().enumerate() {
        push.answer(status, None);
        clock.pass(60 * 60 * 1000);
        pair.woken(&world, &push, n + 1).await;
    }
    assert_eq!(endpoint(&world, &pair.bob).await.state(), PushEndpointState::Refused);
    assert_eq!((counted(&world, "failed"), counted(&world, "removed")), (5, 1));
    assert!(push.heard_at("elsewhere").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_wake_a_device_once() {
    let push = PushService::start().await;
    let clock = MockClock::now();
    let world = World::start_at(clock.clone(), config(&push)).await;
    wake_once(&world, &push, &clock).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres: cargo xtask test"]
async fn two_replicas_wake_a_device_once_over_postgres() {
    let url = std::env::var("QPC_TEST_POSTGRES").expect("QPC_TEST_POSTGRES is not set; run cargo xtask test");
    let name = format!("wake_{:016x}", Runtime::system().rng().next_u64());
    let (push, clock) = (PushService::start().await, MockClock::now());
    let database = fresh_database(&url, &name).await;
    let world = World::start_at_on(clock.clone(), database, config(&push)).await;
    wake_once(&world, &push, &clock).await;
}

async fn wake_once(world: &World, push: &PushService, clock: &Arc<MockClock>) {
    // Beside the first over the same tables.
    qpc_delivery::start(world.deps.clone(), config(push)).await.unwrap();
    let mut pairs = Vec::new();
    for number in 0..20 {
        pairs.push(Pair::new(world, push, &format!("one-of-{number}")).await);
    }
    for round in 1..=3 {
        for pair in &mut pairs {
            acknowledge(world, &pair.bob).await;
            pair.write(world).await;
        }
        clock.pass(30_000);
        for pair in &pairs {
            until("a wake-up", || push.heard_at(&pair.path).len() >= round).await;
        }
        settled(world, push).await;
    }
    for pair in &pairs {
        assert_eq!(push.heard_at(&pair.path).len(), 3, "{}", pair.path);
    }
}

#[tokio::test]
async fn only_what_is_on_the_internet_can_be_an_endpoint() {
    let world = World::start().await;
    let device = world.device();
    let refused = async |url: &str| {
        world.call::<SetPushEndpoint>(&device, &SetPushEndpointRequest { url: url.to_owned() }).await.unwrap_err()
    };
    for url in [
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "http://push.example.org/x",
        "https://push.example.org:8443/x",
        "https://user:secret@push.example.org/x",
        "ftp://push.example.org/x",
        "",
        &format!("https://push.example.org/{}", "x".repeat(1024)),
    ] {
        let status = refused(url).await;
        assert_eq!(status.code, Code::InvalidArgument, "{url}");
        assert!(!status.message.contains("push.example.org") && !status.message.contains("169.254"), "{status}");
    }
    assert_eq!(endpoint(&world, &device).await.state(), PushEndpointState::None);
    set(&world, &device, "https://push.example.org/x".to_owned()).await;
    assert_eq!(endpoint(&world, &device).await.url, "https://push.example.org/x");
}

#[tokio::test]
async fn an_endpoint_goes_with_its_device_and_with_its_account() {
    const ROWS: &str = "SELECT COUNT(*) FROM push_endpoint";
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    for device in [&alice, &bob, &carol] {
        set(&world, device, "https://push.example.org/secret".to_owned()).await;
    }
    assert_eq!(world.rows(ROWS).await, 3);

    let report = ReportMailboxesRequest {
        account_id: alice.identity.account.to_bytes(),
        device_ids: vec![alice.identity.device.to_bytes()],
    };
    let reported = world.call::<ReportMailboxes>(&alice, &report).await.unwrap();
    assert_eq!(reported.mailboxes[0].push_host, "push.example.org", "and no more of it");

    world.call::<RemovePushEndpoint>(&alice, &RemovePushEndpointRequest {}).await.unwrap();
    assert_eq!(endpoint(&world, &alice).await.state(), PushEndpointState::None);
    assert_eq!(world.rows(ROWS).await, 3, "when it may be woken next is remembered");
    world.revoke(&bob).await;
    assert_eq!(world.rows(ROWS).await, 2);
    let again = SetPushEndpointRequest { url: "https://push.example.org/again".to_owned() };
    assert_eq!(code(world.call::<SetPushEndpoint>(&bob, &again).await), Code::PermissionDenied);
    let forget = ForgetAccountRequest {
        account_id: carol.identity.account.to_bytes(),
        device_ids: vec![carol.identity.device.to_bytes()],
    };
    world.call::<ForgetAccount>(&carol, &forget).await.unwrap();
    assert_eq!(world.rows(ROWS).await, 1);
}

#[tokio::test]
async fn a_server_that_wakes_nobody_says_so() {
    let world = World::start_with(Config { wake_ups: false, ..Config::default() }).await;
    let device = world.device();
    let request = SetPushEndpointRequest { url: "https://push.example.org/x".to_owned() };
    assert_eq!(code(world.call::<SetPushEndpoint>(&device, &request).await), Code::FailedPrecondition);
    assert!(endpoint(&world, &device).await.server_key.is_empty());
    world.call::<RemovePushEndpoint>(&device, &RemovePushEndpointRequest {}).await.unwrap();
}
