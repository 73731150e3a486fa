//! 702 LinkOffer: a new device says how it can be reached.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{LinkOfferRequest, LinkOfferResponse};

use crate::{Auth, domain::link, error::Error};

pub(super) async fn handle(auth: Arc<Auth>, ctx: Ctx, request: LinkOfferRequest) -> Result<LinkOfferResponse, Error> {
    let id = link::offer(&request)?;
    let now_ms = auth.runtime.now_ms();
    let expires_in_ms = auth.links.offer(id, &request.offer, &ctx.address_hash, now_ms).await?;
    Ok(LinkOfferResponse { expires_in_ms })
}
