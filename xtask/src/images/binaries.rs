//! Static binaries that are the same wherever they are built, each with the list of what is in it.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{elf, sbom};
use crate::{
    reaper::Reaper,
    repo,
    step::{self, Show},
};

/// Profile of `Cargo.toml`.
const PROFILE: &str = "dist";
/// What stands in binaries for the folders of this machine.
pub(super) const SOURCE: &str = "/src";
pub(super) const REGISTRY: &str = "/cargo/registry";
/// Bytes of a binary: an edge node pulls it over a slow line.
const MAX_SIZE: usize = 25 << 20;
/// Everything, optimised, on a slow machine.
const BUILD_WITHIN: Duration = Duration::from_secs(4 * 3600);
/// Where Debian and its kin keep the authorities that are trusted, then others.
const AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The machine that binaries are for, without its C library: this one, with musl.
pub(super) fn target() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

/// Builds the binaries of `services` and puts them into `folder`, with everything else that the images hold.
pub(super) fn build(services: &[String], folder: &Path, reaper: &mut Reaper) -> Result<()> {
    let flags = Flags::new()?;
    let target = target();
    let mut command = repo::cargo(&["build", "--locked", "--profile", PROFILE, "--target", &target]);
    // All at once: one choice of features, so that no dependency is compiled twice, and a binary is the same whichever
    // images are asked for.
    for service in services {
        command.args(["-p", service]);
    }
    flags.apply(&mut command, &target);
    let output = step::run(reaper, "cargo build", &mut command, BUILD_WITHIN, Show::Yes)?;
    ensure!(
        output.success,
        "it does not compile; {target} needs `rustup target add {target}` and musl-gcc (musl-tools)"
    );

    let failed = || format!("write to {}", folder.display());
    fs::create_dir_all(folder.join("data")).with_context(failed)?;
    let lists = sbom::all(services, &target)?;
    for (service, list) in services.iter().zip(lists) {
        let built = repo::target()?.join(&target).join(PROFILE).join(service);
        fs::copy(&built, folder.join(service)).with_context(|| format!("take {}", built.display()))?;
        fs::set_permissions(folder.join(service), fs::Permissions::from_mode(0o755)).with_context(failed)?;
        fs::write(folder.join(format!("{service}.cdx.json")), list).with_context(failed)?;
    }
    let authorities = AUTHORITIES.iter().map(Path::new).find(|path| path.is_file());
    let authorities = authorities.context("no trusted authorities here; install ca-certificates")?;
    fs::copy(authorities, folder.join("ca-certificates.crt")).with_context(failed)?;
    Ok(())
}

/// What the compilers are told, so that no folder of this machine ends up in a binary.
struct Flags {
    /// A folder of this machine, and what is written for it. Of several that fit, the last counts.
    folders: Vec<(PathBuf, String)>,
}

impl Flags {
    fn new() -> Result<Self> {
        let cargo = cargo_home()?;
        let mut folders = vec![(cargo.clone(), "/cargo".to_owned()), (repo::target()?, format!("{SOURCE}/target"))];
        folders.push((repo::root(), SOURCE.to_owned()));
        // A registry's folder is named after where it was fetched from, which may be a mirror.
        for entry in fs::read_dir(cargo.join("registry/src")).into_iter().flatten() {
            folders.push((entry?.path(), REGISTRY.to_owned()));
        }
        // Where the source of the standard library is installed, generic code of it names that.
        let sysroot = output("rustc", &["--print", "sysroot"])?;
        folders.push((Path::new(&sysroot).join("lib/rustlib/src/rust"), format!("/rustc/{}", commit()?)));
        // As others may say it.
        let real = folders.iter().filter_map(|(folder, name)| Some((folder.canonicalize().ok()?, name.clone())));
        let more: Vec<_> = real.filter(|entry| !folders.contains(entry)).collect();
        folders.extend(more);
        Ok(Self { folders })
    }

    fn apply(&self, command: &mut Command, target: &str) {
        let rust: Vec<String> = self
            .folders
            .iter()
            .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()))
            .collect();
        // Separated by what no path holds.
        command.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"));
        let c: Vec<String> = self
            .folders
            .iter()
            .map(|(folder, name)| format!("-ffile-prefix-map={}={name}", folder.display()))
            .collect();
        command.env(format!("CFLAGS_{}", target.replace('-', "_")), c.join(" "));
        command.env("SOURCE_DATE_EPOCH", "0").env_remove("RUSTFLAGS");
    }
}

fn cargo_home() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home).context("neither CARGO_HOME nor HOME is set")
}

/// Commit of the compiler, which precompiled code of the standard library names.
fn commit() -> Result<String> {
    let version = output("rustc", &["-vV"])?;
    let line = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    Ok(line.unwrap_or("unknown").to_owned())
}

pub(super) fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).current_dir(repo::root()).output();
    let output = output.with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// What is wrong with the binary of `service` in `folder`.
pub(super) fn judge(service: &str, folder: &Path) -> Result<Vec<String>> {
    let read = |name: String| fs::read(folder.join(&name)).with_context(|| format!("read {name}"));
    let binary = read(service.to_owned())?;
    let mut faults = Vec::new();
    println!("  {service}: {:.1} MiB", mib(binary.len()));
    if binary.len() > MAX_SIZE {
        faults.push(format!("{:.1} MiB, at most {}", mib(binary.len()), MAX_SIZE >> 20));
    }
    if let Err(error) = elf::ensure_static(&binary) {
        faults.push(format!("not static: {error}"));
    }
    let mut private = vec![repo::root(), cargo_home()?, PathBuf::from("/root"), PathBuf::from("/home")];
    private.extend(env::var_os("HOME").map(PathBuf::from));
    private.retain(|folder| folder != Path::new(SOURCE) && folder != Path::new("/"));
    for folder in private {
        let prefix = format!("{}/", folder.display());
        if let Some(path) = elf::paths_below(&binary, &prefix).first() {
            faults.push(format!("names {prefix}{path}"));
        }
    }
    let list = String::from_utf8(read(format!("{service}.cdx.json"))?)?;
    for name in sbom::unlisted(&list, &elf::paths_below(&binary, &format!("{REGISTRY}/")))? {
        faults.push(format!("holds code of {name}, which its SBOM does not name"));
    }
    Ok(faults)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
