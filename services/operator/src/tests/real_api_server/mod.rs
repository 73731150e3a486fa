//! Against kube-apiserver and etcd. The operator's client has a service account with the rules of [`crate::rules`] and nothing
//! else, so what they lack fails here. Nodes are played by the tests, and controllers too where
//! no label asks for those of Kubernetes.

mod gateways;
mod peers;
mod realms;
mod refusals;
mod replicas;
mod rollout;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, Secret, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Config, Resource,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Stage;
use crate::{
    crd::{self, FederationPeer, Realm},
    federation, realm, rules,
};

/// Longest wait for something that the API server or an operator does.
const WITHIN: Duration = Duration::from_secs(60);

/// A namespace of a test's own.
struct Cluster {
    /// May do everything.
    admin: Client,
    /// May do what the operator may.
    operator: Client,
    namespace: String,
}

impl Cluster {
    /// `name` is the test's.
    async fn new(name: &str) -> Self {
        let config = config().await;
        let admin = Client::try_from(config.clone()).unwrap();
        define(&admin).await;
        let random = std::process::id();
        let namespace = format!("{name}-{random}");
        let object = json!({ "metadata": {
            "name": namespace,
            "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
        } });
        create::<Namespace>(&Api::all(admin.clone()), object).await;
        let operator = operator(&admin, config, &namespace).await;
        Self { admin, operator, namespace }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
    {
        create(&self.api(), object).await
    }

    async fn realm(&self, name: &str, spec: Value) -> Realm {
        self.create(json!({ "metadata": { "name": name }, "spec": spec })).await
    }

    /// Merges `spec` into that of a Realm.
    async fn change(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api::<Realm>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Reconciles a Realm as it is now, as often as it takes for a change to come through: a finalizer, then the rest.
    async fn look(&self, stage: &Stage, name: &str) -> Option<Realm> {
        for _ in 0..2 {
            let found = self.api::<Realm>().get_opt(name).await.unwrap()?;
            realm::reconcile(Arc::new(found), stage.context.clone()).await.unwrap();
        }
        self.api().get_opt(name).await.unwrap()
    }

    async fn look_at_peer(&self, stage: &Stage, name: &str) -> Option<FederationPeer> {
        for _ in 0..2 {
            let found = self.api::<FederationPeer>().get_opt(name).await.unwrap()?;
            federation::reconcile(Arc::new(found), stage.context.clone()).await.unwrap();
        }
        self.api().get_opt(name).await.unwrap()
    }

    /// The lines of a Secret of keys.
    async fn keys(&self, name: &str) -> Vec<String> {
        let secret: Secret = self.api().get(name).await.unwrap();
        let text = String::from_utf8(secret.data.unwrap()["keys"].0.clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

async fn config() -> Config {
    #[allow(clippy::disallowed_methods, reason = "where the API server is, is told by whoever runs the tests")]
    let path = std::env::var("QPC_TEST_KUBE").expect("QPC_TEST_KUBE: kubeconfig of `cargo xtask kube up`");
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

/// Installs the definitions, as the chart has them.
async fn define(admin: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(admin.clone());
    for definition in crd::all() {
        let name = definition.metadata.name.clone().unwrap();
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&definition)).await.unwrap();
        let established = || async {
            let found = api.get(&name).await.unwrap();
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
        };
        wait_for("definition", established).await;
    }
}

/// A client with a token of a service account that may do what the rules say.
async fn operator(admin: &Client, config: Config, namespace: &str) -> Client {
    let metadata = json!({ "name": "qpc-operator" });
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    create(&accounts, json!({ "metadata": metadata })).await;
    let role = json!({ "metadata": metadata, "rules": rules::rules("main") });
    create::<Role>(&Api::namespaced(admin.clone(), namespace), role).await;
    let binding = json!({
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "qpc-operator" },
        "subjects": [{ "kind": "ServiceAccount", "name": "qpc-operator", "namespace": namespace }],
    });
    create::<RoleBinding>(&Api::namespaced(admin.clone(), namespace), binding).await;
    let spec = TokenRequestSpec { audiences: Vec::new(), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let token = accounts.create_token_request("qpc-operator", &PostParams::default(), &request).await.unwrap();
    let mut config = config;
    config.auth_info = serde_json::from_value(json!({ "token": token.status.unwrap().token })).unwrap();
    Client::try_from(config).unwrap()
}

/// Waits until `holds`.
async fn wait_for<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waited = tokio::time::timeout(WITHIN, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not come");
}

/// Status and reason of a condition.
fn condition<'a>(conditions: &'a [Condition], kind: &str) -> (&'a str, &'a str) {
    let found = conditions.iter().find(|found| found.type_ == kind);
    found.map_or(("none", ""), |found| (&found.status, &found.reason))
}

fn of(realm: &Realm, kind: &str) -> (String, String) {
    let (status, reason) = condition(&realm.status.as_ref().unwrap().conditions, kind);
    (status.to_owned(), reason.to_owned())
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}
