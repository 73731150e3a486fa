//! Settings that the chart passes or lets be passed, beside those that the processes have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    properties::{containers, pod_metrics, workloads},
    render::{CHART, Render, text, title},
};
use crate::{metrics, repo};

/// How a setting is declared.
const DECLARED: &str = "env = \"";
const PREFIX: &str = "QPC_";
/// What all processes have.
const SHARED: &str = "libs/chassis/src";
/// Settings that no installation of the chart changes, and why.
const FIXED: [(&str, &str); 5] = [
    ("QPC_DATA", "only a certificate of the process's own goes there, which the chart does not let be used"),
    ("QPC_ADMIN_DATA", "the same, of the admin API"),
    ("QPC_SERVER_ID", "it follows from POD_IP, which is different for each pod"),
    ("QPC_RELAY_ANNOUNCE", "the same"),
    ("QPC_MDNS", "nobody else is on the network of a pod"),
];
/// How a value refers to another variable.
const REFERENCE: &str = "$(";

/// What is wrong.
pub(super) fn check(renders: &[Render]) -> Result<Vec<String>> {
    let shared = declared(&repo::root().join(SHARED))?;
    ensure!(shared.contains("QPC_BUS"), "{SHARED} declares no setting that is known");
    let passed = passed(renders);
    let offered = offered()?;
    let mut wrong = Vec::new();
    for (process, names) in &passed {
        let own = declared(&repo::root().join("services").join(process).join("src"))?;
        for name in names.iter().chain(offered.get(process).into_iter().flatten()) {
            if !own.contains(name) && !shared.contains(name) {
                wrong.push(format!("qpc-{process} has no setting {name}"));
            }
        }
        let reachable =
            |name: &String| names.contains(name) || offered.get(process).is_some_and(|all| all.contains(name));
        let fixed = |name: &String| FIXED.iter().any(|(fixed, _)| fixed == name);
        wrong.extend(own.iter().filter(|name| !reachable(name) && !fixed(name)).map(|name| {
            format!("{name} of qpc-{process} can not be set: it stands in no template, nor in values.schema.json")
        }));
    }
    wrong.extend(references(renders));
    Ok(wrong)
}

/// Settings that a folder of source declares.
fn declared(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in repo::files(folder, "rs")? {
        let source = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        for (at, _) in source.match_indices(DECLARED) {
            let name = source[at + DECLARED.len()..].split('"').next().unwrap_or_default();
            if name.starts_with(PREFIX) {
                names.insert(name.to_owned());
            }
        }
    }
    Ok(names)
}

/// Settings that the examples pass to each process of ours.
fn passed(renders: &[Render]) -> BTreeMap<String, BTreeSet<String>> {
    let mut passed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for container in renders.iter().flat_map(workloads).flat_map(containers) {
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = text(&variable["name"]);
            if name.starts_with(PREFIX) {
                // Containers are named as the processes that run in them.
                passed.entry(text(&container["name"]).to_owned()).or_default().insert(name.to_owned());
            }
        }
    }
    passed
}

/// Settings that the schema of values knows for each process.
fn offered() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let path = repo::root().join(CHART).join("values.schema.json");
    let schema = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let schema: Value = serde_json::from_str(&schema).context("values.schema.json")?;
    let all = schema["properties"].as_object().context("a schema without properties")?;
    let names = |own: &Value| {
        let env = own["properties"]["env"]["properties"].as_object();
        env.into_iter().flat_map(|env| env.keys().cloned()).collect::<BTreeSet<_>>()
    };
    Ok(all.iter().map(|(process, own)| (process.clone(), names(own))).filter(|(_, names)| !names.is_empty()).collect())
}

/// `$(NAME)` is of a variable that stands before, or it would be passed as it is.
fn references(renders: &[Render]) -> Vec<String> {
    let mut wrong = Vec::new();
    for render in renders {
        for container in workloads(render).flat_map(containers) {
            let mut before = BTreeSet::new();
            for variable in container["env"].as_array().into_iter().flatten() {
                for part in text(&variable["value"]).split(REFERENCE).skip(1) {
                    let name = part.split(')').next().unwrap_or_default();
                    if !before.contains(name) {
                        wrong.push(format!("{}: {} refers to {name}", render.name, variable["name"]));
                    }
                }
                before.insert(text(&variable["name"]));
            }
        }
    }
    wrong
}

/// Metrics by which autoscalers go are made by the rules for prometheus-adapter, from metrics that the processes have.
pub(super) fn adapter(renders: &[Render]) -> Result<Vec<String>> {
    let path = repo::root().join(CHART).join("files/prometheus-adapter.yaml");
    let rules = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let rules: Value = serde_saphyr::from_str(&rules).context("prometheus-adapter.yaml")?;
    let rules = rules["rules"]["custom"].as_array().context("prometheus-adapter.yaml has no rules.custom")?;
    let source = metrics::names(repo::root().as_path())?;
    let (mut made, mut wrong) = (BTreeSet::new(), Vec::new());
    for rule in rules {
        made.insert(text(&rule["name"]["as"]));
        let asked = metrics::used(text(&rule["seriesQuery"]));
        if asked.is_empty() {
            wrong.push(format!("a rule asks for no metric: {}", rule["seriesQuery"]));
        }
        wrong.extend(
            asked.into_iter().filter(|name| !source.contains(*name)).map(|name| format!("{name} is no metric")),
        );
    }
    let scalers = renders.iter().flat_map(|render| render.of("HorizontalPodAutoscaler"));
    let mut scaled = 0;
    for scaler in scalers {
        for metric in pod_metrics(scaler) {
            scaled += 1;
            if !made.contains(metric) {
                wrong.push(format!("{} goes by {metric}, which no rule makes", title(scaler)));
            }
        }
    }
    ensure!(scaled > 0, "no example goes by a metric of its own");
    Ok(wrong)
}
