//! Who reaches whom, as network policies of the examples have it, beside a list that does not come from the templates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    properties::{chooses, containers, is_test, workloads},
    render::{Render, text, title},
};

/// Which component opens which port of which other; nothing else does.
const EDGES: [(&str, &[&str], &str); 14] = [
    ("7002/UDP", &["gateway"], "gateway"),
    ("7003/TCP", &["gateway"], "blob"),
    ("4222/TCP", &["gateway", "auth", "keypackage", "delivery", "blob", "admin"], "nats"),
    ("6222/TCP", &["nats"], "nats"),
    ("6379/TCP", &["gateway", "auth", "keypackage", "delivery", "blob", "admin"], "cache"),
    ("5432/TCP", &["auth", "keypackage", "delivery", "blob", "migrate"], "postgres"),
    ("9464/TCP", &["operator"], "gateway"),
    ("9464/TCP", &[TEST], "gateway"),
    ("9464/TCP", &[TEST], "auth"),
    ("9464/TCP", &[TEST], "keypackage"),
    ("9464/TCP", &[TEST], "delivery"),
    ("9464/TCP", &[TEST], "blob"),
    ("9464/TCP", &[TEST], "admin"),
    ("9464/TCP", &[TEST], "operator"),
];
/// What runs in `helm test`, and reaches others while it does.
const TEST: &str = "test";
/// What leaves for nowhere: it asks for no name either, by which something could be told to others.
const NOWHERE: [&str; 3] = ["cache", "postgres", TEST];
/// The one port that everybody reaches.
const PUBLIC: &str = "7000/UDP";
/// The example that has none.
const WITHOUT: &str = "no-network-policy";

/// What is wrong with an example.
pub(super) fn check(render: &Render) -> Vec<String> {
    let policies: Vec<&Value> = render.of("NetworkPolicy").collect();
    let mut wrong = Vec::new();
    if (render.name == WITHOUT) != policies.is_empty() {
        wrong.push(format!("{} network policies", policies.len()));
    }
    if policies.is_empty() {
        return wrong.iter().map(|what| format!("{}: {what}", render.name)).collect();
    }
    for workload in workloads(render) {
        let denied = policies
            .iter()
            .any(|policy| refuses_all(policy) && chooses(&policy["spec"]["podSelector"], labels(workload)));
        if !denied {
            wrong.push(format!("nothing refuses what {} is not allowed", title(workload)));
        }
    }
    let lasting: Vec<&Value> = policies.iter().copied().filter(|policy| !is_test(policy)).collect();
    let forgotten = open(&lasting, render).into_iter().filter(|edge| edge.starts_with(TEST));
    wrong.extend(forgotten.map(|edge| format!("{edge} is open while no test runs")));
    wrong.extend(leaving(&policies, render));
    let (found, expected) = (open(&policies, render), expected(render));
    wrong.extend(found.difference(&expected).map(|edge| format!("{edge} is open")));
    wrong.extend(expected.difference(&found).map(|edge| format!("{edge} is closed")));
    wrong.extend(strangers(&policies, render));
    wrong.iter().map(|what| format!("{}: {what}", render.name)).collect()
}

fn refuses_all(policy: &Value) -> bool {
    let spec = &policy["spec"];
    let types: BTreeSet<&str> = spec["policyTypes"].as_array().into_iter().flatten().map(text).collect();
    types == BTreeSet::from(["Ingress", "Egress"]) && spec["ingress"].is_null() && spec["egress"].is_null()
}

fn expected(render: &Render) -> BTreeSet<String> {
    let there: BTreeSet<&str> = workloads(render).map(component).collect();
    let mut edges = BTreeSet::new();
    for (port, from, to) in EDGES {
        // A single server of NATS has no others.
        let alone = port.starts_with("6222") && !has_peers(render);
        for from in from.iter().filter(|from| there.contains(*from) && there.contains(to) && !alone) {
            edges.insert(format!("{from} to {to} {port}"));
        }
    }
    edges
}

fn has_peers(render: &Render) -> bool {
    workloads(render).any(|workload| component(workload) == "nats" && ports(workload).any(|port| port == "6222/TCP"))
}

/// What the policies let through between the pods of an example.
fn open(policies: &[&Value], render: &Render) -> BTreeSet<String> {
    let mut edges = BTreeSet::new();
    for from in workloads(render) {
        for to in workloads(render) {
            for port in ports(to) {
                if lets(policies, from, to, "egress", &port)
                    && lets(policies, to, from, "ingress", &port)
                    && port != PUBLIC
                {
                    edges.insert(format!("{} to {} {port}", component(from), component(to)));
                }
            }
        }
    }
    edges
}

/// What has a way out of the namespace, and should have none.
fn leaving(policies: &[&Value], render: &Render) -> Vec<String> {
    let mut wrong = Vec::new();
    for workload in workloads(render).filter(|workload| NOWHERE.contains(&component(workload))) {
        let own = policies.iter().filter(|policy| chooses(&policy["spec"]["podSelector"], labels(workload)));
        let mut peers = own
            .flat_map(|policy| policy["spec"]["egress"].as_array().into_iter().flatten())
            .flat_map(|rule| rule["to"].as_array().into_iter().flatten());
        if peers.any(|peer| peer["podSelector"].is_null() || !peer["namespaceSelector"].is_null()) {
            wrong.push(format!("{} has a way out", title(workload)));
        }
    }
    wrong
}

/// Whether a policy of `own` lets `port` through to or from `other`.
fn lets(policies: &[&Value], own: &Value, other: &Value, direction: &str, port: &str) -> bool {
    let peers = if direction == "egress" { "to" } else { "from" };
    let of_own = policies.iter().filter(|policy| chooses(&policy["spec"]["podSelector"], labels(own)));
    let mut rules = of_own.flat_map(|policy| policy["spec"][direction].as_array().into_iter().flatten());
    rules.any(|rule| {
        let anybody = rule[peers].is_null();
        let mut named = rule[peers].as_array().into_iter().flatten();
        let is_peer = anybody
            || named.any(|peer| peer["namespaceSelector"].is_null() && chooses(&peer["podSelector"], labels(other)));
        is_peer && (rule["ports"].is_null() || allowed(rule).any(|allowed| allowed == port))
    })
}

/// What comes from anywhere, is for clients alone.
fn strangers(policies: &[&Value], render: &Render) -> Vec<String> {
    let mut wrong = Vec::new();
    for policy in policies {
        for rule in policy["spec"]["ingress"].as_array().into_iter().flatten() {
            let all: Vec<String> = allowed(rule).collect();
            if all.is_empty() || (rule["from"].is_null() && all != [PUBLIC]) {
                wrong.push(format!("{} lets anybody in to {all:?}", title(policy)));
            }
        }
        for rule in policy["spec"]["egress"].as_array().into_iter().flatten() {
            if rule["to"].as_array().is_none_or(Vec::is_empty) || rule["ports"].as_array().is_none_or(Vec::is_empty) {
                wrong.push(format!("{} lets something out to anywhere", title(policy)));
            }
        }
    }
    let gateway = workloads(render).find(|workload| component(workload) == "gateway");
    if gateway.is_none_or(|gateway| !lets(policies, gateway, &Value::Null, "ingress", PUBLIC)) {
        wrong.push("clients reach no gateway".to_owned());
    }
    wrong
}

fn allowed(rule: &Value) -> impl Iterator<Item = String> {
    rule["ports"].as_array().into_iter().flatten().map(|port| format!("{}/{}", port["port"], text(&port["protocol"])))
}

fn ports(workload: &Value) -> impl Iterator<Item = String> {
    let all = containers(workload).flat_map(|container| container["ports"].as_array().into_iter().flatten());
    all.map(|port| format!("{}/{}", port["containerPort"], text(&port["protocol"])))
}

fn labels(workload: &Value) -> &Value {
    &workload["spec"]["template"]["metadata"]["labels"]
}

fn component(workload: &Value) -> &str {
    text(&labels(workload)["app.kubernetes.io/component"])
}
