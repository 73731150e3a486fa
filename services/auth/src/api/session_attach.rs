//! 110 SessionAttach. A token alone is worth nothing: its device must sign for this very connection.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_crypto::{sha256, verify};
use qpc_wire::{
    proofs,
    v1::{SessionAttachRequest, SessionAttachResponse},
};

use crate::{Auth, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: SessionAttachRequest,
) -> Result<SessionAttachResponse, Error> {
    let binding = ctx.binding()?;
    let token_hash = sha256(&[&request.session_token]);
    let session = auth.store.session(&token_hash, auth.runtime.now_ms()).await?.ok_or(Error::SessionInvalid)?;
    let proof = proofs::attach(binding, &token_hash);
    verify(&session.device_key, &proof, &request.device_proof).map_err(|_| Error::SessionInvalid)?;
    Ok(SessionAttachResponse {
        account_id: session.account.to_bytes(),
        device_id: session.device.to_bytes(),
        expires_at_ms: session.expires_ms,
    })
}
