//! FetchPart: a piece of something large that is stored once.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{FetchPartRequest, FetchPartResponse};

use crate::{State, error::Error};

/// Knowing the id is enough: it is random, and what is there is sealed.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: FetchPartRequest) -> Result<FetchPartResponse, Error> {
    ctx.identity()?;
    let id = request.id.as_ref().try_into().map_err(|_| Error::NoSuchPart)?;
    let data = state.store.piece(id, request.offset).await?.ok_or(Error::NoSuchPart)?;
    Ok(FetchPartResponse { data: data.into() })
}
