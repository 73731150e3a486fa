//! The controllers of Kubernetes replace gateways, and the operator holds them back. Nodes and clients are this test's.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Binding, Pod},
};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    super::Stage,
    Cluster,
    gateways::{labels, paused, ready, spec},
    is, of, wait_for,
};
use crate::crd::Realm;

const DEPLOYMENT: &str = "main-gateway";
const GATEWAYS: usize = 3;
/// Clients of each gateway at the beginning, and those that come back between two looks.
const CLIENTS: u64 = 1_500;
const BACK: u64 = 1_000;
/// More than it takes.
const ROUNDS: usize = 60;

/// What a gateway has.
struct Gateway {
    address: String,
    clients: u64,
}

/// Nodes, and the clients of the gateways on them.
struct World {
    cluster: Cluster,
    stage: Stage,
    /// By the name of the pod.
    gateways: BTreeMap<String, Gateway>,
    /// Those that drain.
    ending: BTreeSet<String>,
    started: u8,
    /// Clients that look for another gateway.
    away: u64,
}

impl World {
    async fn new() -> Self {
        let cluster = Cluster::new("rollout").await;
        let stage = Stage::new(cluster.operator.clone());
        let mut world = Self {
            cluster,
            stage,
            gateways: BTreeMap::new(),
            ending: BTreeSet::new(),
            started: 0,
            away: GATEWAYS as u64 * CLIENTS,
        };
        // Its controllers see to what has this label.
        let mut labels = labels("gateway");
        labels["kube-test/controlled"] = "true".into();
        let deployment = json!({
            "metadata": { "name": DEPLOYMENT, "labels": labels },
            "spec": {
                "replicas": GATEWAYS,
                "selector": { "matchLabels": labels },
                "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
                "template": { "metadata": { "labels": labels }, "spec": spec() },
            },
        });
        world.cluster.create::<Deployment>(deployment).await;
        wait_for("pods", async || world.pods().await.len() == GATEWAYS).await;
        world.nodes().await;
        for name in world.gateways.keys().cloned().collect::<Vec<_>>() {
            world.clients_come(&name, CLIENTS);
        }
        wait_for("gateways", async || {
            world.deployment().await.status.unwrap_or_default().available_replicas == Some(GATEWAYS as i32)
        })
        .await;
        world
    }

    async fn deployment(&self) -> Deployment {
        self.cluster.api().get(DEPLOYMENT).await.unwrap()
    }

    async fn pods(&self) -> Vec<Pod> {
        self.cluster.api::<Pod>().list(&ListParams::default()).await.unwrap().items
    }

    /// The operator looks, and the controllers do what they may then.
    async fn look(&self) -> Realm {
        self.stage.pass(5_000);
        let realm = self.cluster.look(&self.stage, "main").await.unwrap();
        wait_for("the controller of Deployments", async || {
            let deployment = self.deployment().await;
            let (status, pods) = (deployment.status.unwrap_or_default(), self.pods().await);
            let complete =
                status.updated_replicas == Some(GATEWAYS as i32) && status.replicas == status.updated_replicas;
            let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
            let seen = status.observed_generation >= deployment.metadata.generation
                && status.replicas == Some(pods.iter().filter(stays).count() as i32);
            // Not held, it goes on until it waits for a gateway to become ready.
            let waits = pods.iter().any(|pod| !self.gateways.contains_key(&pod.name_any()));
            seen && (paused(&self.cluster).await || complete || waits)
        })
        .await;
        realm
    }

    /// Gateways that are told to stop lose their clients. Nobody is told so while those of another look for a place.
    async fn ends(&mut self) {
        for pod in self.pods().await.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
            let name = pod.name_any();
            if self.ending.insert(name.clone()) {
                assert_eq!(self.away, 0, "a gateway ends while clients of another are on their way");
                let gateway = self.gateways.get_mut(&name).unwrap();
                self.away += std::mem::take(&mut gateway.clients);
                self.stage.crowds.set(&gateway.address, 0);
            }
        }
    }

    /// Ends pods that have drained, and starts those that are new.
    async fn nodes(&mut self) {
        let pods = self.cluster.api::<Pod>();
        for pod in self.pods().await {
            let name = pod.name_any();
            if self.ending.contains(&name) {
                pods.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
            } else if !self.gateways.contains_key(&name) {
                self.start(&name).await;
            }
        }
    }

    async fn start(&mut self, name: &str) {
        self.started += 1;
        let address = format!("10.0.0.{}", self.started);
        // With a node, a pod that is deleted stays until that says that it is gone.
        let binding = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": "node" } });
        let binding: Binding = serde_json::from_value(binding).unwrap();
        let pods = self.cluster.api::<Pod>();
        let params = PostParams::default();
        let _: serde_json::Value = pods.create_subresource("binding", name, &params, &binding).await.unwrap();
        let status = json!({ "podIP": address, "podIPs": [{ "ip": address }], "phase": "Running" });
        let patch = Patch::Merge(json!({ "status": status }));
        pods.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
        ready(&self.cluster, name, true).await;
        self.stage.crowds.set(&address, 0);
        self.gateways.insert(name.to_owned(), Gateway { address, clients: 0 });
    }

    /// Up to `count` clients that look for a gateway find `name`.
    fn clients_come(&mut self, name: &str, count: u64) {
        let come = self.away.min(count);
        let gateway = self.gateways.get_mut(name).unwrap();
        self.away -= come;
        gateway.clients += come;
        self.stage.crowds.set(&gateway.address, gateway.clients);
    }
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn kubernetes_ends_no_gateway_while_clients_of_another_are_on_their_way() {
    let mut world = World::new().await;
    let first: BTreeSet<String> = world.gateways.keys().cloned().collect();
    // The mark of its settings is an update of the gateways.
    world.cluster.realm("main", json!({ "domain": "chat.example", "gateways": { "settleSeconds": 10 } })).await;
    let mut waited_for = BTreeSet::new();
    for _ in 0..ROUNDS {
        let realm = world.look().await;
        world.ends().await;
        let settled = of(&realm, "GatewaysSettled");
        waited_for.insert(settled.1.clone());
        if settled == is("False", "Replacing") {
            // What happens then is looked at again long before a new gateway is ready.
            continue;
        }
        world.nodes().await;
        let newest = world.gateways.keys().find(|name| !first.contains(*name) && !world.ending.contains(*name));
        if let Some(newest) = newest.cloned() {
            world.clients_come(&newest, BACK);
        }
        if settled == is("True", "Settled") {
            break;
        }
    }
    assert_eq!(world.ending, first, "all were replaced");
    assert_eq!(world.pods().await.len(), GATEWAYS);
    assert!(waited_for.contains("ClientsReconnecting"), "{waited_for:?}");
    assert!(!paused(&world.cluster).await);
}
