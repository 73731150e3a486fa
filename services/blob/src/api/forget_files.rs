//! 125 ForgetFiles: called by auth for each deleted account, until it was answered.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    AccountId,
    v1::{ForgetFilesRequest, ForgetFilesResponse},
};

use crate::{Blobs, error::Error};

/// What others were sent stays for them until it expires.
pub(super) async fn handle(
    state: Arc<Blobs>,
    _: Ctx,
    request: ForgetFilesRequest,
) -> Result<ForgetFilesResponse, Error> {
    let account = AccountId::try_from(&request.account_id)?;
    state.store.forget_account(account, state.runtime.now_ms()).await?;
    Ok(ForgetFilesResponse {})
}
