//! 212 TokenKeys: the same for whoever asks, who need not say who that is.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::rpc::Ctx;
use qpc_crypto::token;
use qpc_wire::v1::{TokenKey, TokenKeysRequest, TokenKeysResponse};

use crate::{Auth, error::Error};

pub(super) async fn handle(auth: Arc<Auth>, _ctx: Ctx, _request: TokenKeysRequest) -> Result<TokenKeysResponse, Error> {
    let current = token::key_epoch(auth.runtime.now_ms());
    let keys = [Some(current), current.checked_sub(1)]
        .into_iter()
        .flatten()
        .map(|key_epoch| {
            let public_key = auth.token_keys.public(key_epoch).map_err(Error::Tokens)?;
            Ok(TokenKey {
                key_epoch,
                public_key: Bytes::copy_from_slice(&public_key),
                expires_at_ms: token::expires_ms(key_epoch),
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok(TokenKeysResponse { keys })
}
