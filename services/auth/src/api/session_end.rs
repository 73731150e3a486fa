//! 111 SessionEnd.

use std::sync::Arc;

use qpc_chassis::{db::once, rpc::Ctx};
use qpc_crypto::sha256;
use qpc_wire::v1::{SessionEndRequest, SessionEndResponse};

use crate::{Auth, error::Error, store::Store};

pub(super) async fn handle(auth: Arc<Auth>, ctx: Ctx, request: SessionEndRequest) -> Result<SessionEndResponse, Error> {
    let device = ctx.identity()?.device;
    let token_hash = sha256(&[&request.session_token]);
    once(auth.store.db(), ctx.idempotent()?, |tx| {
        Box::pin(async move {
            Store::end_session(tx, &token_hash, device).await?;
            Ok(SessionEndResponse {})
        })
    })
    .await
}
