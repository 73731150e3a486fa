//! Bodies in S3: the contract over a server of that protocol, in this process and over HTTP.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{net::SocketAddr, path::Path};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use qpc_chassis::objects::{Objects, ObjectsConfig, contract};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

const KEY_ID: &str = "an access key";
const SECRET: &str = "and its secret";

/// An S3 service that keeps its buckets, the folders in `root`, until the test ends.
async fn s3(root: &Path) -> SocketAddr {
    let mut service = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
    service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    address
}

fn config(address: SocketAddr, secret: &str) -> ObjectsConfig {
    ObjectsConfig {
        blob_store: Some("s3://bodies/of/blobs".into()),
        s3_endpoint: Some(format!("http://{address}")),
        s3_key_id: Some(KEY_ID.into()),
        s3_secret: Some(secret.into()),
        ..ObjectsConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bodies")).unwrap();
    let address = s3(root.path()).await;
    contract::check(&Objects::open(&config(address, SECRET), root.path()).unwrap()).await;

    let stranger = Objects::open(&config(address, "another secret"), root.path()).unwrap();
    assert!(stranger.put("ab/0", vec!["x".into()]).await.is_err(), "the credentials are checked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_there_is_an_error_and_not_an_absence() {
    let root = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let objects = Objects::open(&config(nobody, SECRET), root.path()).unwrap();
    assert!(objects.get("ab/0", 0..1).await.is_err() && objects.ping().await.is_err());
}
