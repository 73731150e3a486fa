//! Postgres and Redis that show a certificate, and processes that look at it.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use qpc_chassis::{
    cache::{Cache as _, RedisCache},
    db::{Arg, Db, Migration},
};
use qpc_testkit::{Authority, eventually};

/// A running server; killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LINES: &[Migration] =
    &[Migration::portable(1, "lines", "CREATE TABLE lines (key BIGINT, number BIGINT, line TEXT NOT NULL)")];

/// The server of the tests shows no certificate by itself; from here on it does, to those that come over TCP and ask. It takes
/// no key that others can read, and runs as somebody else than the tests, so it writes the files itself.
async fn show_certificate(url: &str, authority: &Authority) {
    let db = Db::open(&url.replacen("qpc@", "postgres@", 1), "certificate", 1, LINES).await.unwrap();
    db.rows("DELETE FROM lines", &[]).await.unwrap();
    let (cert, key) = authority.sign("postgres", "localhost").unwrap();
    for (is_key, file) in [(0, cert), (1, key)] {
        for (number, line) in (0..).zip(fs::read_to_string(file).unwrap().lines()) {
            let insert = "INSERT INTO lines (key, number, line) VALUES ($1, $2, $3)";
            db.rows(insert, &[Arg::Int(is_key), Arg::Int(number), Arg::Text(line)]).await.unwrap();
        }
    }
    for statement in [
        "COPY (SELECT line FROM lines WHERE key = 0 ORDER BY number) TO PROGRAM 'umask 077; cat > test.pem'",
        "COPY (SELECT line FROM lines WHERE key = 1 ORDER BY number) TO PROGRAM 'umask 077; cat > test-key.pem'",
        "ALTER SYSTEM SET ssl_cert_file = 'test.pem'",
        "ALTER SYSTEM SET ssl_key_file = 'test-key.pem'",
        "ALTER SYSTEM SET ssl = on",
        "SELECT pg_reload_conf()",
    ] {
        db.rows(statement, &[]).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
async fn a_database_is_trusted_by_its_certificate() {
    #[allow(clippy::disallowed_methods, reason = "where it is")]
    let url = std::env::var("QPC_TEST_POSTGRES").unwrap();
    let (folder, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (Authority::new(folder.path()).unwrap(), Authority::new(others.path()).unwrap());
    show_certificate(&url, &ours).await;

    // Without the folder of the socket, on which there is no TLS.
    let (address, _) = url.split_once('?').unwrap();
    let open = async |host: &str, authority: &Authority| {
        let options = format!("sslmode=verify-full&sslrootcert={}", authority.ca().display());
        Db::open(&format!("{}?{options}", address.replace("localhost", host)), "tls", 1, &[]).await
    };
    let db = eventually("the server shows it", async || open("localhost", &ours).await.ok()).await;
    let state = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl AND $1 = 1";
    assert_eq!(db.row(state, &[Arg::Int(1)]).await.unwrap().unwrap().text(0).unwrap(), "TLSv1.3");
    for (host, authority) in [("localhost", &theirs), ("127.0.0.1", &ours)] {
        let error = open(host, authority).await.err().unwrap().to_string();
        assert!(error.contains("certificate"), "{host}: {error}");
    }
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test"]
async fn a_cache_is_trusted_by_its_certificate() {
    let (folder, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (Authority::new(folder.path()).unwrap(), Authority::new(others.path()).unwrap());
    let (cert, key) = ours.sign("redis", "localhost").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let program = if Path::new("/usr/bin/redis-server").exists() { "/usr/bin/redis-server" } else { "redis-server" };
    let mut command = Command::new(program);
    command.args(["--port", "0", "--bind", "127.0.0.1", "--save", "", "--tls-auth-clients", "no"]);
    command.arg("--tls-port").arg(port.to_string()).arg("--tls-cert-file").arg(cert).arg("--tls-key-file").arg(key);
    command.args(["--requirepass", "sesame"]).current_dir(folder.path()).stdout(Stdio::null());
    let _server = Server(command.spawn().unwrap());

    let ca = |authority: &Authority| Some(fs::read_to_string(authority.ca()).unwrap());
    let url = format!("rediss://:sesame@localhost:{port}/0");
    let cache = eventually("it answers", async || RedisCache::connect(&url, ca(&ours)).await.ok()).await;
    let set = cache.set_new("greeting".to_owned(), "hello".to_owned(), std::time::Duration::from_secs(60));
    assert_eq!(set.await.unwrap(), "hello");
    for (url, ca) in [
        (url.clone(), ca(&theirs)),
        (url.clone(), None),
        (url.replace("localhost", "127.0.0.1"), ca(&ours)),
        (url.replace("rediss", "redis"), ca(&ours)),
    ] {
        let error = RedisCache::connect(&url, ca).await.err().unwrap().to_string();
        assert!(!error.contains("sesame"), "{error}");
    }
}
