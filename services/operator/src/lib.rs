//! What Helm cannot do for an installation on Kubernetes, because it takes time: keys that are replaced in steps, gateways that
//! are replaced when clients have come back, peers whose certificates expire.
//!
//! People write a [`Realm`](crd::Realm) and [`FederationPeer`](crd::FederationPeer)s ([`crd`]). One replica at a time works
//! ([`leader`]) and runs a controller for each kind: [`realm`] and [`federation`]. The rules stand in modules without clock and
//! I/O: [`keyring`] (order of replacing keys), [`pace`] (when the next gateway may go), [`settings`] (what services are told),
//! [`anchors`] (who may speak for a peer). [`objects`] writes by server-side apply, [`scrape`] asks gateways, [`rules`] is what
//! the API server must allow.
//!
//! Unlike the services it has no bus, no database and no calls. Nothing of a message passes it, and an installation runs on
//! without it: keys stay as they are, an update of gateways that it holds stands still.

mod anchors;
mod cli;
mod config;
mod context;
pub mod crd;
mod error;
mod federation;
mod keyring;
mod leader;
mod metrics;
mod objects;
mod pace;
mod realm;
pub mod rules;
mod scrape;
mod settings;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    runtime::{
        Controller, controller,
        events::{Recorder, Reporter},
        reflector::ObjectRef,
        watcher,
    },
};
use qpc_chassis::{Runtime, health::Health, metrics::Metrics};

pub use cli::main;
pub use config::Config;
pub use error::OperatorError;

use crate::{
    context::Context,
    crd::{FederationPeer, Realm},
    leader::Candidate,
    metrics::OperatorMetrics,
    scrape::{Http, Scrape},
};

/// Name of the Lease.
const LEASE: &str = "qpc-operator";

/// What the operator runs on.
pub struct Deps {
    pub runtime: Runtime,
    pub client: Client,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
}

/// Starts the operator; it runs until the runtime of `deps` is drained. Returns at once.
pub fn start(deps: Deps, namespace: &str, identity: &str) {
    start_with(deps, namespace, identity, Arc::new(Http));
}

fn start_with(deps: Deps, namespace: &str, identity: &str, scrape: Arc<dyn Scrape>) {
    let Deps { runtime, client, metrics, health } = deps;
    let asked = client.clone();
    health.check("API server", move || {
        let client = asked.clone();
        Box::pin(async move { client.apiserver_version().await.is_ok() })
    });
    let metrics = OperatorMetrics::new(&metrics);
    let reporter = Reporter { controller: LEASE.to_owned(), instance: Some(identity.to_owned()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let context = Arc::new(Context::new(client.clone(), runtime.clone(), recorder, metrics.clone(), scrape));
    let candidate = Candidate::new(client, namespace, LEASE, identity, runtime.clone());
    let namespace = namespace.to_owned();
    runtime.spawn(async move { candidate.run(&metrics, || controllers(&context, &namespace)).await });
}

/// Runs both controllers; dropping it stops them.
fn controllers(context: &Arc<Context>, namespace: &str) -> impl Future<Output = ()> + use<> {
    let one = controller::Config::default().concurrency(1);
    let client = &context.client;
    let realms = Controller::new(Api::<Realm>::namespaced(client.clone(), namespace), watcher::Config::default());
    let known = realms.store();
    let realms = realms
        .with_config(one.clone())
        // A step of a rollout is seen when it happens, not at the next look.
        .watches(
            Api::<Deployment>::namespaced(client.clone(), namespace),
            watcher::Config::default().labels("app.kubernetes.io/component=gateway"),
            move |deployment| {
                let is_its =
                    |realm: &Arc<Realm>| objects::instance(&deployment.metadata) == Some(&objects::release(realm));
                known.state().into_iter().filter(is_its).map(|realm| ObjectRef::from_obj(&*realm)).collect::<Vec<_>>()
            },
        )
        .run(realm::reconcile, realm::retry, context.clone())
        .for_each(|outcome| async move { note(outcome.map(|_| ()).err()) });
    let peers =
        Controller::new(Api::<FederationPeer>::namespaced(client.clone(), namespace), watcher::Config::default());
    let known = peers.store();
    let peers = peers
        .with_config(one)
        .watches(Api::<Realm>::namespaced(client.clone(), namespace), watcher::Config::default(), move |realm| {
            let is_its = |peer: &Arc<FederationPeer>| realm.metadata.name.as_ref() == Some(&peer.spec.realm);
            known.state().into_iter().filter(is_its).map(|peer| ObjectRef::from_obj(&*peer)).collect::<Vec<_>>()
        })
        .run(federation::reconcile, federation::retry, context.clone())
        .for_each(|outcome| async move { note(outcome.map(|_| ()).err()) });
    async move {
        tokio::join!(realms, peers);
    }
}

/// Failures of reconciliations were told where they happened; the others are those of watches, which begin anew by themselves.
fn note<R: std::error::Error, Q: std::error::Error>(error: Option<controller::Error<R, Q>>) {
    match error {
        None | Some(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
        Some(error) => tracing::warn!(%error, "watch"),
    }
}
