//! 703 FetchLinkOffer.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{FetchLinkOfferRequest, FetchLinkOfferResponse};

use crate::{Auth, domain::link::LinkId, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: FetchLinkOfferRequest,
) -> Result<FetchLinkOfferResponse, Error> {
    ctx.identity()?;
    let offer = auth.links.fetch_offer(LinkId::parse(&request.link_id)?, auth.runtime.now_ms()).await?;
    Ok(FetchLinkOfferResponse { offer: offer.into() })
}
