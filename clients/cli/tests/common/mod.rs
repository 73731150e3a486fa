//! A server for a test.

#[allow(dead_code, reason = "not every test file has a terminal")]
pub(crate) mod pty;
#[allow(dead_code, reason = "not every test file drives the binary")]
pub(crate) mod repl;
#[allow(dead_code, reason = "not every test file calls commands")]
pub(crate) mod shell;

use std::{
    fs,
    path::{Path, PathBuf},
};

use qpc_sdk::{Client, ClientOptions, KsfParams, Settings, transport::Trust};
use tempfile::TempDir;

pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) embedded: qpc_server::Embedded,
}

impl Server {
    #[allow(dead_code, reason = "not every test file is content with the usual settings")]
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut qpc_server::Options)) -> Self {
        Self::start_in(TempDir::new().unwrap(), change).await
    }

    /// The same on whatever a server has left in that folder.
    async fn start_in(folder: TempDir, change: impl FnOnce(&mut qpc_server::Options)) -> Self {
        let mut options = qpc_server::Options {
            data: folder.path().join("server"),
            listen: ([127, 0, 0, 1], 0).into(),
            drain_grace_ms: 0,
            ..Default::default()
        };
        options.without_rates();
        change(&mut options);
        let embedded = qpc_server::start(options, &defaults()).await.unwrap();
        Self { folder, embedded }
    }

    /// Two servers that have the same past, the certificate included: what one of them is told later, the other is not.
    #[allow(dead_code, reason = "most tests have one server")]
    pub(crate) async fn split(self) -> (Self, Self) {
        let Self { folder, embedded } = self;
        assert!(embedded.shutdown(std::time::Duration::from_secs(30)).await);
        let left = |entry: fs::DirEntry| entry.file_name().to_string_lossy().ends_with("-wal");
        let server = fs::read_dir(folder.path().join("server")).unwrap();
        assert!(!server.map(Result::unwrap).any(left), "databases of a server that has stopped are whole");
        let other = TempDir::new().unwrap();
        copy(&folder.path().join("server"), &other.path().join("server"));
        tokio::join!(Self::start_in(folder, |_| {}), Self::start_in(other, |_| {}))
    }

    pub(crate) fn address(&self) -> String {
        self.embedded.local_addr().to_string()
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.embedded.certificate.clone()
    }

    /// Options of a client whose store is in `folder`; the password is cheap.
    #[allow(dead_code, reason = "not every test file opens clients by itself")]
    pub(crate) fn options(&self, folder: &str, name: &str) -> ClientOptions {
        let trust = Trust::PemFile(self.certificate());
        let folder = self.folder.path().join(folder);
        ClientOptions {
            ksf: KsfParams::FLOOR,
            ..ClientOptions::new(folder, name, format!("password of {name}"), self.address(), trust)
        }
    }

    #[allow(dead_code, reason = "not every test file opens clients by itself")]
    pub(crate) async fn client(&self, name: &str) -> Client {
        let client = Client::open(self.options(name, name)).await.unwrap();
        client.connect().await.unwrap();
        // In most tests people know each other.
        client.set_settings(Settings { ask: false, ..client.settings().await.unwrap() }).await.unwrap();
        client
    }
}

/// A folder with all that is in it.
#[allow(dead_code, reason = "not every test copies")]
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, place) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &place);
        } else {
            fs::copy(path, place).unwrap();
        }
    }
}

fn defaults<A: clap::Args>() -> A {
    let matches = A::augment_args(clap::Command::new("qpc-server")).get_matches_from(["qpc-server"]);
    A::from_arg_matches(&matches).unwrap()
}
