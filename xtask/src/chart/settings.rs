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
/// What lists them for people.
const PAGE: &str = "docs/reference/configuration.md";
const PROCESSES: [&str; 6] = ["gateway", "auth", "keypackage", "delivery", "blob", "admin"];
const OPERATOR: [&str; 1] = ["operator"];
/// Headings there, and whose settings stand below.
const SECTIONS: [(&str, &[&str]); 9] = [
    ("Every server process", &PROCESSES),
    ("Every server process", &OPERATOR),
    ("Processes of a cluster", &PROCESSES),
    ("Gateway", &["gateway"]),
    ("Auth", &["auth"]),
    ("Admin API", &["admin"]),
    ("Keypackage", &["keypackage"]),
    ("Delivery", &["delivery"]),
    ("Blob", &["blob"]),
];
const TABLELESS: [&str; 2] = ["gateway", "admin"];
/// Settings that no installation of the chart changes: name, of which processes, and why.
const FIXED: [(&str, &[&str], &str); 13] = [
    ("QPC_DATA", &["gateway"], "only a certificate of its own goes there, which the chart does not let be used"),
    ("QPC_ADMIN_DATA", &["admin"], "only certificates of its own go there, which the chart does not let be used"),
    ("QPC_SERVER_ID", &["gateway"], "it follows from POD_IP, which is different for each pod"),
    ("QPC_RELAY_ANNOUNCE", &["gateway"], "it follows from POD_IP too"),
    ("QPC_MDNS", &["gateway"], "nobody else is on the network of a pod"),
    ("QPC_DB", &PROCESSES, "it holds a password, so it comes from a file"),
    ("QPC_CACHE", &PROCESSES, "it may hold a password, so it comes from a file"),
    ("QPC_DB_FILE", &TABLELESS, "they have no tables"),
    ("QPC_DB_POOL", &TABLELESS, "they open no database"),
    ("QPC_MIGRATE", &TABLELESS, "they have no schema"),
    ("QPC_OTLP", &OPERATOR, "it has no part in calls, which is what traces are of"),
    ("QPC_OTLP_CA", &OPERATOR, "it has no part in calls"),
    ("QPC_TRACE_RATIO", &OPERATOR, "it has no part in calls"),
];
/// How a value refers to another variable.
const REFERENCE: &str = "$(";

/// What is wrong.
pub(super) fn check(renders: &[Render]) -> Result<Vec<String>> {
    let shared = declared(&repo::root().join(SHARED))?;
    ensure!(shared.contains("QPC_BUS"), "{SHARED} declares no setting that is known");
    let passed = passed(renders);
    let offered = offered(&schema()?)?;
    let page = fs::read_to_string(repo::root().join(PAGE)).with_context(|| format!("read {PAGE}"))?;
    let listed = listed(&page)?;
    let mut wrong = Vec::new();
    let unlisted = shared.iter().filter(|&name| !listed.values().any(|all| all.contains(name)));
    wrong.extend(unlisted.map(|name| format!("{name}, of {SHARED}, does not stand in {PAGE}")));
    for (process, names) in &passed {
        let own = declared(&repo::root().join("services").join(process).join("src"))?;
        // What the operator has for itself stands in a guide of its own.
        let foreign = |name: &&String| {
            !OPERATOR.contains(&process.as_str()) && !listed.get(process).is_some_and(|all| all.contains(*name))
        };
        let unlisted = own.iter().filter(foreign);
        wrong.extend(unlisted.map(|name| format!("{name} of qpc-{process} does not stand in {PAGE}")));
        for name in names.iter().chain(offered.get(process).into_iter().flatten()) {
            if !own.contains(name) && !shared.contains(name) {
                wrong.push(format!("qpc-{process} has no setting {name}"));
            }
        }
    }
    let mut all = listed;
    for (process, names) in &mut all {
        names.extend(declared(&repo::root().join("services").join(process).join("src"))?);
    }
    wrong.extend(out_of_reach(&all, &passed, &offered));
    wrong.extend(shapes(&page, &schema()?));
    wrong.extend(references(renders));
    Ok(wrong)
}

type Names = BTreeMap<String, BTreeSet<String>>;

/// Settings that neither a template passes nor the schema of values offers, and reasons for that which are none any more.
fn out_of_reach(listed: &Names, passed: &Names, offered: &Names) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut explained = BTreeSet::new();
    for (process, names) in listed {
        let reachable =
            |name| [passed, offered].iter().any(|all| all.get(process).is_some_and(|own| own.contains(name)));
        for name in names.iter().filter(|&name| !reachable(name)) {
            match FIXED.iter().position(|(fixed, of, _)| fixed == name && of.contains(&process.as_str())) {
                Some(index) => _ = explained.insert((index, process.as_str())),
                None => wrong.push(format!(
                    "{name} of qpc-{process} can not be set: it stands in no template, nor in values.schema.json"
                )),
            }
        }
    }
    for (index, (name, of, why)) in FIXED.iter().enumerate() {
        let idle = of.iter().filter(|process| !explained.contains(&(index, **process)));
        wrong.extend(
            idle.map(|process| format!("{name} of qpc-{process} can be set, or is none; it was left out since {why}")),
        );
    }
    wrong
}

/// Settings of each process, as the page lists them.
fn listed(page: &str) -> Result<Names> {
    let mut listed = Names::new();
    for (heading, processes) in SECTIONS {
        let names = below(page, heading);
        ensure!(!names.is_empty(), "{PAGE}: nothing below {heading:?}");
        for process in processes {
            listed.entry((*process).to_owned()).or_default().extend(names.iter().cloned());
        }
    }
    Ok(listed)
}

/// Variables in the second column of tables below a heading.
fn below(page: &str, heading: &str) -> BTreeSet<String> {
    let lines = page.lines().skip_while(|line| line.strip_prefix("## ") != Some(heading)).skip(1);
    let rows = lines.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    cells.flat_map(|cell| cell.split('`')).filter(|name| name.starts_with(PREFIX)).map(str::to_owned).collect()
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
fn passed(renders: &[Render]) -> Names {
    let mut passed = Names::new();
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
fn offered(schema: &Value) -> Result<Names> {
    let all = schema["properties"].as_object().context("a schema without properties")?;
    let names = |own: &Value| {
        let env = own["properties"]["env"]["properties"].as_object();
        env.into_iter().flat_map(|env| env.keys().cloned()).collect::<BTreeSet<_>>()
    };
    Ok(all.iter().map(|(process, own)| (process.clone(), names(own))).filter(|(_, names)| !names.is_empty()).collect())
}

fn schema() -> Result<Value> {
    let path = repo::root().join(CHART).join("values.schema.json");
    let schema = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&schema).context("values.schema.json")
}

/// Settings that are numbers or rates by the default that the page names, and something else by the schema.
fn shapes(page: &str, schema: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let mut cells = row.split('|').skip(2).map(|cell| cell.trim().trim_matches('`'));
        let (Some(name), Some(default)) = (cells.next(), cells.next()) else { continue };
        let kind = match default.trim_start_matches(|letter: char| letter.is_ascii_digit()) {
            _ if default.is_empty() => continue,
            "" => "#/$defs/number",
            // BURST:REFILL/TIME
            rest if rest.len() < default.len() && rest.contains(':') && rest.contains('/') => "#/$defs/rate",
            _ => continue,
        };
        let services = schema["properties"].as_object().into_iter().flatten();
        let found = services.map(|(_, own)| &own["properties"]["env"]["properties"][name]).filter(|own| !own.is_null());
        let other = found.filter(|own| own["$ref"] != kind);
        wrong.extend(other.map(|own| format!("{name}, by default {default}, is {own} in values.schema.json")));
    }
    wrong
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{FIXED, Names, below, out_of_reach, shapes};

    fn names(all: &[(&str, &[&str])]) -> Names {
        all.iter()
            .map(|(process, own)| ((*process).to_owned(), own.iter().map(|&name| name.to_owned()).collect()))
            .collect()
    }

    #[test]
    fn variables_stand_in_the_second_column() {
        let page = "## A\n\nText `QPC_X`.\n\n| flag | variable |\n|---|---|\n| `--a`, `--b` | `QPC_A`, `QPC_B` | `QPC_C` |\n\n## B\n\n| `--d` | `QPC_D` |\n";
        assert_eq!(below(page, "A").into_iter().collect::<Vec<_>>(), ["QPC_A", "QPC_B"]);
        assert_eq!(below(page, "B").len(), 1);
        assert!(below(page, "C").is_empty());
    }

    #[test]
    fn defaults_say_what_a_setting_may_be() {
        let page =
            "| `--a` | `QPC_A` | 8 | |\n| `--b` | `QPC_B` | `128M:2K/1s` | |\n| `--c` | `QPC_C` | `[::]:7000` | |\n";
        let schema = |a: &str, b: &str| {
            let env = json!({"QPC_A": {"$ref": a}, "QPC_B": {"$ref": b}, "QPC_C": {"type": "string"}});
            json!({"properties": {"auth": {"properties": {"env": {"properties": env}}}}})
        };
        assert!(shapes(page, &schema("#/$defs/number", "#/$defs/rate")).is_empty());
        assert_eq!(shapes(page, &schema("#/$defs/rate", "#/$defs/number")).len(), 2);
    }

    #[test]
    fn a_setting_that_nothing_reaches_is_found_and_so_is_a_reason_for_nothing() {
        let mut listed = Names::new();
        for (name, processes, _) in FIXED {
            for process in processes {
                listed.entry((*process).to_owned()).or_default().insert(name.to_owned());
            }
        }
        assert_eq!(out_of_reach(&listed, &Names::new(), &Names::new()), Vec::<String>::new());
        listed.entry("auth".to_owned()).or_default().insert("QPC_NEW".to_owned());
        assert_eq!(out_of_reach(&listed, &Names::new(), &Names::new()).len(), 1);
        assert!(out_of_reach(&listed, &names(&[("auth", &["QPC_NEW"])]), &Names::new()).is_empty());
        assert!(out_of_reach(&listed, &Names::new(), &names(&[("auth", &["QPC_NEW"])])).is_empty());
        let reached = names(&[("auth", &["QPC_NEW"]), ("gateway", &["QPC_MDNS"])]);
        assert!(out_of_reach(&listed, &reached, &Names::new())[0].starts_with("QPC_MDNS of qpc-gateway"));
    }
}
