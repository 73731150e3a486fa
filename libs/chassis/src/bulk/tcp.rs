//! Pipes over TCP. The bus says where: a question to the queue group is answered by one replica that lives, with its
//! address, so that gateways need no list and one that drains gets no more.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{Bulk, BulkAddress, BulkError, Listener, Pipe};
use crate::bus::{Bus, BusError, Subscription};

/// Longest wait for an address, and for a connection to it.
const FIND_WITHIN: Duration = Duration::from_secs(2);
/// Pause after the system had no connection to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// See the module.
pub struct TcpBulk(Arc<dyn Bus>);

impl TcpBulk {
    /// Replicas are found over `bus`.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self(bus)
    }
}

/// Bus subject of the question where bodies for a service go.
pub(crate) fn subject(service: &str) -> String {
    format!("qpc.bulk.{service}")
}

impl Bulk for TcpBulk {
    fn connect(&self, service: &'static str) -> BoxFuture<'_, Result<Pipe, BulkError>> {
        Box::pin(async move {
            let answer = self.0.request(subject(service), Bytes::new(), FIND_WITHIN).await;
            let address = answer.map_err(|error| match error {
                BusError::NoResponders(_) => BulkError::NoReplica(service),
                error => error.into(),
            })?;
            let address = std::str::from_utf8(&address)
                .map_err(|_| BulkError::Address(String::from_utf8_lossy(&address).into_owned()))?;
            let connecting = timeout(FIND_WITHIN, TcpStream::connect(address)).await;
            let stream = connecting.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Pipe)
        })
    }

    fn listen<'a>(
        &'a self,
        service: &'static str,
        at: &'a BulkAddress,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, BulkError>> {
        Box::pin(async move {
            let listener = TcpListener::bind(at.listen).await?;
            let bound = listener.local_addr()?;
            let announce = match &at.announce {
                Some(announce) => announce.clone(),
                None if bound.ip().is_unspecified() => return Err(BulkError::Unspecified(bound)),
                None => bound.to_string(),
            };
            let questions = self.0.subscribe(subject(service), Some(service.to_owned())).await?;
            tracing::info!(address = announce, "takes bodies");
            let bus = self.0.clone();
            Ok(Box::new(TcpTaker { listener, questions, bus, announce: announce.into() }) as Box<dyn Listener>)
        })
    }
}

struct TcpTaker {
    listener: TcpListener,
    questions: Box<dyn Subscription>,
    bus: Arc<dyn Bus>,
    announce: Bytes,
}

impl Listener for TcpTaker {
    fn accept(&mut self) -> BoxFuture<'_, Option<Pipe>> {
        Box::pin(async {
            loop {
                tokio::select! {
                    question = self.questions.next() => {
                        let reply = question?.reply;
                        let Some(reply) = reply else { continue };
                        if let Err(error) = self.bus.publish(reply, self.announce.clone()).await {
                            tracing::warn!(%error, "address not told");
                        }
                    }
                    accepted = self.listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            // Only a hint to the system; it fails when the peer is gone already.
                            let _ = stream.set_nodelay(true);
                            return Some(Box::new(stream) as Pipe);
                        }
                        Err(error) => {
                            tracing::warn!(%error, "pipe not taken");
                            sleep(ACCEPT_PAUSE).await;
                        }
                    },
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bus::LocalBus;

    #[tokio::test]
    async fn keeps_the_contract() {
        let bus: Arc<dyn Bus> = Arc::new(LocalBus::default());
        let other: Arc<dyn Bus> = Arc::new(LocalBus::default());
        super::super::contract::check(Arc::new(TcpBulk::new(bus)), Arc::new(TcpBulk::new(other))).await;
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_not_announced() {
        let bulk = TcpBulk::new(Arc::new(LocalBus::default()));
        let mut at = BulkAddress { listen: ([0, 0, 0, 0], 0).into(), announce: None };
        assert!(matches!(bulk.listen("x", &at).await.err(), Some(BulkError::Unspecified(_))));
        at.announce = Some("replica.example:7100".into());
        assert!(bulk.listen("x", &at).await.is_ok());
    }
}
