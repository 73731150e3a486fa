//! What a service calls over the bus, its user there may call, and nothing else: a server that keeps to the table refuses
//! the call otherwise, and nobody notices in one process.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Finding, read, relative};
use crate::{methods::Method, repo};

/// Where the rights stand, and what is made of them.
const RIGHTS: &str = "libs/chassis/src/bus/rights.rs";
const PERMISSIONS: &str = "charts/quicprochat/files/bus-permissions.json";
/// How a call of a method begins.
const CALLS: [&str; 2] = ["call::<", "call_unasked::<"];
/// What passes on every call of clients; none of them is named there.
const FORWARD: &str = "rpc::forward(";

pub(super) fn check(root: &Path, table: &[Method]) -> Result<Vec<Finding>> {
    let permissions: Value = serde_json::from_str(&read(&root.join(PERMISSIONS))?).context(PERMISSIONS)?;
    let mut findings = Vec::new();
    for (process, rights) in permissions.as_object().into_iter().flatten() {
        let folder = Path::new("services").join(process.trim_start_matches("qpc-")).join("src");
        let mut sources = Vec::new();
        for path in repo::files(&root.join(&folder), "rs")? {
            sources.push((relative(root, &path), read(&path)?));
        }
        findings.extend(check_process(process, &published(rights), &sources, table));
    }
    Ok(findings)
}

/// Services whose calls a user may send.
fn published(rights: &Value) -> BTreeSet<String> {
    let subjects = rights["publish"].as_array().into_iter().flatten().filter_map(Value::as_str);
    subjects.filter_map(|subject| subject.strip_prefix("qpc.rpc.")).map(str::to_owned).collect()
}

fn check_process(
    process: &str,
    allowed: &BTreeSet<String>,
    sources: &[(impl AsRef<Path>, String)],
    table: &[Method],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut called = BTreeSet::new();
    for (file, text) in sources {
        for (index, line) in text.lines().enumerate() {
            for method in called_in(line, table) {
                let owner = method.owner.to_lowercase();
                if !allowed.contains(&owner) {
                    let message = format!("{process} calls {} of {owner}, which {RIGHTS} does not let it", method.name);
                    findings.push(Finding::new(file.as_ref(), index + 1, message));
                }
                called.insert(owner);
            }
        }
    }
    if !sources.iter().any(|(_, text)| text.contains(FORWARD)) {
        let idle = allowed.difference(&called);
        findings.extend(idle.map(|owner| Finding::new(RIGHTS, 1, format!("{process} calls nothing of {owner}"))));
    }
    findings
}

fn called_in<'a>(line: &str, table: &'a [Method]) -> Vec<&'a Method> {
    let names = CALLS.iter().flat_map(|call| line.split(call).skip(1)).filter_map(|rest| rest.split('>').next());
    names.filter_map(|name| table.iter().find(|method| method.name == name)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::check_process;
    use crate::{methods, repo};

    #[test]
    fn a_call_without_a_right_and_a_right_without_a_call_are_found() {
        let table = methods::load(&repo::root()).unwrap();
        let source = "let answer = client.call_unasked::<AccountQuotas>(&request).await?;".to_owned();
        let check = |allowed: &[&str], source: &String| {
            let allowed: BTreeSet<String> = allowed.iter().map(|owner| (*owner).to_owned()).collect();
            let findings = check_process("qpc-blob", &allowed, &[("lib.rs", source.clone())], &table);
            findings.into_iter().map(|finding| finding.message).collect::<Vec<_>>()
        };
        assert!(check(&["auth"], &source).is_empty());
        assert!(check(&[], &source)[0].starts_with("qpc-blob calls AccountQuotas of auth, which"));
        assert_eq!(check(&["auth", "delivery"], &source), ["qpc-blob calls nothing of delivery"]);
        assert!(check(&["delivery"], &"rpc::forward(bus)".to_owned()).is_empty());
    }
}
