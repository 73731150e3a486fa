//! Calls with a body (`qpc_wire::pieces`), up or down. Time is counted from one step to the next: a large body may take long,
//! a standstill may not.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use qpc_wire::{
    Method, frame,
    limits::MAX_FRAME_PAYLOAD,
    pieces::{self, PIECE_HEADER},
};
use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    CallError, Connection, carrier,
    connection::{read_failed, read_response, write},
};

/// Longest time without any progress.
const STALL: Duration = Duration::from_secs(30);
/// Bytes of a piece that is sent.
const PIECE: usize = 256 << 10;

/// Bodies go after all that is short, and side by side: none may stand still for too long.
const AFTER: i32 = -1;

async fn step<T>(work: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    timeout(STALL, work).await.unwrap_or(Err(CallError::Deadline))
}

impl Connection {
    /// A call that brings a body. `sent` hears of its bytes as the connection takes them.
    pub async fn call_up<M: Method>(
        &self,
        request: &M::Request,
        body: &Bytes,
        sent: impl Fn(usize),
    ) -> Result<M::Response, CallError> {
        let (correlation, _stop, _counted) = self.begin::<M>();
        let id = correlation.request();
        let (mut send, mut receive) = self.carrier().open_bi().await?;
        send.set_priority(AFTER);
        let mut wanted = step(write(&mut send, frame::request(M::INFO.id, id, request)?)).await?;
        let mut rest = body.clone();
        while wanted && !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE));
            let len = piece.len();
            wanted = step(async {
                Ok(write(&mut send, Bytes::copy_from_slice(&pieces::header(len))).await?
                    && write(&mut send, piece).await?)
            })
            .await?;
            sent(len);
        }
        if wanted {
            step(write(&mut send, Bytes::from_static(&pieces::END))).await?;
        }
        send.finish();
        // What was sent may still be on its way.
        let within = STALL + Duration::from_millis(M::INFO.deadline_ms.into());
        let payload = timeout(within, read_response(&mut receive, id)).await.unwrap_or(Err(CallError::Deadline))?;
        Ok(M::Response::decode(payload)?)
    }

    /// A call whose response brings a body.
    pub async fn call_down<M: Method>(&self, request: &M::Request) -> Result<(M::Response, Body), CallError> {
        let (correlation, _stop, counted) = self.begin::<M>();
        let id = correlation.request();
        let (mut send, mut receive) = self.carrier().open_bi().await?;
        step(write(&mut send, frame::request(M::INFO.id, id, request)?)).await?;
        send.finish();
        let payload = step(read_response(&mut receive, id)).await?;
        Ok((M::Response::decode(payload)?, Body { receive, left: 0, _counted: counted }))
    }
}

/// The body of a response. Dropped before its end, it tells the server that nobody waits for the rest.
pub struct Body {
    receive: carrier::RecvStream,
    /// Bytes of the current piece.
    left: usize,
    _counted: TaskTrackerToken,
}

impl Body {
    /// Appends some of the body to `out`, which may grow to `most` bytes; tells how much, 0 at the end.
    pub async fn next(&mut self, out: &mut Vec<u8>, most: usize) -> Result<usize, CallError> {
        if self.left == 0 {
            let mut header = [0; PIECE_HEADER];
            step(async { self.receive.read_exact(&mut header).await.map_err(read_failed) }).await?;
            self.left = u32::from_be_bytes(header) as usize;
            if self.left == 0 {
                return Ok(0);
            }
        }
        if self.left > MAX_FRAME_PAYLOAD || self.left > most.saturating_sub(out.len()) {
            return Err(CallError::Malformed);
        }
        let chunk = step(async { self.receive.read_chunk(self.left).await.map_err(read_failed) }).await?;
        let chunk = chunk.ok_or(CallError::Malformed)?;
        out.extend_from_slice(&chunk);
        self.left -= chunk.len();
        Ok(chunk.len())
    }
}
