//! 707 RevokedSince: what gateways end sessions by, however many doorbells were lost.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{self, RevokedSinceRequest, RevokedSinceResponse};

use crate::{Auth, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    _ctx: Ctx,
    request: RevokedSinceRequest,
) -> Result<RevokedSinceResponse, Error> {
    let revocations = auth.store.revoked_since(request.after).await?;
    // Read last: never below what the answer contains.
    let head = auth.store.revocation_head().await?;
    let revocations = revocations
        .into_iter()
        .map(|revocation| v1::Revocation { seq: revocation.seq, device_id: revocation.device.to_bytes() })
        .collect();
    Ok(RevokedSinceResponse { revocations, head })
}
