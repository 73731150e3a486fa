//! 753 UseRecoveryCode. A code that never was, one that was used and one whose set was replaced end in the same error.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::{db::once, rpc::Ctx};
use qpc_crypto::recovery;
use qpc_wire::v1::{UseRecoveryCodeRequest, UseRecoveryCodeResponse};

use crate::{Auth, error::Error, store::Store};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: UseRecoveryCodeRequest,
) -> Result<UseRecoveryCodeResponse, Error> {
    auth.recoveries.admit_code(&ctx.address_hash).await?;
    let lookup = recovery::lookup(&request.token);
    once(auth.store.db(), ctx.idempotent()?, |tx| {
        Box::pin(async move {
            let used = Store::use_code(tx, &lookup).await?;
            Ok(UseRecoveryCodeResponse {
                set_id: Bytes::copy_from_slice(&used.set),
                wrapped: used.wrapped.into(),
                bundle: used.bundle.into(),
                codes_left: u32::try_from(used.codes_left).unwrap_or(u32::MAX),
            })
        })
    })
    .await
}
