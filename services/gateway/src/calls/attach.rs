//! SessionAttach: auth checks token and proof, the gateway binds the connection.

use bytes::Bytes;
use prost::Message;
use qpc_chassis::rpc::Identity;
use qpc_wire::{AccountId, Code, DeviceId, Method, Status, methods::SessionAttach, v1::SessionAttachResponse};

use super::Outgoing;
use crate::stream::Answer;

pub(super) async fn attach(call: &Outgoing<'_>, body: Bytes) -> Result<Answer, Status> {
    let answered = call.ask(&SessionAttach::INFO, None, body).await.and_then(|answer| {
        let session = if answer.status == 0 { Some(parse(&answer)?) } else { None };
        Ok((answer, session))
    });
    let (answer, session) = match answered {
        Ok((answer, Some(session))) => (answer, session),
        Ok((refusal, None)) => {
            call.link.session().on_attach_answer(None);
            return Ok(refusal);
        }
        Err(status) => {
            call.link.session().on_attach_answer(None);
            return Err(status);
        }
    };
    let (identity, expires_at_ms) = session;
    match call.link.attach(identity, expires_at_ms) {
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
    // Before the answer: whatever the client does next, doorbells find it.
    call.link.core.arrive(identity.device).await;
    Ok(answer)
}

fn parse(answer: &Answer) -> Result<(Identity, u64), Status> {
    let response = SessionAttachResponse::decode(answer.body.clone()).map_err(malformed)?;
    let account = AccountId::try_from(&response.account_id).map_err(malformed)?;
    let device = DeviceId::try_from(&response.device_id).map_err(malformed)?;
    Ok((Identity { account, device }, response.expires_at_ms))
}

fn malformed(error: impl std::error::Error) -> Status {
    tracing::error!(%error, "auth answered SessionAttach with something else");
    Status::internal()
}
