//! 126 ReportFiles: called by auth for an account that wants to know what is kept of it.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    AccountId,
    v1::{ReportFilesRequest, ReportFilesResponse},
};

use crate::{Blobs, error::Error};

/// Sizes and times: what is in them only its readers know.
pub(super) async fn handle(
    state: Arc<Blobs>,
    _: Ctx,
    request: ReportFilesRequest,
) -> Result<ReportFilesResponse, Error> {
    let (account, now_ms) = (AccountId::try_from(&request.account_id)?, state.runtime.now_ms());
    let files = Some(state.store.report(account, now_ms).await?);
    let announced = state.store.announced(account, now_ms).await?;
    Ok(ReportFilesResponse { files, announced, daily: state.config.daily() })
}
