//! Bodies pass through in both directions; bad ones cost their stream, slow sides slow the other one down, and a session that
//! ends takes its bodies with it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use qpc_chassis::bulk::{self, Body, BulkAddress, BulkRouter, BulkTls};
use qpc_wire::{
    Code, Method, Status,
    frame::{self, ErrorCode, RESPONSE_HEADER, ResponseHeader},
    limits::MAX_FRAME_PAYLOAD,
    methods::{BlobGet, BlobPut},
    pieces::{self, END, Pieces},
    v1,
};
use tokio::sync::Semaphore;

use crate::support::{Edge, config, device, soon, token, until};

/// What the stand-in service has taken, and may take.
struct Sink {
    taken: AtomicUsize,
    whole: AtomicUsize,
    /// A permit for each time that it reads.
    reads: Semaphore,
}

async fn put(
    sink: Arc<Sink>,
    request: v1::BlobPutRequest,
    mut body: Body,
) -> (Body, Result<v1::BlobPutResponse, Status>) {
    if request.part == 13 {
        return (body, Err(Status::new(Code::ResourceExhausted, "too much")));
    }
    loop {
        sink.reads.acquire().await.unwrap().forget();
        match body.next().await {
            Ok(Some(bytes)) => drop(sink.taken.fetch_add(bytes.len(), Ordering::SeqCst)),
            Ok(None) => break,
            Err(error) => return (body, Err(Status::invalid(error.to_string()))),
        }
    }
    sink.whole.fetch_add(1, Ordering::SeqCst);
    (body, Ok(v1::BlobPutResponse {}))
}

/// As many pieces as the offset says; a length of 1 makes it break off.
async fn get(request: v1::BlobGetRequest) -> Result<(v1::BlobGetResponse, bulk::Source), Status> {
    let pieces = (0..request.offset).map(|n| Ok(Bytes::from(vec![n as u8; 1000])));
    let end = (request.length == 1).then(|| Err(Status::internal()));
    Ok((v1::BlobGetResponse { size: 0, length: 0 }, stream::iter(pieces.chain(end)).boxed()))
}

async fn edge() -> (Edge, Arc<Sink>) {
    let edge = Edge::start(config()).await;
    let sink = Arc::new(Sink {
        taken: AtomicUsize::new(0),
        whole: AtomicUsize::new(0),
        reads: Semaphore::new(Semaphore::MAX_PERMITS),
    });
    let router = BulkRouter::new(sink.clone())
        .up::<BlobPut, _, _, _>(|sink, _, request, body| put(sink, request, body))
        .down::<BlobGet, _, _, _>(|_, _, request| get(request));
    let at = BulkAddress { listen: ([127, 0, 0, 1], 0).into(), announce: None };
    bulk::serve(&edge.deps, "blob", &at, &BulkTls::default(), router).await.unwrap();
    (edge, sink)
}

fn request(part: u32) -> Bytes {
    frame::request(BlobPut::INFO.id, 7, &v1::BlobPutRequest { part, ..Default::default() }).unwrap()
}

fn piece(len: usize) -> Vec<u8> {
    [pieces::header(len).as_slice(), &vec![7; len]].concat()
}

#[tokio::test]
async fn a_body_comes_whole_or_not_at_all() {
    let (edge, sink) = edge().await;
    let client = edge.attached(device(1)).await;
    let good = [&request(0)[..], &piece(1), &piece(MAX_FRAME_PAYLOAD), &piece(70_000), &END].concat();
    assert_eq!(client.raw(&good).await, Ok((0, Bytes::new())));
    assert_eq!(sink.taken.load(Ordering::SeqCst), 1 + MAX_FRAME_PAYLOAD + 70_000);
    assert_eq!(client.raw(&[&request(0)[..], &END].concat()).await, Ok((0, Bytes::new())), "a body may be empty");

    let over = (MAX_FRAME_PAYLOAD as u32 + 1).to_be_bytes();
    for (bad, code) in [
        (request(0).to_vec(), ErrorCode::Malformed),
        ([&request(0)[..], &piece(10)].concat(), ErrorCode::Malformed),
        ([&request(0)[..], &piece(10)[..9]].concat(), ErrorCode::Malformed),
        ([&good[..], b"x"].concat(), ErrorCode::Malformed),
        ([&request(0)[..], &over].concat(), ErrorCode::Oversized),
        (request(1)[..11].to_vec(), ErrorCode::Malformed),
    ] {
        // What follows the end may be too late to be seen: then the call was whole before.
        match client.raw(&bad).await {
            Err(reset) => assert_eq!(reset, code as u64, "{} bytes", bad.len()),
            Ok(answer) => assert!(answer.0 == 0 && bad.ends_with(b"x")),
        }
        client.ping().await;
    }
    assert!(edge.metric("gateway_bad_frames_total") >= 5);
}

#[tokio::test]
async fn refusals_come_without_waiting_for_the_body() {
    let (edge, sink) = edge().await;
    let client = edge.attached(device(1)).await;
    let (status, _) = client.unfinished(&[&request(13)[..], &piece(5)].concat()).await.unwrap();
    assert_eq!(status, Code::ResourceExhausted as u8);
    let anonymous = edge.client().await;
    let (status, _) = anonymous.unfinished(&[&request(0)[..], &piece(5)].concat()).await.unwrap();
    assert_eq!(status, Code::Unauthenticated as u8);
    assert_eq!(sink.taken.load(Ordering::SeqCst), 0);

    let alone = Edge::start(config()).await;
    let client = alone.attached(device(1)).await;
    let (status, body) = client.unfinished(&request(0)).await.unwrap();
    assert_eq!((status, Status::decode(status, body).retry_after_ms), (Code::Unavailable as u8, 500));
}

#[tokio::test]
async fn a_service_that_does_not_read_stops_the_client() {
    let (edge, sink) = edge().await;
    let client = edge.attached(device(1)).await;
    sink.reads.forget_permits(Semaphore::MAX_PERMITS);
    let (mut send, mut recv) = client.connection.open_bi().await.unwrap();
    send.write_all(&request(0)).await.unwrap();
    let much = piece(MAX_FRAME_PAYLOAD);
    let mut written = 0;
    let stuck = async {
        while written < 64 {
            send.write_all(&much).await.unwrap();
            written += 1;
        }
    };
    assert!(tokio::time::timeout(std::time::Duration::from_millis(500), stuck).await.is_err());
    // The client's own library holds ten of them.
    assert!(written < 16, "{written} MiB are on their way and nobody reads them");

    // A session that ends takes the call with it, whoever waits for whom.
    edge.backend.revoked.lock().unwrap().push(device(1));
    edge.ring_everywhere(device(1)).await;
    edge.heard().await;
    sink.reads.add_permits(64);
    let mut header = [0; RESPONSE_HEADER];
    soon(recv.read_exact(&mut header)).await.unwrap();
    assert_eq!(ResponseHeader::decode(&header).unwrap().status, Code::Unauthenticated as u8);
    assert_eq!(sink.whole.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_client_that_goes_ends_the_call_of_the_service() {
    let (edge, sink) = edge().await;
    let client = edge.attached(device(1)).await;
    let (mut send, _recv) = client.connection.open_bi().await.unwrap();
    send.write_all(&[&request(0)[..], &piece(10)].concat()).await.unwrap();
    until(|| sink.taken.load(Ordering::SeqCst) == 10).await;
    send.reset(0u32.into()).unwrap();
    until(|| edge.metric("gateway_streams") == 0).await;
    assert_eq!(sink.whole.load(Ordering::SeqCst), 0, "a part that was cut is none");
    client.ping().await;
}

#[tokio::test]
async fn bodies_of_answers_end_or_are_reset() {
    let (edge, _) = edge().await;
    let client = edge.client().await;
    client.attach(token(device(1), u64::MAX)).await.unwrap();
    let get = |pieces, length| {
        let request = v1::BlobGetRequest { blob_id: Bytes::new(), offset: pieces, length };
        let frame = frame::request(BlobGet::INFO.id, 9, &request).unwrap();
        let connection = client.connection.clone();
        async move {
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(&frame).await.unwrap();
            send.finish().unwrap();
            soon(recv.read_to_end(1 << 20)).await.map(Bytes::from)
        }
    };
    let mut bytes = get(3, 0).await.unwrap();
    let header = ResponseHeader::decode(bytes[..RESPONSE_HEADER].try_into().unwrap()).unwrap();
    assert_eq!((header.status, header.request_id), (0, 9));
    let mut body = bytes.split_off(RESPONSE_HEADER + header.payload_len);
    let (mut pieces, mut content) = (Pieces::new(), Vec::new());
    while let Some(part) = pieces.take(&mut body).unwrap() {
        content.extend_from_slice(&part);
    }
    assert!(pieces.ended() && content.len() == 3000 && content[2999] == 2);

    let cut = get(3, 1).await.unwrap_err().to_string();
    assert!(cut.contains("reset"), "a body that breaks off has no end: {cut}");
    assert_eq!(edge.metric("gateway_bad_frames_total"), 0, "which is not the client's fault");
}
