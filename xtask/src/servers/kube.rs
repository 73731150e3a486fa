//! A Kubernetes API server with its etcd, of `xtask/kube-test`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Start, launch, ports};
use crate::{
    process::{Signal, Tracked},
    reaper::Reaper,
    repo, tools,
};

/// Folder of the Go module.
const SOURCE: &str = "xtask/kube-test";
/// How the program is told to be kubectl.
pub(crate) const KUBECTL: &str = "kubectl";
/// What it is built from, in the module's list of requirements.
const KUBERNETES: &str = "k8s.io/kubernetes v";

/// A server that runs.
pub(crate) struct Kube {
    program: PathBuf,
    /// Of an administrator.
    pub(crate) kubeconfig: PathBuf,
}

impl Kube {
    /// The kubectl that belongs to it.
    pub(crate) fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(KUBECTL).env("KUBECONFIG", &self.kubeconfig);
        command
    }
}

/// The program; `None`, with a line that says why, where it cannot be built.
pub(crate) fn program() -> Result<Option<PathBuf>> {
    let source = repo::root().join(SOURCE);
    let module = fs::read_to_string(source.join("go.mod")).context("go.mod of kube-test")?;
    let version =
        module.lines().find_map(|line| line.trim().strip_prefix(KUBERNETES)).context("no Kubernetes in go.mod")?;
    let (major, rest) = version.split_once('.').context("version of Kubernetes")?;
    let minor = rest.split('.').next().unwrap_or(rest);
    // As its own builds do. Clients look at it.
    let package = "-X k8s.io/component-base/version";
    let link = format!("-s -w {package}.gitVersion=v{version} {package}.gitMajor={major} {package}.gitMinor={minor}");
    Ok(tools::go_module("kube-test-apiserver", &source, &["-ldflags", &link]))
}

/// Starts `program` with its data below `folder`, which is ours.
pub(crate) fn start(
    program: PathBuf,
    folder: &Path,
    reaper: &mut Reaper,
    processes: &mut Vec<Tracked>,
) -> Result<Kube> {
    let data = folder.join("kube");
    let kubeconfig = data.join("kubeconfig");
    let command = |port: u16| {
        // What a try before this one has left would be taken for its own.
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        }
        fs::create_dir(&data).with_context(|| format!("create {}", data.display()))?;
        let mut command = Command::new(&program);
        command.arg("--data").arg(&data).arg("--port").arg(port.to_string());
        command.arg("--etcd-port").arg(ports::tcp()?.to_string()).current_dir(folder);
        Ok(command)
    };
    let start = Start {
        name: "kube-apiserver",
        log: folder.join("kube-apiserver.log"),
        signal: Signal::Term,
        command: &command,
        ready: &|_| kubeconfig.is_file(),
    };
    launch(&start, reaper, processes)?;
    Ok(Kube { program, kubeconfig })
}
