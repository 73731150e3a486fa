//! 500 ResolveUser, by the exact name.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{ResolveUserRequest, ResolveUserResponse};

use crate::{Auth, domain::registration, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: ResolveUserRequest,
) -> Result<ResolveUserResponse, Error> {
    let caller = ctx.identity()?;
    let username = registration::username(&request.username)?;
    auth.lookups.admit(&[caller.account.as_ref()]).await?;
    let user = auth.store.user(username).await?.ok_or(Error::UnknownUser)?;
    Ok(ResolveUserResponse {
        account_id: user.account.to_bytes(),
        account_key: user.account_key.to_vec().into(),
        device_certificates: user.certificates.into_iter().map(Into::into).collect(),
    })
}
