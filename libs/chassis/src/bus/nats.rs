//! The bus of the cluster: NATS core. JetStream is deliberately not used; Postgres is the truth.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, ServerError, Subscriber, client::PublishErrorKind};
use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use tokio::{sync::watch, time::timeout};

use super::{Bus, BusError, Delivery, SUBSCRIPTION_CAPACITY, Setting, Subscription, rights};
use crate::{config, metrics::Metrics};

/// Longest wait for the server to take what was said to it.
const SERVER_WITHIN: Duration = Duration::from_secs(5);

/// See the module.
pub struct NatsBus {
    client: Client,
    doubt: watch::Sender<u64>,
}

fn nats_error(error: impl std::error::Error + Send + Sync + 'static) -> BusError {
    BusError::Nats(Box::new(error))
}

impl NatsBus {
    /// Connects as the process `name`; afterwards reconnects for ever with a delay of 50 to 500 ms.
    pub async fn connect(setting: &Setting, name: &str, metrics: &Metrics) -> Result<Self, BusError> {
        let doubt = watch::Sender::new(0);
        let events = doubt.clone();
        let denied = metrics.counter("bus_denied", "Subjects that the bus refused to this process");
        let mut options = ConnectOptions::new()
            .name(name)
            .custom_inbox_prefix(rights::inbox(name))
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            // The caller's deadline governs; this one only ends what no caller waits for any more.
            .request_timeout(None)
            .reconnect_delay_callback(|attempt| Duration::from_millis(50 * (attempt.min(10) as u64).max(1)))
            .event_callback(move |event| {
                match &event {
                    Event::Connected | Event::SlowConsumer(_) => events.send_modify(|count| *count += 1),
                    // Whoever waits for an answer learns nothing of it but that none comes.
                    Event::ServerError(ServerError::Other(text)) if is_denial(text) => {
                        denied.inc();
                        tracing::error!(%event, "the bus refused a subject to this process");
                    }
                    Event::ServerError(_) | Event::ClientError(_) => tracing::error!(%event, "bus"),
                    _ => {}
                }
                tracing::info!(%event, "bus");
                async {}
            });
        if let Some(path) = &setting.bus_nkey_file {
            options = options.nkey(config::read(path)?);
        }
        if let Some(ca) = &setting.bus_ca {
            // A server of that authority or none. Others that it tells of have names that stand in no certificate.
            options = options.add_root_certificates(ca.clone()).require_tls(true).ignore_discovered_servers();
        }
        let servers: Vec<&str> = setting.bus.split(',').map(str::trim).collect();
        let client = options.connect(servers).await.map_err(nats_error)?;
        Ok(Self { client, doubt })
    }
}

/// What a NATS server says when a user does more than it may.
fn is_denial(text: &str) -> bool {
    text.to_ascii_lowercase().contains("permissions violation")
}

impl Bus for NatsBus {
    fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> BoxFuture<'_, Result<Bytes, BusError>> {
        Box::pin(async move {
            let size = payload.len();
            // The client's own timeout does not cover its command queue, which is full while the server is away.
            match tokio::time::timeout(timeout, self.client.request(subject.clone(), payload)).await {
                Err(_) => Err(BusError::Timeout(subject)),
                Ok(Ok(message)) => Ok(message.payload),
                Ok(Err(error)) => Err(match error.kind() {
                    RequestErrorKind::NoResponders => BusError::NoResponders(subject),
                    RequestErrorKind::TimedOut => BusError::Timeout(subject),
                    RequestErrorKind::MaxPayloadExceeded => BusError::TooLarge(size),
                    _ => nats_error(error),
                }),
            }
        })
    }

    fn publish(&self, subject: String, payload: Bytes) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            let size = payload.len();
            self.client.publish(subject, payload).await.map_err(|error| match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => BusError::TooLarge(size),
                _ => nats_error(error),
            })
        })
    }

    fn subscribe(
        &self,
        subject: String,
        queue_group: Option<String>,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, BusError>> {
        Box::pin(async move {
            let subscriber = match queue_group {
                Some(group) => self.client.queue_subscribe(subject, group).await,
                None => self.client.subscribe(subject).await,
            }
            .map_err(nats_error)?;
            // `flush` only empties the socket buffer; an answered request proves that the server has read it all.
            let probe = self.client.new_inbox();
            let mut echo = self.client.subscribe(probe.clone()).await.map_err(nats_error)?;
            self.client.publish(probe, Bytes::new()).await.map_err(nats_error)?;
            timeout(SERVER_WITHIN, echo.next()).await.map_err(|_| BusError::Closed)?;
            Ok(Box::new(NatsSubscription(subscriber)) as Box<dyn Subscription>)
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), BusError>> {
        // Without a server it would wait for one, and a process that is to end would not.
        Box::pin(async {
            let flushed = timeout(SERVER_WITHIN, self.client.flush()).await;
            flushed.map_err(|_| BusError::Closed)?.map_err(nats_error)
        })
    }

    fn doubt(&self) -> watch::Receiver<u64> {
        self.doubt.subscribe()
    }
}

struct NatsSubscription(Subscriber);

impl Subscription for NatsSubscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        Box::pin(async {
            let message = self.0.next().await?;
            Some(Delivery { payload: message.payload, reply: message.reply.map(|reply| reply.to_string()) })
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Err(error) = self.0.drain().await {
                tracing::warn!(%error, "subscription did not drain");
            }
        })
    }
}
