//! BatchEnqueue: up to 100 messages, each with a key and an answer of its own.

use std::sync::Arc;

use futures_util::future::join_all;
use prost::Message;
use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    Method, Status,
    limits::MAX_BATCH,
    methods::Enqueue,
    v1::{self, BatchEnqueueRequest, BatchEnqueueResponse, EnqueueRequest, EnqueueResult, enqueue_result},
};

use super::enqueue;
use crate::{State, error::Error};

/// Items share transactions with each other and with other calls; those of one group keep their order.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: BatchEnqueueRequest) -> Result<BatchEnqueueResponse, Error> {
    ctx.identity()?;
    if request.items.is_empty() || request.items.len() > MAX_BATCH {
        return Err(Error::BatchSize(request.items.len()));
    }
    let results = join_all(request.items.into_iter().map(|item| one(&state, &ctx, item))).await;
    Ok(BatchEnqueueResponse { results })
}

async fn one(state: &State, ctx: &Ctx, item: EnqueueRequest) -> EnqueueResult {
    let call =
        ctx.idempotent_item(&Enqueue::INFO, &item.idempotency_key, &item.encode_to_vec(), state.runtime.now_ms());
    let answer = match call {
        Ok(call) => enqueue::run(state, ctx, call, item).await.map_err(Status::from),
        Err(status) => Err(status),
    };
    let result = match answer {
        Ok(response) => response.receipt.map(enqueue_result::Result::Receipt),
        Err(status) => Some(enqueue_result::Result::Error(v1::Error {
            code: status.code as i32,
            message: status.message,
            retry_after_ms: status.retry_after_ms,
            correlation_id: ctx.correlation.to_string(),
            detail: status.detail,
        })),
    };
    EnqueueResult { result }
}
