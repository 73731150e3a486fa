//! The gateways of a release: which of their pods may go first when there are fewer ([`deletion cost`][cost]), and whether the
//! next one may be replaced ([`pace`]).
//!
//! [cost]: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError},
};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{LOOK, Part, SLOW_LOOK};
use crate::{
    context::Context,
    crd::{Finding, GatewaysStatus, Realm, RealmStatus},
    error::OperatorError,
    objects,
    pace::{self, Rollout, Step},
};

/// Condition: no gateway is being replaced.
const SETTLED: &str = "GatewaysSettled";
/// Label of the gateways' pods and Deployment.
const GATEWAY: &str = "gateway";
/// Owner of the fields that hold a Deployment back; when it applies none of them, they are gone.
const PACE_MANAGER: &str = "qpc-operator-pace";
/// On a Deployment that is held back.
const HELD: &str = "quicprochat.org/rollout-held";
const COST_MANAGER: &str = "qpc-operator-cost";
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Name of the port of the pages of a container, and its number where it has no name.
const PAGES: &str = "observe";
const PAGES_PORT: u16 = 9464;
/// Gateways asked at a time.
const ASKED_AT_ONCE: usize = 16;

pub(super) async fn look(
    context: &Context,
    namespace: &str,
    realm: &Realm,
    status: &mut RealmStatus,
) -> Result<Part, OperatorError> {
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), namespace);
    let found = deployments.list(&selector(realm)).await?.items;
    if found.is_empty() {
        status.gateways = None;
        let finding = Finding::new(SETTLED, true, "NoGateways", "no Deployment of gateways is there");
        return Ok(Part { findings: vec![finding], again: SLOW_LOOK });
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let pods_found = pods.list(&selector(realm)).await?.items;
    // Asking may take seconds, in which a new gateway becomes ready and Kubernetes goes on: who must wait anyway is held before.
    let unasked: Vec<pace::Pod> = pods_found.iter().map(unasked).collect();
    let mut held: Vec<bool> = found.iter().map(is_held).collect();
    for ((deployment, held), step) in found.iter().zip(&mut held).zip(judge(context, realm, &found, &unasked)) {
        if matches!(step, Step::Hold(_)) {
            follow(context, &deployments, deployment, held, step).await?;
        }
    }
    let seen = ask(context, &pods_found).await;
    for (pod, seen) in pods_found.iter().zip(&seen) {
        note_cost(&pods, pod, seen).await?;
    }
    note(context, realm, &seen);
    let steps = judge(context, realm, &found, &seen);
    for ((deployment, held), step) in found.iter().zip(&mut held).zip(&steps) {
        follow(context, &deployments, deployment, held, *step).await?;
    }
    status.gateways = Some(counts(&found));
    let findings: Vec<Finding> = finding(&steps).into_iter().collect();
    let again = if seen.is_empty() && steps.iter().all(|step| *step == Step::Done) { SLOW_LOOK } else { LOOK };
    Ok(Part { findings, again })
}

/// Whether every gateway that is to stay answers. With none there is nobody to wait for.
pub(super) async fn all_ready(context: &Context, namespace: &str, realm: &Realm) -> Result<bool, OperatorError> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let found = pods.list(&selector(realm)).await?;
    Ok(found.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).all(is_ready))
}

/// Lets every Deployment go that is held.
pub(super) async fn let_go(context: &Context, namespace: &str, realm: &Realm) -> Result<(), OperatorError> {
    context.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(&realm.uid().unwrap_or_default());
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), namespace);
    for deployment in deployments.list(&selector(realm)).await? {
        if is_held(&deployment) {
            hold(&deployments, &deployment, false).await?;
        }
    }
    Ok(())
}

fn selector(realm: &Realm) -> kube::api::ListParams {
    objects::selector(&objects::release(realm), Some(GATEWAY))
}

/// Remembers how many connections there are.
fn note(context: &Context, realm: &Realm, pods: &[pace::Pod]) {
    let now_ms = context.runtime.now_ms();
    let mut all = context.looks.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(realm.uid().unwrap_or_default()).or_default().note(pods, now_ms, &realm.spec.gateways);
}

/// What is to be done with each Deployment.
fn judge(context: &Context, realm: &Realm, deployments: &[Deployment], pods: &[pace::Pod]) -> Vec<Step> {
    let now_ms = context.runtime.now_ms();
    let mut all = context.looks.lock().unwrap_or_else(PoisonError::into_inner);
    let looks = all.entry(realm.uid().unwrap_or_default()).or_default();
    let step = |deployment| pace::step(&rollout(deployment), pods, looks, now_ms, &realm.spec.gateways);
    deployments.iter().map(step).collect()
}

/// What the API server says of a gateway.
fn unasked(pod: &Pod) -> pace::Pod {
    pace::Pod {
        uid: pod.uid().unwrap_or_default(),
        ready: is_ready(pod),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        connections: None,
    }
}

/// Asks all gateways at once for their connections.
async fn ask(context: &Context, pods: &[Pod]) -> Vec<pace::Pod> {
    let scrape = &context.scrape;
    let mut asked = Vec::with_capacity(pods.len());
    for pod in pods {
        let address = address(pod);
        let pod = unasked(pod);
        let scrape = Arc::clone(scrape);
        asked.push(async move {
            let connections = match address {
                Some(address) => scrape.connections(address).await,
                None => None,
            };
            pace::Pod { connections, ..pod }
        });
    }
    stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await
}

/// Where the pages of a pod are.
fn address(pod: &Pod) -> Option<SocketAddr> {
    let address: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let ports =
        pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
    let named = ports.into_iter().find(|port| port.name.as_deref() == Some(PAGES));
    let port = named.and_then(|port| u16::try_from(port.container_port).ok()).unwrap_or(PAGES_PORT);
    Some(SocketAddr::new(address, port))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|found| found.type_ == "Ready" && found.status == "True")
}

async fn note_cost(pods: &Api<Pod>, pod: &Pod, seen: &pace::Pod) -> Result<(), OperatorError> {
    let Some(connections) = seen.connections.filter(|_| !seen.terminating) else { return Ok(()) };
    let before = pod.annotations().get(COST).and_then(|text| text.parse().ok());
    let Some(cost) = pace::deletion_cost(connections, before) else { return Ok(()) };
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        // With its uid, so that one that is gone is not made anew.
        "metadata": { "name": pod.name_any(), "uid": pod.uid(), "annotations": { COST: cost.to_string() } },
    });
    match objects::apply(pods, &pod.name_any(), COST_MANAGER, &object).await {
        // It has gone since it was listed.
        Err(error) if crate::error::has_code(&error, 409) || crate::error::has_code(&error, 404) => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

fn rollout(deployment: &Deployment) -> Rollout {
    let status = deployment.status.as_ref();
    let count = |field: Option<Option<i32>>| field.flatten().unwrap_or(0);
    let observed = status.and_then(|status| status.observed_generation);
    Rollout {
        observed: observed.is_some() && observed >= deployment.metadata.generation,
        desired: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        total: count(status.map(|status| status.replicas)),
        updated: count(status.map(|status| status.updated_replicas)),
    }
}

fn is_held(deployment: &Deployment) -> bool {
    deployment.annotations().contains_key(HELD)
}

async fn follow(
    context: &Context,
    deployments: &Api<Deployment>,
    deployment: &Deployment,
    held: &mut bool,
    step: Step,
) -> Result<(), OperatorError> {
    let wanted = match step {
        Step::Unknown => return Ok(()),
        Step::Done | Step::Go => false,
        Step::Hold(_) => true,
    };
    if wanted == *held {
        return Ok(());
    }
    hold(deployments, deployment, wanted).await?;
    *held = wanted;
    if wanted {
        context.metrics.held.inc();
    }
    tracing::info!(deployment = deployment.name_any(), held = wanted, ?step, "replacement of gateways");
    Ok(())
}

/// Pauses the Deployment, or takes back that it was paused here. A pause of somebody else stays.
async fn hold(deployments: &Api<Deployment>, deployment: &Deployment, held: bool) -> Result<(), OperatorError> {
    let name = deployment.name_any();
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "uid": deployment.uid() },
    });
    if held {
        object["metadata"]["annotations"] = json!({ HELD: "true" });
        object["spec"] = json!({ "paused": true });
    }
    objects::apply(deployments, &name, PACE_MANAGER, &object).await?;
    Ok(())
}

fn counts(deployments: &[Deployment]) -> GatewaysStatus {
    let mut counts = GatewaysStatus { desired: 0, updated: 0, ready: 0 };
    for deployment in deployments {
        let Rollout { desired, updated, .. } = rollout(deployment);
        counts.desired += desired;
        counts.updated += updated;
        counts.ready += deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    }
    counts
}

/// Of several Deployments the one that waits is what people want to know of. Nothing new is known while Kubernetes has not
/// looked at one, which is so for a moment after each step.
fn finding(steps: &[Step]) -> Option<Finding> {
    if steps.contains(&Step::Unknown) {
        return None;
    }
    let held = steps.iter().find_map(|step| match step {
        Step::Hold(why) => Some(Finding::new(SETTLED, false, why.reason(), why.message())),
        _ => None,
    });
    Some(held.unwrap_or_else(|| {
        if steps.iter().all(|step| *step == Step::Done) {
            Finding::new(SETTLED, true, "Settled", "all gateways are of the current version")
        } else {
            Finding::new(SETTLED, false, "Replacing", "a gateway is being replaced")
        }
    }))
}
