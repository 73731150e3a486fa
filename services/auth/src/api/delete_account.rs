//! 120 DeleteAccount. What other services keep goes when they are told, at once if they are there.

use std::sync::Arc;

use qpc_chassis::{
    db::{once, replay},
    rpc::Ctx,
};
use qpc_crypto::verify;
use qpc_wire::{
    proofs,
    v1::{DeleteAccountRequest, DeleteAccountResponse},
};

use crate::{Auth, error::Error, events, store::Store};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: DeleteAccountRequest,
) -> Result<DeleteAccountResponse, Error> {
    let caller = ctx.identity()?;
    // The first answer stands, though there is no account any more that could prove itself.
    if let Some(response) = replay(auth.store.db(), ctx.idempotent()?).await? {
        return Ok(response);
    }
    // Gone already by another call: then the gateway ends this session in a moment.
    let account = auth.store.account(caller.account).await?.ok_or(Error::DeviceRevoked)?;
    let proof = proofs::delete_account(ctx.binding()?, &caller.account.0);
    verify(&account.account_key, &proof, &request.account_proof).map_err(|_| Error::DeletionProof)?;
    let (name_tag, now_ms) = (auth.name_tag(&account.username), auth.runtime.now_ms());
    let devices = auth.store.devices(caller.account).await?;
    let response = once(auth.store.db(), ctx.idempotent()?, |tx| {
        Box::pin(async move {
            Store::delete_account(tx, caller.account, caller.device, &name_tag, now_ms).await?;
            Ok::<_, Error>(DeleteAccountResponse {})
        })
    })
    .await?;
    for device in devices {
        events::session_ended(&auth.push, device.device).await;
    }
    auth.forget.wake();
    Ok(response)
}
