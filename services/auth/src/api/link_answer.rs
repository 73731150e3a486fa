//! 704 LinkAnswer. Whether the one who answers may, only the new device can tell: what is said is sealed.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{LinkAnswerRequest, LinkAnswerResponse};

use crate::{Auth, domain::link, error::Error};

pub(super) async fn handle(auth: Arc<Auth>, ctx: Ctx, request: LinkAnswerRequest) -> Result<LinkAnswerResponse, Error> {
    ctx.identity()?;
    let id = link::answer(&request)?;
    auth.links.answer(id, &request.answer, auth.runtime.now_ms()).await?;
    Ok(LinkAnswerResponse {})
}
