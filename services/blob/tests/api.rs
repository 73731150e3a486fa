//! The service as gateways meet it: control calls over the bus, bodies over pipes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message;
use qpc_blob::Config;
use qpc_chassis::{
    Runtime,
    bulk::{BulkClient, BulkReceiver, BulkSender, BulkTls},
    rpc::forward,
    run::Deps,
    secrets::Secrets,
};
use qpc_crypto::Sha256Chain;
use qpc_wire::{Code, Method, Status, bus, methods::*, pieces, v1::*};
use sha2::{Digest as _, Sha256};

/// Time a call of a test may take.
const DEADLINE: Duration = Duration::from_secs(30);
const PART: usize = 4 << 20;

struct World {
    deps: Deps,
    pipes: BulkClient,
    _folder: tempfile::TempDir,
}

/// Account and device.
#[derive(Clone, Copy)]
struct Caller(u8, u8);
const ALICE: Caller = Caller(1, 1);
const ALICES_OTHER: Caller = Caller(1, 2);
const BOB: Caller = Caller(3, 3);

fn pipes(deps: &Deps) -> BulkClient {
    BulkClient::new(deps, &BulkTls::default()).unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::system();
        let deps = Deps::local(runtime, Secrets::new([5; 32]), format!("sqlite:{}", folder.path().display()));
        let mut config = Config::default();
        config.objects.blob_store = Some(format!("disk:{}", folder.path().join("bodies").display()));
        for _ in 0..2 {
            qpc_blob::start(deps.child(), config.clone()).await.unwrap();
        }
        Self { pipes: pipes(&deps), deps, _folder: folder }
    }

    fn envelope<M: Method>(&self, Caller(account, device): Caller, request: &M::Request) -> bus::Call {
        bus::Call {
            method: M::INFO.id.into(),
            correlation_id: Bytes::from_static(&[0; 12]),
            deadline_ms: self.deps.runtime.now_ms() + DEADLINE.as_millis() as u64,
            account_id: vec![account; 16].into(),
            device_id: vec![device; 16].into(),
            channel_binding: Bytes::from_static(&[1; 32]),
            address_hash: Bytes::new(),
            body: request.encode_to_vec().into(),
            trace: Bytes::new(),
        }
    }

    async fn call<M: Method>(&self, caller: Caller, request: M::Request) -> Result<M::Response, Status> {
        let call = self.envelope::<M>(caller, &request);
        let (status, body) = forward(&*self.deps.bus, "blob", call, DEADLINE).await.unwrap();
        decode::<M>(status, body)
    }

    async fn begin(&self, caller: Caller, size: usize) -> Bytes {
        let request =
            BlobBeginRequest { idempotency_key: self.deps.runtime.random::<16>().to_vec().into(), size: size as u64 };
        self.call::<BlobBegin>(caller, request).await.unwrap().upload_id
    }

    async fn begin_put(
        &self,
        caller: Caller,
        upload_id: &Bytes,
        part: u32,
        before: &[u8],
    ) -> (BulkSender, BulkReceiver) {
        let request =
            BlobPutRequest { upload_id: upload_id.clone(), part, hash_before: Bytes::copy_from_slice(before) };
        self.pipes.open("blob", self.envelope::<BlobPut>(caller, &request)).await.unwrap()
    }

    /// A part of something whose hash does not matter, or that begins with it.
    async fn put(&self, caller: Caller, upload_id: &Bytes, part: u32, content: &[u8]) -> Result<(), Status> {
        self.put_after(caller, upload_id, part, &Sha256Chain::initial(), content).await
    }

    async fn put_after(
        &self,
        caller: Caller,
        upload_id: &Bytes,
        part: u32,
        before: &[u8],
        content: &[u8],
    ) -> Result<(), Status> {
        let (mut sender, mut receiver) = self.begin_put(caller, upload_id, part, before).await;
        for piece in content.chunks(300_000) {
            // A refusal may come before the end; then nobody reads on.
            let _ = sender.send(&pieces::header(piece.len())).await;
            let _ = sender.send(piece).await;
        }
        let _ = sender.send(&pieces::END).await;
        let (status, body) = receiver.reply().await.unwrap();
        decode::<BlobPut>(status, body).map(drop)
    }

    async fn finish(&self, caller: Caller, upload_id: &Bytes, blob_id: &[u8]) -> Result<u64, Status> {
        let request = BlobFinishRequest { upload_id: upload_id.clone(), blob_id: Bytes::copy_from_slice(blob_id) };
        self.call::<BlobFinish>(caller, request).await.map(|answer| answer.expires_at_ms)
    }

    async fn get(&self, caller: Caller, blob_id: &[u8], offset: u64, length: u64) -> Result<(u64, Vec<u8>), Status> {
        let request = BlobGetRequest { blob_id: Bytes::copy_from_slice(blob_id), offset, length };
        let (_sender, mut receiver) =
            self.pipes.open("blob", self.envelope::<BlobGet>(caller, &request)).await.unwrap();
        let (status, body) = receiver.reply().await.unwrap();
        let answer = decode::<BlobGet>(status, body)?;
        let (mut pieces, mut content) = (pieces::Pieces::new(), Vec::new());
        while let Some(mut bytes) = receiver.next().await.unwrap() {
            while let Some(part) = pieces.take(&mut bytes).unwrap() {
                content.extend_from_slice(&part);
            }
        }
        assert!(pieces.ended() && content.len() as u64 == answer.length);
        Ok((answer.size, content))
    }
}

fn decode<M: Method>(status: u8, body: Bytes) -> Result<M::Response, Status> {
    if status == 0 { Ok(M::Response::decode(body).unwrap()) } else { Err(Status::decode(status, body)) }
}

fn code<T>(result: Result<T, Status>) -> Code {
    result.err().expect("the call was to be refused").code
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 3 % 251) as u8).collect()
}

#[tokio::test]
async fn parts_in_any_order_become_a_blob_that_is_read_in_ranges() {
    let world = World::new().await;
    let whole = content(2 * PART + 1000);
    let id = Sha256::digest(&whole);
    let upload = world.begin(ALICE, whole.len()).await;
    let parts: Vec<&[u8]> = whole.chunks(PART).collect();
    let values = values(&parts);
    let put = |n: usize| world.put_after(ALICE, &upload, n as u32, &values[n], parts[n]);
    put(2).await.unwrap();
    assert_eq!(code(world.finish(ALICE, &upload, &id).await), Code::FailedPrecondition);
    let (one, zero) = tokio::join!(put(1), put(0));
    one.unwrap();
    zero.unwrap();
    put(1).await.expect("again changes nothing");
    let known = world.call::<BlobParts>(ALICE, BlobPartsRequest { upload_id: upload.clone() }).await.unwrap();
    assert_eq!((known.parts, known.size, known.part_size as usize), (vec![0, 1, 2], whole.len() as u64, PART));

    assert_eq!(code(world.get(BOB, &id, 0, 1).await), Code::NotFound, "there is no blob yet");
    assert_eq!(code(world.finish(ALICE, &upload, &[7; 32]).await), Code::InvalidArgument);
    assert_eq!(code(world.finish(ALICE, &upload, &[7; 31]).await), Code::InvalidArgument);
    let expires = world.finish(ALICE, &upload, &id).await.unwrap();
    let days = (expires - world.deps.runtime.now_ms()) / (24 * 60 * 60 * 1000);
    assert!((30..=31).contains(&days), "{days}");
    assert_eq!(world.finish(ALICE, &upload, &id).await.unwrap(), expires, "the answer may have been lost");
    assert_eq!(code(put(0).await), Code::NotFound, "what is finished stays");

    for (offset, length) in [(0, 10), (PART - 5, 10), (PART, PART + 1000), (whole.len() - 1, 99), (whole.len(), 1)] {
        let (size, got) = world.get(BOB, &id, offset as u64, length as u64).await.unwrap();
        assert_eq!(size, whole.len() as u64);
        assert!(got == whole[offset..(offset + length).min(whole.len())], "{length} from {offset}");
    }
    assert_eq!(code(world.get(BOB, &id, whole.len() as u64 + 1, 1).await), Code::OutOfRange);
    let stat = world.call::<BlobStat>(BOB, BlobStatRequest { blob_id: id.to_vec().into() }).await.unwrap();
    assert_eq!((stat.size, stat.expires_at_ms), (whole.len() as u64, expires));
}

/// With what SHA-256 begins each part.
fn values(parts: &[&[u8]]) -> Vec<[u8; 32]> {
    let mut hash = Sha256Chain::default();
    let value = |part: &&[u8]| {
        let value = hash.value().unwrap();
        hash.update(part);
        value
    };
    parts.iter().map(value).collect()
}

/// Nobody hashes the whole: each part is hashed after what its writer says was before it, and that must have been.
#[tokio::test]
async fn what_is_not_what_its_name_says_is_no_blob() {
    let world = World::new().await;
    let whole = content(2 * PART + 1000);
    let (id, parts): (_, Vec<&[u8]>) = (Sha256::digest(&whole), whole.chunks(PART).collect());
    let (values, other) = (values(&parts), content(PART + 1));
    let put = async |upload: &Bytes, n: usize, before: &[u8], content: &[u8]| {
        world.put_after(ALICE, upload, n as u32, before, content).await
    };
    let upload = world.begin(ALICE, whole.len()).await;
    for n in 0..3 {
        put(&upload, n, &values[n], parts[n]).await.unwrap();
    }
    assert_eq!(code(put(&upload, 1, &values[1][..31], parts[1]).await), Code::InvalidArgument);
    for (n, before, content) in [
        (0, values[0], &other[1..]),
        (0, values[1], parts[0]),
        (1, values[1], &other[1..]),
        (1, values[2], parts[1]),
        (2, values[2], &other[..1000]),
        (2, values[0], parts[2]),
    ] {
        put(&upload, n, &before, content).await.unwrap();
        assert_eq!(code(world.finish(ALICE, &upload, &id).await), Code::InvalidArgument, "{n}");
        put(&upload, n, &values[n], parts[n]).await.unwrap();
    }
    world.finish(ALICE, &upload, &id).await.unwrap();
}

#[tokio::test]
async fn an_account_is_told_what_it_has_brought() {
    let world = World::new().await;
    let report = async |Caller(account, _): Caller| {
        let request = ReportFilesRequest { account_id: vec![account; 16].into() };
        world.deps.client().call_unasked::<ReportFiles>(&request).await.unwrap()
    };
    let whole = content(100_000);
    let id = Sha256::digest(&whole);
    let upload = world.begin(ALICE, whole.len()).await;
    world.put(ALICE, &upload, 0, &whole).await.unwrap();
    let expires = world.finish(ALICE, &upload, &id).await.unwrap();
    let begun = world.begin(ALICES_OTHER, PART + 10).await;
    world.put(ALICES_OTHER, &begun, 1, &whole[..10]).await.unwrap();

    let told = report(ALICE).await;
    let files = told.files.unwrap();
    assert_eq!((files.blobs, files.blob_bytes, files.uploads), (1, 100_000, 1));
    let blob = BlobReport { blob_id: id.to_vec().into(), size: 100_000, expires_at_ms: expires };
    assert_eq!(files.blob_rows, [blob]);
    let [row] = &files.upload_rows[..] else { panic!("one upload") };
    assert_eq!((&row.upload_id, &row.device_id), (&begun, &Bytes::from(vec![ALICES_OTHER.1; 16])));
    assert_eq!((row.size, row.parts), (PART as u64 + 10, 1));
    assert_eq!((told.announced, told.daily), (100_000 + PART as u64 + 10, 1 << 30));
    let nothing = report(BOB).await;
    assert_eq!((nothing.files, nothing.announced), (Some(FilesReport::default()), 0));
    let request = ReportFilesRequest { account_id: vec![ALICE.0; 16].into() };
    assert_eq!(code(world.call::<ReportFiles>(ALICE, request).await), Code::Unimplemented, "asked by auth alone");
}

#[tokio::test]
async fn a_part_has_its_length_and_an_upload_its_device() {
    let world = World::new().await;
    let upload = world.begin(ALICE, PART + 10).await;
    let part = content(PART + 1);
    assert_eq!(code(world.put(ALICE, &upload, 0, &part[..PART - 1]).await), Code::InvalidArgument);
    assert_eq!(code(world.put(ALICE, &upload, 0, &part).await), Code::InvalidArgument);
    assert_eq!(code(world.put(ALICE, &upload, 1, &[]).await), Code::InvalidArgument);
    assert_eq!(code(world.put(ALICE, &upload, 2, &part[..10]).await), Code::InvalidArgument);
    for stranger in [ALICES_OTHER, BOB] {
        assert_eq!(code(world.put(stranger, &upload, 1, &part[..10]).await), Code::NotFound);
        assert_eq!(code(world.finish(stranger, &upload, &[0; 32]).await), Code::NotFound);
    }
    let known = world.call::<BlobParts>(ALICE, BlobPartsRequest { upload_id: upload }).await.unwrap();
    assert!(known.parts.is_empty());
    let key: Bytes = vec![9; 16].into();
    let begin = |size| world.call::<BlobBegin>(ALICE, BlobBeginRequest { idempotency_key: key.clone(), size });
    let first = begin(5).await.unwrap();
    assert_eq!(begin(5).await.unwrap(), first, "one intent, one upload");
    assert_eq!(code(begin(0).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_device_brings_eight_parts_at_a_time() {
    let world = World::new().await;
    // The two replicas take turns: twice eight fill both.
    let upload = world.begin(ALICE, 17 << 20).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        let (mut sender, receiver) = world.begin_put(ALICE, &upload, 0, &Sha256Chain::initial()).await;
        sender.send(&pieces::header(1)).await.unwrap();
        open.push((sender, receiver));
    }
    let inside = || {
        let figures = world.deps.metrics.render();
        figures.lines().filter_map(|line| line.strip_prefix("qpc_blob_parts ")?.parse::<u32>().ok()).sum::<u32>()
    };
    let all_inside = async {
        while inside() < 16 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, all_inside).await.expect("sixteen parts are let in");
    let refused = join_all((0..2).map(|_| world.put(ALICE, &upload, 4, &[1]))).await;
    for refused in refused {
        let refused = refused.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 500));
    }
    let other = world.begin(BOB, 10).await;
    world.put(BOB, &other, 0, &content(10)).await.expect("others are not concerned");
}

#[tokio::test]
async fn a_blob_is_deleted_by_its_account_from_any_device() {
    let world = World::new().await;
    let (whole, upload) = (content(10), world.begin(ALICE, 10).await);
    let id: Bytes = Sha256::digest(&whole).to_vec().into();
    world.put(ALICE, &upload, 0, &whole).await.unwrap();
    world.finish(ALICE, &upload, &id).await.unwrap();
    let delete = |caller| world.call::<BlobDelete>(caller, BlobDeleteRequest { blob_id: id.clone() });
    assert_eq!(code(delete(BOB).await), Code::PermissionDenied);
    delete(ALICES_OTHER).await.unwrap();
    delete(ALICE).await.expect("again changes nothing");
    assert_eq!(code(world.get(ALICE, &id, 0, 1).await), Code::NotFound);
}

#[tokio::test]
async fn calls_of_another_installation_are_not_answered() {
    let world = World::new().await;
    let stranger = pipes(&Deps { secrets: Secrets::new([6; 32]), ..world.deps.clone() });
    let call = world.envelope::<BlobGet>(ALICE, &BlobGetRequest::default());
    let (_sender, mut receiver) = stranger.open("blob", call).await.unwrap();
    assert!(receiver.reply().await.is_err());
}
