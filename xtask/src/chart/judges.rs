//! Programs of others that judge what is rendered: the schemas of Kubernetes, and checkov.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::render::{Render, text};
use crate::{
    reaper::Reaper,
    report::Count,
    step::{self, Show},
    tools,
};

/// The last four minor versions of Kubernetes.
const VERSIONS: [&str; 4] = ["1.34", "1.35", "1.36", "1.37"];
/// Kinds that others define, which the schemas of Kubernetes do not know.
const FOREIGN: [&str; 8] =
    ["Certificate", "Cluster", "Issuer", "PrometheusRule", "Realm", "FederationPeer", "ServiceMonitor", "UDPRoute"];
/// One program over all examples.
const WITHIN: Duration = Duration::from_secs(600);

/// A finding of checkov that is left as it is.
struct Accepted {
    check: &'static str,
    /// How names of what it is found in begin; empty: everything.
    objects: &'static [&'static str],
    why: &'static str,
}

const ACCEPTED: [Accepted; 6] = [
    Accepted {
        check: "CKV_K8S_11",
        objects: &[],
        why: "a limit of the processor stops a process in the middle of a handshake; requests share it out, memory is limited",
    },
    Accepted {
        check: "CKV_K8S_15",
        objects: &[],
        why: "images have versions, so a node that has one need not ask the registry to start a pod; image.pullPolicy changes it",
    },
    Accepted {
        check: "CKV_K8S_43",
        objects: &[],
        why: "digests belong to a release of images: image.digests takes them, and the example digests is asserted to have them",
    },
    Accepted {
        check: "CKV_K8S_35",
        objects: &["Deployment.chat.quic-blob"],
        why: "qpc-blob takes the key of S3 from its environment alone; every other secret is a file",
    },
    Accepted {
        check: "CKV_K8S_38",
        objects: &["Deployment.chat.quic-operator"],
        why: "the operator talks to the API server, with a Role of its namespace",
    },
    Accepted {
        check: "CKV_K8S_40",
        objects: &["StatefulSet.chat.quic-postgres"],
        why: "999 is the user postgres of its image, who owns the data of volumes that are there",
    },
];

/// Writes the objects of all examples, each once, and returns the files and how many are in them.
fn written(renders: &[Render], folder: &Path, foreign: bool) -> Result<(Vec<PathBuf>, usize)> {
    let mut seen = BTreeSet::new();
    let (mut files, mut count) = (Vec::new(), 0);
    for render in renders {
        let wanted = |object: &&Value| foreign || !FOREIGN.contains(&text(&object["kind"]));
        let new: Vec<String> = render
            .objects
            .iter()
            .filter(wanted)
            .map(Value::to_string)
            .filter(|object| seen.insert(object.clone()))
            .collect();
        if !new.is_empty() {
            // Each is a document of YAML too.
            let path = folder.join(format!("{}.yaml", render.name));
            fs::write(&path, new.join("\n---\n")).with_context(|| format!("write {}", path.display()))?;
            count += new.len();
            files.push(path);
        }
    }
    Ok((files, count))
}

fn emptied(name: &str) -> Result<PathBuf> {
    let folder = tools::folder()?.with_file_name("chart").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// kubernetes-validate, one check for each version.
pub(super) fn schemas(reaper: &mut Reaper, program: &Path, renders: &[Render]) -> Result<Count> {
    let (files, objects) = written(renders, &emptied("schemas")?, false)?;
    let mut count = Count::default();
    for version in VERSIONS {
        let mut command = Command::new(program);
        command.args(["--strict", "--kubernetes-version", version]).args(&files);
        let output = step::run(reaper, "kubernetes-validate", &mut command, WITHIN, Show::No)?;
        let passed =
            output.stdout.lines().filter(|line| line.starts_with("INFO ") && line.contains(" passed for ")).count();
        let good = output.success && passed == objects;
        for line in output.stdout.lines().filter(|line| !good && !line.starts_with("INFO ")) {
            println!("{line}");
        }
        println!(
            "{} Kubernetes {version}: {passed} of {objects} objects are valid",
            if good { "ok" } else { "FAILED" }
        );
        count.add(Count::one(good));
    }
    Ok(count)
}

/// checkov: every finding is explained, and every explanation explains one.
pub(super) fn checkov(reaper: &mut Reaper, program: &Path, renders: &[Render]) -> Result<Count> {
    let folder = emptied("checkov")?;
    let (_, objects) = written(renders, &folder, true)?;
    let mut command = Command::new(program);
    command.args(["--framework", "kubernetes", "--skip-download", "--compact", "--quiet", "--soft-fail"]);
    command.args(["--output", "json", "--directory"]).arg(&folder);
    let output = step::run(reaper, "checkov", &mut command, WITHIN, Show::No)?;
    ensure!(output.success, "checkov failed; it printed: {}", output.stdout);
    let report: Value = serde_json::from_str(&output.stdout).context("checkov prints one JSON object")?;
    let passed = report["summary"]["passed"].as_u64().unwrap_or(0);
    ensure!(passed > 0 && report["summary"]["parsing_errors"] == 0, "checkov judged nothing: {}", report["summary"]);
    let (mut wrong, mut used) = (BTreeSet::new(), BTreeSet::new());
    for found in report["results"]["failed_checks"].as_array().context("no list of findings")? {
        let (check, object) = (text(&found["check_id"]), text(&found["resource"]));
        match accepted(check, object) {
            Some(index) => _ = used.insert(index),
            None => _ = wrong.insert(format!("{object}: {check} {}", text(&found["check_name"]))),
        }
    }
    wrong.extend((0..ACCEPTED.len()).filter(|index| !used.contains(index)).map(|index| {
        let Accepted { check, why, .. } = &ACCEPTED[index];
        format!("{check} is found nowhere; it is accepted since {why}")
    }));
    wrong.iter().for_each(|what| println!("FAILED {what}"));
    println!("{passed} checks of checkov passed on {objects} objects");
    Ok(Count { passed: u64::from(wrong.is_empty()), failed: wrong.len() as u64, ignored: 0 })
}

fn accepted(check: &str, object: &str) -> Option<usize> {
    ACCEPTED.iter().position(|accepted| {
        accepted.check == check
            && (accepted.objects.is_empty() || accepted.objects.iter().any(|begin| object.starts_with(begin)))
    })
}
