//! 123 ReportMailboxes: called by auth for an account that wants to know what is kept of it.

use std::sync::Arc;

use qpc_chassis::{outbound, rpc::Ctx};
use qpc_wire::{
    DeviceId,
    v1::{ReportMailboxesRequest, ReportMailboxesResponse},
};

use crate::{State, error::Error, store::EndpointState};

/// Counts and sizes: the content is sealed.
pub async fn handle(
    state: Arc<State>,
    _: Ctx,
    request: ReportMailboxesRequest,
) -> Result<ReportMailboxesResponse, Error> {
    let mut answer = ReportMailboxesResponse::default();
    for device in &request.device_ids {
        let device = DeviceId::try_from(device)?;
        let mut mailbox = state.store.report_mailbox(&device).await?;
        mailbox.push_host = push_host(&state, device).await?;
        answer.mailboxes.push(mailbox);
        for group in state.store.report_groups(&device).await? {
            if !answer.groups.iter().any(|known| known.group_id == group.group_id) {
                answer.groups.push(group);
            }
        }
    }
    Ok(answer)
}

/// The host alone: whoever has the rest can call the device.
async fn push_host(state: &State, device: DeviceId) -> Result<String, Error> {
    let endpoint = state.store.endpoint(&device).await?.filter(|endpoint| endpoint.state == EndpointState::Set);
    let Some(endpoint) = endpoint else { return Ok(String::new()) };
    Ok(outbound::host(&state.vault.open_endpoint(device, &endpoint.sealed)?))
}
