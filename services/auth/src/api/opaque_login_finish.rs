//! 103 OpaqueLoginFinish: the password was right, so the device may have a session.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::rpc::Ctx;
use qpc_crypto::{DeviceCertificate, aead, opaque, sha256, verify};
use qpc_wire::{
    proofs::{self, ChannelBinding},
    v1::{OpaqueLoginFinishRequest, OpaqueLoginFinishResponse},
};
use rand::RngCore;
use zeroize::Zeroizing;

use crate::{
    Auth,
    attempts::Attempt,
    domain::{login_state::LoginState, opaque_context},
    error::Error,
    store::NewSession,
};

/// Length of a session token, bytes.
const TOKEN_LEN: usize = 32;

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: OpaqueLoginFinishRequest,
) -> Result<OpaqueLoginFinishResponse, Error> {
    let binding = ctx.binding()?;
    let now_ms = auth.runtime.now_ms();
    let login = check_password(&auth, binding, &request, now_ms)?;
    let attempt = Attempt { name_tag: login.name_tag, address_hash: &ctx.address_hash };
    auth.attempts.succeeded(&attempt, &request.login_state, auth.runtime.random()).await;

    let certificate = DeviceCertificate::parse(&request.device_certificate)?;
    if *certificate.account_key() != login.account_key {
        return Err(Error::ForeignDevice);
    }
    let proof = proofs::login(binding, &sha256(&[&request.login_state]));
    verify(certificate.device_key(), &proof, &request.device_proof).map_err(|_| Error::LoginFailed)?;

    let mut token = Zeroizing::new([0; TOKEN_LEN]);
    auth.runtime.rng().fill_bytes(token.as_mut());
    let expires_ms = now_ms + auth.config.session_ms();
    let (account, device) = (certificate.account_id(), certificate.device_id());
    let token_hash = sha256(&[token.as_ref()]);
    let session = NewSession { certificate, token_hash, now_ms, expires_ms };
    auth.store.open_session(&session, auth.config.devices_per_account).await?;
    Ok(OpaqueLoginFinishResponse {
        session_token: Bytes::copy_from_slice(token.as_ref()),
        expires_at_ms: expires_ms,
        account_id: account.to_bytes(),
        device_id: device.to_bytes(),
    })
}

/// A login whose password was right.
struct Login {
    name_tag: [u8; 16],
    account_key: [u8; 32],
}

/// Everything that can be wrong here looks the same.
fn check_password(
    auth: &Auth,
    binding: &ChannelBinding,
    request: &OpaqueLoginFinishRequest,
    now_ms: u64,
) -> Result<Login, Error> {
    let state = aead::open(&auth.state_key, binding, &request.login_state).map_err(|_| Error::LoginFailed)?;
    let state = LoginState::from_bytes(&Zeroizing::new(state)).ok_or(Error::LoginFailed)?;
    // Before any early end, so that an unknown name costs what a wrong password does.
    let finished = opaque::login_finish(&state.opaque, &request.credential_finalization, &opaque_context(binding));
    let account_key = state.account_key.ok_or(Error::LoginFailed)?;
    if finished.is_err() || state.expired(now_ms) {
        return Err(Error::LoginFailed);
    }
    Ok(Login { name_tag: state.name_tag, account_key })
}
