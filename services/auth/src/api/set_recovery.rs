//! 750 SetRecovery: what was kept before is gone with it.

use std::sync::Arc;

use qpc_chassis::{db::once, rpc::Ctx};
use qpc_wire::v1::{SetRecoveryRequest, SetRecoveryResponse};

use crate::{Auth, domain::recovery, error::Error, store::Store};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: SetRecoveryRequest,
) -> Result<SetRecoveryResponse, Error> {
    let caller = ctx.identity()?;
    let (set, now_ms) = (recovery::set(&request)?, auth.runtime.now_ms());
    once(auth.store.db(), ctx.idempotent()?, |tx| {
        Box::pin(async move {
            Store::set_recovery(tx, caller.account, caller.device, &set, now_ms).await?;
            Ok(SetRecoveryResponse {})
        })
    })
    .await
}
