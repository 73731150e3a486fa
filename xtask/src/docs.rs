//! `cargo xtask docs`: reference pages and dashboards that derive from the source.

use std::{
    fmt::Write,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    methods::{self, Method},
    metrics, observe, repo,
};

/// The page of methods.
const PAGE: &str = "docs/reference/methods.md";
/// The page that the client makes of its tables of commands.
const COMMANDS: &str = "docs/reference/cli.md";
/// What the chassis makes of its table of rights on the bus.
const RIGHTS: [&str; 2] = ["charts/quicprochat/files/bus-permissions.json", "docs/reference/bus.md"];
/// The definitions of the operator's kinds, and what it may do.
const CRDS: &str = "charts/quicprochat/crds";
const RULES: &str = "charts/quicprochat/files/operator-rules.yaml";
/// Where the messages are defined.
const PROTO: &str = "proto/qpc/v1";

/// Writes the pages, or says whether they are up to date.
pub(crate) fn run(check: bool) -> Result<bool> {
    let root = repo::root();
    if check {
        let stale = stale(&root)?;
        stale.iter().for_each(|page| println!("{page} is out of date; run: cargo xtask docs"));
        return Ok(stale.is_empty());
    }
    for (page, text) in pages(&root)? {
        let path = root.join(page);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {page}");
    }
    write_commands(&root)?;
    println!("wrote {COMMANDS}");
    write_rights()?;
    RIGHTS.iter().for_each(|page| println!("wrote {page}"));
    write_chart(&root)?;
    println!("wrote {CRDS} and {RULES}");
    Ok(true)
}

/// Has the chassis write what its table of rights says. The same test says when they are out of date.
fn write_rights() -> Result<()> {
    let arguments = ["test", "--quiet", "--package", "qpc-chassis", "--lib", "bus::rights"];
    let mut command = repo::cargo(&arguments);
    let output = command.env("QPC_BLESS", "1").stdout(Stdio::null()).status()?;
    ensure!(output.success(), "the rights on the bus: {output}");
    Ok(())
}

/// Has the client write its reference. A test of it says when the page is out of date.
fn write_commands(root: &Path) -> Result<()> {
    write_output(root, "qpc-cli", "qpc", &["reference"], COMMANDS)
}

/// Has the operator write what the chart needs of it. Tests of it say when that is out of date.
fn write_chart(root: &Path) -> Result<()> {
    let folder = root.join(CRDS);
    print(root, "qpc-operator", "qpc-operator", &["crds", "--folder", &folder.display().to_string()])?;
    write_output(root, "qpc-operator", "qpc-operator", &["rules"], RULES)
}

fn write_output(root: &Path, package: &str, binary: &str, command: &[&str], file: &str) -> Result<()> {
    let output = print(root, package, binary, command)?;
    let path = root.join(file);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(&path, output).with_context(|| format!("write {}", path.display()))
}

fn print(root: &Path, package: &str, binary: &str, command: &[&str]) -> Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut run = Command::new(cargo);
    run.args(["run", "--quiet", "--package", package, "--bin", binary, "--"]).args(command);
    let output = run.current_dir(root).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{binary} {}: {}", command.join(" "), output.status);
    Ok(output.stdout)
}

/// The pages that do not say what the source says.
pub(crate) fn stale(root: &Path) -> Result<Vec<&'static str>> {
    let is_stale = |(page, text): &(&str, String)| fs::read_to_string(root.join(page)).unwrap_or_default() != *text;
    Ok(pages(root)?.into_iter().filter(is_stale).map(|(page, _)| page).collect())
}

fn pages(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let mut pages = vec![(PAGE, page(root)?), (metrics::PAGE, metrics::page(root)?)];
    pages.extend(observe::dashboards());
    Ok(pages)
}

fn page(root: &Path) -> Result<String> {
    let mut protos = Vec::new();
    for path in repo::files(&root.join(PROTO), "proto")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        protos.push((name, fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?));
    }
    render(&methods::load(root)?, &protos)
}

fn render(methods: &[Method], protos: &[(String, String)]) -> Result<String> {
    let mut page = String::from(
        "# Methods\n\n\
         <!-- Made by `cargo xtask docs` from libs/wire/src/methods.rs. Do not edit. -->\n\n\
         The number stands in the request frame (see [wire.md](wire.md)). *Any* connection may call some methods; the\n\
         others need one that is attached to a *device*. Repeating a call: *read* changes nothing; *keyed* returns the\n\
         first answer for 24 hours when the idempotency key (field 1) is the same; *natural* changes nothing more the\n\
         second time, but for OpaqueLoginFinish, which makes another session. The deadline is the time that the server gives itself.\n\n\
         | number | method | service | who | repeating | deadline | request | response | defined in |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for method in methods {
        let who = match &*method.access {
            "Anonymous" => "any",
            "Service" => "services",
            _ => "device",
        };
        let opening = format!("message {} {{", method.request);
        let (file, _) = protos
            .iter()
            .find(|(_, text)| text.lines().any(|line| line.starts_with(&opening)))
            .with_context(|| format!("{}:{}: no message {}", methods::SOURCE, method.line, method.request))?;
        writeln!(
            page,
            "| {} | {} | {} | {who} | {} | {} s | {} | {} | [{file}](../../{PROTO}/{file}) |",
            method.id,
            method.name,
            method.owner.to_lowercase(),
            method.effect.to_lowercase(),
            f64::from(method.deadline_ms) / 1000.0,
            method.request,
            method.response,
        )?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::{page, render};
    use crate::{methods, repo};

    #[test]
    fn every_method_has_a_row_that_names_its_proto() {
        let root = repo::root();
        let page = page(&root).unwrap();
        for method in methods::load(&root).unwrap() {
            assert!(page.contains(&format!("| {} | {} |", method.id, method.name)), "{}", method.name);
        }
        assert!(page.contains("[delivery.proto](../../proto/qpc/v1/delivery.proto)"));
    }

    #[test]
    fn a_message_that_no_proto_defines_is_an_error() {
        let methods = methods::load(&repo::root()).unwrap();
        assert!(render(&methods, &[("x.proto".to_owned(), "message Foo {}".to_owned())]).is_err());
    }
}
