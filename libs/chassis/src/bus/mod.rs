//! The bus between gateway and services: request/reply with queue groups, and doorbells.
//!
//! A doorbell may be lost, doubled or late: the database is the truth (G3). What may have been lost is announced by
//! [`Bus::doubt`].

pub mod contract;
mod local;
mod nats;
pub mod rights;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub use local::LocalBus;
pub use nats::NatsBus;

use crate::{config::Unreadable, metrics::Metrics};

/// Where the bus is, and who this process is there.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Setting {
    /// Bus: URLs of NATS servers, nats:// or tls://, with commas
    #[arg(long, env = "QPC_BUS", default_value = "nats://127.0.0.1:4222")]
    pub bus: String,
    /// Authorities that sign the certificates of these servers, PEM; without it those of the system
    #[arg(long, env = "QPC_BUS_CA")]
    pub bus_ca: Option<PathBuf>,
    /// File with the seed (SU…) of the NATS user that this process is
    #[arg(long, env = "QPC_BUS_NKEY_FILE")]
    pub bus_nkey_file: Option<PathBuf>,
}

impl Setting {
    /// A server that takes everybody.
    pub fn open_to_all(url: impl Into<String>) -> Self {
        Self { bus: url.into(), bus_ca: None, bus_nkey_file: None }
    }
}

/// A message could not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Nobody serves the subject.
    #[error("no service listens on {0}")]
    NoResponders(String),
    /// No answer in time. The request may or may not have taken effect.
    #[error("no answer from {0} in time")]
    Timeout(String),
    /// Larger than the bus carries.
    #[error("message of {0} bytes is too large for the bus")]
    TooLarge(usize),
    /// The connection to the bus is gone.
    #[error("the bus is closed")]
    Closed,
    /// The file of the seed cannot be read.
    #[error(transparent)]
    Seed(#[from] Unreadable),
    /// The NATS client failed.
    #[error("nats: {0}")]
    Nats(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A message that arrived.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// As published.
    pub payload: Bytes,
    /// Subject to publish the answer to, when one is expected.
    pub reply: Option<String>,
}

/// Messages of one subject, in order of arrival, bounded: when a reader falls behind, the newest are dropped and
/// [`Bus::doubt`] moves.
pub trait Subscription: Send {
    /// Next message; `None` when the subscription has ended.
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>>;

    /// Takes no further messages; what has arrived is still given out by [`Self::next`].
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// See the module.
pub trait Bus: Send + Sync {
    /// Sends to one member of one queue group and waits for the answer.
    fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> BoxFuture<'_, Result<Bytes, BusError>>;

    /// Sends to every subscriber, or one of each queue group. No news about arrival.
    fn publish(&self, subject: String, payload: Bytes) -> BoxFuture<'_, Result<(), BusError>>;

    /// Listens. With a queue group, each message goes to one member of it. Active when this returns.
    fn subscribe(
        &self,
        subject: String,
        queue_group: Option<String>,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, BusError>>;

    /// Waits until what was published has left this process.
    fn flush(&self) -> BoxFuture<'_, Result<(), BusError>>;

    /// Changes whenever doorbells may have been lost: reconnection, overflow.
    fn doubt(&self) -> watch::Receiver<u64>;
}

/// Messages that one subscription may hold unread.
const SUBSCRIPTION_CAPACITY: usize = 4096;

/// Opens the bus of a setting for the process `name`: `local`, or NATS servers.
pub async fn open(setting: &Setting, name: &str, metrics: &Metrics) -> Result<Arc<dyn Bus>, BusError> {
    if setting.bus == "local" {
        return Ok(Arc::new(LocalBus::default()));
    }
    Ok(Arc::new(NatsBus::connect(setting, name, metrics).await?))
}
