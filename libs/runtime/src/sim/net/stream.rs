//! Streams: one pipe for each direction.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use rand::Rng;
use tokio::time::Instant;

use super::{End, Kind, Look, Net, Wire, WireState};

/// Code of a stream that was reset by the network's fault.
const FAULT: u32 = 0;

/// Why nothing more comes out of a stream, or goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The other side has reset or stopped it, with this code.
    Stream(u32),
    /// The connection is over.
    Connection(End),
    /// It has ended before what was asked for.
    Early,
    /// This side has ended it.
    Ended,
}

/// One direction of a stream.
pub(super) struct Pipe {
    /// Whether the other side still has to learn of the stream, and as what.
    news: Option<Kind>,
    /// Nothing comes through: the stream is reset instead.
    faulty: bool,
    chunks: VecDeque<(Instant, Bytes)>,
    finished: Option<Instant>,
    reset: Option<(Instant, u32)>,
    stopped: Option<u32>,
    last: Instant,
    gone: [bool; 2],
}

/// Whether the next stream is to be reset.
pub(super) fn fate(net: &Net) -> bool {
    let mut state = net.state();
    let permille = state.weather.reset_permille;
    permille > 0 && state.rng.gen_range(0..1000) < permille
}

impl Pipe {
    pub(super) fn new(news: Option<Kind>, faulty: bool) -> Self {
        Self {
            news,
            faulty,
            chunks: VecDeque::new(),
            finished: None,
            reset: None,
            stopped: None,
            last: Instant::now(),
            gone: [false; 2],
        }
    }
}

/// One end of a pipe; `end` 0 writes and 1 reads.
struct Half {
    wire: Arc<Wire>,
    side: usize,
    id: u64,
}

impl Half {
    /// Marks this end as gone and forgets a pipe that nobody holds.
    fn leave(&self, writer: usize, end: usize) {
        let mut state = self.wire.state();
        let key = (self.id, writer);
        let Some(pipe) = state.pipes.get_mut(&key) else { return };
        pipe.gone[end] = true;
        if pipe.gone == [true; 2] {
            state.pipes.remove(&key);
        }
    }
}

/// The end of a stream that writes. Finished when it is dropped.
pub struct SendStream(Half);

impl SendStream {
    pub(super) fn new(wire: Arc<Wire>, side: usize, id: u64) -> Self {
        Self(Half { wire, side, id })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Pipe, Instant) -> T) -> Option<T> {
        let at = Instant::now() + self.0.wire.net.delay();
        let mut state = self.0.wire.state();
        let pipe = state.pipes.get_mut(&(self.0.id, self.0.side))?;
        let at = at.max(pipe.last);
        pipe.last = at;
        let done = work(pipe, at);
        let news = pipe.news.take();
        if let Some(kind) = news {
            state.arriving[1 - self.0.side].insert((kind, at, self.0.id), ());
        }
        drop(state);
        self.0.wire.changed.notify_waiters();
        Some(done)
    }

    /// Sends bytes. They arrive some time, in order.
    pub fn write(&mut self, bytes: Bytes) -> Result<(), Cut> {
        if let Some(end) = self.0.wire.over(self.0.side) {
            return Err(Cut::Connection(end));
        }
        let len = bytes.len() as u64;
        let written = self.with(|pipe, at| {
            if let Some(code) = pipe.stopped {
                return Err(Cut::Stream(code));
            }
            if pipe.finished.is_some() || pipe.reset.is_some() {
                return Err(Cut::Ended);
            }
            if pipe.faulty {
                pipe.reset = Some((at, FAULT));
            } else {
                pipe.chunks.push_back((at, bytes));
            }
            Ok(at)
        });
        let at = written.unwrap_or(Err(Cut::Ended))?;
        let (wire, side) = (&self.0.wire, self.0.side as u64);
        let micros = at.duration_since(Instant::now()).as_micros() as u64;
        wire.net.note([wire.id, self.0.id << 1 | side, len, micros]);
        Ok(())
    }

    /// Says that this was all.
    pub fn finish(&mut self) {
        self.with(|pipe, at| {
            if pipe.reset.is_none() {
                pipe.finished.get_or_insert(at);
            }
        });
    }

    /// Takes back what has not arrived.
    pub fn reset(&mut self, code: u32) {
        self.with(|pipe, at| {
            if pipe.finished.is_none() {
                pipe.chunks.clear();
                pipe.reset.get_or_insert((at, code));
            }
        });
    }

    /// Returns when nobody reads any more.
    pub async fn stopped(&self) {
        let (id, side) = (self.0.id, self.0.side);
        let look = move |state: &mut WireState| {
            let stopped = state.pipes.get(&(id, side)).is_none_or(|pipe| pipe.stopped.is_some());
            if stopped || state.over(side).is_some() { Look::Found(()) } else { state.until(side, None) }
        };
        self.0.wire.wait(look).await;
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.finish();
        self.0.leave(self.0.side, 0);
    }
}

/// The end of a stream that reads. Stopped when it is dropped.
pub struct RecvStream(Half);

impl RecvStream {
    pub(super) fn new(wire: Arc<Wire>, side: usize, id: u64) -> Self {
        Self(Half { wire, side, id })
    }

    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Cut> {
        let (id, side) = (self.0.id, self.0.side);
        let look = move |state: &mut WireState| {
            let over = state.over(side);
            let severed = state.severed;
            let now = Instant::now();
            let passes = |at: Instant| severed.is_none_or(|severed| at <= severed);
            let Some(pipe) = state.pipes.get_mut(&(id, 1 - side)) else { return Look::Found(Err(Cut::Ended)) };
            let reset = pipe.reset.filter(|(at, _)| passes(*at));
            if let Some((at, code)) = reset
                && at <= now
            {
                return Look::Found(Err(Cut::Stream(code)));
            }
            let next = pipe.chunks.front().map(|(at, _)| *at).filter(|at| passes(*at));
            if next.is_some_and(|at| at <= now) {
                return Look::Found(Ok(pipe.chunks.pop_front().map(|(_, bytes)| bytes)));
            }
            let finished = pipe.finished.filter(|at| pipe.chunks.is_empty() && passes(*at));
            if finished.is_some_and(|at| at <= now) {
                return Look::Found(Ok(None));
            }
            if let Some(end) = over {
                return Look::Found(Err(Cut::Connection(end)));
            }
            let awaited = [reset.map(|(at, _)| at), next, finished].into_iter().flatten().min();
            state.until(side, awaited)
        };
        self.0.wire.wait(look).await
    }

    /// Wants no more.
    pub fn stop(&mut self, code: u32) {
        let mut state = self.0.wire.state();
        if let Some(pipe) = state.pipes.get_mut(&(self.0.id, 1 - self.0.side)) {
            pipe.stopped.get_or_insert(code);
        }
        drop(state);
        self.0.wire.changed.notify_waiters();
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.stop(0);
        self.0.leave(1 - self.0.side, 1);
    }
}
