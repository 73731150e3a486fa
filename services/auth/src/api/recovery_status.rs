//! 751 RecoveryStatus.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{RecoveryStatusRequest, RecoveryStatusResponse};

use crate::{Auth, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    _request: RecoveryStatusRequest,
) -> Result<RecoveryStatusResponse, Error> {
    let Some(status) = auth.store.recovery(ctx.identity()?.account).await? else {
        return Ok(RecoveryStatusResponse::default());
    };
    Ok(RecoveryStatusResponse {
        set_id: Bytes::copy_from_slice(&status.set),
        codes_left: u32::try_from(status.codes_left).unwrap_or(u32::MAX),
        created_at_ms: status.created_ms,
        updated_at_ms: status.updated_ms,
    })
}
