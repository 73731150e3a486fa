//! What is linked into a binary, as CycloneDX 1.5: crates of the tree that cargo builds it from, without those that only
//! run while it is built, with the features that are on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::binaries::output;
use crate::repo;

/// Asks for a line such as `2|bytes v1.12.1|MIT|default,std`; what was printed before has ` (*)` at its end.
const FORMAT: &str = "|{p}|{l}|{f}";
const AGAIN: &str = " (*)";

/// The lists of `services`, which are built together, in their order.
pub(super) fn all(services: &[String], target: &str) -> Result<Vec<String>> {
    let mut args =
        vec!["tree", "--locked", "--target", target, "-e", "normal,no-proc-macro", "--prefix", "depth", "-f", FORMAT];
    for service in services {
        args.extend(["-p", service]);
    }
    let cargo = repo::cargo(&[]).get_program().to_string_lossy().into_owned();
    let tree = Tree::parse(&output(&cargo, &args)?)?;
    let lock = std::fs::read_to_string(repo::root().join("Cargo.lock")).context("Cargo.lock")?;
    let compiler = output("rustc", &["--version"])?;
    let compiler = compiler.split(' ').nth(1).context("no version of the compiler")?;
    services.iter().map(|service| tree.list(service, &checksums(&lock), compiler)).collect()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Crate {
    name: String,
    version: String,
    license: String,
    features: String,
    needs: BTreeSet<String>,
}

/// Crates by their line.
struct Tree(BTreeMap<String, Crate>);

impl Tree {
    fn parse(text: &str) -> Result<Self> {
        let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
        // The line at each depth above the one that is read.
        let mut above: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (depth, line) = line.split_once('|').with_context(|| format!("no depth in {line}"))?;
            let depth: usize = depth.parse().with_context(|| format!("no depth in {line}"))?;
            let line = line.strip_suffix(AGAIN).unwrap_or(line);
            let fields: Vec<&str> = line.split('|').collect();
            ensure!(fields.len() == 3 && depth <= above.len(), "a line of cargo tree that says something new: {line}");
            let mut package = fields[0].split(' ');
            let (name, version) = (package.next().unwrap_or_default(), package.next().unwrap_or_default());
            let found = crates.entry(line.to_owned()).or_default();
            found.name = name.to_owned();
            found.version = version.trim_start_matches('v').to_owned();
            // The way it was written before there were expressions.
            found.license = fields[1].replace('/', " OR ");
            found.features = fields[2].to_owned();
            above.truncate(depth);
            if let Some(parent) = above.last().and_then(|parent| crates.get_mut(parent)) {
                parent.needs.insert(line.to_owned());
            }
            above.push(line.to_owned());
        }
        Ok(Self(crates))
    }

    fn list(&self, service: &str, checksums: &BTreeMap<String, String>, compiler: &str) -> Result<String> {
        let root = self.0.iter().find(|(_, found)| found.name == service);
        let (root, found) = root.with_context(|| format!("cargo tree does not know {service}"))?;
        let (mut reached, mut open) = (BTreeSet::new(), vec![root]);
        while let Some(line) = open.pop() {
            if reached.insert(line) {
                open.extend(&self.0[line].needs);
            }
        }
        let mut components = BTreeMap::new();
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in reached {
            let found = &self.0[line];
            let needs = found.needs.iter().map(|line| url(&self.0[line]));
            edges.entry(url(found)).or_default().extend(needs);
            if found.name != service {
                components.insert(url(found), component(found, checksums));
            }
        }
        let std = format!("pkg:generic/rust-std@{compiler}");
        edges.entry(url(found)).or_default().insert(std.clone());
        components.insert(
            std.clone(),
            json!({
                "type": "library", "bom-ref": std, "name": "rust-std", "version": compiler, "purl": std,
                "description": "The standard library of Rust with the musl libc that it brings",
                "licenses": [{ "expression": "(MIT OR Apache-2.0) AND MIT" }],
            }),
        );
        let edges = edges.into_iter().map(|(name, needs)| json!({ "ref": name, "dependsOn": needs }));
        let list = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            // No time and no number of its own: the same binary has the same list.
            "metadata": { "component": {
                "type": "application", "bom-ref": url(found), "name": service, "version": found.version, "purl": url(found),
                "licenses": [{ "expression": found.license }],
            } },
            "components": components.into_values().collect::<Vec<Value>>(),
            "dependencies": edges.collect::<Vec<Value>>(),
        });
        Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
    }
}

fn component(found: &Crate, checksums: &BTreeMap<String, String>) -> Value {
    let mut component = json!({
        "type": "library", "bom-ref": url(found), "name": found.name, "version": found.version, "purl": url(found),
    });
    if !found.license.is_empty() {
        component["licenses"] = json!([{ "expression": found.license }]);
    }
    if !found.features.is_empty() {
        component["properties"] = json!([{ "name": "cargo:features", "value": found.features }]);
    }
    // Crates of ours come with the repository and have none.
    if let Some(checksum) = checksums.get(&url(found)) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// See <https://github.com/package-url/purl-spec>. A plus sign, which versions may hold, is written in full.
fn url(found: &Crate) -> String {
    format!("pkg:cargo/{}@{}", found.name, found.version.replace('+', "%2B"))
}

/// SHA-256 of packages by their URL.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    lock.split("[[package]]")
        .filter_map(|package| {
            let field = |name: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
                line.strip_suffix('"').map(str::to_owned)
            };
            let found = Crate { name: field("name")?, version: field("version")?, ..Crate::default() };
            Some((url(&found), field("checksum")?))
        })
        .collect()
}

/// Those of `paths` below the registry (`tokio-1.2.3/src/lib.rs`) whose crate the list does not name.
pub(super) fn unlisted(list: &str, paths: &[&str]) -> Result<BTreeSet<String>> {
    let list: Value = serde_json::from_str(list).context("the SBOM is no JSON")?;
    let components = list["components"].as_array().context("the SBOM has no components")?;
    let text = |component: &Value, name: &str| component[name].as_str().unwrap_or_default().to_owned();
    let listed: BTreeSet<String> =
        components.iter().map(|found| format!("{}-{}", text(found, "name"), text(found, "version"))).collect();
    let named = paths.iter().filter_map(|path| path.split_once('/')).map(|(name, _)| name);
    Ok(named.filter(|name| !listed.contains(*name)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Tree, checksums, unlisted};

    const TREE: &str = "0|qpc-a v0.1.0 (/x/a)|MIT|\n\
        1|bytes v1.0.0|MIT/Apache-2.0|std\n\
        1|zstd v2.0.0+3|BSD-3-Clause|\n\
        2|bytes v1.0.0|MIT/Apache-2.0|std (*)\n\
        \n\
        0|qpc-b v0.1.0 (/x/b)|MIT|\n\
        1|zstd v2.0.0+3|BSD-3-Clause| (*)\n\
        1|hex v0.4.0|MIT|\n";

    fn list(service: &str) -> Value {
        let lock = "[[package]]\nname = \"bytes\"\nversion = \"1.0.0\"\nsource = \"r\"\nchecksum = \"ab\"\n\n[[package]]\nname = \"qpc-a\"\nversion = \"0.1.0\"\n";
        let text = Tree::parse(TREE).unwrap().list(service, &checksums(lock), "1.2.3").unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_list_holds_what_is_reached_from_its_binary_alone() {
        let names = |list: &Value| -> Vec<String> {
            list["components"]
                .as_array()
                .unwrap()
                .iter()
                .map(|found| found["purl"].as_str().unwrap().to_owned())
                .collect()
        };
        let (a, b) = (list("qpc-a"), list("qpc-b"));
        let std = "pkg:generic/rust-std@1.2.3";
        assert_eq!(names(&a), ["pkg:cargo/bytes@1.0.0", "pkg:cargo/zstd@2.0.0%2B3", std]);
        // What cargo tree left out the second time is there all the same.
        assert_eq!(names(&b), ["pkg:cargo/bytes@1.0.0", "pkg:cargo/hex@0.4.0", "pkg:cargo/zstd@2.0.0%2B3", std]);
        let bytes = &b["components"][0];
        assert_eq!(bytes["hashes"][0]["content"], "ab");
        assert_eq!(bytes["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bytes["properties"][0]["value"], "std");
        assert_eq!(b["dependencies"][3]["ref"], "pkg:cargo/zstd@2.0.0%2B3");
        assert_eq!(b["dependencies"][3]["dependsOn"][0], "pkg:cargo/bytes@1.0.0");
    }

    #[test]
    fn code_that_no_list_names_is_found() {
        let list = list("qpc-a").to_string();
        assert!(unlisted(&list, &["bytes-1.0.0/src/lib.rs", "zstd-2.0.0+3/a.c"]).unwrap().is_empty());
        let found = unlisted(&list, &["bytes-1.0.1/src/lib.rs", "hex-0.4.0/src/lib.rs"]).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["bytes-1.0.1", "hex-0.4.0"]);
    }

    #[test]
    fn a_line_of_another_form_is_an_error() {
        assert!(Tree::parse("0|a v1|MIT\n").is_err());
        assert!(Tree::parse("a v1\n").is_err());
    }
}
