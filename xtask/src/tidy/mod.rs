//! `cargo xtask tidy`: the rules of the architecture that the compiler does not know.
//!
//! - [`deps`]: which crate may depend on which, and which crate owns which external library;
//! - [`source`]: what must not stand in the source, and how long a file may be;
//! - [`rpcs`]: the method table against service files, proto comments and the reference;
//! - [`paths`]: what the documents mention exists;
//! - [`alerts`]: each has its runbook and its tests, and asks for what there is;
//! - [`bus`]: what services call over it, and what they may.

mod alerts;
mod bus;
mod deps;
mod mask;
mod paths;
mod rpcs;
mod source;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{docs, methods, repo};

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    file: PathBuf,
    /// From 1.
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// Prints what is broken; returns whether nothing is.
pub(crate) fn run() -> Result<bool> {
    let root = repo::root();
    let mut findings = deps::check(&root, &repo::metadata()?)?;
    findings.extend(source::check(&root)?);
    let methods = methods::load(&root)?;
    findings.extend(rpcs::check(&root, &methods)?);
    findings.extend(bus::check(&root, &methods)?);
    findings.extend(paths::check(&root)?);
    findings.extend(readmes(&root)?);
    findings.extend(alerts::check(&root)?);
    for page in docs::stale(&root)? {
        findings.push(Finding::new(page, 1, "out of date; run: cargo xtask docs"));
    }
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} findings", findings.len());
    Ok(findings.is_empty())
}

/// Each service tells on one page what it owns.
fn readmes(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for entry in fs::read_dir(root.join("services")).context("services")? {
        let folder = entry?.path();
        if folder.join("Cargo.toml").is_file() && !folder.join("README.md").is_file() {
            findings.push(Finding::new(relative(root, &folder).join("README.md"), 1, "each service has a README.md"));
        }
    }
    Ok(findings)
}

fn relative(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_path_buf()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
