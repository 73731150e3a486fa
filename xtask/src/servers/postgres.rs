//! Postgres. It refuses to run as root, so root runs it as another user, who must be able to come to the data.

use std::{
    env, fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Start, install, launch};
use crate::{
    folder,
    process::{Signal, Tracked},
    reaper::Reaper,
};

/// Users that root may run it as, best first.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
/// Longest path of the data folder: that of the socket inside must stay under the 108 bytes of sockaddr_un.
const MAX_PATH: usize = 80;
/// Two of each of three services with their pools, and the tests.
const MAX_CONNECTIONS: &str = "max_connections=200";

struct Account {
    uid: u32,
    gid: u32,
}

/// See [`super::postgres_folder`].
pub(super) fn home(folder: &Path) -> Result<PathBuf> {
    let account = account()?;
    if folder.as_os_str().len() <= MAX_PATH && can_reach(folder, account.as_ref()) {
        return Ok(folder.to_path_buf());
    }
    // Derived from the path, so that the next start finds data that was kept.
    let name = folder
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let outside = PathBuf::from(format!("/var/tmp/qpc-postgres-{name:016x}"));
    folder::own(&outside)?;
    ensure!(
        can_reach(&outside, account.as_ref()),
        "the user that runs Postgres reaches neither {} nor {}",
        folder.display(),
        outside.display()
    );
    Ok(outside)
}

/// Returns the URL of database `qpc` for role `qpc`, over the Unix socket, which saves the TCP stack.
pub(super) fn start(folder: &Path, home: &Path, reaper: &mut Reaper, processes: &mut Vec<Tracked>) -> Result<String> {
    ensure!(folder::is_own(home), "{} is not a folder of cargo xtask", home.display());
    let postgres = Programs { account: account()?, data: home.join("postgres") };
    postgres.initialise()?;
    let data = postgres.data.clone();
    let port = launch(
        &Start {
            name: "postgres",
            log: folder.join("postgres.log"),
            signal: Signal::Int,
            command: &|port| {
                let mut command = postgres.program("postgres")?;
                command.arg("-D").arg(&data).arg("-k").arg(&data).arg("-p").arg(port.to_string());
                for setting in ["listen_addresses=127.0.0.1", MAX_CONNECTIONS, "fsync=on", "synchronous_commit=on"] {
                    command.args(["-c", setting]);
                }
                Ok(command)
            },
            ready: &|port| postgres.is_ready(port),
        },
        reaper,
        processes,
    )?;
    postgres.create_database(port)?;
    Ok(format!("postgres://qpc@localhost:{port}/qpc?host={}", encode(&data)))
}

struct Programs {
    account: Option<Account>,
    data: PathBuf,
}

impl Programs {
    fn program(&self, name: &str) -> Result<Command> {
        let path = install::find(name).with_context(|| format!("{name} is gone"))?;
        let mut command = run_as(self.account.as_ref());
        match &mut command {
            Some(command) => command.arg(path),
            None => command.insert(Command::new(path)),
        };
        let mut command = command.context("no command")?;
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
        Ok(command)
    }

    fn initialise(&self) -> Result<()> {
        if self.data.join("PG_VERSION").is_file() {
            return Ok(());
        }
        // What a broken first start left is not worth keeping.
        if self.data.exists() {
            fs::remove_dir_all(&self.data).with_context(|| format!("remove {}", self.data.display()))?;
        }
        fs::create_dir(&self.data).with_context(|| format!("create {}", self.data.display()))?;
        if let Some(Account { uid, gid }) = self.account {
            chown(&self.data, Some(uid), Some(gid)).context("chown")?;
        }
        let mut initdb = self.program("initdb")?;
        initdb.arg("-D").arg(&self.data);
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
        run(initdb, "initdb")?;
        Ok(())
    }

    fn is_ready(&self, port: u16) -> bool {
        let Ok(mut command) = self.program("pg_isready") else { return false };
        self.to_server(&mut command, port).arg("-q").status().is_ok_and(|status| status.success())
    }

    fn create_database(&self, port: u16) -> Result<()> {
        if self.sql(port, "SELECT count(*) FROM pg_roles WHERE rolname = 'qpc'")? == "0" {
            self.sql(port, "CREATE ROLE qpc LOGIN CREATEDB")?;
        }
        if self.sql(port, "SELECT count(*) FROM pg_database WHERE datname = 'qpc'")? == "0" {
            self.sql(port, "CREATE DATABASE qpc OWNER qpc")?;
        }
        Ok(())
    }

    fn sql(&self, port: u16, statement: &str) -> Result<String> {
        let mut psql = self.program("psql")?;
        self.to_server(&mut psql, port);
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ]);
        run(psql, "psql")
    }

    fn to_server<'a>(&self, command: &'a mut Command, port: u16) -> &'a mut Command {
        command.arg("-h").arg(&self.data).arg("-p").arg(port.to_string())
    }
}

fn run(mut command: Command, name: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whom to run as; nobody else unless this is root.
fn account() -> Result<Option<Account>> {
    if folder::uid()? != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let found = ACCOUNTS.iter().find_map(|name| parse_account(&users, name));
    Ok(Some(found.context("Postgres does not run as root, and there is neither a user postgres nor nobody")?))
}

fn parse_account(users: &str, name: &str) -> Option<Account> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let fields: Vec<&str> = line.split(':').collect();
    Some(Account { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
}

/// setpriv becomes the program, so process ids stay.
fn run_as(account: Option<&Account>) -> Option<Command> {
    let Account { uid, gid } = account?;
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned(), "--".to_owned()]);
    Some(command)
}

fn can_reach(folder: &Path, account: Option<&Account>) -> bool {
    let Some(mut test) = run_as(account) else { return true };
    test.args(["test", "-x"]).arg(folder).status().is_ok_and(|status| status.success())
}

/// A path as the value of a URL parameter.
fn encode(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{encode, parse_account};

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgresx:x:7:8::/:/bin/sh\npostgres:x:101:102::/:/bin/sh\n";
        let found = parse_account(users, "postgres").unwrap();
        assert_eq!((found.uid, found.gid), (101, 102));
        assert!(parse_account(users, "nobody").is_none());
    }

    #[test]
    fn a_path_in_a_url_keeps_its_slashes_only() {
        assert_eq!(encode(Path::new("/tmp/a b&c/ü")), "/tmp/a%20b%26c/%C3%BC");
    }
}
