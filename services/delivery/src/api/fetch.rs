//! Fetch: entries of the caller's mailbox. FetchWait is made of it and of doorbells by the gateway, so that no replica of
//! this service holds a waiter.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    limits::{DEFAULT_FETCH, MAX_FETCH},
    v1::{EnvelopeKind, FetchRequest, FetchResponse, entry::Body},
};

use crate::{State, error::Error};

/// Reads; nothing is removed before it is acknowledged. A large handshake is sealed to the device like a small one; what
/// joiners share is opened by a key that comes with the pointer.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: FetchRequest) -> Result<FetchResponse, Error> {
    let device = ctx.identity()?.device;
    state.waiting.seen(&device, state.runtime.now_ms());
    let limit = if request.limit == 0 { DEFAULT_FETCH } else { request.limit.min(MAX_FETCH) };
    let mut response = state.store.fetch(&device, request.after, limit).await?;
    for entry in &mut response.entries {
        if let Some(Body::Envelope(envelope)) = &mut entry.body {
            let opens = envelope.kind() == EnvelopeKind::Welcome;
            if let Some(pointer) = envelope.shared.as_mut().filter(|_| opens) {
                pointer.key = Bytes::copy_from_slice(&state.vault.shared_key(&pointer.id));
            }
        }
    }
    Ok(response)
}
