//! The examples, and the kustomizations beside them, on a real API server of Kubernetes: what it refuses, what it warns of, whether pods are admitted where the
//! `restricted` profile of pod security is enforced, and what a release leaves behind.
//!
//! There are no controllers, so nothing runs: pods are offered as a controller would make them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    judged,
    properties::{pod, workloads},
    references,
    render::{self, CHART, NAMESPACE, RELEASE, Render, stem, text, title},
};
use crate::{folder, repo, report::Count, servers::kube::Kube};

/// Time for one request.
const WITHIN: &str = "--request-timeout=60s";
/// Fields that a patch asks an API server to judge: unknown ones are errors.
const APPLY: [&str; 5] = ["apply", "--server-side", "--validate=strict", WITHIN, "--filename"];
/// Kustomizations, each with namespaces of its own.
const OVERLAYS: &str = "k8s/overlays";
/// What every namespace of the examples enforces, and says of those that make pods.
const POD_SECURITY: &str = "restricted";
/// Example that is installed, changed, put back and taken away.
const LIVED: &str = "solo";
/// With this, a release has everything that outlives it.
const LIVED_WITH: [&str; 4] = ["--set", "operator.enabled=true", "--set", "operator.realm.create=true"];

/// How the chart begins to say what others have to bring.
const LACKS: &str = "lacks Secrets, or keys in them: ";

/// Every example applied, and a release from beginning to end.
pub(super) fn check(kube: &Kube, helm: &Path, renders: &[Render]) -> Result<Count> {
    let server = Server { kube, folder: folder::temporary("chart")? };
    let checked = server.check(helm, renders);
    folder::remove(&server.folder)?;
    checked
}

/// What was taken.
#[derive(Default)]
struct Total {
    objects: usize,
    pods: usize,
}

/// Folders of kustomizations that are applied as they are.
fn overlays() -> Result<Vec<PathBuf>> {
    let folder = Path::new(OVERLAYS);
    let mut found = Vec::new();
    for entry in fs::read_dir(repo::root().join(folder)).with_context(|| format!("read {OVERLAYS}"))? {
        found.push(folder.join(entry?.file_name()));
    }
    ensure!(!found.is_empty(), "{OVERLAYS} is empty");
    found.sort();
    Ok(found)
}

struct Server<'a> {
    kube: &'a Kube,
    /// Of files that are applied.
    folder: PathBuf,
}

impl Server<'_> {
    fn check(&self, helm: &Path, renders: &[Render]) -> Result<Count> {
        self.prepare(renders)?;
        let (mut count, mut total) = (Count::default(), Total::default());
        for render in renders {
            let namespace = format!("chart-{}", render.name);
            self.namespace(&namespace)?;
            let render = Render {
                name: render.name.clone(),
                objects: render.objects.iter().map(|object| moved(object, &namespace)).collect(),
            };
            count.add(judged(&format!("applied {}", render.name), self.take(&render, &mut total)?));
        }
        for overlay in overlays()? {
            let render = self.built(&overlay)?;
            count.add(judged(&format!("applied {}", overlay.display()), self.take(&render, &mut total)?));
        }
        let Total { objects, pods } = total;
        println!("{objects} objects applied to Kubernetes, {pods} pods admitted as {POD_SECURITY}");
        count.add(judged("what others bring is asked for", self.lacking(helm, renders)?));
        count.add(judged("a release from beginning to end", self.live(helm)?));
        Ok(count)
    }

    /// Applies what is in `render` and offers its pods; returns what was said against it.
    fn take(&self, render: &Render, total: &mut Total) -> Result<Vec<String>> {
        let mut wrong = self.apply(&render.name, &render.objects, &[])?;
        let offered: Vec<Value> = workloads(render).map(offered).collect();
        wrong.extend(self.apply("pods", &offered, &["--dry-run=server"])?);
        total.objects += render.objects.len();
        total.pods += offered.len();
        Ok(wrong)
    }

    /// What a kustomization makes.
    fn built(&self, overlay: &Path) -> Result<Render> {
        let mut command = self.kube.kubectl();
        command.args(["kustomize", "--load-restrictor=LoadRestrictionsNone"]).arg(overlay).current_dir(repo::root());
        let objects = serde_saphyr::from_multiple(&succeed(&mut command)?).context("what kustomize prints")?;
        Ok(Render { name: stem(overlay), objects })
    }

    /// Definitions of our kinds, and stand-ins for those of others and for classes that a cluster would have.
    fn prepare(&self, renders: &[Render]) -> Result<()> {
        let mut command = self.kube.kubectl();
        command.args(APPLY).arg(repo::root().join(CHART).join("crds"));
        succeed(&mut command)?;
        let served = succeed(self.kube.kubectl().args(["api-versions", WITHIN]))?;
        let served: BTreeSet<&str> = served.lines().collect();
        let all = || renders.iter().flat_map(|render| &render.objects);
        let foreign: BTreeSet<(&str, &str)> = all()
            .map(|object| (text(&object["apiVersion"]), text(&object["kind"])))
            .filter(|(version, _)| !served.contains(version))
            .collect();
        let mut needed: Vec<Value> =
            foreign.into_iter().filter_map(|(version, kind)| stand_in(version, kind)).collect();
        let named = |field: &str| -> BTreeSet<String> {
            let names = renders.iter().flat_map(workloads).map(|workload| text(&pod(workload)[field]).to_owned());
            names.filter(|name| !name.is_empty() && !name.starts_with("system-")).collect()
        };
        needed.extend(named("priorityClassName").into_iter().map(|name| {
            json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name }, "value": 1,
            })
        }));
        needed.extend(named("runtimeClassName").into_iter().map(|name| {
            json!({
                "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": name }, "handler": "test",
            })
        }));
        let wrong = self.apply("stand-ins", &needed, &[])?;
        ensure!(wrong.is_empty(), "stand-ins: {}", wrong.join("; "));
        let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        succeed(self.kube.kubectl().args(wait)).map(drop)
    }

    fn namespace(&self, name: &str) -> Result<()> {
        let modes = ["enforce", "warn"].map(|mode| (format!("pod-security.kubernetes.io/{mode}"), POD_SECURITY));
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": BTreeMap::from(modes) },
        });
        let wrong = self.apply("namespace", &[object], &[])?;
        ensure!(wrong.is_empty(), "namespace {name}: {}", wrong.join("; "));
        Ok(())
    }

    /// Applies `objects`; returns what the server said besides yes.
    fn apply(&self, name: &str, objects: &[Value], besides: &[&str]) -> Result<Vec<String>> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let path = self.folder.join(format!("{name}.json"));
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        fs::write(&path, list.to_string()).with_context(|| format!("write {}", path.display()))?;
        let mut command = self.kube.kubectl();
        command.args(APPLY).arg(&path).args(besides);
        let output = command.output().context("start kubectl")?;
        let mut said: Vec<String> = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
        let done = String::from_utf8_lossy(&output.stdout).lines().count();
        if done != objects.len() || !output.status.success() {
            said.push(format!("{done} of {} objects were taken", objects.len()));
        }
        Ok(said)
    }

    /// Where none of them is, helm refuses each example, and names all Secrets that others have to bring and no more.
    fn lacking(&self, helm: &Path, renders: &[Render]) -> Result<Vec<String>> {
        let namespace = "chart-empty";
        self.namespace(namespace)?;
        let mut wrong = Vec::new();
        for file in render::values("ci")? {
            let name = stem(&file);
            let render =
                renders.iter().find(|render| render.name == name).context("an example that is not rendered")?;
            let mut command = Command::new(helm);
            command.args(["install", RELEASE, CHART, "--namespace", namespace, "--dry-run=server", "--values"]);
            command.arg(&file).current_dir(repo::root()).env("KUBECONFIG", &self.kube.kubeconfig);
            let output = command.output().context("start helm")?;
            let said = String::from_utf8_lossy(&output.stderr);
            let (found, expected) = (asked_for(&said), references::brought(render));
            if found != expected || output.status.success() != expected.is_empty() {
                wrong.push(format!("{name}: asked for {found:?}, needed are {expected:?}; helm said: {}", said.trim()));
            }
        }
        Ok(wrong)
    }

    /// A release is installed, changed, put back and taken away. Its hooks are left out: nobody would run their pods.
    fn live(&self, helm: &Path) -> Result<Vec<String>> {
        let namespace = "chart-release";
        self.namespace(namespace)?;
        let values = format!("{CHART}/ci/{LIVED}.yaml");
        let helm = |args: &[&str]| {
            let mut command = Command::new(helm);
            command.args(args).args(["--namespace", namespace, "--no-hooks"]).current_dir(repo::root());
            succeed(command.env("KUBECONFIG", &self.kube.kubeconfig))
        };
        let chart = |verb: &str, more: &[&str]| {
            let args = [&[verb, RELEASE, CHART, "--values", &*values], &LIVED_WITH[..], more].concat();
            helm(&args)
        };
        chart("install", &[])?;
        let secrets = self.secrets(namespace)?;
        let mut wrong = Vec::new();
        if secrets.is_empty() {
            wrong.push("no Secret was made".to_owned());
        }
        let mut changed = |after: &str, secrets_now: BTreeMap<String, Value>| {
            for name in secrets.iter().filter(|(name, data)| secrets_now.get(*name) != Some(data)).map(|(name, _)| name)
            {
                wrong.push(format!("{after}, the Secret {name} is another one or gone"));
            }
        };
        chart("upgrade", &["--set", "log.filter=debug"])?;
        changed("upgraded", self.secrets(namespace)?);
        helm(&["rollback", RELEASE, "1"])?;
        changed("put back", self.secrets(namespace)?);
        helm(&["uninstall", RELEASE])?;
        let left = self.names(namespace, "deployments,statefulsets,jobs,services,networkpolicies,roles,realms")?;
        if left != [format!("realm.quicprochat.org/{RELEASE}")] {
            wrong.push(format!("after the end there are {left:?}; only the Realm stays, for its operator"));
        }
        Ok(wrong)
    }

    /// Secrets of a namespace with what they hold, but for helm's own notes.
    fn secrets(&self, namespace: &str) -> Result<BTreeMap<String, Value>> {
        let args = ["get", "secrets", "--namespace", namespace, "--output", "json", WITHIN];
        let found: Value = serde_json::from_str(&succeed(self.kube.kubectl().args(args))?).context("Secrets")?;
        let items = found["items"].as_array().into_iter().flatten();
        let ours = items.filter(|secret| secret["metadata"]["labels"]["owner"] != "helm");
        Ok(ours.map(|secret| (text(&secret["metadata"]["name"]).to_owned(), secret["data"].clone())).collect())
    }

    fn names(&self, namespace: &str, kinds: &str) -> Result<Vec<String>> {
        let args = ["get", kinds, "--namespace", namespace, "--output", "name", WITHIN];
        Ok(succeed(self.kube.kubectl().args(args))?.lines().map(str::to_owned).collect())
    }
}

fn succeed(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr).trim());
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Names in `NAME (KEY, KEY), NAME (KEY)` after the words by which the chart refuses.
fn asked_for(said: &str) -> BTreeSet<String> {
    let list = said.split_once(LACKS).map_or("", |(_, list)| list);
    let parts: Vec<&str> = list.split(" (").collect();
    let heads = parts.split_last().map_or(&[][..], |(_, heads)| heads);
    heads.iter().filter_map(|head| head.rsplit(' ').next()).map(str::to_owned).collect()
}

/// The object in a namespace of its own.
fn moved(object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    if object["metadata"]["namespace"] == NAMESPACE {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

/// The pod that a controller would make of `workload`.
fn offered(workload: &Value) -> Value {
    let template = &workload["spec"]["template"];
    let mut spec = template["spec"].clone();
    let claims = workload["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    let volumes: Vec<Value> = spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .cloned()
        .chain(claims.map(|claim| json!({ "name": claim["metadata"]["name"], "emptyDir": {} })))
        .collect();
    spec["volumes"] = volumes.into();
    let name = title(workload).to_lowercase().replace('/', "-");
    let metadata = json!({ "name": name, "namespace": workload["metadata"]["namespace"], "labels": template["metadata"]["labels"] });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// A definition of a kind of others that takes whatever is written. `None` for kinds without a group.
fn stand_in(version: &str, kind: &str) -> Option<Value> {
    let (group, version) = version.split_once('/')?;
    let singular = kind.to_lowercase();
    let plural = singular.strip_suffix('y').map_or_else(|| format!("{singular}s"), |stem| format!("{stem}ies"));
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    Some(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            "annotations": { "api-approved.kubernetes.io": "unapproved, stand-in" },
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "plural": plural, "singular": singular, "kind": kind },
            "versions": [{ "name": version, "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    }))
}
