//! 211 IssueTokens: what sealed messages are paid with. Nothing of what is evaluated is kept but the answer, for whoever asks
//! again with the same key.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::{db::once, rpc::Ctx};
use qpc_crypto::token;
use qpc_wire::{
    limits::{MAX_TOKENS, quotas},
    v1::{IssueTokensRequest, IssueTokensResponse},
};

use crate::{
    Auth,
    error::Error,
    store::{Store, accounts},
};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: IssueTokensRequest,
) -> Result<IssueTokensResponse, Error> {
    let caller = ctx.identity()?;
    let count = request.blinded.len();
    if count == 0 || count > MAX_TOKENS {
        return Err(Error::TokenCount(count));
    }
    let now_ms = auth.runtime.now_ms();
    let most = u64::from(auth.config.tokens_per_day);
    once(auth.store.db(), ctx.idempotent()?, |tx| {
        let auth = auth.clone();
        Box::pin(async move {
            if request.key_epoch != token::key_epoch(now_ms) {
                return Err(Error::TokenKey);
            }
            let mut rng = auth.runtime.rng();
            let evaluated =
                auth.token_keys.evaluate(&mut rng, request.key_epoch, &request.blinded).map_err(Error::Tokens)?;
            let most = accounts::quota_of(tx, caller.account, quotas::TOKENS_DAY).await?.unwrap_or(most);
            Store::count_tokens(tx, caller.account, count as u64, most, now_ms).await?;
            Ok(IssueTokensResponse {
                evaluated: evaluated.elements.iter().map(|element| Bytes::copy_from_slice(element)).collect(),
                proof: Bytes::copy_from_slice(&evaluated.proof),
            })
        })
    })
    .await
}
