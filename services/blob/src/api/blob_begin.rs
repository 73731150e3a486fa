//! 600 BlobBegin: whoever is over a limit hears so before a byte is sent.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use qpc_chassis::{db::once, rpc::Ctx};
use qpc_wire::{
    AccountId,
    limits::quotas,
    methods::AccountQuotas,
    v1::{AccountQuotasRequest, BlobBeginRequest, BlobBeginResponse},
};
use tokio::time::timeout;

use crate::{
    Blobs,
    domain::{Cut, DAY_MS, PART_SIZE},
    error::Error,
    store::{Store, Upload},
};

/// An upload is forgotten this long after its last part, milliseconds.
pub(super) const UPLOAD_MS: u64 = DAY_MS;

/// Longest wait for what an admin has set.
const ASKED_WITHIN: Duration = Duration::from_secs(1);

pub(super) async fn handle(state: Arc<Blobs>, ctx: Ctx, request: BlobBeginRequest) -> Result<BlobBeginResponse, Error> {
    let owner = ctx.identity()?;
    let call = ctx.idempotent()?;
    let (size, max) = (request.size, state.config.max_size());
    if size == 0 || size > max {
        return Err(Error::Size { size, max });
    }
    let now_ms = state.runtime.now_ms();
    let upload = Upload {
        id: state.runtime.random(),
        account: owner.account,
        device: owner.device,
        cut: Cut { size, part_size: PART_SIZE },
        expires_ms: now_ms + UPLOAD_MS,
    };
    let daily = daily(&state, owner.account).await;
    once(state.store.db(), call, |tx| {
        Box::pin(async move {
            Store::begin(tx, &upload, daily, now_ms).await?;
            Ok(BlobBeginResponse {
                upload_id: Bytes::copy_from_slice(&upload.id),
                part_size: PART_SIZE as u32,
                expires_at_ms: upload.expires_ms,
            })
        })
    })
    .await
}

/// What an admin has set for the account, or what is for all: also while auth is away, for files are not its business.
async fn daily(state: &Blobs, account: AccountId) -> u64 {
    let request = AccountQuotasRequest { account_id: account.to_bytes() };
    let set = match timeout(ASKED_WITHIN, state.client.call_unasked::<AccountQuotas>(&request)).await {
        Ok(Ok(answer)) => answer.quotas.into_iter().find(|quota| quota.name == quotas::BLOB_BYTES_DAY),
        _ => {
            tracing::warn!("quotas of accounts cannot be asked for");
            None
        }
    };
    set.map_or(state.config.daily(), |quota| quota.value)
}
