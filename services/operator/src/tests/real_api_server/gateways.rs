//! A Deployment of gateways and its pods, which this test starts and ends as Kubernetes would.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{super::Stage, Cluster, is, of};
use crate::crd::Realm;

const DEPLOYMENT: &str = "main-gateway";

pub(super) fn labels(component: &str) -> Value {
    json!({ "app.kubernetes.io/instance": "main", "app.kubernetes.io/component": component })
}

/// As the security of the namespace wants it.
pub(super) fn spec() -> Value {
    json!({
        "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{
            "name": "process",
            "image": "process",
            "ports": [{ "name": "observe", "containerPort": 9464 }],
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }],
    })
}

pub(super) async fn deployment(cluster: &Cluster, name: &str, component: &str) {
    let labels = labels(component);
    let deployment = json!({
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec() },
        },
    });
    cluster.create::<Deployment>(deployment).await;
}

/// A gateway at `address`. Its finalizer keeps it after its deletion, as a node does while it drains.
pub(super) async fn pod(cluster: &Cluster, name: &str, address: &str, is_ready: bool) {
    let pod = json!({
        "metadata": { "name": name, "labels": labels("gateway"), "finalizers": ["test/node"] },
        "spec": spec(),
    });
    cluster.create::<Pod>(pod).await;
    let status =
        Patch::Merge(json!({ "status": { "podIP": address, "podIPs": [{ "ip": address }], "phase": "Running" } }));
    cluster.api::<Pod>().patch_status(name, &PatchParams::default(), &status).await.unwrap();
    ready(cluster, name, is_ready).await;
}

pub(super) async fn ready(cluster: &Cluster, name: &str, ready: bool) {
    let status = if ready { "True" } else { "False" };
    let patch = Patch::Merge(json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } }));
    cluster.api::<Pod>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Its node is done with it.
async fn gone(cluster: &Cluster, name: &str) {
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    cluster.api::<Pod>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    let _ = cluster.api::<Pod>().delete(name, &DeleteParams::default().grace_period(0)).await;
    assert!(cluster.api::<Pod>().get_opt(name).await.unwrap().is_none());
}

/// What the Deployment's controller has done.
async fn status(cluster: &Cluster, total: i32, updated: i32) {
    let mut deployment: Deployment = cluster.api().get(DEPLOYMENT).await.unwrap();
    let generation = deployment.metadata.generation;
    deployment.status = serde_json::from_value(json!({
        "observedGeneration": generation, "replicas": total, "updatedReplicas": updated,
        "readyReplicas": total, "availableReplicas": total,
    }))
    .unwrap();
    cluster.api().replace_status(DEPLOYMENT, &PostParams::default(), &deployment).await.unwrap();
}

pub(super) async fn paused(cluster: &Cluster) -> bool {
    let deployment: Deployment = cluster.api().get(DEPLOYMENT).await.unwrap();
    deployment.spec.unwrap().paused.unwrap_or(false)
}

/// Looks a while later, when `crowds` are the connections of each gateway.
async fn look(cluster: &Cluster, stage: &Stage, crowds: &[(&str, u64)]) -> Realm {
    for (address, connections) in crowds {
        stage.crowds.set(address, *connections);
    }
    stage.pass(5_000);
    let realm = cluster.look(stage, "main").await.unwrap();
    // The controller of Deployments sees that it was paused or not.
    let deployment: Deployment = cluster.api().get(DEPLOYMENT).await.unwrap();
    let found = deployment.status.unwrap();
    status(cluster, found.replicas.unwrap_or(0), found.updated_replicas.unwrap_or(0)).await;
    realm
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn the_next_gateway_is_replaced_when_clients_have_come_back() {
    let cluster = Cluster::new("gateways").await;
    let stage = Stage::new(cluster.operator.clone());
    deployment(&cluster, DEPLOYMENT, "gateway").await;
    for (name, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
        pod(&cluster, name, address, true).await;
    }
    status(&cluster, 3, 3).await;
    cluster.realm("main", json!({ "domain": "chat.example", "gateways": { "settleSeconds": 10 } })).await;
    let crowd = [("10.0.0.1", 1000), ("10.0.0.2", 1000), ("10.0.0.3", 0)];
    // The mark of the settings is a change of the template, about which nothing is known until Kubernetes has looked.
    let realm = look(&cluster, &stage, &crowd).await;
    assert_eq!(of(&realm, "GatewaysSettled"), is("none", ""));
    let realm = look(&cluster, &stage, &crowd).await;
    assert_eq!(of(&realm, "GatewaysSettled"), is("True", "Settled"));
    let cost = async |name: &str| {
        let pod: Pod = cluster.api().get(name).await.unwrap();
        pod.annotations()["controller.kubernetes.io/pod-deletion-cost"].clone()
    };
    assert_eq!((cost("a").await, cost("c").await), ("1000".to_owned(), "0".to_owned()));

    // A new version: one more gateway, and an old one drains.
    pod(&cluster, "new", "10.0.0.4", false).await;
    status(&cluster, 4, 1).await;
    let realm = look(&cluster, &stage, &crowd).await;
    assert_eq!(of(&realm, "GatewaysSettled"), is("False", "GatewayNotReady"));
    assert!(paused(&cluster).await);
    ready(&cluster, "new", true).await;
    cluster.api::<Pod>().delete("a", &DeleteParams::default()).await.unwrap();
    status(&cluster, 3, 1).await;
    let realm = look(&cluster, &stage, &[("10.0.0.4", 100)]).await;
    assert_eq!(of(&realm, "GatewaysSettled"), is("False", "GatewayDraining"));

    gone(&cluster, "a").await;
    let realm = look(&cluster, &stage, &[("10.0.0.4", 900)]).await;
    assert_eq!(of(&realm, "GatewaysSettled"), is("False", "ClientsReconnecting"));
    let realm = look(&cluster, &stage, &[("10.0.0.4", 950)]).await;
    assert_eq!(of(&realm, "GatewaysSettled"), is("False", "Settling"));
    assert!(paused(&cluster).await);
    look(&cluster, &stage, &[]).await;
    let realm = look(&cluster, &stage, &[]).await;
    assert_eq!(of(&realm, "GatewaysSettled"), is("False", "Replacing"));
    assert!(!paused(&cluster).await, "the next one");

    // Held again at the next, and let go when the Realm goes.
    pod(&cluster, "new-2", "10.0.0.5", false).await;
    status(&cluster, 4, 2).await;
    look(&cluster, &stage, &[]).await;
    assert!(paused(&cluster).await);
    cluster.api::<Realm>().delete("main", &DeleteParams::default()).await.unwrap();
    assert!(cluster.look(&stage, "main").await.is_none());
    assert!(!paused(&cluster).await);
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn a_pause_of_a_person_stays() {
    let cluster = Cluster::new("pause").await;
    let stage = Stage::new(cluster.operator.clone());
    deployment(&cluster, DEPLOYMENT, "gateway").await;
    pod(&cluster, "a", "10.0.0.1", false).await;
    status(&cluster, 4, 1).await;
    cluster.realm("main", json!({ "domain": "chat.example" })).await;
    look(&cluster, &stage, &[]).await;
    look(&cluster, &stage, &[]).await;
    assert!(paused(&cluster).await);
    let patch = Patch::Merge(json!({ "spec": { "paused": true } }));
    let kubectl = PatchParams { field_manager: Some("kubectl-rollout".to_owned()), ..PatchParams::default() };
    cluster.api::<Deployment>().patch(DEPLOYMENT, &kubectl, &patch).await.unwrap();
    let apply = Patch::Apply(json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "paused": true } }));
    let person = PatchParams::apply("person").force();
    cluster.api::<Deployment>().patch(DEPLOYMENT, &person, &apply).await.unwrap();
    ready(&cluster, "a", true).await;
    status(&cluster, 3, 3).await;
    let realm = look(&cluster, &stage, &[]).await;
    assert_eq!(of(&realm, "GatewaysSettled"), is("True", "Settled"));
    assert!(paused(&cluster).await, "somebody else has said so too");
}
