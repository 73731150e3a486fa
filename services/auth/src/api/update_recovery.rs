//! 752 UpdateRecovery: devices bring a new bundle whenever what is in it has changed.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{UpdateRecoveryRequest, UpdateRecoveryResponse};

use crate::{Auth, domain::recovery, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: UpdateRecoveryRequest,
) -> Result<UpdateRecoveryResponse, Error> {
    let caller = ctx.identity()?;
    let (set, bundle) = (recovery::set_id(&request.set_id)?, recovery::bundle(&request.bundle)?);
    auth.store.update_recovery(caller.account, caller.device, &set, bundle, auth.runtime.now_ms()).await?;
    Ok(UpdateRecoveryResponse {})
}
