//! Postgres, Redis and pipes that show a certificate, and processes that look at it.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use qpc_chassis::{
    Runtime,
    bulk::{self, BulkAddress, BulkClient, BulkError, BulkRouter, BulkTls, TcpBulk},
    cache::{Cache as _, RedisCache},
    db::{Arg, Db, Migration},
    run::Deps,
    secrets::Secrets,
};
use qpc_testkit::{Authority, eventually};
use qpc_wire::{Method as _, Status, bus, methods::BlobPut, pieces, v1};
use tokio::time::timeout;

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
    let set = cache.set_new("greeting".to_owned(), "hello".to_owned(), Duration::from_secs(60));
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

/// Where the certificate of `name` is.
fn certified(authority: &Authority, name: &str) -> BulkTls {
    let (cert, key) = authority.sign(name, name).unwrap();
    BulkTls { bulk_cert: Some(cert), bulk_key: Some(key), bulk_ca: Some(authority.ca()) }
}

/// A call that is answered, if only by a refusal.
async fn ask(deps: &Deps, tls: &BulkTls) -> Result<(), BulkError> {
    let (_sender, mut receiver) = BulkClient::new(deps, tls)?.open("blob", bus::Call::default()).await?;
    receiver.reply().await.map(drop)
}

async fn serve(deps: &Deps, tls: &BulkTls) -> Result<(), BulkError> {
    let at = BulkAddress { listen: ([127, 0, 0, 1], 0).into(), announce: None };
    bulk::serve(deps, "blob", &at, tls, BulkRouter::new(Arc::new(()))).await
}

fn one_installation() -> Deps {
    let deps = Deps::local(Runtime::system(), Secrets::new([5; 32]), String::new());
    Deps { bulk: Arc::new(TcpBulk::new(deps.bus.clone())), ..deps }
}

#[tokio::test]
async fn pipes_are_for_gateways_of_the_installation() {
    let (folder, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (Authority::new(folder.path()).unwrap(), Authority::new(others.path()).unwrap());
    let (gateway, blob) = (certified(&ours, "qpc-gateway"), certified(&ours, "qpc-blob"));
    let deps = one_installation();
    serve(&deps, &blob).await.unwrap();
    ask(&deps, &gateway).await.unwrap();
    for (who, tls) in [
        ("nobody", BulkTls::default()),
        ("a gateway of others", certified(&theirs, "qpc-gateway")),
        (
            "one that others vouch for",
            BulkTls { bulk_ca: gateway.bulk_ca.clone(), ..certified(&theirs, "qpc-gateway") },
        ),
        ("a service", blob.clone()),
    ] {
        assert!(ask(&deps, &tls).await.is_err(), "{who} is answered");
    }
    let half = BulkTls { bulk_ca: None, ..gateway.clone() };
    assert!(matches!(ask(&deps, &half).await, Err(BulkError::HalfGiven)));

    // A gateway tells nothing to who is no service.
    let deps = one_installation();
    serve(&deps, &gateway).await.unwrap();
    assert!(matches!(ask(&deps, &gateway).await, Err(BulkError::Tls(_))));
    assert_eq!(deps.metrics.render().matches("qpc_certificate_not_after_seconds{certificate=\"bulk\"}").count(), 1);
}

/// On one thread, over a pipe that holds 256 KiB: what is too much for it is held back by TLS while the service reads nothing.
#[tokio::test]
async fn the_end_of_a_body_is_not_held_back() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path()).unwrap();
    let deps = Deps::local(Runtime::system(), Secrets::new([5; 32]), String::new());
    let router = BulkRouter::new(Arc::new(())).up::<BlobPut, Status, _, _>(|_, _, _, mut body| async move {
        while body.next().await.unwrap().is_some() {}
        (body, Ok(v1::BlobPutResponse {}))
    });
    let at = BulkAddress { listen: ([127, 0, 0, 1], 0).into(), announce: None };
    bulk::serve(&deps, "blob", &at, &certified(&authority, "qpc-blob"), router).await.unwrap();

    let client = BulkClient::new(&deps, &certified(&authority, "qpc-gateway")).unwrap();
    let call = bus::Call {
        method: BlobPut::INFO.id.into(),
        correlation_id: vec![0; 12].into(),
        deadline_ms: deps.runtime.now_ms() + 60_000,
        account_id: vec![1; 16].into(),
        device_id: vec![1; 16].into(),
        channel_binding: vec![1; 32].into(),
        ..Default::default()
    };
    let (mut sender, mut receiver) = client.open("blob", call).await.unwrap();
    let body = [pieces::header(290 << 10).as_slice(), &vec![7; 290 << 10], &pieces::END].concat();
    let exchange = async {
        sender.send(&body).await.unwrap();
        receiver.reply().await.unwrap()
    };
    let (status, _) = timeout(Duration::from_secs(30), exchange).await.expect("the service waits for the end");
    assert_eq!(status, 0);
}

#[tokio::test]
async fn certificates_of_pipes_are_changed_without_a_restart() {
    let (folder, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (old, new) = (Authority::new(folder.path()).unwrap(), Authority::new(others.path()).unwrap());
    let (blob, gateway) = (certified(&old, "qpc-blob"), certified(&new, "qpc-gateway"));
    let deps = one_installation();
    serve(&deps, &blob).await.unwrap();
    assert!(ask(&deps, &gateway).await.is_err());
    let renewed = certified(&new, "qpc-blob");
    for (from, to) in
        [(&renewed.bulk_ca, &blob.bulk_ca), (&renewed.bulk_cert, &blob.bulk_cert), (&renewed.bulk_key, &blob.bulk_key)]
    {
        fs::copy(from.as_ref().unwrap(), to.as_ref().unwrap()).unwrap();
    }
    eventually("the new ones are shown and taken", async || ask(&deps, &gateway).await.ok()).await;
}
