//! Fetch: entries of the caller's mailbox. FetchWait is made of it and of doorbells by the gateway, so that no replica of
//! this service holds a waiter.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    limits::{DEFAULT_FETCH, MAX_FETCH},
    v1::{FetchRequest, FetchResponse},
};

use crate::{State, error::Error};

/// Reads; nothing is removed before it is acknowledged.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: FetchRequest) -> Result<FetchResponse, Error> {
    let device = ctx.identity()?.device;
    let limit = if request.limit == 0 { DEFAULT_FETCH } else { request.limit.min(MAX_FETCH) };
    Ok(state.store.fetch(&device, request.after, limit).await?)
}
