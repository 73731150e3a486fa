//! What objects name is there: volumes, files, accounts, ports.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    properties::{containers, pod, workloads},
    render::{Render, text, title},
};

/// The example in which the chart makes all Secrets itself; elsewhere others bring them.
const WHOLE: &str = "solo";
/// Where a process finds its files.
const FILES: &str = "/etc/quicprochat";

pub(super) fn check(render: &Render) -> Vec<String> {
    let mut wrong = Vec::new();
    for workload in workloads(render) {
        let missing = used(workload).into_iter().filter(|(kind, name)| {
            (render.name == WHOLE || *kind == "ConfigMap")
                && !render.of(kind).any(|found| found["metadata"]["name"] == *name)
        });
        wrong.extend(
            missing.map(|(kind, name)| format!("{} names the {kind} {name}, which is not there", title(workload))),
        );
        wrong.extend(mounts(workload).into_iter().map(|what| format!("{}: {what}", title(workload))));
    }
    for service in render.of("Service") {
        let selector = &service["spec"]["selector"];
        let behind: Vec<_> = workloads(render)
            .filter(|found| chosen(selector, &found["spec"]["template"]["metadata"]["labels"]))
            .collect();
        if behind.is_empty() {
            wrong.push(format!("{}: nothing is behind it", title(service)));
        }
        for workload in behind {
            let names: BTreeSet<&str> =
                containers(workload).flat_map(|found| list(&found["ports"])).map(|port| text(&port["name"])).collect();
            let closed = list(&service["spec"]["ports"]).filter(|port| !names.contains(text(&port["targetPort"])));
            wrong.extend(
                closed
                    .map(|port| format!("{}: {} has no port {}", title(service), title(workload), port["targetPort"])),
            );
        }
    }
    wrong
}

/// A Service chooses by plain labels.
fn chosen(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| wanted.iter().all(|(label, value)| labels[label] == *value))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Kind and name of what pods mount from outside.
fn used(workload: &Value) -> Vec<(&'static str, String)> {
    let mut used = Vec::new();
    let mut add = |kind, name: &Value| used.extend(name.as_str().map(|name| (kind, name.to_owned())));
    for volume in list(&pod(workload)["volumes"]) {
        add("Secret", &volume["secret"]["secretName"]);
        add("ConfigMap", &volume["configMap"]["name"]);
        add("PersistentVolumeClaim", &volume["persistentVolumeClaim"]["claimName"]);
        list(&volume["projected"]["sources"]).for_each(|source| add("Secret", &source["secret"]["name"]));
    }
    used
}

/// Names of Secrets that pods need and that neither the chart nor an operator of others makes.
pub(super) fn brought(render: &Render) -> BTreeSet<String> {
    let mounted = workloads(render).flat_map(used).filter(|(kind, _)| *kind == "Secret").map(|(_, name)| name);
    let variables = workloads(render).flat_map(containers).flat_map(|container| list(&container["env"]));
    let named = variables.map(|variable| text(&variable["valueFrom"]["secretKeyRef"]["name"]).to_owned());
    let mut names: BTreeSet<String> = mounted.chain(named).filter(|name| !name.is_empty()).collect();
    for secret in render.of("Secret") {
        names.remove(text(&secret["metadata"]["name"]));
    }
    for certificate in render.of("Certificate") {
        names.remove(text(&certificate["spec"]["secretName"]));
    }
    for cluster in render.of("Cluster") {
        names.remove(&format!("{}-ca", text(&cluster["metadata"]["name"])));
    }
    for realm in render.of("Realm") {
        names.remove(&format!("{}-edge-keys", text(&realm["metadata"]["name"])));
    }
    names
}

/// Mounts without a volume, and files that variables name where nothing is mounted.
fn mounts(workload: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let pod = pod(workload);
    let mut volumes: BTreeSet<&str> = list(&pod["volumes"]).map(|volume| text(&volume["name"])).collect();
    volumes.extend(list(&workload["spec"]["volumeClaimTemplates"]).map(|claim| text(&claim["metadata"]["name"])));
    for container in containers(workload) {
        let missing = list(&container["volumeMounts"]).filter(|mount| !volumes.contains(text(&mount["name"])));
        wrong.extend(missing.map(|mount| format!("there is no volume {}", mount["name"])));
        let files = files(pod, container);
        let named = list(&container["env"]).filter_map(|variable| text(&variable["value"]).strip_prefix(FILES));
        let absent = named.filter(|file| !files.contains(file.trim_start_matches('/')));
        wrong.extend(absent.map(|file| format!("{FILES}{file} is not mounted")));
    }
    wrong
}

/// Files below that folder.
fn files<'a>(pod: &'a Value, container: &'a Value) -> BTreeSet<&'a str> {
    let volumes = list(&container["volumeMounts"])
        .filter(|mount| mount["mountPath"] == FILES)
        .flat_map(|mount| list(&pod["volumes"]).filter(move |volume| volume["name"] == mount["name"]));
    let sources = volumes.flat_map(|volume| list(&volume["projected"]["sources"]));
    sources.flat_map(|source| list(&source["secret"]["items"])).map(|item| text(&item["path"])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::check;
    use crate::chart::render::Render;

    #[test]
    fn what_is_named_and_not_there_is_found() {
        let objects = vec![
            json!({"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "volumes": [{"name": "files", "projected": {"sources": [{"secret": {"name": "s", "items": [{"path": "x"}]}}]}}],
                "containers": [{"name": "a", "ports": [{"name": "p"}], "env": [{"name": "F", "value": "/etc/quicprochat/x"}],
                    "volumeMounts": [{"name": "files", "mountPath": "/etc/quicprochat"}]}],
            }}}}),
            json!({"kind": "Secret", "metadata": {"name": "s"}}),
            json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"selector": {"a": "b"}, "ports": [{"targetPort": "p"}]}}),
        ];
        let wrong = |objects| check(&Render { name: "solo".to_owned(), objects });
        assert_eq!(wrong(objects.clone()), Vec::<String>::new());
        for (index, path) in [
            (0, "/spec/template/spec/volumes/0/name"),
            (0, "/spec/template/spec/volumes/0/projected/sources/0/secret/items/0/path"),
            (0, "/spec/template/spec/containers/0/env/0/value"),
            (1, "/metadata/name"),
            (2, "/spec/selector/a"),
            (2, "/spec/ports/0/targetPort"),
        ] {
            let mut broken = objects.clone();
            *broken[index].pointer_mut(path).unwrap() = "/etc/quicprochat/other".into();
            assert!(!wrong(broken).is_empty(), "{index}{path}");
        }
    }
}
