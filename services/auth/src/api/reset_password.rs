//! 754 ResetPassword: who has the account key needs no other proof; the password is only what the server knows it by.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use qpc_chassis::{db::once, rpc::Ctx};
use qpc_crypto::{account_id, sha256, verify};
use qpc_wire::{
    proofs,
    v1::{ResetPasswordRequest, ResetPasswordResponse},
};

use crate::{
    Auth,
    domain::{recovery::Reset, registration_state::RegistrationState},
    error::Error,
    store::{NewPassword, Store},
};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: ResetPasswordRequest,
) -> Result<ResetPasswordResponse, Error> {
    auth.recoveries.admit_reset(&ctx.address_hash).await?;
    let reset = Reset::parse(&request)?;
    let state = RegistrationState::open(&auth.state_key, &reset.username, &request.registration_state)?;
    let proof = proofs::reset_password(ctx.binding()?, &sha256(&[&request.registration_upload]), &reset.username);
    // A name that nobody has, and the key of another account, look the same.
    let account_key = auth.store.password(&reset.username).await?.ok_or(Error::ResetRefused)?.account_key;
    verify(&account_key, &proof, &request.account_proof).map_err(|_| Error::ResetRefused)?;
    auth.recoveries.admit_proven_reset(account_id(&account_key)).await?;

    // Repeated over another connection it carries another proof, and is the same call all the same.
    let unproven = ResetPasswordRequest { account_proof: Bytes::new(), ..request.clone() };
    let now_ms = auth.runtime.now_ms();
    let call = ctx.idempotent_item(ctx.method, &request.idempotency_key, &unproven.encode_to_vec(), now_ms)?;
    let password = NewPassword {
        setup_id: state.setup_id,
        credential_id: state.credential_id,
        record: reset.record,
        ksf: reset.ksf,
    };
    once(auth.store.db(), &call, |tx| {
        Box::pin(async move {
            Store::reset_password(tx, &reset.username, &account_key, &password).await?;
            Ok(ResetPasswordResponse {})
        })
    })
    .await
}
