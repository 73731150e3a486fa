//! One call on one stream: the frame in, the answer out. Whatever is wrong with it costs this stream only.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use qpc_wire::{
    Code, Flow, Status,
    frame::{self, ErrorCode, REQUEST_HEADER},
};
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Limits, SERVICE, calls,
    carrier::{Gone, RecvStream, SendStream},
    link::{InFlight, Link},
    session::Frame,
};

/// What goes back to the client.
pub(crate) struct Answer {
    pub(crate) status: u8,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn ok(body: Bytes) -> Self {
        Self { status: 0, body }
    }

    pub(crate) fn code(&self) -> Code {
        Code::try_from(i32::from(self.status)).unwrap_or(Code::Unknown)
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Self { status: status.code as u8, body: status.encode() }
    }
}

/// Why a frame or a body could not be read.
pub(crate) enum Fault {
    Bad(ErrorCode),
    /// The client took it back, or the connection is gone.
    Gone,
}

/// Serves one stream from its first byte to its last.
pub(crate) async fn serve(link: Arc<Link>, _call: InFlight, mut send: SendStream, mut recv: RecvStream) {
    let started = Instant::now();
    match read(&link, started, &mut recv).await {
        Ok((frame, body, rest, _)) if frame.info.flow() != Flow::Frames => {
            let mut stream = calls::bulk::Stream { link: &link, frame: &frame, send: &mut send, recv: &mut recv };
            match stream.serve(body, rest).await {
                Ok((code, place)) => {
                    link.core.deps.metrics.call(SERVICE, frame.info.name, code, started.elapsed(), place);
                }
                Err(Fault::Bad(code)) => reset(&link, code, &mut send, &mut recv),
                Err(Fault::Gone) => {}
            }
        }
        Ok((frame, body, _, _memory)) => {
            let Some((answer, place)) = calls::answer(&link, &frame, body, &send).await else { return };
            link.core.deps.metrics.call(SERVICE, frame.info.name, answer.code(), started.elapsed(), place);
            if let Err(code) = write(&link.core.config.limits, &mut send, frame.request_id, answer).await {
                reset(&link, code, &mut send, &mut recv);
            }
        }
        Err(Fault::Bad(code)) => reset(&link, code, &mut send, &mut recv),
        Err(Fault::Gone) => {}
    }
}

fn reset(link: &Link, code: ErrorCode, send: &mut SendStream, recv: &mut RecvStream) {
    let code = link.on_bad_frame(code) as u32;
    send.reset(code);
    recv.stop(code);
}

/// A whole request, what was read of the body behind it, and the share of the connection's memory that it takes.
async fn read<'a>(
    link: &'a Link,
    started: Instant,
    recv: &mut RecvStream,
) -> Result<(Frame, Bytes, Bytes, Option<SemaphorePermit<'a>>), Fault> {
    let mut reader = Reader { recv, limits: &link.core.config.limits, started, received: 0, rest: Bytes::new() };
    let header = reader.header().await?;
    let frame = link.session().on_frame(&header, link.now_ms()).map_err(Fault::Bad)?;
    let mut memory = None;
    if frame.keep && frame.payload_len > 0 {
        let asked = Instant::now();
        // At most MAX_FRAME_PAYLOAD, which fits u32; the semaphore is never closed.
        memory = link.request_bytes.acquire_many(frame.payload_len as u32).await.ok();
        reader.started += asked.elapsed();
    }
    let body = match frame.info.flow() {
        Flow::Up => reader.front(&frame).await?,
        Flow::Frames | Flow::Down => reader.payload(&frame).await?,
    };
    Ok((frame, body, reader.rest, memory))
}

struct Reader<'a> {
    recv: &'a mut RecvStream,
    limits: &'a Limits,
    started: Instant,
    received: usize,
    rest: Bytes,
}

impl Reader<'_> {
    async fn header(&mut self) -> Result<[u8; REQUEST_HEADER], Fault> {
        let mut header = [0; REQUEST_HEADER];
        let mut filled = 0;
        while filled < REQUEST_HEADER {
            let mut chunk = self.chunk().await?.ok_or(Fault::Bad(ErrorCode::Malformed))?;
            let taken = chunk.split_to(chunk.len().min(REQUEST_HEADER - filled));
            header[filled..filled + taken.len()].copy_from_slice(&taken);
            filled += taken.len();
            self.rest = chunk;
        }
        Ok(header)
    }

    /// Exactly the announced bytes, then the end. A payload in one piece, the usual case, is not copied; a longer one
    /// takes memory as it arrives, not as it was announced.
    async fn payload(&mut self, frame: &Frame) -> Result<Bytes, Fault> {
        let malformed = Fault::Bad(ErrorCode::Malformed);
        let mut left = frame.payload_len;
        let mut whole = Bytes::new();
        let mut parts = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            left = match left.checked_sub(chunk.len()) {
                Some(left) => left,
                None => return Err(malformed),
            };
            if !frame.keep {
                continue;
            }
            if chunk.len() == frame.payload_len {
                whole = chunk;
            } else {
                parts.extend_from_slice(&chunk);
            }
        }
        if left > 0 {
            return Err(malformed);
        }
        Ok(if parts.is_empty() { whole } else { parts.freeze() })
    }

    /// Exactly the announced bytes; more is to follow.
    async fn front(&mut self, frame: &Frame) -> Result<Bytes, Fault> {
        let mut parts = BytesMut::new();
        let mut left = frame.payload_len;
        while left > 0 {
            let mut chunk = self.chunk().await?.ok_or(Fault::Bad(ErrorCode::Malformed))?;
            let taken = chunk.split_to(chunk.len().min(left));
            left -= taken.len();
            self.rest = chunk;
            if frame.keep {
                parts.extend_from_slice(&taken);
            }
        }
        Ok(parts.freeze())
    }

    /// The next bytes; `None` at the end of the stream.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let deadline = self.started + self.limits.allowance(self.received);
        match timeout_at(deadline, self.recv.chunk()).await {
            Ok(Ok(chunk)) => {
                self.received += chunk.as_ref().map_or(0, Bytes::len);
                Ok(chunk)
            }
            Ok(Err(Gone)) => Err(Fault::Gone),
            Err(_) => Err(Fault::Bad(ErrorCode::TooSlow)),
        }
    }
}

/// An error is the code for a client that does not take its answer.
pub(crate) async fn write(
    limits: &Limits,
    send: &mut SendStream,
    request_id: u32,
    answer: Answer,
) -> Result<(), ErrorCode> {
    if write_frame(limits, send, request_id, answer).await? {
        send.finish();
    }
    Ok(())
}

/// The same without the end of the stream; false when nobody waits for the answer any more.
pub(crate) async fn write_frame(
    limits: &Limits,
    send: &mut SendStream,
    request_id: u32,
    answer: Answer,
) -> Result<bool, ErrorCode> {
    let Answer { mut status, mut body } = answer;
    let header = match frame::response_header(status, request_id, &body) {
        Ok(header) => Ok(header),
        Err(error) => {
            tracing::error!(%error, "answer over the frame limit");
            Answer { status, body } = Status::internal().into();
            frame::response_header(status, request_id, &body)
        }
    };
    // An error message of our own is far below the limit.
    let Ok(header) = header else { return Err(ErrorCode::Oversized) };
    let allowance = limits.allowance(body.len());
    let mut chunks = [header, body];
    match timeout(allowance, send.write_all_chunks(&mut chunks)).await {
        Ok(written) => Ok(written.is_ok()),
        Err(_) => Err(ErrorCode::TooSlow),
    }
}
