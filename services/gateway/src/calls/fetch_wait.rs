//! FetchWait is made of Fetches here at the edge: no service replica holds a waiter, and a lost doorbell costs seconds.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use prost::Message;
use qpc_chassis::rpc::Identity;
use qpc_wire::{
    Code, Method, Status,
    limits::MAX_FETCH_WAIT_MS,
    methods::{Fetch, FetchWait},
    v1::{FetchRequest, FetchResponse, FetchWaitRequest},
};
use tokio::time::{Instant, sleep_until};

use super::Outgoing;
use crate::{carrier::SendStream, stream::Answer};

/// `None` when the client no longer waits.
pub(super) async fn fetch_wait(
    call: &Outgoing<'_>,
    identity: Identity,
    body: Bytes,
    send: &SendStream,
) -> Option<Result<Answer, Status>> {
    let request = match FetchWaitRequest::decode(body) {
        Ok(request) => request,
        Err(error) => return Some(Err(Status::invalid(format!("malformed {}: {error}", FetchWait::INFO.name)))),
    };
    let until = Instant::now() + Duration::from_millis(request.timeout_ms.min(MAX_FETCH_WAIT_MS).into());
    let look_every = Duration::from_millis(call.link.core.config.look_ms.into());
    let fetch = Bytes::from(FetchRequest { after: request.after, limit: request.limit }.encode_to_vec());
    let mut given_up = pin!(send.stopped());
    loop {
        // Listens before it looks, so that mail which comes in between is not overslept.
        let mut mail = pin!(call.link.mail.notified());
        mail.as_mut().enable();
        let answer = match call.ask(&Fetch::INFO, Some(identity), fetch.clone()).await {
            Ok(answer) if is_empty(&answer) => answer,
            other => return Some(other),
        };
        let now = Instant::now();
        if now >= until || call.link.session().is_leaving() {
            return Some(Ok(answer));
        }
        tokio::select! {
            biased;
            () = &mut given_up => return None,
            () = mail => {}
            () = sleep_until(until.min(now + look_every)) => {}
        }
        if call.link.session().identity(call.link.now_ms()) != Some(identity) {
            return Some(Err(Status::new(Code::Unauthenticated, "the session has ended")));
        }
    }
}

/// Whether there is nothing to tell: success without entries.
fn is_empty(answer: &Answer) -> bool {
    answer.status == 0 && FetchResponse::decode(answer.body.clone()).is_ok_and(|response| response.entries.is_empty())
}
