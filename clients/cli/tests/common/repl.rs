//! The binary, driven from outside.

use std::{ffi::OsString, path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::Server;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// `qpc repl` on pipes.
pub(crate) struct Repl {
    child: Child,
    input: Option<ChildStdin>,
    pub(crate) output: Lines<BufReader<ChildStdout>>,
}

/// `qpc` with a subcommand that works on the store in `folder`.
pub(crate) fn qpc(server: &Server, folder: &str, password: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qpc"));
    let data: PathBuf = server.folder.path().join(folder);
    let certificate: OsString = server.certificate().into();
    command
        .args(arguments)
        .env("QPC_SERVER", server.address())
        .arg("--data")
        .arg(data)
        .arg("--ca-cert")
        .arg(certificate)
        .env("QPC_PASSWORD", password)
        .env("QPC_CONFIG", server.folder.path().join("config.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Repl {
    /// A session of `name`, whose store is called the same.
    pub(crate) fn start(server: &Server, name: &str, password: &str) -> Self {
        Self::start_in(server, name, name, password)
    }

    pub(crate) fn start_in(server: &Server, folder: &str, name: &str, password: &str) -> Self {
        Self::spawn(qpc(server, folder, password, &["repl", "-u", name]))
    }

    /// A session of `name` that looks for its server at an address.
    pub(crate) fn start_at(server: &Server, address: &str, name: &str) -> Self {
        Self::spawn(qpc(server, name, &format!("pw {name}"), &["repl", "-u", name, "--server", address]))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    /// [`Self::start`], and waits until it is online.
    pub(crate) async fn online(server: &Server, name: &str) -> Self {
        let mut repl = Self::start(server, name, &format!("pw {name}"));
        repl.shows("is online").await;
        repl
    }

    pub(crate) async fn types(&mut self, lines: &str) {
        self.input.as_mut().unwrap().write_all(lines.as_bytes()).await.unwrap();
    }

    /// Reads lines until one contains `text`.
    pub(crate) async fn shows(&mut self, text: &str) -> String {
        self.shows_one(&[text]).await
    }

    /// Types `lines` again and again, and each time reads until a line contains one of `ends`, until that line fits.
    pub(crate) async fn shows_at_last(&mut self, lines: &str, ends: &[&str], fits: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let search = async {
            loop {
                self.types(lines).await;
                last = self.shows_one(ends).await;
                if fits(&last) {
                    return;
                }
            }
        };
        let found = timeout(PATIENCE, search).await.is_ok();
        assert!(found, "at last only {last:?}");
        last
    }

    /// Reads lines until one contains one of these.
    pub(crate) async fn shows_one(&mut self, texts: &[&str]) -> String {
        let mut seen = Vec::new();
        let fits = |line: &str| texts.iter().any(|text| line.contains(text));
        let search = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                seen.push(line);
                if seen.last().is_some_and(|line| fits(line)) {
                    return;
                }
            }
        };
        let found = timeout(PATIENCE, search).await.is_ok();
        let last = seen.last().filter(|line| found && fits(line));
        last.unwrap_or_else(|| panic!("no {texts:?} in {seen:#?}")).clone()
    }

    /// Closes the pipe; the exit code.
    pub(crate) async fn ends(mut self) -> i32 {
        drop(self.input.take());
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().code().unwrap()
    }
}
