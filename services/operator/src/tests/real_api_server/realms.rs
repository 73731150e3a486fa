use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Secret},
    events::v1::Event,
};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{
    super::{HOUR, Stage},
    Cluster, gateways, is, of,
};
use crate::crd::{KeyStage, Realm};

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn a_realm_gets_settings_and_keys_and_leaves_nothing() {
    let cluster = Cluster::new("realm").await;
    let stage = Stage::new(cluster.operator.clone());
    cluster.realm("main", json!({ "domain": "chat.example", "limits": { "devices": 5 } })).await;
    let realm = cluster.look(&stage, "main").await.unwrap();
    assert_eq!(of(&realm, "Ready"), is("True", "AsSpecified"));
    assert_eq!(of(&realm, "KeysRotated"), is("True", "Steady"));
    assert_eq!(of(&realm, "GatewaysSettled"), is("True", "NoGateways"));
    assert_eq!(realm.status.as_ref().unwrap().observed_generation, realm.metadata.generation);
    let settings: ConfigMap = cluster.api().get("main-realm").await.unwrap();
    let data = settings.data.clone().unwrap();
    assert_eq!((&*data["QPC_DOMAIN"], &*data["QPC_DEVICES"], data.len()), ("chat.example", "5", 2));
    let keys = cluster.keys("main-edge-keys").await;
    assert!(keys.len() == 1 && keys[0].len() == 64 && keys[0].bytes().all(|digit| digit.is_ascii_hexdigit()));
    let reasons = |events: Vec<Event>| events.into_iter().filter_map(|event| event.reason).collect::<Vec<_>>();
    let events = reasons(cluster.api::<Event>().list(&ListParams::default()).await.unwrap().items);
    assert!(events.contains(&"AsSpecified".to_owned()), "{events:?}");

    // Nothing to do is nothing done.
    let again = cluster.look(&stage, "main").await.unwrap();
    assert_eq!(again.resource_version(), realm.resource_version());
    let same: ConfigMap = cluster.api().get("main-realm").await.unwrap();
    assert_eq!(same.resource_version(), settings.resource_version());

    cluster.change("main", json!({ "limits": { "devices": null, "sends": "9:1/60s" } })).await;
    let changed = cluster.look(&stage, "main").await.unwrap();
    assert_eq!(changed.status.unwrap().observed_generation, Some(realm.metadata.generation.unwrap() + 1));
    let data = cluster.api::<ConfigMap>().get("main-realm").await.unwrap().data.unwrap();
    assert_eq!((data.get("QPC_DEVICES"), &*data["QPC_SENDS"]), (None, "9:1/1m"));

    cluster.api::<Realm>().delete("main", &DeleteParams::default()).await.unwrap();
    assert!(cluster.api::<Realm>().get_opt("main").await.unwrap().is_some(), "the finalizer keeps it");
    assert!(cluster.look(&stage, "main").await.is_none());
    assert!(cluster.api::<ConfigMap>().get_opt("main-realm").await.unwrap().is_none());
    assert!(cluster.api::<Secret>().get_opt("main-edge-keys").await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn keys_are_replaced_in_steps_and_wait_for_gateways() {
    let cluster = Cluster::new("keys").await;
    let stage = Stage::new(cluster.operator.clone());
    cluster.realm("main", json!({ "domain": "chat.example", "keys": { "rotateDays": 1 } })).await;
    cluster.look(&stage, "main").await;
    let first = cluster.keys("main-edge-keys").await[0].clone();

    stage.pass(24 * HOUR);
    let realm = cluster.look(&stage, "main").await.unwrap();
    let spreading = cluster.keys("main-edge-keys").await;
    assert!(spreading.len() == 2 && spreading[0] == first && spreading[1] != first);
    assert_eq!(of(&realm, "KeysRotated"), is("False", "Spreading"));
    assert_eq!(of(&realm, "Ready"), is("True", "AsSpecified"));

    // Time alone is not enough: a gateway is not ready.
    gateways::pod(&cluster, "gw-1", "10.0.0.1", false).await;
    stage.pass(HOUR);
    let realm = cluster.look(&stage, "main").await.unwrap();
    assert_eq!(cluster.keys("main-edge-keys").await, spreading);
    let conditions = realm.status.unwrap().conditions;
    let waits = conditions.iter().find(|found| found.type_ == "KeysRotated").unwrap();
    assert!(waits.message.contains("a gateway is not ready"), "{}", waits.message);

    gateways::ready(&cluster, "gw-1", true).await;
    cluster.look(&stage, "main").await.unwrap();
    let retiring = cluster.keys("main-edge-keys").await;
    assert_eq!(retiring, [spreading[1].clone(), first]);
    stage.pass(24 * HOUR - 1);
    cluster.look(&stage, "main").await.unwrap();
    assert_eq!(cluster.keys("main-edge-keys").await, retiring);
    stage.pass(1);
    // An operator that was replaced in between goes on where the other one was.
    let successor = Stage::new(cluster.operator.clone());
    successor.pass(49 * HOUR);
    let found = cluster.api::<Realm>().get("main").await.unwrap();
    crate::realm::reconcile(found.into(), successor.context.clone()).await.unwrap();
    assert_eq!(cluster.keys("main-edge-keys").await, [spreading[1].clone()]);
    let status = cluster.api::<Realm>().get("main").await.unwrap().status.unwrap().keys.unwrap();
    assert_eq!((status.stage, status.accepted), (KeyStage::Steady, 1));
    cluster.api::<Pod>().delete("gw-1", &DeleteParams::default().grace_period(0)).await.unwrap();
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn keys_that_people_brought_are_taken_over_and_stay() {
    let cluster = Cluster::new("brought").await;
    let stage = Stage::new(cluster.operator.clone());
    let lines = format!("{}\n{}\n", "0a".repeat(32), "0b".repeat(32));
    let secret = json!({ "metadata": { "name": "main-edge-keys" }, "stringData": { "keys": "no keys" } });
    cluster.create::<Secret>(secret).await;
    cluster.realm("main", json!({ "domain": "chat.example" })).await;
    let realm = cluster.look(&stage, "main").await.unwrap();
    assert_eq!(of(&realm, "Ready"), is("False", "InvalidKeys"));
    assert_eq!(cluster.keys("main-edge-keys").await, ["no keys"], "not written over");

    let patch = Patch::Merge(json!({ "stringData": { "keys": lines } }));
    cluster.api::<Secret>().patch("main-edge-keys", &PatchParams::default(), &patch).await.unwrap();
    let realm = cluster.look(&stage, "main").await.unwrap();
    assert_eq!((of(&realm, "Ready"), of(&realm, "KeysRotated")), (is("True", "AsSpecified"), is("False", "Retiring")));
    stage.pass(24 * HOUR);
    cluster.look(&stage, "main").await.unwrap();
    assert_eq!(cluster.keys("main-edge-keys").await, ["0a".repeat(32)]);

    // Gone without a word: a new key, and somebody is told.
    cluster.api::<Realm>().delete("main", &DeleteParams::default()).await.unwrap();
    assert!(cluster.look(&stage, "main").await.is_none());
    assert_eq!(cluster.keys("main-edge-keys").await, ["0a".repeat(32)], "it is not the operator's");
    cluster.realm("main", json!({ "domain": "chat.example" })).await;
    cluster.look(&stage, "main").await.unwrap();
    cluster.api::<Secret>().delete("main-edge-keys", &DeleteParams::default()).await.unwrap();
    let found = cluster.api::<Realm>().get("main").await.unwrap();
    crate::realm::reconcile(found.into(), stage.context.clone()).await.unwrap();
    let realm = cluster.api::<Realm>().get("main").await.unwrap();
    assert_eq!((of(&realm, "Ready"), of(&realm, "KeysRotated")), (is("True", "AsSpecified"), is("False", "KeysLost")));
    let events = cluster.api::<Event>().list(&ListParams::default()).await.unwrap().items;
    let lost = events.iter().find(|event| event.reason.as_deref() == Some("KeysLost")).unwrap();
    assert_eq!(lost.type_.as_deref(), Some("Warning"));
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn what_belongs_to_others_is_left_alone() {
    let cluster = Cluster::new("others").await;
    let stage = Stage::new(cluster.operator.clone());
    cluster.create::<ConfigMap>(json!({ "metadata": { "name": "main-realm" }, "data": { "x": "y" } })).await;
    cluster.realm("main", json!({ "domain": "chat.example" })).await;
    let realm = cluster.look(&stage, "main").await.unwrap();
    assert_eq!(of(&realm, "Ready"), is("False", "NameTaken"));
    assert_eq!(cluster.api::<ConfigMap>().get("main-realm").await.unwrap().data.unwrap()["x"], "y");
    cluster.api::<ConfigMap>().delete("main-realm", &DeleteParams::default()).await.unwrap();
    assert_eq!(of(&cluster.look(&stage, "main").await.unwrap(), "Ready"), is("True", "AsSpecified"));

    // A second Realm for the same release gets nothing, and its end takes nothing.
    let keys = cluster.keys("main-edge-keys").await;
    cluster.realm("second", json!({ "domain": "other.example", "release": "main" })).await;
    let second = cluster.look(&stage, "second").await.unwrap();
    assert_eq!(of(&second, "Ready"), is("False", "ReleaseTaken"));
    cluster.api::<Realm>().delete("second", &DeleteParams::default()).await.unwrap();
    assert!(cluster.look(&stage, "second").await.is_none());
    assert_eq!(cluster.keys("main-edge-keys").await, keys);
    let data = cluster.api::<ConfigMap>().get("main-realm").await.unwrap().data.unwrap();
    assert_eq!(data["QPC_DOMAIN"], "chat.example");
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn only_processes_whose_settings_have_changed_are_started_again() {
    let cluster = Cluster::new("restart").await;
    let stage = Stage::new(cluster.operator.clone());
    for component in ["auth", "delivery", "admin"] {
        gateways::deployment(&cluster, &format!("main-{component}"), component).await;
    }
    cluster.realm("main", json!({ "domain": "chat.example" })).await;
    cluster.look(&stage, "main").await.unwrap();
    let revision = async |name: &str| {
        let deployment: Deployment = cluster.api().get(name).await.unwrap();
        let annotations = deployment.spec.unwrap().template.metadata.unwrap().annotations.unwrap_or_default();
        annotations.get("quicprochat.org/settings-revision").cloned()
    };
    let (auth, delivery) = (revision("main-auth").await, revision("main-delivery").await);
    assert!(auth.is_some() && delivery.is_some() && revision("main-admin").await.is_none());
    cluster.change("main", json!({ "limits": { "sends": "1:1/1s" } })).await;
    cluster.look(&stage, "main").await.unwrap();
    assert_eq!(revision("main-auth").await, auth);
    assert!(revision("main-delivery").await != delivery);
}
