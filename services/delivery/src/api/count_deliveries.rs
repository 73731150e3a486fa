//! CountDeliveries: numbers for admins.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{CountDeliveriesRequest, CountDeliveriesResponse};

use crate::{State, error::Error};

/// Counts rows, which takes a while in a large installation.
pub async fn handle(state: Arc<State>, _: Ctx, _: CountDeliveriesRequest) -> Result<CountDeliveriesResponse, Error> {
    let (groups, messages_waiting) = state.store.counts().await?;
    Ok(CountDeliveriesResponse { groups, messages_waiting })
}
