//! The store contract on both engines.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use qpc_chassis::{Runtime, db::Db};
use qpc_delivery::store::{MIGRATIONS, Store, contract};
use rand::RngCore;

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let setting = format!("sqlite:{}", folder.path().display());
    contract::check(&Store::new(Db::open(&setting, "delivery", 1, MIGRATIONS).await.unwrap())).await;
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
async fn postgres_keeps_the_contract() {
    let url = std::env::var("QPC_TEST_POSTGRES").expect("QPC_TEST_POSTGRES is not set; run cargo xtask test");
    let schema = format!("t{:016x}", Runtime::system().rng().next_u64());
    contract::check(&Store::new(Db::open(&url, &schema, 16, MIGRATIONS).await.unwrap())).await;
}
