//! SessionAttach: auth checks token and proof, the gateway binds the connection.

use bytes::Bytes;
use prost::Message;
use qpc_chassis::rpc::Identity;
use qpc_wire::{
    AccountId, Code, DeviceId, Method, Status,
    methods::SessionAttach,
    v1::{SessionAttachRequest, SessionAttachResponse},
};

use tokio::time::Instant;

use super::Outgoing;
use crate::{
    session::{Attachment, token_hash_of},
    stream::Answer,
};

/// Milliseconds after which an attach may be tried again that came before the gateway knew of revocations.
const WATCH_RETRY_MS: u64 = 500;

pub(super) async fn attach(call: &Outgoing<'_>, body: Bytes) -> Result<Answer, Status> {
    if !call.link.core.revocations.watching() {
        call.link.session().on_attach_answer(None);
        return Err(Status::unavailable("the auth service is not there", WATCH_RETRY_MS));
    }
    let asked_at = Instant::now();
    let answered = call.ask(&SessionAttach::INFO, None, body.clone()).await.and_then(|answer| {
        let attachment = if answer.status == 0 { Some(parse(&answer, &body)?) } else { None };
        Ok((answer, attachment))
    });
    let (answer, attachment) = match answered {
        Ok((answer, Some(attachment))) => (answer, attachment),
        Ok((refusal, None)) => {
            call.link.session().on_attach_answer(None);
            return Ok(refusal);
        }
        Err(status) => {
            call.link.session().on_attach_answer(None);
            return Err(status);
        }
    };
    match call.link.attach(attachment) {
        Ok(true) => {}
        Ok(false) => return Err(Status::new(Code::Cancelled, "the connection is closing")),
        Err(most) => {
            let limits = &call.link.core.config.limits;
            // A connection that was lost without a word makes room when it has been idle for too long.
            return Err(Status {
                retry_after_ms: limits.idle_timeout_ms.into(),
                ..Status::new(Code::ResourceExhausted, format!("the device has {most} connections already"))
            });
        }
    }
    let device = attachment.identity.device;
    if call.link.core.revocations.heard_since(asked_at, &device) {
        // Auth approved the session, then the device was revoked, and the news have overtaken the answer. What was heard
        // before auth was asked, auth knew: a device whose account is no longer banned comes in.
        call.link.revoke(&device);
        return Err(Status::new(Code::Unauthenticated, "the session is not valid"));
    }
    // Before the answer: whatever the client does next, doorbells find it.
    call.link.core.arrive(device).await;
    Ok(answer)
}

fn parse(answer: &Answer, request: &[u8]) -> Result<Attachment, Status> {
    let request = SessionAttachRequest::decode(request).map_err(malformed)?;
    let response = SessionAttachResponse::decode(answer.body.clone()).map_err(malformed)?;
    let account = AccountId::try_from(&response.account_id).map_err(malformed)?;
    let device = DeviceId::try_from(&response.device_id).map_err(malformed)?;
    Ok(Attachment {
        identity: Identity { account, device },
        expires_at_ms: response.expires_at_ms,
        token_hash: token_hash_of(&request.session_token),
    })
}

fn malformed(error: impl std::error::Error) -> Status {
    tracing::error!(%error, "auth answered SessionAttach with something else");
    Status::internal()
}
