//! `cargo xtask images`: static binaries and an image of each service.

mod binaries;
mod elf;
mod oci;
mod sbom;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cargo_metadata::TargetKind;

use crate::{reaper::Reaper, repo};

/// Names of images are those of binaries.
const PREFIX: &str = "qpc-";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The image of this service alone, e.g. gateway; may be given several times
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Makes no images, and puts binaries, SBOMs and what else belongs into images there
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["service", "check"])]
    binaries: Option<PathBuf>,
    /// Also looks at binaries, runs them in their images, and builds each image twice
    #[arg(long)]
    check: bool,
}

/// Returns whether all is well.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let services = services()?;
    let mut reaper = Reaper::start()?;
    if let Some(folder) = &options.binaries {
        binaries::build(&services, folder, &mut reaper)?;
        return Ok(true);
    }
    let mut chosen = services.clone();
    if !options.service.is_empty() {
        let names: Vec<String> = options.service.iter().map(|name| full(name)).collect();
        let unknown = names.iter().find(|name| !services.contains(name));
        ensure!(unknown.is_none(), "no service {}; there are {}", unknown.map_or("", |name| name), services.join(", "));
        chosen = names;
    }
    let folder = repo::target()?.join("images");
    let parts = folder.join("binaries");
    binaries::build(&services, &parts, &mut reaper)?;
    let Some(buildah) = oci::Buildah::find(&folder, &parts)? else {
        println!("no images: buildah is missing (apt-get install buildah); binaries are in {}", parts.display());
        return Ok(!options.check);
    };
    let mut good = true;
    for service in &chosen {
        let faults = one(service, &buildah, &parts, options.check).with_context(|| format!("image of {service}"))?;
        for fault in &faults {
            println!("{service}: {fault}");
        }
        good &= faults.is_empty();
    }
    Ok(good)
}

/// Makes an image; returns what is wrong with it and its binary, if asked for.
fn one(service: &str, buildah: &oci::Buildah, parts: &Path, check: bool) -> Result<Vec<String>> {
    let image = buildah.build(service)?;
    println!("{service}: {} {}", image.digest, image.archive.display());
    if !check {
        return Ok(Vec::new());
    }
    let mut faults = binaries::judge(service, parts)?;
    faults.extend(buildah.judge(service, &image)?);
    Ok(faults)
}

fn full(name: &str) -> String {
    if name.starts_with(PREFIX) { name.to_owned() } else { format!("{PREFIX}{name}") }
}

/// Packages below `services` that are a program, which is named as they are.
pub(crate) fn services() -> Result<Vec<String>> {
    let below = repo::root().join("services");
    let mut found: Vec<String> = repo::metadata()?
        .workspace_packages()
        .into_iter()
        .filter(|package| package.manifest_path.as_std_path().starts_with(&below))
        .filter(|package| package.targets.iter().any(|target| target.kind.contains(&TargetKind::Bin)))
        .map(|package| package.name.to_string())
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::services;
    use crate::repo;

    #[test]
    fn every_service_has_an_image_that_starts_it_as_nobody() {
        let text = std::fs::read_to_string(repo::root().join("Containerfile")).unwrap();
        let services = services().unwrap();
        assert!(services.iter().any(|name| name == "qpc-gateway"));
        for service in &services {
            let stage = text.split(&format!("\nFROM base AS {service}\n")).nth(1).unwrap_or_default();
            let stage = stage.split("\nFROM ").next().unwrap_or_default();
            for line in [
                format!("COPY --from=binaries /{service} /{service}.cdx.json /"),
                format!("ENTRYPOINT [\"/{service}\"]"),
                format!("LABEL org.opencontainers.image.title=\"{service}\" \\"),
            ] {
                assert!(stage.lines().any(|found| found == line), "Containerfile, stage {service}: {line}");
            }
        }
        assert_eq!(text.matches("\nFROM base AS ").count(), services.len(), "an image of nothing");
        assert!(text.contains("\nUSER 65532:65532\n") && text.matches("\nUSER ").count() == 1);
    }
}
