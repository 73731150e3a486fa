//! Finding the servers' programs and installing what is missing.

use std::{
    env, fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::folder;

/// Folders outside PATH in which packages put servers; that of Postgres carries its version.
const MORE_FOLDERS: [&str; 5] =
    ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/local/pgsql/bin", "/usr/pgsql/bin"];
/// Holds a folder for each major version of Postgres on Debian.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";
/// The oldest Postgres that the SQL is written for.
const POSTGRES_AT_LEAST: u32 = 15;
/// Program looked for, and the Debian package that brings it.
const NEEDED: [(&str, &str); 3] =
    [("postgres", "postgresql"), ("nats-server", "nats-server"), ("redis-server", "redis-server")];

/// Path of a program.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    if program == "postgres" || program == "initdb" || program == "psql" || program == "pg_isready" {
        return postgres_folder().map(|folder| folder.join(program)).filter(|path| path.is_file());
    }
    folders().into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// All programs of Postgres come from one folder, so that their versions agree: the newest one installed.
fn postgres_folder() -> Option<PathBuf> {
    let versions = fs::read_dir(POSTGRES_VERSIONS).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(version, folder)| *version >= POSTGRES_AT_LEAST && is_complete(folder))
        .max();
    newest.map(|(_, folder)| folder).or_else(|| folders().into_iter().find(|folder| is_complete(folder)))
}

fn is_complete(folder: &Path) -> bool {
    ["postgres", "initdb", "psql", "pg_isready"].iter().all(|program| folder.join(program).is_file())
}

fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(MORE_FOLDERS.iter().map(PathBuf::from)).collect()
}

/// Path of a program that a step can do without: found, or installed with its package.
pub(super) fn optional(program: &str, package: &str) -> Option<PathBuf> {
    if find(program).is_none()
        && let Ok(Some(apt)) = Apt::new()
    {
        println!("installing Debian package {package} (its system service is not used)");
        apt.install(&[package]);
    }
    find(program)
}

/// Installs what is missing, and says so.
pub(super) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let Some(apt) = Apt::new()? else {
        bail!(
            "missing: {packages}. They are installed by themselves on Debian and its kin, as root or with sudo; here, \
             install PostgreSQL {POSTGRES_AT_LEAST} or newer, nats-server and redis-server by hand"
        );
    };
    println!("installing Debian packages: {packages} (their system services are not used)");
    let installed = apt.install(&missing);
    let left = self::missing();
    if !installed || !left.is_empty() {
        bail!("could not install {}; do it by hand: apt-get install {}", left.join(" "), left.join(" "));
    }
    Ok(())
}

fn missing() -> Vec<&'static str> {
    NEEDED.into_iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| package).collect()
}

struct Apt {
    /// The command and what goes before it.
    prefix: Vec<String>,
}

impl Apt {
    fn new() -> Result<Option<Self>> {
        let Some(apt) = find("apt-get").map(|path| path.display().to_string()) else { return Ok(None) };
        if folder::uid()? == 0 {
            return Ok(Some(Self { prefix: vec![apt] }));
        }
        let Some(sudo) = find("sudo").map(|path| path.display().to_string()) else { return Ok(None) };
        // Without a terminal a question for the password would wait for ever.
        let asking = if io::stdin().is_terminal() { vec![sudo] } else { vec![sudo, "--non-interactive".to_owned()] };
        Ok(Some(Self {
            prefix: asking.into_iter().chain(["env".into(), "DEBIAN_FRONTEND=noninteractive".into(), apt]).collect(),
        }))
    }

    fn install(&self, packages: &[&str]) -> bool {
        let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
        // On a new machine the lists are missing; elsewhere they may be old.
        self.run(&install) || (self.run(&["update"]) && self.run(&install))
    }

    fn run(&self, args: &[&str]) -> bool {
        let Some((program, rest)) = self.prefix.split_first() else { return false };
        Command::new(program)
            .args(rest)
            .args(["--quiet", "-o", "DPkg::Lock::Timeout=120"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(if io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() })
            .status()
            .is_ok_and(|status| status.success())
    }
}
