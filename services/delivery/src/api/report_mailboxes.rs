//! 123 ReportMailboxes: called by auth for an account that wants to know what is kept of it.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    DeviceId,
    v1::{ReportMailboxesRequest, ReportMailboxesResponse},
};

use crate::{State, error::Error};

/// Counts and sizes: the content is sealed.
pub async fn handle(
    state: Arc<State>,
    _: Ctx,
    request: ReportMailboxesRequest,
) -> Result<ReportMailboxesResponse, Error> {
    let mut answer = ReportMailboxesResponse::default();
    for device in &request.device_ids {
        let device = DeviceId::try_from(device)?;
        answer.mailboxes.push(state.store.report_mailbox(&device).await?);
        for group in state.store.report_groups(&device).await? {
            if !answer.groups.iter().any(|known| known.group_id == group.group_id) {
                answer.groups.push(group);
            }
        }
    }
    Ok(answer)
}
