//! Whole operators, with their watches and their Lease.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::api::DeleteParams;
use qpc_chassis::{Runtime, health::Health, metrics::Metrics};
use serde_json::json;

use super::{super::Crowds, Cluster, condition, wait_for};
use crate::{Deps, crd::Realm, start_with};

struct Operator {
    runtime: Runtime,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Operator {
    fn start(cluster: &Cluster, identity: &str) -> Self {
        let (runtime, metrics, health) = (Runtime::system(), Arc::<Metrics>::default(), Arc::<Health>::default());
        let deps = Deps {
            runtime: runtime.clone(),
            client: cluster.operator.clone(),
            metrics: metrics.clone(),
            health: health.clone(),
        };
        start_with(deps, &cluster.namespace, identity, Arc::<Crowds>::default());
        Self { runtime, metrics, health }
    }

    fn leads(&self) -> bool {
        self.metrics.render().contains("qpc_operator_leader 1\n")
    }
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn one_operator_works_at_a_time_and_another_takes_over() {
    let cluster = Cluster::new("replicas").await;
    let holder = async || {
        let lease = cluster.api::<Lease>().get_opt("qpc-operator").await.unwrap();
        lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    };
    let is_ready = async |name: &str| {
        let realm = cluster.api::<Realm>().get(name).await.unwrap();
        let conditions = realm.status.unwrap_or_default().conditions;
        condition(&conditions, "Ready").0 == "True"
    };
    let first = Operator::start(&cluster, "first");
    wait_for("first", async || first.leads()).await;
    let second = Operator::start(&cluster, "second");
    assert_eq!(first.health.run().await, [("API server", true)]);
    cluster.realm("main", json!({ "domain": "chat.example" })).await;
    wait_for("Realm", || is_ready("main")).await;
    assert!(!second.leads() && holder().await == "first");
    assert!(second.metrics.render().contains("qpc_operator_leader 0\n"));

    assert!(first.runtime.drain(Duration::from_secs(30)).await);
    wait_for("second", async || second.leads()).await;
    assert_eq!(holder().await, "second");
    cluster.api::<Realm>().delete("main", &DeleteParams::default()).await.unwrap();
    let gone = async || cluster.api::<Realm>().get_opt("main").await.unwrap().is_none();
    wait_for("end of the Realm", gone).await;
    assert!(cluster.api::<Secret>().get_opt("main-edge-keys").await.unwrap().is_none());
    assert!(second.runtime.drain(Duration::from_secs(30)).await);
    assert_eq!(holder().await, "");
}
