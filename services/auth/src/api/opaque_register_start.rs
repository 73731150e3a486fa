//! 100 OpaqueRegisterStart. Says nothing about whether the name is free; the last step does.
//!
//! The credential identifier, from which OPAQUE derives the key of its oblivious function, is new for each registration.
//! Were it the name, this call would answer guesses at the password of an existing account without limit.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_crypto::opaque;
use qpc_wire::v1::{OpaqueRegisterStartRequest, OpaqueRegisterStartResponse};

use crate::{
    Auth,
    domain::{registration, registration_state::RegistrationState},
    error::Error,
};

pub(super) async fn handle(
    auth: Arc<Auth>,
    _: Ctx,
    request: OpaqueRegisterStartRequest,
) -> Result<OpaqueRegisterStartResponse, Error> {
    let username = registration::username(&request.username)?;
    let (setup_id, setup) = auth.setups.current()?;
    let mut rng = auth.runtime.rng();
    let work = auth.admission.work(auth.runtime.now_ms());
    let state = RegistrationState::new(setup_id, work, &mut rng);
    let response =
        opaque::register_start(setup, &state.credential_id, &request.registration_request).map_err(Error::Opaque)?;
    Ok(OpaqueRegisterStartResponse {
        registration_response: response.into(),
        registration_state: state.seal(&auth.state_key, username, &mut rng).into(),
        terms: Some(auth.admission.terms(work.as_ref())),
    })
}
