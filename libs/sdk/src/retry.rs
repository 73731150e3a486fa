//! Calls that are worth another try on the same connection.

use std::time::Duration;

use qpc_wire::Method;

use crate::{
    Runtime,
    transport::{CallError, Connection},
};

/// Times that a call is made.
const TRIES: u32 = 4;
/// First pause between two tries; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause that is waited out here rather than left to the caller.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Makes a call, and makes the same call again as long as the server says that it may succeed later. A request with an
/// idempotency key thus takes effect at most once.
pub(crate) async fn call<M: Method>(
    runtime: &Runtime,
    connection: &Connection,
    request: &M::Request,
) -> Result<M::Response, CallError> {
    for round in 0..TRIES - 1 {
        match connection.call::<M>(request).await {
            Err(CallError::Status(status)) if status.is_transient() => {
                let asked = Duration::from_millis(status.retry_after_ms);
                if asked > LONGEST_PAUSE {
                    return Err(status.into());
                }
                tokio::time::sleep(runtime.jittered(FIRST_PAUSE * 2u32.pow(round)).max(asked)).await;
            }
            result => return result,
        }
    }
    connection.call::<M>(request).await
}
