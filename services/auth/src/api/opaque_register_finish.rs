//! 101 OpaqueRegisterFinish: account, name and first device come to be together.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use qpc_chassis::{
    db::{once, replay},
    rpc::Ctx,
};
use qpc_wire::v1::{OpaqueRegisterFinishRequest, OpaqueRegisterFinishResponse};

use crate::{
    Auth,
    domain::{registration::Registration, registration_state::RegistrationState},
    error::Error,
    store::{NewAccount, Store},
};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: OpaqueRegisterFinishRequest,
) -> Result<OpaqueRegisterFinishResponse, Error> {
    let registration = Registration::parse(&request, ctx.binding()?)?;
    let state = RegistrationState::open(&auth.state_key, &registration.username, &request.registration_state)?;
    let now_ms = auth.runtime.now_ms();
    // A client that lost its connection repeats the call with a proof for the new one; it is the same call all the same.
    let unproven = OpaqueRegisterFinishRequest { account_proof: Bytes::new(), ..request.clone() };
    let call = ctx.idempotent_item(ctx.method, &request.idempotency_key, &unproven.encode_to_vec(), now_ms)?;
    if let Some(first) = replay(auth.store.db(), &call).await? {
        return Ok(first);
    }
    // In this order: what costs nothing, then what is counted, then what costs something.
    let brought = auth.admission.look(&state, &request, now_ms)?;
    let address = (!ctx.address_hash.is_empty()).then(|| auth.registrations.one(&[&ctx.address_hash])).flatten();
    auth.limits.admit("registrations", [address]).await?;
    let invite = brought.prove()?;
    let account = NewAccount {
        name_tag: auth.name_tag(&registration.username),
        username: registration.username,
        certificate: registration.certificate,
        setup_id: state.setup_id,
        credential_id: state.credential_id,
        record: registration.record,
        ksf: registration.ksf,
        now_ms,
    };
    once(auth.store.db(), &call, |tx| {
        Box::pin(async move {
            if let Some(lookup) = invite {
                Store::use_invite(tx, &lookup, now_ms).await?;
            }
            Store::register(tx, &account).await?;
            Ok(OpaqueRegisterFinishResponse {
                account_id: account.certificate.account_id().to_bytes(),
                device_id: account.certificate.device_id().to_bytes(),
            })
        })
    })
    .await
}
