//! 705 FetchLinkAnswer: the new device asks until the answer is there.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{FetchLinkAnswerRequest, FetchLinkAnswerResponse};

use crate::{Auth, domain::link::LinkId, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    _ctx: Ctx,
    request: FetchLinkAnswerRequest,
) -> Result<FetchLinkAnswerResponse, Error> {
    let answer = auth.links.fetch_answer(LinkId::parse(&request.link_id)?, auth.runtime.now_ms()).await?;
    Ok(FetchLinkAnswerResponse { answer: answer.into() })
}
