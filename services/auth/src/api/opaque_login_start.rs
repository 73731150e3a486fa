//! 102 OpaqueLoginStart. A name that nobody has goes the same way as any other and gets an answer of the same shape.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_crypto::{KsfParams, aead, opaque};
use qpc_wire::v1::{OpaqueLoginStartRequest, OpaqueLoginStartResponse};
use zeroize::Zeroizing;

use crate::{
    Auth,
    attempts::Attempt,
    domain::{login_state::LoginState, opaque_context, registration},
    error::Error,
};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: OpaqueLoginStartRequest,
) -> Result<OpaqueLoginStartResponse, Error> {
    let binding = ctx.binding()?;
    let username = registration::username(&request.username)?;
    let started_ms = auth.runtime.now_ms();
    let name_tag = auth.attempts.name_tag(username);
    auth.attempts.admit(&Attempt { name_tag, address_hash: &ctx.address_hash }).await?;

    let password = auth.store.password(username).await?;
    let setup = match &password {
        Some(password) => auth.setups.of(password.setup_id)?,
        None => auth.setups.current()?.1,
    };
    let mut rng = auth.runtime.rng();
    let (response, opaque) = opaque::login_start(
        &mut rng,
        setup,
        password.as_ref().map(|password| password.record.as_slice()),
        // A name that nobody has gets an identifier too, always the same one.
        password.as_ref().map_or(&name_tag, |password| &password.credential_id),
        &request.credential_request,
        &opaque_context(binding),
    )
    .map_err(Error::Opaque)?;
    let state = LoginState {
        started_ms,
        name_tag,
        account_key: password.as_ref().map(|password| password.account_key),
        opaque: Zeroizing::new(opaque),
    };
    let ksf = password.map_or(KsfParams::RECOMMENDED, |password| password.ksf);
    Ok(OpaqueLoginStartResponse {
        credential_response: response.into(),
        login_state: aead::seal(&mut rng, &auth.state_key, binding, &state.to_bytes()).into(),
        ksf: Some(registration::ksf_message(ksf)),
    })
}
