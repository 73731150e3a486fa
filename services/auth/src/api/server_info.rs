//! 901 ServerInfo.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{ServerInfoRequest, ServerInfoResponse};

use crate::{Auth, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    _ctx: Ctx,
    _request: ServerInfoRequest,
) -> Result<ServerInfoResponse, Error> {
    Ok(ServerInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        receipt_key: Bytes::copy_from_slice(&auth.receipt_key),
    })
}
