//! Gateways that take up what another one has begun.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use qpc_gateway::{Config, ServerId};
use qpc_wire::{
    methods::{Fetch, Ping},
    v1::{self, EventType},
};
use quinn::ConnectionError;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{
    support::{Edge, PATIENCE, client_config, config, device, soon, token},
    switch::Balancer,
};

const RELAYED_IN: &str = "gateway_relayed_packets_total{direction=\"in\"}";
const RELAYED_OUT: &str = "gateway_relayed_packets_total{direction=\"out\"}";

const HANDSHAKES: &str = "gateway_handshakes_total";

/// Settings of gateways that share keys.
struct Family {
    folder: TempDir,
    listen: IpAddr,
}

impl Family {
    fn new(listen: &str) -> Self {
        let family = Self { folder: tempfile::tempdir().unwrap(), listen: listen.parse().unwrap() };
        family.write("keys", &["ab"]);
        family
    }

    /// Writes a file of keys, each of which is an octet over and over.
    fn write(&self, name: &str, keys: &[&str]) -> PathBuf {
        let (path, lines) = (self.folder.path().join(name), keys.iter().map(|octet| octet.repeat(32)));
        std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
        path
    }

    fn sharing_keys(&self) -> Config {
        Config { edge_keys: Some(self.folder.path().join("keys")), listen: (self.listen, 0).into(), ..config() }
    }

    fn member(&self, last: u8) -> Config {
        Config {
            server_id: Some(ServerId::from([last; 8])),
            relay_listen: Some(([127, 0, 0, 1], 0).into()),
            ..self.sharing_keys()
        }
    }
}

async fn echo(client: &crate::support::Client, bytes: usize) {
    let payload = Bytes::from(vec![7; bytes]);
    let answer = soon(client.call::<Ping>(&v1::PingRequest { payload: payload.clone() })).await.unwrap();
    assert_eq!(answer.payload, payload);
}

#[tokio::test]
async fn a_client_resumes_at_another_gateway_than_the_one_it_got_its_ticket_from() {
    let family = Family::new("127.0.0.1");
    let here = Edge::start(family.sharing_keys()).await;
    let there = here.another(family.sharing_keys()).await;
    let strange = here.another(config()).await;
    // It trusts the one certificate alone, so that at the others only a resumed handshake can succeed.
    let trusting = client_config(&here, |_| {});
    assert!(there.client_with(trusting.clone()).await.is_err());
    let first = here.client_with(trusting.clone()).await.unwrap();
    // The ticket comes some time after the handshake. Each is used once, and each handshake brings another.
    let resumed = soon(async {
        loop {
            first.ping().await;
            if let Ok(resumed) = there.client_with(trusting.clone()).await {
                return resumed;
            }
        }
    });
    resumed.await.ping().await;
    assert!(strange.client_with(trusting).await.is_err());
}

#[tokio::test]
async fn keys_that_change_in_the_file_are_in_use_without_a_restart() {
    let family = Family::new("127.0.0.1");
    let here = Edge::start(family.member(1)).await;
    let there = here.another(Config { edge_keys: Some(family.write("new", &["cd"])), ..family.member(2) }).await;
    let trusting = client_config(&here, |_| {});
    here.client_with(trusting.clone()).await.unwrap().ping().await;
    assert!(there.client_with(trusting.clone()).await.is_err(), "the old key is not known there");

    family.write("keys", &["cd", "ab"]);
    // Files are looked at every few seconds. Until then the tickets are of the old key.
    let resumed = async {
        loop {
            here.client_with(trusting.clone()).await.unwrap().ping().await;
            if let Ok(resumed) = there.client_with(trusting.clone()).await {
                return resumed;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), resumed).await.expect("no ticket of the new key").ping().await;
    let balancer = Balancer::to(here.gateway.local_addr);
    let (client, _endpoint) = here.client_over(&balancer).await;
    balancer.switch(Some(there.gateway.local_addr));
    echo(&client, 100_000).await;
    assert!(here.metric(RELAYED_IN) > 0, "and so are ids and packets passed on");
}

async fn packets_find_their_gateway(listen: &str) {
    let family = Family::new(listen);
    let here = Edge::start(family.member(1)).await;
    let there = here.another(family.member(2)).await;
    let balancer = Balancer::to(here.gateway.local_addr);
    let (client, endpoint) = here.client_over(&balancer).await;
    client.attach(token(device(1), u64::MAX)).await.unwrap();
    for gateway in [there.gateway.local_addr, here.gateway.local_addr, there.gateway.local_addr] {
        balancer.switch(Some(gateway));
        client.ping().await;
        echo(&client, 300_000).await;
    }
    // At the wrong gateway from the first packet on under a new address.
    endpoint.rebind_abstract(balancer.socket()).unwrap();
    echo(&client, 300_000).await;
    here.ring(device(1), EventType::Mailbox, v1::MailboxEvent { head: 1, entries: Vec::new() }).await;
    assert_eq!(client.push().await.0, EventType::Mailbox);
    assert_eq!((here.metric("gateway_connections"), there.metric("gateway_connections")), (1, 0));
    for edge in [&here, &there] {
        assert!(edge.metric(RELAYED_IN) > 500);
        assert!(edge.metric(RELAYED_OUT) > 500);
        assert_eq!(edge.metric("gateway_stateless_resets_total"), 0);
    }
}

#[tokio::test]
async fn packets_of_an_ipv4_client_find_their_gateway() {
    packets_find_their_gateway("127.0.0.1").await;
}

#[tokio::test]
async fn packets_of_an_ipv6_client_find_their_gateway() {
    packets_find_their_gateway("::1").await;
}

#[tokio::test]
async fn a_handshake_that_goes_on_at_another_gateway_finds_the_one_where_it_began() {
    let family = Family::new("127.0.0.1");
    let here = Edge::start(family.member(1)).await;
    let there = here.another(family.member(2)).await;
    let (client, _endpoint) =
        here.client_over(&Balancer::parting(here.gateway.local_addr, there.gateway.local_addr)).await;
    client.ping().await;
    assert_eq!(here.metric("gateway_connections"), 1);
    assert_eq!((here.metric(HANDSHAKES), there.metric(HANDSHAKES)), (1, 0));
}

#[tokio::test]
async fn a_gateway_is_found_by_the_address_in_its_server_id() {
    let family = Family::new("127.0.0.1");
    // The same port for all, as in a cluster, and a cache that knows nothing.
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let pod = |address: [u8; 4]| Config {
        pod_ip: Some(IpAddr::from(address)),
        relay_listen: Some(SocketAddr::from((address, port))),
        ..family.sharing_keys()
    };
    let here = Edge::start(pod([127, 0, 0, 2])).await;
    let there = here.another_without_cache(pod([127, 0, 0, 3])).await;
    let balancer = Balancer::to(here.gateway.local_addr);
    let (client, _endpoint) = here.client_over(&balancer).await;
    balancer.switch(Some(there.gateway.local_addr));
    client.ping().await;
    echo(&client, 100_000).await;
    assert_eq!(here.metric("gateway_connections"), 1);
}

#[tokio::test]
async fn a_client_that_changes_its_address_keeps_its_session() {
    let edge = Edge::start(config()).await;
    let balancer = Balancer::to(edge.gateway.local_addr);
    let (client, endpoint) = edge.client_over(&balancer).await;
    client.attach(token(device(1), u64::MAX)).await.unwrap();
    edge.mail(1);
    for _ in 0..3 {
        let before = endpoint.local_addr().unwrap();
        endpoint.rebind_abstract(balancer.socket()).unwrap();
        assert_ne!(endpoint.local_addr().unwrap(), before);
        let fetched = soon(client.call::<Fetch>(&v1::FetchRequest::default())).await.unwrap();
        assert_eq!(fetched.entries.len(), 1);
    }
    edge.ring(device(1), EventType::Mailbox, v1::MailboxEvent { head: 1, entries: Vec::new() }).await;
    assert_eq!(client.push().await.0, EventType::Mailbox);
    assert_eq!(edge.metric("gateway_connections"), 1);
}

#[tokio::test]
async fn connections_of_a_gateway_that_is_gone_are_reset() {
    let family = Family::new("127.0.0.1");
    let here = Edge::start(family.member(1)).await;
    let gone = here.another(Config { drain_grace_ms: 50, ..family.member(2) }).await;
    let balancer = Balancer::to(gone.gateway.local_addr);
    let (client, _endpoint) = gone.client_over(&balancer).await;
    client.ping().await;
    // The client does not hear that its gateway says goodbye.
    balancer.switch(None);
    assert!(gone.deps.runtime.drain(PATIENCE).await);
    balancer.switch(Some(here.gateway.local_addr));
    let ping = client.connection.open_bi().await.unwrap().0.write_all(b"anybody?").await;
    assert!(ping.is_ok());
    assert!(matches!(soon(client.connection.closed()).await, ConnectionError::Reset));
    assert!(here.metric("gateway_stateless_resets_total") > 0);
}

#[tokio::test]
async fn a_gateway_that_has_begun_again_resets_what_was_before_it() {
    let family = Family::new("127.0.0.1");
    let before = Edge::start(Config { drain_grace_ms: 50, ..family.member(1) }).await;
    let balancer = Balancer::to(before.gateway.local_addr);
    let (client, _endpoint) = before.client_over(&balancer).await;
    client.ping().await;
    balancer.switch(None);
    assert!(before.deps.runtime.drain(PATIENCE).await);
    let after = before.another(family.member(1)).await;
    balancer.switch(Some(after.gateway.local_addr));
    drop(client.connection.open_bi().await.unwrap().0.write_all(b"anybody?").await);
    assert!(matches!(soon(client.connection.closed()).await, ConnectionError::Reset));
    assert_eq!(after.metric(RELAYED_OUT), 0);
}

#[tokio::test]
async fn a_connection_id_that_no_gateway_has_made_moves_nothing() {
    let family = Family::new("127.0.0.1");
    let here = Edge::start(family.member(1)).await;
    let there = here.another(family.member(2)).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let forged = [[0x40, 0x10].as_slice(), &[2; 8], &[9; 8], &[0; 100]].concat();
    let address = here.gateway.local_addr;
    for _ in 0..100 {
        stranger.send_to(&forged, address).unwrap();
    }
    // What was sent before is read before.
    here.client().await.ping().await;
    assert_eq!(here.metric(RELAYED_OUT), 0);
    assert_eq!(here.metric("gateway_stateless_resets_total"), 0);
    assert_eq!(there.metric(RELAYED_IN), 0);
}

#[tokio::test]
async fn a_relay_is_not_opened_without_what_it_needs() {
    let family = Family::new("127.0.0.1");
    let (deps, _backend_deps, _backend) =
        Edge::services(std::sync::Arc::new(qpc_chassis::bus::LocalBus::default())).await;
    let data = family.folder.path().to_owned();
    for (config, missing) in [
        (Config { edge_keys: None, ..family.member(1) }, "--edge-keys"),
        (Config { server_id: None, ..family.member(1) }, "--server-id"),
        (Config { relay_listen: Some(([0, 0, 0, 0], 0).into()), ..family.member(1) }, "--relay-announce"),
    ] {
        let refused = qpc_gateway::start(deps.clone(), Config { data: data.clone(), ..config }).await;
        let error = refused.err().unwrap().to_string();
        assert!(error.contains(missing), "{error}");
    }
}

/// Middle of the times that so many Pings of `bytes` take.
async fn median(client: &crate::support::Client, bytes: usize, times: usize) -> Duration {
    let mut took = Vec::new();
    for _ in 0..times {
        let begun = tokio::time::Instant::now();
        echo(client, bytes).await;
        took.push(begun.elapsed());
    }
    took.sort();
    took[times / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures: cargo test --release -p qpc-gateway --test edge what_it_costs -- --ignored --nocapture"]
async fn what_it_costs() {
    let family = Family::new("127.0.0.1");
    let plain = Edge::start(config()).await;
    let here = plain.another(family.member(1)).await;
    let there = plain.another(family.member(2)).await;
    let balancer = Balancer::to(here.gateway.local_addr);
    let (client, _endpoint) = here.client_over(&balancer).await;
    let (bare, _bare) = plain.client_over(&Balancer::to(plain.gateway.local_addr)).await;
    for (what, bytes, times) in [("latency, 32 bytes", 32, 2_000), ("throughput, 512 KiB", 512 << 10, 60)] {
        let (_, _) = (median(&bare, bytes, times / 4).await, median(&client, bytes, times / 4).await);
        let without = median(&bare, bytes, times).await;
        let direct = median(&client, bytes, times).await;
        balancer.switch(Some(there.gateway.local_addr));
        let relayed = median(&client, bytes, times).await;
        balancer.switch(Some(here.gateway.local_addr));
        let ratio = |time: Duration, to: Duration| time.as_secs_f64() / to.as_secs_f64();
        println!(
            "{what}: without a relay {without:?}, with one {direct:?} ({:.2}), passed on {relayed:?} ({:.2})",
            ratio(direct, without),
            ratio(relayed, direct)
        );
    }
}
