//! What every kind of pipe does; run by the tests of each.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{Bulk, BulkAddress, BulkError, Listener};

const WAIT: Duration = Duration::from_secs(10);
/// More than any pipe holds.
const MUCH: usize = 16 << 20;

/// Panics where `bulk` departs from the contract. `other` belongs to another installation.
#[allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic, reason = "test code shared between crates")]
pub async fn check(bulk: Arc<dyn Bulk>, other: Arc<dyn Bulk>) {
    let at = BulkAddress { listen: ([127, 0, 0, 1], 0).into(), announce: None };
    assert!(matches!(bulk.connect("pipes").await.err(), Some(BulkError::NoReplica(_))), "nobody is there yet");
    let mut replicas = Vec::new();
    for name in [1, 2] {
        let listener = bulk.listen("pipes", &at).await.unwrap();
        replicas.push((tokio::spawn(echo(listener, name)), name));
    }
    assert!(other.connect("pipes").await.is_err(), "the pipes of an installation are its own");
    assert!(bulk.connect("others").await.is_err(), "and those of a service too");

    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push(exchange(&*bulk, 1000).await);
    }
    assert!(seen.contains(&1) && seen.contains(&2), "both replicas get some: {seen:?}");
    exchange(&*bulk, MUCH).await;
    a_writer_waits_for_the_reader(&*bulk).await;

    let (gone, _) = replicas.remove(0);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    // A pipe that is asked for at that moment may fail; none leads to one that has gone.
    let mut after = Vec::new();
    for _ in 0..8 {
        if bulk.connect("pipes").await.is_ok() {
            after.push(exchange(&*bulk, 1000).await);
        }
    }
    assert!(!after.is_empty() && after.iter().all(|name| *name == 2), "one that has gone gets no more: {after:?}");
}

/// Says its name, then gives back what comes, twice.
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]
async fn echo(mut listener: Box<dyn Listener>, name: u8) {
    while let Some(mut pipe) = listener.accept().await {
        tokio::spawn(async move {
            pipe.write_all(&[name]).await.unwrap();
            pipe.flush().await.unwrap();
            let mut buffer = vec![0; 64 << 10];
            while let Ok(len @ 1..) = pipe.read(&mut buffer).await {
                if pipe.write_all(&buffer[..len]).await.is_err() || pipe.flush().await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Sends and takes back at the same time; returns the name of the replica.
#[allow(clippy::unwrap_used, reason = "test code")]
async fn exchange(bulk: &dyn Bulk, len: usize) -> u8 {
    let (mut receive, mut send) = tokio::io::split(bulk.connect("pipes").await.unwrap());
    let sent: Vec<u8> = (0..len).map(|n| n as u8).collect();
    let writing = async {
        send.write_all(&sent).await.unwrap();
        send.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (read, ()) = timeout(WAIT, async { tokio::join!(receive.read_to_end(&mut got), writing) }).await.unwrap();
    read.unwrap();
    assert!(got[1..] == sent[..], "{} of {len} bytes came back", got.len() - 1);
    got[0]
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn a_writer_waits_for_the_reader(bulk: &dyn Bulk) {
    let (mut receive, mut send) = tokio::io::split(bulk.connect("pipes").await.unwrap());
    let much = vec![7; MUCH];
    // The other side stops reading when nobody takes what it gives back.
    let stuck = timeout(Duration::from_millis(300), send.write_all(&much)).await;
    assert!(stuck.is_err(), "nothing is kept beyond what a pipe holds");
    let mut one = [0];
    timeout(WAIT, receive.read_exact(&mut one)).await.unwrap().unwrap();
}
