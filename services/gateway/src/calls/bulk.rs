//! Calls with a body: bytes go from the client's stream to the service, or back, as fast as the slower side takes them. What
//! passes is checked for its form and kept nowhere.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use qpc_chassis::{
    bulk::{BulkError, BulkReceiver, BulkSender},
    rpc::Identity,
    trace::{self, Place},
};
use qpc_wire::{
    Code, Flow, Status,
    frame::ErrorCode,
    pieces::{PieceError, Pieces},
};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::field::Empty;

use super::Outgoing;
use crate::{
    SERVICE,
    carrier::{Gone, RecvStream, SendStream},
    link::Link,
    session::{Action, Frame},
    stream::{Answer, Fault, write, write_frame},
};

/// Longest request in front of a body: ids and numbers.
const MAX_REQUEST: usize = 1 << 10;

/// A client's stream, after the request.
pub(crate) struct Stream<'a> {
    pub(crate) link: &'a Arc<Link>,
    pub(crate) frame: &'a Frame,
    pub(crate) send: &'a mut SendStream,
    pub(crate) recv: &'a mut RecvStream,
}

/// Why a body goes no further.
enum Stop {
    Fault(Fault),
    Refused(Status),
}

impl From<PieceError> for Stop {
    fn from(error: PieceError) -> Self {
        Self::Fault(Fault::Bad(match error {
            PieceError::Oversized(_) => ErrorCode::Oversized,
            PieceError::Trailing => ErrorCode::Malformed,
        }))
    }
}

impl From<BulkError> for Stop {
    fn from(error: BulkError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Fault(Fault::Gone)
    }
}

impl Stream<'_> {
    /// Serves the call to its end; `rest` is what was read behind the request. Tells how it ended, and its span if it is
    /// sampled.
    pub(crate) async fn serve(&mut self, request: Bytes, rest: Bytes) -> Result<(Code, Option<Place>), Fault> {
        let correlation = self.link.correlation(self.frame.request_id);
        let stop = trace::incoming(correlation, SERVICE, self.frame.info.name);
        let method = self.frame.info.name;
        let span = tracing::info_span!("call", service = SERVICE, method, %correlation, trace = Empty);
        let code = match stop.around(span, self.exchange(request, rest)).await {
            Ok(code) => code,
            Err(Stop::Fault(fault)) => return Err(fault),
            Err(Stop::Refused(status)) => {
                let correlation_id = correlation.to_string();
                self.answer(Status { correlation_id, ..status }.into()).await?
            }
        };
        stop.ended(code);
        Ok((code, stop.place))
    }

    async fn exchange(&mut self, request: Bytes, rest: Bytes) -> Result<Code, Stop> {
        let identity = match self.link.on_request(self.frame) {
            Action::Stream(identity) => identity,
            Action::Refuse(status) => return Err(Stop::Refused(status)),
            _ => return Err(Stop::Refused(Status::internal())),
        };
        if request.len() > MAX_REQUEST {
            return Err(Stop::Refused(Status::invalid("the request is too long")));
        }
        let info = self.frame.info;
        let outgoing = Outgoing { link: self.link, request_id: self.frame.request_id };
        let call = outgoing.call(info, Some(identity), request);
        let (sender, receiver) = self.link.core.bulk.open(info.owner.name(), call).await?;
        match info.flow() {
            Flow::Up => self.up(identity, rest, sender, receiver).await,
            Flow::Frames | Flow::Down => self.down(identity, sender, receiver).await,
        }
    }

    /// Passes the body on until it ends or the service has answered.
    async fn up(
        &mut self,
        identity: Identity,
        rest: Bytes,
        sender: BulkSender,
        mut receiver: BulkReceiver,
    ) -> Result<Code, Stop> {
        let (status, body) = tokio::select! {
            biased;
            reply = receiver.reply() => reply?,
            // Its pipe stays open meanwhile.
            passed = pass_up(self.link, identity, self.recv, rest, sender) => {
                let _sender = passed?;
                receiver.reply().await?
            }
        };
        self.answer(Answer { status, body }).await.map_err(Stop::Fault)
    }

    /// Passes the answer on, and the body behind it. The sender is held for as long as the service may want to hear of us.
    async fn down(
        &mut self,
        identity: Identity,
        _sender: BulkSender,
        mut receiver: BulkReceiver,
    ) -> Result<Code, Stop> {
        let (status, body) = receiver.reply().await?;
        let answer = Answer { status, body };
        let code = answer.code();
        if code != Code::Ok {
            return self.answer(answer).await.map_err(Stop::Fault);
        }
        let limits = &self.link.core.config.limits;
        let begun = write_frame(limits, self.send, self.frame.request_id, answer).await;
        if !begun.map_err(|code| Stop::Fault(Fault::Bad(code)))? {
            return Err(Gone.into());
        }
        // After all that is short, and beside other bodies: none may stand still for too long.
        self.send.set_priority(-1);
        let mut pieces = Pieces::new();
        while let Ok(Some(bytes)) = receiver.next().await {
            if check(&mut pieces, &bytes).is_err() || !is_attached(self.link, identity) {
                break;
            }
            let allowance = limits.allowance(bytes.len());
            match timeout(allowance, self.send.write_all_chunks(&mut [bytes])).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Gone.into()),
                Err(_) => return Err(Stop::Fault(Fault::Bad(ErrorCode::TooSlow))),
            }
        }
        if !pieces.ended() {
            // The client knows by this that there was more, and asks again.
            self.send.reset(ErrorCode::Closed as u32);
            return Ok(Code::Unavailable);
        }
        self.send.finish();
        Ok(code)
    }

    /// Writes the answer, and wants no more of the body.
    async fn answer(&mut self, answer: Answer) -> Result<Code, Fault> {
        let code = answer.code();
        self.recv.stop(ErrorCode::Closed as u32);
        let limits = &self.link.core.config.limits;
        write(limits, self.send, self.frame.request_id, answer).await.map_err(Fault::Bad)?;
        Ok(code)
    }
}

/// Passes a whole body to the service.
async fn pass_up(
    link: &Link,
    identity: Identity,
    recv: &mut RecvStream,
    rest: Bytes,
    mut sender: BulkSender,
) -> Result<BulkSender, Stop> {
    let limits = &link.core.config.limits;
    let (mut pieces, mut buffer) = (Pieces::new(), BytesMut::from(rest));
    // The time that the service takes is not the client's.
    let (mut started, mut received) = (Instant::now(), 0);
    loop {
        if !buffer.is_empty() {
            received += buffer.len();
            let bytes = buffer.split().freeze();
            check(&mut pieces, &bytes)?;
            let asked = Instant::now();
            sender.send(&bytes).await?;
            started += asked.elapsed();
        }
        if !is_attached(link, identity) {
            return Err(Stop::Refused(Status::new(Code::Unauthenticated, "the session has ended")));
        }
        match timeout_at(started + limits.allowance(received), recv.gather(&mut buffer)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) if pieces.ended() => return Ok(sender),
            Ok(Ok(false)) => return Err(Stop::Fault(Fault::Bad(ErrorCode::Malformed))),
            Ok(Err(gone)) => return Err(gone.into()),
            Err(_) => return Err(Stop::Fault(Fault::Bad(ErrorCode::TooSlow))),
        }
    }
}

/// Whether `bytes` may come next.
fn check(pieces: &mut Pieces, bytes: &Bytes) -> Result<(), PieceError> {
    let mut view = bytes.clone();
    while pieces.take(&mut view)?.is_some() {}
    Ok(())
}

/// A device that was revoked gets and brings no more of a body.
fn is_attached(link: &Link, identity: Identity) -> bool {
    link.session().identity(link.now_ms()) == Some(identity)
}
