//! Programs that checks need and no package of the machine brings: built from Go modules, or taken from PyPI, once for each
//! version, below `target/tools`. What cannot be had is said in one line, and the check that wanted it is left out.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    process::{tail, wait_until},
    repo,
};

/// Time for one tool. The largest takes four minutes of a processor; what was compiled until then is there the next time.
const BUILD_WITHIN: Duration = Duration::from_secs(600);
/// Time for a program to say that it is there.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Compilations that Go runs side by side, so that cargo keeps a core.
const GO_JOBS: &str = "2";

/// The program `name` that `package`, `MODULE/PATH@VERSION`, builds. `None` where Go is absent or cannot build it.
pub(crate) fn go_tool(name: &str, package: &str) -> Option<PathBuf> {
    offered(name, go(name, package))
}

/// The folder of programs of an environment that has `packages`, each `NAME==VERSION`, and what they need. Each set has its
/// own, since what one set needs may be too new for another. `None` where Python is absent or cannot install them.
pub(crate) fn python(packages: &[&str]) -> Option<PathBuf> {
    offered(&packages.join(", "), environment(packages))
}

/// The program `name` of a module of ours in `source`, built with `flags` of `go build`. A change of the module builds it anew.
/// `None` where Go is absent or cannot build it.
pub(crate) fn go_module(name: &str, source: &Path, flags: &[&str]) -> Option<PathBuf> {
    offered(name, module(name, source, flags))
}

fn module(name: &str, source: &Path, flags: &[&str]) -> Result<PathBuf> {
    let mut hash = DefaultHasher::new();
    flags.hash(&mut hash);
    for extension in ["go", "mod", "sum"] {
        for path in repo::files(source, extension)? {
            fs::read(&path).with_context(|| format!("read {}", path.display()))?.hash(&mut hash);
        }
    }
    let folder = folder()?.join(format!("{name}-{:016x}", hash.finish()));
    let program = folder.join(name);
    once(&folder, |_, log| {
        ensure!(answers("go", "version"), "Go is not installed (https://go.dev/dl)");
        let mut build = polite("go");
        build.args(["build", "-p", GO_JOBS, "-o"]).arg(&program).args(flags).arg(".").current_dir(source);
        println!("building {name} from its Go modules, which takes minutes; this is done once");
        run(&mut build, log)?;
        ensure!(program.is_file(), "{} builds no {name}", source.display());
        Ok(())
    })?;
    Ok(program)
}

fn offered(name: &str, made: Result<PathBuf>) -> Option<PathBuf> {
    made.inspect_err(|error| println!("no {name}: {error:#}")).ok()
}

fn go(name: &str, package: &str) -> Result<PathBuf> {
    let (_, version) = package.rsplit_once('@').context("a package of Go is named with its version")?;
    let folder = folder()?.join(format!("{name}-{version}"));
    let program = folder.join(name);
    once(&folder, |new, log| {
        ensure!(answers("go", "version"), "Go is not installed (https://go.dev/dl)");
        let mut install = polite("go");
        install
            .args(["install", "-p", GO_JOBS, "-trimpath", package])
            .current_dir(new)
            .env("GOBIN", new)
            // No C compiler is asked for, and the program runs wherever it is taken.
            .env("CGO_ENABLED", "0");
        println!("building {name} {version} from its Go module; this is done once");
        run(&mut install, log)?;
        ensure!(new.join(name).is_file(), "{package} builds no {name}");
        Ok(())
    })?;
    Ok(program)
}

fn environment(packages: &[&str]) -> Result<PathBuf> {
    let folder = folder()?.join("py").join(packages.join("+").replace("==", "-"));
    once(&folder, |new, log| {
        ensure!(answers("python3", "--version"), "Python 3 is not installed");
        run(polite("python3").args(["-m", "venv"]).arg(new), log)
            .context("python3 -m venv (on Debian: apt-get install python3-venv)")?;
        println!("installing {} from PyPI; this is done once", packages.join(", "));
        let mut install = polite(new.join("bin/python").as_os_str());
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]).args(packages);
        run(&mut install, log)
    })?;
    Ok(folder.join("bin"))
}

/// Where tools are kept.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(repo::target()?.join("tools"))
}

/// Fills `folder` by `make` unless that was done before. Whoever comes meanwhile waits. Programs of Python know the path of
/// their folder, so it is filled where it stays, and a mark beside it, written last, says that it is whole.
fn once(folder: &Path, make: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<()> {
    let beside = |ending: &str| {
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        folder.with_file_name(name)
    };
    let (mark, log) = (beside(".done"), beside(".log"));
    if mark.is_file() {
        return Ok(());
    }
    let parent = folder.parent().context("no folder for tools")?;
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let lock = fs::File::create(beside(".lock")).context("lock of the tools")?;
    lock.lock().context("lock of the tools")?;
    if mark.is_file() {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir(folder).with_context(|| format!("create {}", folder.display()))?;
    make(folder, &log)?;
    fs::write(&mark, "").with_context(|| format!("write {}", mark.display()))
}

/// `program`, behind everything else that wants the processor.
fn polite(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "10"]).arg(program.as_ref());
    command
}

fn answers(program: &str, question: &str) -> bool {
    let asked =
        Command::new(program).arg(question).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = asked else { return false };
    let mut ended = None;
    wait_until(ANSWER_WITHIN, || {
        ended = child.try_wait().transpose();
        ended.is_some()
    });
    matches!(ended, Some(Ok(status)) if status.success())
}

/// Runs `command` to its end; its output, which is for those who look into a failure, goes to `log`.
fn run(command: &mut Command, log: &Path) -> Result<()> {
    let output = fs::File::create(log).with_context(|| format!("write {}", log.display()))?;
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let mut ended = None;
    let in_time = wait_until(BUILD_WITHIN, || {
        ended = child.try_wait().transpose();
        ended.is_some()
    });
    if !in_time {
        child.kill().context("stop it")?;
        child.wait()?;
        bail!("{name} took longer than {} s; see {}", BUILD_WITHIN.as_secs(), log.display());
    }
    match ended.transpose()? {
        Some(status) if status.success() => Ok(()),
        _ => bail!("{name} failed:\n{}", tail(log)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use anyhow::bail;

    use super::{go, once};
    use crate::folder;

    #[test]
    fn a_tool_is_made_once_and_a_half_made_one_again() {
        let base = folder::temporary("tools").unwrap();
        let tool = base.join("tool-1");
        let broken = once(&tool, |new, _| {
            fs::write(new.join("half"), "").unwrap();
            bail!("no network")
        });
        assert!(broken.is_err());
        once(&tool, |new, _| {
            assert!(!new.join("half").exists());
            Ok(fs::write(new.join("whole"), "")?)
        })
        .unwrap();
        once(&tool, |_, _| bail!("made twice")).unwrap();
        assert!(tool.join("whole").is_file());
        folder::remove(&base).unwrap();
    }

    #[test]
    fn a_package_without_a_version_is_refused() {
        assert!(go("helm", "helm.sh/helm/v4/cmd/helm").is_err());
    }
}
