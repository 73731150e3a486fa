//! What is true of every workload of every example.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::render::{Render, text, title};

/// Kinds that make pods.
const WORKLOADS: [&str; 3] = ["Deployment", "StatefulSet", "Job"];
/// Labels by which a process of ours is told from one of others.
const OBSERVED: &str = "quicprochat.org/observed";
const COMPONENT: &str = "app.kubernetes.io/component";
/// Labels of every object.
const LABELS: [&str; 6] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    COMPONENT,
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/part-of",
];
/// Volumes that pod security `restricted` knows.
const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
/// In profile solo, with a Job beside.
const SOLO_PODS: u64 = 10;
/// The example that names every image by its digest.
const DIGESTS: &str = "digests";
/// The example that is looked at by Prometheus.
const MONITORED: &str = "monitoring";

/// What is wrong with an example.
pub(super) fn check(render: &Render) -> Vec<String> {
    let mut wrong = Vec::new();
    for object in &render.objects {
        let mut missing: Vec<&str> =
            LABELS.into_iter().filter(|&label| object["metadata"]["labels"][label].is_null()).collect();
        if object["metadata"]["namespace"].is_null() {
            missing.push("namespace");
        }
        if !missing.is_empty() {
            wrong.push(format!("{} has no {}", title(object), missing.join(", ")));
        }
    }
    for workload in workloads(render) {
        let mut found = restricted(workload);
        found.extend(containers(workload).flat_map(of_container));
        found.extend(identity(render, workload));
        if workload["kind"] != "Job" {
            found.extend(stays(render, workload));
        }
        wrong.extend(found.into_iter().map(|what| format!("{} {what}", title(workload))));
    }
    wrong.extend(autoscalers(render));
    wrong.extend(small(render));
    wrong.extend(pinned(render));
    wrong.extend(scraped(render));
    wrong.iter().map(|what| format!("{}: {what}", render.name)).collect()
}

/// Jobs of one name that run something else: what a Job runs cannot be changed, so a tool that applies the chart would fail.
pub(super) fn jobs(renders: &[Render]) -> Vec<String> {
    let mut seen: BTreeMap<String, (&str, &Value)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for render in renders {
        for job in render.of("Job").filter(|job| !is_test(job)) {
            let (first, template) = *seen.entry(title(job)).or_insert((&render.name, &job["spec"]["template"]));
            if *template != job["spec"]["template"] {
                wrong.push(format!("{} of {} and of {first} run something else", title(job), render.name));
            }
        }
    }
    wrong
}

pub(super) fn workloads(render: &Render) -> impl Iterator<Item = &Value> {
    render.objects.iter().filter(|object| WORKLOADS.iter().any(|kind| object["kind"] == *kind))
}

pub(super) fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

pub(super) fn containers(workload: &Value) -> impl Iterator<Item = &Value> {
    let of = |kind: &str| pod(workload)[kind].as_array().into_iter().flatten();
    of("containers").chain(of("initContainers"))
}

/// Whether it is there for `helm test` alone.
pub(super) fn is_test(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"] == "test"
}

fn ours(workload: &Value) -> bool {
    workload["spec"]["template"]["metadata"]["labels"][OBSERVED] == "true"
}

/// Pod security `restricted`, as the API server asks, and the read-only root that it does not ask for.
fn restricted(workload: &Value) -> Vec<String> {
    let pod = pod(workload);
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    for host in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
        must(pod[host].is_null(), format!("sets {host}"));
    }
    let security = &pod["securityContext"];
    must(security["runAsNonRoot"] == true, "may run as root".to_owned());
    must(security["runAsUser"].as_u64().is_some_and(|user| user > 0), "names no user".to_owned());
    must(security["seccompProfile"]["type"] == "RuntimeDefault", "has no seccomp profile".to_owned());
    must(security["sysctls"].is_null(), "sets sysctls".to_owned());
    for container in containers(workload) {
        let (name, security) = (text(&container["name"]), &container["securityContext"]);
        let mut must = |holds: bool, what: &str| must(holds, format!("{name}: {what}"));
        must(security["allowPrivilegeEscalation"] == false, "privileges may grow");
        must(security["privileged"] != true, "privileged");
        must(security["capabilities"] == json!({"drop": ["ALL"]}), "keeps capabilities");
        must(security["readOnlyRootFilesystem"] == true, "writes into its image");
        must(security["runAsUser"].is_null() && security["runAsNonRoot"] == true, "has a user of its own");
        must(
            container["ports"].as_array().into_iter().flatten().all(|port| port["hostPort"].is_null()),
            "port of the host",
        );
        must(security["procMount"].is_null(), "sees more of /proc");
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds = volume.as_object().into_iter().flat_map(|volume| volume.keys());
        for kind in kinds.filter(|kind| *kind != "name" && !VOLUMES.contains(&kind.as_str())) {
            must(false, format!("mounts a {kind}"));
        }
    }
    wrong
}

/// Memory is bounded, and the image is one by its version.
fn of_container(container: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let (name, resources) = (text(&container["name"]), &container["resources"]);
    for (kind, what) in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")] {
        if resources[kind][what].is_null() {
            wrong.push(format!("{name}: {kind} no {what}"));
        }
    }
    let image = text(&container["image"]);
    let last = image.rsplit('/').next().unwrap_or_default();
    let pinned = image.contains("@sha256:");
    if !pinned && last.split_once(':').is_none_or(|(_, tag)| tag.is_empty() || tag == "latest") {
        wrong.push(format!("{name}: image {image} has no version"));
    }
    wrong
}

/// An account of its own, and no token but for who talks to the API server.
fn identity(render: &Render, workload: &Value) -> Vec<String> {
    let pod = pod(workload);
    let mut wrong = Vec::new();
    let account = text(&pod["serviceAccountName"]);
    let component = text(&workload["metadata"]["labels"][COMPONENT]);
    let own = render.of("ServiceAccount").any(|found| found["metadata"]["name"] == account);
    // A hook runs before accounts of the release are made.
    if !own && workload["kind"] != "Job" {
        wrong.push(format!("runs as {account:?}, which the chart does not make"));
    }
    if pod["automountServiceAccountToken"] != (component == "operator") {
        wrong.push("token of the API server".to_owned());
    }
    // A probe takes no names, and the test is told addresses so.
    if pod["enableServiceLinks"] != is_test(workload) {
        wrong.push("addresses of all Services in its environment".to_owned());
    }
    wrong
}

/// What a workload has that is there for long: probes, a budget, places, time to end, and no number beside an autoscaler.
fn stays(render: &Render, workload: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let pod = pod(workload);
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    for container in containers(workload) {
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"];
        wrong.extend(
            probes.into_iter().filter(|probe| container[*probe].is_null()).map(|probe| format!("has no {probe}")),
        );
        if ours(workload) && text(&workload["metadata"]["labels"][COMPONENT]) != "operator" {
            wrong.extend(drain(pod, container));
        }
    }
    let budgets: Vec<&Value> =
        render.of("PodDisruptionBudget").filter(|budget| chooses(&budget["spec"]["selector"], labels)).collect();
    if budgets.len() != 1 {
        wrong.push(format!("has {} disruption budgets", budgets.len()));
    }
    wrong
        .extend(budgets.into_iter().filter(|budget| !drains(budget)).map(|budget| format!("stays: {}", title(budget))));
    let topologies: BTreeSet<&str> = pod["topologySpreadConstraints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|constraint| chooses(&constraint["labelSelector"], labels))
        .map(|constraint| text(&constraint["topologyKey"]))
        .collect();
    if topologies != BTreeSet::from(["kubernetes.io/hostname", "topology.kubernetes.io/zone"]) {
        wrong.push(format!("is spread over {topologies:?}"));
    }
    let autoscaled = render.of("HorizontalPodAutoscaler").any(|found| {
        let target = &found["spec"]["scaleTargetRef"];
        target["kind"] == workload["kind"] && target["name"] == workload["metadata"]["name"]
    });
    if autoscaled != workload["spec"]["replicas"].is_null() {
        wrong.push(format!("autoscaled: {autoscaled}, replicas: {}", workload["spec"]["replicas"]));
    }
    wrong
}

/// A node can be emptied, also where there is one pod: it may be taken away, and one that does not work always.
fn drains(budget: &Value) -> bool {
    let spec = &budget["spec"];
    spec["maxUnavailable"] == 1 && spec["minAvailable"].is_null() && spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
}

/// SIGTERM comes once nobody new is sent there, and the kubelet waits longer than the process drains.
fn drain(pod: &Value, container: &Value) -> Vec<String> {
    let variable = |name: &str| {
        let variables = container["env"].as_array().into_iter().flatten();
        variables
            .filter(|variable| variable["name"] == name)
            .find_map(|variable| text(&variable["value"]).parse::<u64>().ok())
    };
    let wait = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
    let leave = variable("QPC_DRAIN_GRACE_MS").unwrap_or(0).div_ceil(1000);
    match (wait, variable("QPC_DRAIN_SECONDS"), pod["terminationGracePeriodSeconds"].as_u64()) {
        (Some(wait), Some(drain), Some(all)) if wait > 0 && all > wait + leave + drain => Vec::new(),
        found => vec![format!("waits, drains and ends in (seconds) {found:?}, of which clients leave in {leave}")],
    }
}

/// Each has a metric and something to work on.
fn autoscalers(render: &Render) -> Vec<String> {
    let mut wrong = Vec::new();
    for scaler in render.of("HorizontalPodAutoscaler") {
        let target = &scaler["spec"]["scaleTargetRef"]["name"];
        if !render.of("Deployment").any(|found| found["metadata"]["name"] == *target) {
            wrong.push(format!("{} works on nothing", title(scaler)));
        }
        let metrics: BTreeSet<&str> = pod_metrics(scaler).collect();
        let expected: &[&str] = match text(&scaler["metadata"]["labels"][COMPONENT]) {
            "gateway" => &["qpc_gateway_connections", "qpc_gateway_handshakes_per_second"],
            "delivery" => &["qpc_delivery_oldest_undelivered_seconds"],
            _ => &[],
        };
        if metrics != expected.iter().copied().collect() {
            wrong.push(format!("{} goes by {metrics:?}", title(scaler)));
        }
    }
    wrong
}

/// Metrics of pods by which an autoscaler goes.
pub(super) fn pod_metrics(scaler: &Value) -> impl Iterator<Item = &str> {
    let metrics = scaler["spec"]["metrics"].as_array().into_iter().flatten();
    metrics.filter(|metric| metric["type"] == "Pods").map(|metric| text(&metric["pods"]["metric"]["name"]))
}

/// Where metrics are collected, that is done from every process of ours.
fn scraped(render: &Render) -> Vec<String> {
    let mut wrong = Vec::new();
    for monitor in render.of("ServiceMonitor") {
        let services: Vec<&Value> = render
            .of("Service")
            .filter(|service| chooses(&monitor["spec"]["selector"], &service["metadata"]["labels"]))
            .collect();
        for workload in workloads(render).filter(|workload| ours(workload)) {
            let labels = &workload["spec"]["template"]["metadata"]["labels"];
            let found = services.iter().filter(|service| {
                chooses(&json!({"matchLabels": service["spec"]["selector"]}), labels)
                    && service["spec"]["ports"][0]["name"] == monitor["spec"]["endpoints"][0]["port"]
                    && containers(workload)
                        .any(|container| container["ports"][0]["name"] == service["spec"]["ports"][0]["targetPort"])
            });
            let found = found.count();
            if found != 1 {
                wrong.push(format!("{} asks {} for metrics by {found} Services", title(monitor), title(workload)));
            }
        }
    }
    if (render.name == MONITORED) != render.of("ServiceMonitor").next().is_some() {
        wrong.push("ServiceMonitor where none is wanted, or none where one is".to_owned());
    }
    wrong
}

/// Profile solo runs on one small node.
fn small(render: &Render) -> Vec<String> {
    if render.name != "solo" {
        return Vec::new();
    }
    let there = workloads(render).filter(|workload| !is_test(workload));
    let pods: u64 = there.map(|workload| workload["spec"]["replicas"].as_u64().unwrap_or(1)).sum();
    if pods <= SOLO_PODS { Vec::new() } else { vec![format!("{pods} pods, at most {SOLO_PODS}")] }
}

/// Every image of the example is one by its digest.
fn pinned(render: &Render) -> Vec<String> {
    if render.name != DIGESTS {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for workload in workloads(render) {
        for container in containers(workload) {
            if !text(&container["image"]).contains("@sha256:") {
                wrong.push(format!("{} runs {}", title(workload), container["image"]));
            }
        }
    }
    wrong
}

/// Whether a selector of labels takes these.
pub(super) fn chooses(selector: &Value, labels: &Value) -> bool {
    if !selector.is_object() {
        return false;
    }
    let wanted = selector["matchLabels"].as_object().into_iter().flatten();
    wanted.into_iter().all(|(name, value)| labels[name] == *value)
}
