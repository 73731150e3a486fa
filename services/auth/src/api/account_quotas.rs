//! 832 AccountQuotas: called by the blob service before it applies a setting of its own to an account.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    AccountId,
    v1::{AccountQuotasRequest, AccountQuotasResponse},
};

use crate::{Auth, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    _ctx: Ctx,
    request: AccountQuotasRequest,
) -> Result<AccountQuotasResponse, Error> {
    let account = AccountId::try_from(&request.account_id)?;
    Ok(AccountQuotasResponse { quotas: auth.store.quotas(account).await? })
}
