//! The controllers against an API server: one that says what a test wants it to say, and the real one.

mod real_api_server;
mod scripted;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};
use qpc_chassis::{
    Runtime,
    metrics::Metrics,
    runtime::{Clock, SystemEntropy},
};

use crate::{context::Context, metrics::OperatorMetrics, scrape::Scrape};

/// 2026-11-27.
const NOW: u64 = crate::anchors::tests::NOW;
const HOUR: u64 = 3_600_000;

/// A clock that a test moves.
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Gateways that have as many connections as a test says.
#[derive(Default)]
struct Crowds(Mutex<BTreeMap<IpAddr, u64>>);

impl Crowds {
    fn set(&self, pod: &str, connections: u64) {
        self.0.lock().unwrap().insert(pod.parse().unwrap(), connections);
    }
}

impl Scrape for Crowds {
    fn connections(&self, address: SocketAddr) -> BoxFuture<'_, Option<u64>> {
        assert_eq!(address.port(), 9464);
        let connections = self.0.lock().unwrap().get(&address.ip()).copied();
        Box::pin(async move { connections })
    }
}

/// What controllers run on, and what moves it.
struct Stage {
    context: Arc<Context>,
    clock: Arc<TestClock>,
    crowds: Arc<Crowds>,
}

impl Stage {
    fn new(client: Client) -> Self {
        let (clock, crowds) = (Arc::new(TestClock(AtomicU64::new(NOW))), Arc::<Crowds>::default());
        let runtime = Runtime::new(clock.clone(), Arc::new(SystemEntropy));
        let reporter = Reporter { controller: "qpc-operator".to_owned(), instance: None };
        let recorder = Recorder::new(client.clone(), reporter);
        let metrics = OperatorMetrics::new(&Metrics::default());
        Self { context: Arc::new(Context::new(client, runtime, recorder, metrics, crowds.clone())), clock, crowds }
    }

    fn pass(&self, milliseconds: u64) {
        self.clock.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}
