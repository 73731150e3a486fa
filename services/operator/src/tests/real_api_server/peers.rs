use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    super::{HOUR, NOW, Stage},
    Cluster, condition,
};
use crate::{
    anchors::tests::authority,
    crd::{FederationPeer, Realm},
};

async fn published(cluster: &Cluster) -> Vec<String> {
    let map: ConfigMap = cluster.api().get("main-federation-peers").await.unwrap();
    let list: Vec<Value> = serde_json::from_str(&map.data.unwrap()["peers.json"]).unwrap();
    list.iter().map(|peer| peer["domain"].as_str().unwrap().to_owned()).collect()
}

async fn peer(cluster: &Cluster, name: &str, domain: &str, until: i32) {
    let spec = json!({ "realm": "main", "domain": domain, "trustAnchors": authority(until) });
    cluster.create::<FederationPeer>(json!({ "metadata": { "name": name }, "spec": spec })).await;
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn peers_are_published_while_they_may_be() {
    let cluster = Cluster::new("peers").await;
    let stage = Stage::new(cluster.operator.clone());
    let verdict = async |name: &str| {
        let peer = cluster.look_at_peer(&stage, name).await.unwrap();
        let status = peer.status.unwrap();
        assert_eq!(status.observed_generation, peer.metadata.generation);
        condition(&status.conditions, "Published").1.to_owned()
    };
    peer(&cluster, "b", "b.example", 2027).await;
    assert_eq!(verdict("b").await, "NoRealm");
    cluster.realm("main", json!({ "domain": "chat.example" })).await;
    cluster.look(&stage, "main").await.unwrap();
    assert_eq!(verdict("b").await, "Published");
    peer(&cluster, "a", "a.example", 2030).await;
    peer(&cluster, "zz", "a.example", 2030).await;
    assert_eq!((verdict("a").await, verdict("zz").await), ("Published".to_owned(), "DuplicateDomain".to_owned()));
    assert_eq!(published(&cluster).await, ["a.example", "b.example"]);

    // The certificate of b ends with the year.
    let new_year = 1_798_761_600_000;
    stage.pass(new_year - NOW + HOUR);
    assert_eq!(verdict("b").await, "InvalidTrustAnchors");
    assert_eq!(published(&cluster).await, ["a.example"]);

    let suspend = Patch::Merge(json!({ "spec": { "suspended": true } }));
    cluster.api::<FederationPeer>().patch("a", &PatchParams::default(), &suspend).await.unwrap();
    assert_eq!(verdict("a").await, "Suspended");
    assert!(published(&cluster).await.is_empty());
    let resume = Patch::Merge(json!({ "spec": { "suspended": false } }));
    cluster.api::<FederationPeer>().patch("a", &PatchParams::default(), &resume).await.unwrap();
    assert_eq!(verdict("a").await, "Published");

    // Whose domain is free again, whoever waited for it gets.
    cluster.api::<FederationPeer>().delete("a", &DeleteParams::default()).await.unwrap();
    assert!(cluster.look_at_peer(&stage, "a").await.is_none());
    assert_eq!(verdict("zz").await, "Published");
    cluster.api::<Realm>().delete("main", &DeleteParams::default()).await.unwrap();
    assert!(cluster.look(&stage, "main").await.is_none());
    assert!(cluster.api::<ConfigMap>().get_opt("main-federation-peers").await.unwrap().is_none());
    assert_eq!(verdict("zz").await, "NoRealm");
}
