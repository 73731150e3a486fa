//! 100 OpaqueRegisterStart. Says nothing about whether the name is free; the last step does.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_crypto::opaque;
use qpc_wire::v1::{OpaqueRegisterStartRequest, OpaqueRegisterStartResponse};

use crate::{Auth, domain::registration, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    _ctx: Ctx,
    request: OpaqueRegisterStartRequest,
) -> Result<OpaqueRegisterStartResponse, Error> {
    let username = registration::username(&request.username)?;
    let (_, setup) = auth.setups.current()?;
    let response = opaque::register_start(setup, username, &request.registration_request).map_err(Error::Opaque)?;
    Ok(OpaqueRegisterStartResponse { registration_response: response.into() })
}
