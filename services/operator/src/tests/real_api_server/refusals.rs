//! What the API server refuses by the definitions alone, before the operator sees it.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::Cluster;
use crate::{
    anchors::tests::authority,
    crd::{FederationPeer, Realm},
};

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn realms_that_say_nothing_sensible_are_refused() {
    let cluster = Cluster::new("bad-realms").await;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let cases: [(Value, &str); 9] = [
        (json!({}), "spec.domain: Required value"),
        (json!({ "domain": "Chat_Example" }), "spec.domain"),
        (json!({ "domain": "a.example", "registration": { "mode": "sometimes" } }), "spec.registration.mode"),
        (json!({ "domain": "a.example", "registration": { "work": 9 } }), "work is for the mode proof-of-work"),
        (
            json!({ "domain": "a.example", "registration": { "mode": "proof-of-work", "work": 21 } }),
            "spec.registration.work",
        ),
        (json!({ "domain": "a.example", "limits": { "sends": "60 a second" } }), "spec.limits.sends"),
        (json!({ "domain": "a.example", "limits": { "devices": 0 } }), "spec.limits.devices"),
        (json!({ "domain": "a.example", "keys": { "spreadSeconds": 1 } }), "spec.keys.spreadSeconds"),
        (json!({ "domain": "a.example", "release": "No Name" }), "spec.release"),
    ];
    let realms = raw(&cluster, "Realm", "realms");
    for (spec, reason) in cases {
        let object = serde_json::from_value(json!({
            "apiVersion": "quicprochat.org/v1alpha1", "kind": "Realm", "metadata": { "name": "x" }, "spec": spec,
        }));
        let error = realms.create(&params, &object.unwrap()).await.expect_err(reason).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
    cluster.realm("main", json!({ "domain": "a.example" })).await;
    let patch = Patch::Merge(json!({ "spec": { "release": "other" } }));
    let moved = cluster.api::<Realm>().patch("main", &PatchParams::default(), &patch).await;
    assert!(moved.expect_err("moved").to_string().contains("release cannot be changed"));
}

#[tokio::test]
#[ignore = "needs an API server of Kubernetes: cargo xtask test"]
async fn peers_that_nobody_could_trust_are_refused() {
    let cluster = Cluster::new("bad-peers").await;
    let good = authority(2030);
    let key = good.replace("CERTIFICATE", "PRIVATE KEY");
    let cases: [(&str, String, u32, &str); 5] = [
        ("b.example", "trust me".to_owned(), 1, "certificates are given as PEM"),
        ("b.example", format!("{good}{key}"), 1, "private keys do not belong here"),
        ("localhost", good.clone(), 1, "a peer has a full domain name"),
        ("b..example", good.clone(), 1, "spec.domain"),
        ("b.example", good.clone(), 0, "spec.limits.messagesPerSecond"),
    ];
    let params = PostParams { dry_run: true, ..PostParams::default() };
    for (domain, anchors, rate, reason) in cases {
        let peer = json!({
            "metadata": { "name": "x" },
            "spec": {
                "realm": "main", "domain": domain, "trustAnchors": anchors, "limits": { "messagesPerSecond": rate },
            },
        });
        let made = cluster.api::<FederationPeer>().create(&params, &serde_json::from_value(peer).unwrap()).await;
        let error = made.expect_err(reason).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let spec = json!({ "realm": "main", "domain": "b.example", "trustAnchors": good });
    cluster.create::<FederationPeer>(json!({ "metadata": { "name": "b" }, "spec": spec })).await;
    let patch = Patch::Merge(json!({ "spec": { "domain": "c.example" } }));
    let moved = cluster.api::<FederationPeer>().patch("b", &PatchParams::default(), &patch).await;
    assert!(moved.expect_err("moved").to_string().contains("domain cannot be changed"));
}

/// Objects that need not be what they say.
fn raw(cluster: &Cluster, kind: &str, plural: &str) -> kube::Api<kube::api::DynamicObject> {
    let kind = kube::api::GroupVersionKind::gvk("quicprochat.org", "v1alpha1", kind);
    let resource = kube::api::ApiResource::from_gvk_with_plural(&kind, plural);
    kube::Api::namespaced_with(cluster.admin.clone(), &cluster.namespace, &resource)
}
