//! Files go from one device to another through real gateways and services, whatever is interrupted; what is damaged on the
//! way is not taken for the file.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use common::{call, client, identity, random_key, show_log};
use futures_util::future::join_all;
use qpc_sdk::{Attachment, Client, Error, Progress, transport::CallError};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use qpc_wire::{
    Code, Status,
    methods::{BlobBegin, BlobParts},
    v1::{BlobBeginRequest, BlobPartsRequest},
};
use tokio::sync::Notify;

/// Bytes of a file in one chunk, and in one part of 4 MiB.
const CHUNK: usize = 65_520;
const PART: usize = 64 * CHUNK;

/// Bytes that look like nothing, of which no two parts are the same.
fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

struct World {
    cluster: Cluster,
    alice: Client,
    bob: Client,
    folder: PathBuf,
}

impl World {
    async fn new(backend: Backend) -> Self {
        show_log();
        Self::of(Cluster::start(Shape::pairs(backend)).await.unwrap()).await
    }

    async fn of(cluster: Cluster) -> Self {
        let (alice, bob) = tokio::join!(client(&cluster, "alice", 0, 0), client(&cluster, "bob", 0, 1));
        let folder = cluster.folder().join("files");
        fs::create_dir(&folder).unwrap();
        Self { cluster, alice, bob, folder }
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// A folder that is empty.
    fn inbox(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

fn silent(_: Progress) {}

/// Collects what is told.
fn told() -> (Arc<Mutex<Vec<Progress>>>, impl Fn(Progress) + Send + Sync + 'static) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let into = all.clone();
    (all, move |progress| into.lock().unwrap().push(progress))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn refusal(error: Error) -> Status {
    match error {
        Error::Call(CallError::Status(status)) => status,
        other => panic!("{other}"),
    }
}

/// Bodies of parts at the server, with their paths.
fn bodies(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { bodies(&path) } else { vec![path] }).collect()
}

async fn files_of_all_sizes_arrive(backend: Backend) {
    let world = World::new(backend).await;
    let sizes = [0, 1, 255, 257, CHUNK - 1, CHUNK, CHUNK + 1, PART - 1, PART, PART + 1, 3 * PART + 12_345];
    let inbox = world.inbox("in");
    for size in sizes {
        let bytes = content(size, size as u64);
        let (up, tell) = told();
        let sent = world.alice.upload(&world.write("a file.bin", &bytes), tell).await.unwrap();
        assert_eq!(
            (sent.size, &*sent.name, &*sent.media_type),
            (size as u64, "a file.bin", "application/octet-stream")
        );
        let (down, tell) = told();
        let taken = world.bob.download(&sent, &inbox, tell).await.unwrap();
        assert!(fs::read(&taken).unwrap() == bytes, "{size} bytes");
        for progress in [up, down].map(|all| *all.lock().unwrap().last().unwrap()) {
            assert_eq!((progress.bytes, progress.total), (sent.sealed_size, sent.sealed_size), "{size} bytes");
        }
        fs::remove_file(taken).unwrap();
    }
    assert_eq!(names(&inbox), [""; 0], "nothing is left of the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_all_sizes_arrive_embedded() {
    files_of_all_sizes_arrive(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn files_of_all_sizes_arrive_over_the_servers() {
    files_of_all_sizes_arrive(Backend::servers().unwrap()).await;
}

async fn everything_is_replaced_under_way(backend: Backend) {
    let World { mut cluster, alice, bob, folder } = World::new(backend).await;
    let bytes = content(8 * PART + 99, 8);
    let source = folder.join("large.bin");
    fs::write(&source, &bytes).unwrap();

    // Both replicas of the service, and the gateway of whoever is at it, go while a file is on its way.
    let begun = Arc::new(Notify::new());
    let once = begun.clone();
    let up = alice.upload(&source, move |progress| {
        if progress.bytes > 0 {
            once.notify_one();
        }
    });
    let mut roll = async |gateway| {
        begun.notified().await;
        for _ in 0..2 {
            cluster.add_services().await.unwrap();
            assert!(cluster.drain_services().await, "services finish their calls");
        }
        assert!(cluster.replace_gateway(gateway).await.unwrap(), "gateways finish theirs");
    };
    let (sent, ()) = tokio::join!(up, roll(0));
    let sent = sent.unwrap();
    let once = begun.clone();
    let target = folder.join("taken.bin");
    let down = bob.download(&sent, &target, move |progress| {
        if progress.bytes > 0 {
            once.notify_one();
        }
    });
    let (taken, ()) = tokio::join!(down, roll(1));
    assert!(fs::read(taken.unwrap()).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_embedded_is_replaced_under_way() {
    everything_is_replaced_under_way(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn everything_on_the_servers_is_replaced_under_way() {
    everything_is_replaced_under_way(Backend::servers().unwrap()).await;
}

/// Runs `work` until its progress has come so far, then drops it.
async fn cut_at<T>(share: f64, work: impl AsyncFnOnce(Box<dyn Fn(Progress) + Send + Sync>) -> T) {
    let far = Arc::new(Notify::new());
    let reached = far.clone();
    let tell = Box::new(move |progress: Progress| {
        if progress.bytes as f64 >= progress.total as f64 * share {
            reached.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = far.notified() => {}
        _ = work(tell) => panic!("it was over before"),
    }
}

async fn interrupted_files_go_on_in_another_process(backend: Backend) {
    let mut world = World::new(backend).await;
    // More than what is on its way at once: something is there for sure when it is cut.
    let bytes = content(10 * PART + 5, 3);
    let source = world.write("large.bin", &bytes);
    cut_at(0.6, async |tell| world.alice.upload(&source, tell).await).await;
    world.alice.clone().close().await;
    drop(world.alice);
    world.alice = client(&world.cluster, "alice", 0, 1).await;
    let (all, tell) = told();
    let sent = world.alice.upload(&source, tell).await.unwrap();
    let first = all.lock().unwrap()[0];
    assert!(first.bytes > 0 && first.rate == 0, "what was there is not sent again: {first:?}");

    let target = world.folder.join("taken.bin");
    cut_at(0.6, async |tell| world.bob.download(&sent, &target, tell).await).await;
    assert!(!target.exists(), "nothing has the name of the file before it is whole");
    world.bob.clone().close().await;
    drop(world.bob);
    world.bob = client(&world.cluster, "bob", 0, 0).await;
    let (all, tell) = told();
    world.bob.download(&sent, &target, tell).await.unwrap();
    let first = all.lock().unwrap()[0];
    assert!(first.bytes > 0 && first.rate == 0, "what was taken is not taken again: {first:?}");
    assert!(fs::read(&target).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_files_go_on_in_another_process_embedded() {
    interrupted_files_go_on_in_another_process(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn interrupted_files_go_on_in_another_process_over_the_servers() {
    interrupted_files_go_on_in_another_process(Backend::servers().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_is_begun_anew_under_another_key() {
    let world = World::new(Backend::Embedded).await;
    let (old, mut new) = (content(10 * PART, 1), content(10 * PART, 1));
    let source = world.write("changing.bin", &old);
    let written = fs::metadata(&source).unwrap().modified().unwrap();
    cut_at(0.6, async |tell| world.alice.upload(&source, tell).await).await;
    // One byte, and the clock turned back, so that nothing but the content tells.
    new[CHUNK + 7] ^= 1;
    fs::write(&source, &new).unwrap();
    fs::File::options().write(true).open(&source).unwrap().set_modified(written).unwrap();
    let sent = world.alice.upload(&source, silent).await.unwrap();
    let taken = world.bob.download(&sent, &world.inbox("in"), silent).await.unwrap();
    assert!(fs::read(taken).unwrap() == new);

    // And the same file once more is another file to the server.
    let again = world.alice.upload(&source, silent).await.unwrap();
    assert!(again.key != sent.key && again.blob_id != sent.blob_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_send_and_take_at_once() {
    let World { cluster, alice, bob, folder } = World::new(Backend::Embedded).await;
    let carol = client(&cluster, "carol", 0, 0).await;
    let clients = [&alice, &bob, &carol];
    let work = (0..9).map(|n| {
        let (from, to, folder) = (clients[n % 3], clients[(n + 1) % 3], &folder);
        async move {
            let bytes = content(PART + n * 10_000, n as u64);
            let source = folder.join(format!("{n}.bin"));
            fs::write(&source, &bytes).unwrap();
            let sent = from.upload(&source, silent).await.unwrap();
            let taken = to.download(&sent, &folder.join(format!("{n}.taken")), silent).await.unwrap();
            assert!(fs::read(taken).unwrap() == bytes, "file {n}");
        }
    });
    join_all(work).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_gone_is_not_taken_for_the_file() {
    let world = World::new(Backend::Embedded).await;
    let source = world.write("a.bin", &content(10 * PART, 1));
    let sent = world.alice.upload(&source, silent).await.unwrap();
    let inbox = world.inbox("in");

    // The disk of the server turns a bit.
    let body = bodies(&world.cluster.bodies()).into_iter().find(|path| path.ends_with("1")).unwrap();
    let whole = fs::read(&body).unwrap();
    let mut damaged = whole.clone();
    damaged[77_777] ^= 4;
    fs::write(&body, &damaged).unwrap();
    let error = world.bob.download(&sent, &inbox, silent).await.unwrap_err();
    assert!(matches!(error, Error::DamagedFile(_)), "{error}");
    assert_eq!(names(&inbox), [""; 0]);
    fs::write(&body, &whole).unwrap();

    // Something has been at the half-taken file here.
    cut_at(0.7, async |tell| world.bob.download(&sent, &inbox, tell).await).await;
    let part = inbox.join(&names(&inbox)[0]);
    let mut half =
        eventually("a part of the file", || async { fs::read(&part).ok().filter(|half| half.len() > CHUNK) }).await;
    half[1_000] ^= 1;
    fs::write(&part, half).unwrap();
    let taken = world.bob.download(&sent, &inbox, silent).await.unwrap();
    assert!(fs::read(taken).unwrap() == fs::read(&source).unwrap());

    // A key of another file, and sizes that do not belong together.
    for wrong in [
        Attachment { key: [9; 32].into(), ..sent.clone() },
        Attachment { size: sent.size / 2, ..sent.clone() },
        Attachment { sealed_size: sent.sealed_size + 1, ..sent.clone() },
    ] {
        let target = inbox.join("wrong");
        assert!(world.bob.download(&wrong, &target, silent).await.is_err() && !target.exists(), "{wrong:?}");
    }

    let error = world.bob.delete_file(&sent).await.unwrap_err();
    assert_eq!(refusal(error).code, Code::PermissionDenied, "whoever may read it may not take it away");
    world.alice.delete_file(&sent).await.unwrap();
    let error = world.bob.download(&sent, &inbox, silent).await.unwrap_err();
    assert!(matches!(error, Error::Expired(_)), "{error}");
    assert_eq!(names(&inbox), ["a.bin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_places_are_safe() {
    let world = World::new(Backend::Embedded).await;
    let source = world.write("note.txt", b"hello");
    let sent = world.alice.upload(&source, silent).await.unwrap();
    assert_eq!((&*sent.name, &*sent.media_type), ("note.txt", "text/plain"));
    // As it comes out of a message of somebody who means harm.
    let said = qpc_wire::content::Attachment { name: "../../note.txt".into(), ..(&sent).into() };
    let sent = Attachment::try_from(said).unwrap();
    let inbox = world.inbox("in");
    for name in ["note.txt", "note (2).txt"] {
        assert_eq!(world.bob.download(&sent, &inbox, silent).await.unwrap(), inbox.join(name));
    }
    let error = world.bob.download(&sent, &inbox.join("note.txt"), silent).await.unwrap_err();
    assert!(matches!(error, Error::FileExists(_)), "{error}");
    let error = world.alice.upload(&inbox, silent).await.unwrap_err();
    assert!(matches!(error, Error::NotAFile(_)), "{error}");
    let error = world.alice.upload(&inbox.join("gone"), silent).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

async fn limits_are_told_before_a_byte_is_sent(backend: Backend) {
    let world = World::of(
        Cluster::start_with(Shape::pairs(backend), |options| options.blob.blob_daily_mib = 64).await.unwrap(),
    )
    .await;
    let large = world.folder.join("large.bin");
    fs::File::create(&large).unwrap().set_len(60_000_000).unwrap();
    let status = refusal(world.alice.upload(&large, silent).await.unwrap_err());
    assert_eq!((status.code, status.retry_after_ms), (Code::InvalidArgument, 0));

    // The largest file is one of 50 MiB; with it, 14 of the 64 MiB of a day are left, less what encryption adds.
    let caller = identity(&world.alice.whoami().await.unwrap());
    let begin = async |size: u64| {
        let request = BlobBeginRequest { idempotency_key: random_key(&world.cluster), size };
        call::<BlobBegin>(&world.cluster, Some(caller), &request).await
    };
    let largest = 50 << 20;
    let sealed = largest + 16 * (largest as f64 / 65_520.0).ceil() as u64;
    assert_eq!(begin(sealed + 1).await.unwrap_err().code, Code::InvalidArgument);
    let begun = begin(sealed).await.unwrap();
    let left = (64 << 20) - sealed;
    begin(left - (64 << 10)).await.unwrap();
    // Counts 64 KiB.
    begin(1).await.unwrap();
    let refused = begin(1).await.unwrap_err();
    assert_eq!(refused.code, Code::ResourceExhausted);
    let day = 24 * 60 * 60 * 1000;
    assert!((1..=day).contains(&refused.retry_after_ms), "until midnight: {}", refused.retry_after_ms);
    let told = refusal(world.alice.upload(&world.write("small", b"x"), silent).await.unwrap_err());
    assert!(told.code == Code::ResourceExhausted && told.retry_after_ms > 0);
    // Others are not concerned.
    world.bob.upload(&world.write("small", b"x"), silent).await.unwrap();

    // Uploads are of one device.
    let request = BlobPartsRequest { upload_id: begun.upload_id.clone() };
    assert!(call::<BlobParts>(&world.cluster, Some(caller), &request).await.unwrap().parts.is_empty());
    let stranger = identity(&world.bob.whoami().await.unwrap());
    let refused = call::<BlobParts>(&world.cluster, Some(stranger), &request).await.unwrap_err();
    assert_eq!(refused.code, Code::NotFound);
    let nobody = call::<BlobParts>(&world.cluster, None, &BlobPartsRequest { upload_id: Bytes::new() }).await;
    assert_eq!(nobody.unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_told_before_a_byte_is_sent_embedded() {
    limits_are_told_before_a_byte_is_sent(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn limits_are_told_before_a_byte_is_sent_over_the_servers() {
    limits_are_told_before_a_byte_is_sent(Backend::servers().unwrap()).await;
}
