//! 831 ReportGateway: what admins see of a gateway, and how they reach it.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{ReportGatewayRequest, ReportGatewayResponse};

use crate::{Auth, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    _ctx: Ctx,
    request: ReportGatewayRequest,
) -> Result<ReportGatewayResponse, Error> {
    let drain = auth.store.hear_gateway(&request, auth.runtime.now_ms()).await?;
    Ok(ReportGatewayResponse { drain })
}
