//! 122 ForgetAccount: called by auth for each deleted account, until it was answered. Its devices are revoked, in whatever
//! order the news come.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    AccountId, DeviceId,
    v1::{ForgetAccountRequest, ForgetAccountResponse},
};

use crate::{State, error::Error};

/// Its name goes from every row at once; its leaves go by the next commits of those who stay.
pub async fn handle(state: Arc<State>, _: Ctx, request: ForgetAccountRequest) -> Result<ForgetAccountResponse, Error> {
    let account = AccountId::try_from(&request.account_id)?;
    for device in &request.device_ids {
        let device = DeviceId::try_from(device)?;
        state.store.revoke(&device, state.runtime.now_ms()).await?;
        state.store.remove_endpoint(&device).await?;
        state.store.empty(&device, state.runtime.now_ms()).await?;
        state.store.disown(&device).await?;
    }
    state.store.forget_account(&account).await?;
    Ok(ForgetAccountResponse {})
}
