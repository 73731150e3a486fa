//! The repository and cargo.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// Folder depth at which a search gives up; the deepest file of ours is at about seven.
const MAX_DEPTH: usize = 16;

/// Top folder of the repository.
pub(crate) fn root() -> PathBuf {
    // What cargo says now, before what it said at compile time: clones may share a target folder.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Packages of the workspace, without those of others.
pub(crate) fn metadata() -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.exec().context("cargo metadata")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(metadata()?.target_directory.into_std_path_buf())
}

/// Whether this is a run without anybody watching.
pub(crate) fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// cargo in the top folder.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()).stdin(Stdio::null());
    // What `cargo run` told this process about xtask is not true for what is built now, and some build scripts look.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    if is_ci() {
        command.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never");
    }
    command
}

/// Files below `folder` whose names end in `.extension`, sorted; folders that are hidden or hold builds are left out.
pub(crate) fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(folder, extension, MAX_DEPTH, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, extension: &str, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if depth == 0 || !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        if kind.is_dir() {
            let name = name.to_string_lossy();
            if !name.starts_with('.') && !["target", "node_modules"].contains(&&*name) {
                collect(&path, extension, depth - 1, found)?;
            }
        } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(())
}
