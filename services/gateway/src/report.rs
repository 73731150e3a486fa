//! What admins see of this gateway, and how they have it drain: it tells auth every few seconds how it is, and the answer says
//! what it is to do. Nothing of that can be lost but time.

use std::{sync::Arc, time::Duration};

use qpc_wire::{methods::ReportGateway, v1::ReportGatewayRequest};
use tokio::time::{sleep, timeout};

use crate::core::Core;

/// Time that auth gets for an answer.
const ANSWER: Duration = Duration::from_secs(1);

/// Reports until the last connection has left.
pub(crate) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.clone().deps.runtime.spawn(async move {
        let every = Duration::from_millis(core.config.revocations_ms.into());
        loop {
            core.report().await;
            tokio::select! {
                // With a last word: that it is empty.
                () = core.empty.cancelled() => return core.report().await,
                () = sleep(every) => {}
            }
        }
    });
}

impl Core {
    async fn report(&self) {
        let count = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
        let request = ReportGatewayRequest {
            gateway_id: self.id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: count(self.metrics.connections.get()),
            sessions: count(self.metrics.sessions.get()),
            draining: self.drain_until().is_some(),
        };
        let client = self.deps.client();
        match timeout(ANSWER, client.call_unasked::<ReportGateway>(&request)).await {
            Ok(Ok(answer)) if answer.drain && !self.leaving.is_cancelled() => {
                tracing::info!(gateway = self.id, "draining on the word of an admin");
                self.leaving.cancel();
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "auth was not told how this gateway is"),
            Err(_) => tracing::debug!("auth was not told in time how this gateway is"),
        }
    }
}
