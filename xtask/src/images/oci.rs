//! Images by buildah, without a daemon and without the storage of this user.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::binaries::output;
use crate::repo;

/// Whom every image runs as.
const USER: &str = "65532:65532";

pub(super) struct Buildah {
    folder: PathBuf,
    parts: PathBuf,
    version: String,
    revision: String,
}

pub(super) struct Image {
    /// Of its manifest, by which it is pulled.
    pub(super) digest: String,
    /// For `docker load`, `podman load`, `kind load image-archive`.
    pub(super) archive: PathBuf,
    id: String,
}

impl Buildah {
    /// Where it keeps what it makes, and the folder that the stage of binaries stands for. None if it is not installed.
    pub(super) fn find(folder: &Path, parts: &Path) -> Result<Option<Self>> {
        if Command::new("buildah").arg("--version").output().is_err() {
            return Ok(None);
        }
        let version = repo::metadata()?.workspace_packages().first().map(|package| package.version.to_string());
        Ok(Some(Self {
            folder: folder.to_owned(),
            parts: parts.to_owned(),
            version: version.context("no packages")?,
            // A folder that was unpacked has none.
            revision: output("git", &["rev-parse", "HEAD"]).unwrap_or_else(|_| "unknown".to_owned()),
        }))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        // Works in containers too, where there is no overlay on an overlay.
        command.args(["--storage-driver", "vfs"]);
        command.arg("--root").arg(self.folder.join("storage")).arg("--runroot").arg(self.folder.join("run"));
        command.args(args);
        command
    }

    pub(super) fn build(&self, service: &str) -> Result<Image> {
        self.build_as(service, &self.folder.join(format!("{service}.tar")))
    }

    fn build_as(&self, service: &str, archive: &Path) -> Result<Image> {
        let root = repo::root();
        let mut command =
            self.command(&["build", "--quiet", "--no-cache", "--timestamp", "0", "--identity-label=false"]);
        command
            .arg("--build-context")
            .arg(format!("binaries={}", self.parts.display()))
            .args(["--build-arg", &format!("VERSION={}", self.version)])
            .args(["--build-arg", &format!("REVISION={}", self.revision)])
            .args(["--target", service, "--file"])
            .arg(root.join("Containerfile"))
            // Nothing of the source is in the last stages.
            .arg(&self.parts);
        let id = run(command)?.lines().last().unwrap_or_default().to_owned();
        ensure!(!id.is_empty(), "buildah names no image");

        let digest = archive.with_extension("digest");
        // One that is there would be added to.
        if archive.exists() {
            fs::remove_file(archive).with_context(|| format!("remove {}", archive.display()))?;
        }
        let mut push = self.command(&["push", "--quiet", "--digestfile"]);
        let name = format!("ghcr.io/quicprochat/{service}:{}", self.version);
        push.arg(&digest).arg(&id).arg(format!("oci-archive:{}:{name}", archive.display()));
        run(push)?;
        let found = fs::read_to_string(&digest).with_context(|| format!("read {}", digest.display()))?;
        Ok(Image { digest: found.trim().to_owned(), archive: archive.to_owned(), id })
    }

    /// What is wrong with an image, judged by making it again and running it.
    pub(super) fn judge(&self, service: &str, image: &Image) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        let second = self.build_as(service, &self.folder.join(format!("{service}.again.tar")))?;
        if second.digest != image.digest {
            faults.push(format!("another digest the second time: {}", second.digest));
        }
        fs::remove_file(&second.archive).with_context(|| format!("remove {}", second.archive.display()))?;

        let inspected = run(self.command(&["inspect", "--type", "image", &image.id]))?;
        let inspected: Value = serde_json::from_str(&inspected).context("buildah inspect")?;
        faults.extend(judge_config(service, &inspected["OCIv1"]["config"]));

        let container = run(self.command(&["from", "--pull-never", &image.id]))?;
        let ran = self.judge_container(service, &container);
        run(self.command(&["rm", &container]))?;
        faults.extend(ran?);
        Ok(faults)
    }

    fn judge_container(&self, service: &str, container: &str) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        let root = PathBuf::from(run(self.command(&["mount", container]))?);
        let mut files = Vec::new();
        list(&root, &root, &mut files)?;
        let mut wanted = vec![format!("/{service}"), format!("/{service}.cdx.json")];
        wanted.insert(0, "/etc/ssl/certs/ca-certificates.crt".to_owned());
        if files != wanted {
            faults.push(format!("it holds {files:?} instead of {wanted:?}"));
        }
        // As whom it was built, in nothing but what is in there.
        let program = format!("/{service}");
        let ran = run(self.command(&["run", "--isolation", "chroot", container, &program, "--help"]));
        match ran {
            Ok(text) if text.contains("--observe") || text.contains("Usage:") => {}
            Ok(text) => faults.push(format!("--help says {text:?}")),
            Err(error) => faults.push(format!("it does not run: {error}")),
        }
        Ok(faults)
    }
}

fn judge_config(service: &str, config: &Value) -> Vec<String> {
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default();
    let mut faults = Vec::new();
    if config["User"] != USER {
        faults.push(format!("it runs as {} instead of {USER}", config["User"]));
    }
    if config["Entrypoint"] != serde_json::json!([format!("/{service}")]) {
        faults.push(format!("it starts {}", config["Entrypoint"]));
    }
    for name in ["title", "description", "source", "licenses", "version", "revision"] {
        if ["", "unknown"].contains(&label(name)) {
            faults.push(format!("no label {name}"));
        }
    }
    faults
}

/// Files below `folder` as they are called in the image, sorted. Folders in which buildah mounts something do not count.
fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(format!("/{}", path.strip_prefix(root)?.display()));
        }
    }
    files.sort();
    Ok(())
}

fn run(mut command: Command) -> Result<String> {
    let output = command.output().context("start buildah")?;
    if !output.status.success() {
        bail!("buildah: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::judge_config;

    #[test]
    fn an_image_of_root_or_of_something_else_is_refused() {
        let mut labels = serde_json::Map::new();
        for name in ["title", "description", "source", "licenses", "version", "revision"] {
            labels.insert(format!("org.opencontainers.image.{name}"), json!("x"));
        }
        let good = json!({ "User": "65532:65532", "Entrypoint": ["/qpc-auth"], "Labels": labels });
        assert!(judge_config("qpc-auth", &good).is_empty());
        assert_eq!(judge_config("qpc-blob", &good).len(), 1);
        for (name, value) in [("User", json!("0:0")), ("Entrypoint", json!(["/bin/sh"])), ("Labels", json!({}))] {
            let mut bad = good.clone();
            bad[name] = value;
            assert!(!judge_config("qpc-auth", &bad).is_empty(), "{name}");
        }
    }
}
