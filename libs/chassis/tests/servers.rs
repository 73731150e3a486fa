//! The contracts over the real servers. `cargo xtask test` starts them and sets the variables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::sync::Arc;

use qpc_chassis::{
    Runtime,
    bulk::{self, TcpBulk},
    bus::{self, LocalBus, NatsBus},
    cache::{self, RedisCache},
    db::{self, Db},
    metrics::Metrics,
};
use rand::RngCore;

fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; run cargo xtask test"))
}

async fn nats(name: &str) -> NatsBus {
    let setting = bus::Setting::open_to_all(server("QPC_TEST_NATS"));
    NatsBus::connect(&setting, name, &Metrics::default()).await.unwrap()
}

/// A name that no other run uses.
fn scope() -> String {
    format!("t{:016x}", Runtime::system().rng().next_u64())
}

#[tokio::test]
#[ignore = "needs NATS: cargo xtask test"]
async fn nats_keeps_the_bus_contract() {
    let bus = nats("contract").await;
    bus::contract::check(Arc::new(bus), &scope()).await;
}

#[tokio::test]
#[ignore = "needs NATS: cargo xtask test"]
async fn pipes_are_found_over_nats() {
    let bus = nats("pipes").await;
    let other = TcpBulk::new(Arc::new(LocalBus::default()));
    bulk::contract::check(Arc::new(TcpBulk::new(Arc::new(bus))), Arc::new(other)).await;
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test"]
async fn redis_keeps_the_cache_contract() {
    let cache = RedisCache::connect(&server("QPC_TEST_REDIS"), None).await.unwrap();
    cache::contract::check(Arc::new(cache), &scope()).await;
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
async fn postgres_keeps_the_database_contract() {
    let db = Db::open(&server("QPC_TEST_POSTGRES"), &scope(), 8, &[]).await.unwrap();
    db::contract::check(&db).await;
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
async fn a_schema_is_migrated_or_refused_on_postgres() {
    db::contract::check_migrations(&server("QPC_TEST_POSTGRES"), &scope()).await;
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
async fn a_restore_is_followed_by_what_the_schema_says_on_postgres() {
    db::contract::check_restored(&server("QPC_TEST_POSTGRES"), scope().leak()).await;
}
