//! Which way dependencies point, and one owner for each external library.

use std::path::{Path, PathBuf};

use anyhow::Result;
use cargo_metadata::{DependencyKind, Metadata};

use super::{Finding, read, relative};

/// A crate that anything but tests depends on.
struct Edge {
    /// Folder of the crate, from the top.
    from: PathBuf,
    /// Package name of the dependency.
    name: String,
    /// Folder of the dependency when it is ours.
    to: Option<PathBuf>,
    dev: bool,
}

/// An external library, the folders that may use it, and whether any crate's tests may.
struct Owned {
    library: &'static str,
    owners: &'static [&'static str],
    tests: bool,
}

/// A name that ends in `*` means all that begin so.
const OWNED: [Owned; 20] = [
    Owned { library: "sqlx", owners: &["libs/chassis"], tests: false },
    Owned { library: "async-nats", owners: &["libs/chassis"], tests: false },
    Owned { library: "redis", owners: &["libs/chassis"], tests: false },
    Owned { library: "object_store", owners: &["libs/chassis"], tests: false },
    // What it calls is looked at in one place.
    Owned { library: "reqwest", owners: &["libs/chassis"], tests: false },
    // A server of that protocol, for the contract of stores.
    Owned { library: "s3s*", owners: &[], tests: true },
    // Tests speak the wire protocol badly on purpose, which the SDK does not.
    Owned { library: "quinn*", owners: &["services/gateway", "libs/sdk", "loadtest"], tests: true },
    // Tests of services play clients, whose groups live in memory. Before its kin, since the first match counts.
    Owned { library: "openmls_memory_storage", owners: &["libs/crypto", "loadtest"], tests: true },
    // Tests that seize a device read its groups as the thief would.
    Owned { library: "openmls_sqlite_storage", owners: &["libs/crypto", "loadtest", "libs/testkit"], tests: false },
    // The load generator measures them as they are, beside ours.
    Owned { library: "openmls*", owners: &["libs/crypto", "loadtest"], tests: false },
    // A simulation needs a database on its own thread; tests that show what is on disk read it there.
    Owned { library: "rusqlite", owners: &["libs/sdk", "loadtest", "libs/chassis", "libs/testkit"], tests: false },
    Owned { library: "mdns-sd", owners: &["services/gateway", "libs/sdk"], tests: false },
    // What a span may hold is decided in one place. Tests and the load generator play the collector.
    Owned { library: "opentelemetry-proto", owners: &["loadtest"], tests: true },
    Owned { library: "opentelemetry*", owners: &["libs/trace"], tests: false },
    Owned { library: "tracing-opentelemetry", owners: &["libs/trace"], tests: false },
    // gRPC is for operators alone.
    Owned { library: "tonic*", owners: &["libs/admin-api", "services/admin", "loadtest"], tests: true },
    // Nothing else knows where it runs.
    Owned { library: "kube", owners: &["services/operator"], tests: false },
    Owned { library: "k8s-openapi", owners: &["services/operator"], tests: false },
    Owned { library: "schemars", owners: &["services/operator"], tests: false },
    // It brings a web server along, which nobody else should have to build.
    Owned { library: "stateright", owners: &["libs/model"], tests: false },
];
/// The one piece of openmls that belongs to the client store.
const CLIENT_STORE: (&str, &str) = ("openmls_sqlite_storage", "libs/sdk");

pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let manifest = package.manifest_path.as_std_path();
        let text = read(manifest)?;
        let folder = manifest.parent().map(|path| relative(root, path)).unwrap_or_default();
        for dependency in &package.dependencies {
            let edge = Edge {
                from: folder.clone(),
                name: dependency.name.clone(),
                to: dependency.path.as_ref().map(|path| relative(root, path.as_std_path())),
                dev: dependency.kind == DependencyKind::Development,
            };
            if let Some(message) = judge(&edge) {
                let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
                findings.push(Finding::new(relative(root, manifest), line_of(&text, name), message));
            }
        }
    }
    Ok(findings)
}

/// The line that declares a dependency.
fn line_of(manifest: &str, name: &str) -> usize {
    let declares = |line: &str| {
        line.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(['.', '=']))
            || line.trim() == format!("[dependencies.{name}]")
    };
    manifest.lines().position(declares).map_or(1, |index| index + 1)
}

fn judge(edge: &Edge) -> Option<String> {
    let Edge { from, name, to, dev } = edge;
    let from = from.display().to_string();
    match to {
        Some(to) => {
            let to = to.display().to_string();
            (!may_depend(&from, &to, *dev)).then(|| forbidden(&from, &to, *dev))
        }
        None => {
            let owned = OWNED.iter().find(|owned| match owned.library.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == owned.library,
            })?;
            let owner = owned.owners.contains(&&*from) || (&**name, &*from) == CLIENT_STORE || (*dev && owned.tests);
            (!owner).then(|| format!("{name} belongs to {} alone", owned.owners.join(", ")))
        }
    }
}

fn forbidden(from: &str, to: &str, dev: bool) -> String {
    if to == "libs/testkit" && !dev {
        return format!("{to} is for tests only: a dev-dependency");
    }
    if from.starts_with("services/") && to.starts_with("services/") {
        return format!("{from} must not depend on {to}: services call each other over the bus");
    }
    format!("{from} must not depend on {to} (rules: xtask/src/tidy/deps.rs)")
}

fn may_depend(from: &str, to: &str, dev: bool) -> bool {
    // Nothing stands on a leaf.
    if to == "xtask" || to == "loadtest" || to == "libs/model" || to.starts_with("clients/") {
        return false;
    }
    // The one service whose test drives it with a client, through a whole server.
    if dev && from == "services/admin" && ["libs/sdk", "services/server"].contains(&to) {
        return true;
    }
    if to == "libs/testkit" {
        return dev && from != "libs/wire";
    }
    match from {
        "xtask" | "loadtest" => true,
        "libs/wire" | "libs/merkle" | "libs/runtime" => false,
        "libs/crypto" | "libs/admin-api" | "libs/trace" => to == "libs/wire",
        "libs/chassis" => ["libs/wire", "libs/runtime", "libs/trace"].contains(&to),
        "libs/sdk" => ["libs/crypto", "libs/merkle", "libs/wire", "libs/runtime", "libs/trace"].contains(&to),
        // It puts whole clusters together.
        "libs/testkit" => to.starts_with("libs/") || to.starts_with("services/"),
        // A process on Kubernetes alone.
        "services/server" => (to.starts_with("services/") && to != "services/operator") || is_below_service(to),
        "clients/cli" => {
            ["libs/sdk", "libs/crypto", "libs/wire", "libs/trace", "libs/admin-api", "services/server"].contains(&to)
        }
        // It has no calls, no bus and no keys of people.
        "services/operator" => to == "libs/chassis",
        "services/admin" => to == "libs/admin-api" || is_below_service(to),
        _ if from.starts_with("services/") => is_below_service(to),
        _ if from.starts_with("clients/") => ["libs/sdk", "libs/crypto", "libs/wire"].contains(&to),
        // A new crate gets a rule first.
        _ => false,
    }
}

fn is_below_service(to: &str) -> bool {
    ["libs/chassis", "libs/wire", "libs/crypto"].contains(&to)
}

#[cfg(test)]
mod tests {
    use super::{Edge, judge, line_of, may_depend};

    #[test]
    fn dependencies_point_down() {
        for (from, to) in [
            ("libs/sdk", "libs/crypto"),
            ("services/auth", "libs/chassis"),
            ("services/server", "services/auth"),
            ("clients/cli", "services/server"),
            ("loadtest", "libs/sdk"),
            ("libs/testkit", "services/server"),
        ] {
            assert!(may_depend(from, to, false), "{from} -> {to}");
        }
        for (from, to) in [
            ("libs/wire", "libs/crypto"),
            ("libs/crypto", "libs/chassis"),
            ("libs/chassis", "libs/crypto"),
            ("libs/sdk", "libs/chassis"),
            ("services/auth", "services/delivery"),
            ("services/auth", "libs/sdk"),
            ("services/auth", "libs/testkit"),
            ("services/server", "libs/sdk"),
            ("clients/cli", "libs/chassis"),
            ("clients/web", "services/server"),
            ("libs/testkit", "loadtest"),
            ("libs/testkit", "libs/model"),
            ("libs/unheard", "libs/wire"),
            ("services/operator", "libs/crypto"),
            ("services/server", "services/operator"),
        ] {
            assert!(!may_depend(from, to, false), "{from} -> {to}");
        }
        assert!(may_depend("services/auth", "libs/testkit", true));
        assert!(!may_depend("services/auth", "services/delivery", true));
    }

    #[test]
    fn libraries_have_owners() {
        let judged = |from: &str, name: &str, dev| {
            judge(&Edge { from: from.into(), name: name.to_owned(), to: None, dev }).is_none()
        };
        assert!(judged("libs/chassis", "sqlx", false) && !judged("services/auth", "sqlx", false));
        assert!(judged("libs/crypto", "openmls_traits", false) && !judged("services/delivery", "openmls", true));
        assert!(judged("libs/sdk", "openmls_sqlite_storage", false) && !judged("libs/sdk", "openmls", false));
        assert!(judged("loadtest", "openmls", false) && judged("loadtest", "rusqlite", false));
        assert!(!judged("services/delivery", "rusqlite", true));
        assert!(judged("services/server", "quinn", true) && !judged("services/server", "quinn", false));
        assert!(judged("services/delivery", "openmls_memory_storage", true));
        assert!(!judged("services/delivery", "openmls_memory_storage", false));
        assert!(judged("libs/model", "stateright", false) && !judged("libs/testkit", "stateright", true));
        assert!(judged("libs/chassis", "s3s-fs", true) && !judged("libs/chassis", "s3s", false));
        assert!(judged("libs/chassis", "object_store", false) && !judged("services/blob", "object_store", true));
        assert!(judged("services/operator", "kube", false) && !judged("libs/chassis", "kube", true));
        assert!(judged("services/auth", "bytes", false));
    }

    #[test]
    fn a_finding_names_the_declaring_line() {
        let manifest = "[dependencies]\nsqlx-more.workspace = true\nsqlx.workspace = true\nredis = \"1\"\n";
        assert_eq!((line_of(manifest, "sqlx"), line_of(manifest, "redis"), line_of(manifest, "x")), (3, 4, 1));
    }
}
