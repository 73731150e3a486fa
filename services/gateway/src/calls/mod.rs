//! Who answers a call.

mod attach;
pub(crate) mod bulk;
mod fetch_wait;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use qpc_chassis::{
    rpc::{self, Identity},
    trace::{self, Place},
};
use qpc_wire::{MethodInfo, Status, bus, v1::PingRequest};
use tracing::field::Empty;

use crate::{
    SERVICE,
    carrier::SendStream,
    link::Link,
    session::{Action, Frame},
    stream::Answer,
};

/// A call on its way to a service.
struct Outgoing<'a> {
    link: &'a Arc<Link>,
    request_id: u32,
}

/// The answer to a whole request, and the span of a call that is sampled; `None` when the client has gone.
pub(crate) async fn answer(
    link: &Arc<Link>,
    frame: &Frame,
    body: Bytes,
    send: &SendStream,
) -> Option<(Answer, Option<Place>)> {
    let mut place = None;
    let refusal = match link.on_request(frame) {
        // Without a span: nothing is logged, and this path is the yardstick of what the gateway costs.
        Action::Echo => match PingRequest::decode(body.clone()) {
            Ok(_) => return Some((Answer::ok(body), None)),
            Err(error) => Status::invalid(format!("malformed {}: {error}", frame.info.name)),
        },
        Action::Refuse(status) => status,
        action => {
            let correlation = link.correlation(frame.request_id);
            let stop = trace::incoming(correlation, SERVICE, frame.info.name);
            let span =
                tracing::info_span!("call", service = SERVICE, method = frame.info.name, %correlation, trace = Empty);
            let answered = stop.around(span, forward(link, frame, action, body, send)).await?;
            stop.ended(answered.as_ref().map_or_else(|status| status.code, Answer::code));
            place = stop.place;
            match answered {
                Ok(answer) => return Some((answer, place)),
                Err(status) => status,
            }
        }
    };
    let correlation_id = link.correlation(frame.request_id).to_string();
    Some((Status { correlation_id, ..refusal }.into(), place))
}

async fn forward(
    link: &Arc<Link>,
    frame: &Frame,
    action: Action,
    body: Bytes,
    send: &SendStream,
) -> Option<Result<Answer, Status>> {
    let call = Outgoing { link, request_id: frame.request_id };
    let answered = match action {
        Action::Attach => attach::attach(&call, body).await,
        Action::AwaitMail(identity) => fetch_wait::fetch_wait(&call, identity, body, send).await?,
        Action::Forward(identity) => {
            let answered = call.ask(frame.info, identity, body.clone()).await;
            if let Ok(answer) = &answered {
                link.on_response(frame.info, answer.status, &body);
            }
            answered
        }
        Action::Echo | Action::Stream(_) | Action::Refuse(_) => Err(Status::internal()),
    };
    match &answered {
        Ok(answer) => tracing::debug!(status = answer.status, bytes = answer.body.len(), "answered"),
        Err(status) => tracing::debug!(code = ?status.code, reason = status.message, "refused"),
    }
    Some(answered)
}

impl Outgoing<'_> {
    /// Sends the call to the service that owns `info`, and waits as long as the method may take.
    async fn ask(&self, info: &MethodInfo, identity: Option<Identity>, body: Bytes) -> Result<Answer, Status> {
        let call = self.call(info, identity, body);
        let limit = Duration::from_millis(info.deadline_ms.into());
        let (status, body) = rpc::forward(&*self.link.core.deps.bus, info.owner.name(), call, limit).await?;
        Ok(Answer { status, body })
    }

    /// Everything that a service is told besides the request.
    fn call(&self, info: &MethodInfo, identity: Option<Identity>, body: Bytes) -> bus::Call {
        let now_ms = self.link.now_ms();
        bus::Call {
            method: info.id.into(),
            correlation_id: Bytes::copy_from_slice(&self.link.correlation(self.request_id).to_array()),
            deadline_ms: now_ms + u64::from(info.deadline_ms),
            account_id: identity.map(|identity| identity.account.to_bytes()).unwrap_or_default(),
            device_id: identity.map(|identity| identity.device.to_bytes()).unwrap_or_default(),
            channel_binding: Bytes::copy_from_slice(&self.link.binding),
            address_hash: self.link.address_hash(now_ms),
            body,
            trace: Bytes::new(),
        }
    }
}
