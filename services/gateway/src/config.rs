//! Settings. The defaults are those of the protocol reference and fit one machine.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use qpc_chassis::bulk::BulkTls;

use crate::ServerId;

/// Settings of the gateway.
#[derive(Debug, Clone, clap::Args)]
// Without the group that clap makes of a struct's name: several services' settings stand in one command line.
#[group(skip)]
pub struct Config {
    /// UDP address for clients
    #[arg(long, env = "QPC_LISTEN", default_value = "[::]:7000")]
    pub listen: SocketAddr,
    /// Folder of the self-signed certificate, when no other is given
    #[arg(long, env = "QPC_DATA", default_value = "qpc-data")]
    pub data: PathBuf,
    /// Certificate chain, PEM
    #[arg(long, env = "QPC_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, env = "QPC_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Refuse what is only good for trying out: a self-signed certificate
    #[arg(long, env = "QPC_PRODUCTION")]
    pub production: bool,
    /// Milliseconds that clients get to leave when the gateway drains
    #[arg(long, env = "QPC_DRAIN_GRACE_MS", default_value_t = 20_000)]
    pub drain_grace_ms: u32,
    /// Milliseconds between two registrations of the attached devices; they lapse after 90 s
    #[arg(long, env = "QPC_PRESENCE_MS", default_value_t = 30_000)]
    pub presence_ms: u32,
    /// Milliseconds between two looks into the mailbox of a FetchWait whose doorbell may have been lost
    #[arg(long, env = "QPC_LOOK_MS", default_value_t = 5_000)]
    pub look_ms: u32,
    /// Milliseconds between two looks at the devices that were revoked, of which doorbells may have been lost
    #[arg(long, env = "QPC_REVOCATIONS_MS", default_value_t = 2_000)]
    pub revocations_ms: u32,
    /// Announce the server on the local network (mDNS)
    #[arg(long, env = "QPC_MDNS")]
    pub mdns: bool,
    /// Domain of the server, as it is announced
    #[arg(long, env = "QPC_DOMAIN", default_value = "localhost")]
    pub domain: String,
    /// File of the keys that all gateways share: lines of 64 hexadecimal digits, the first in use, the others accepted
    #[arg(long, env = "QPC_EDGE_KEYS")]
    pub edge_keys: Option<PathBuf>,
    /// Server id in connection ids (QUIC-LB, plaintext), 8 bytes in hexadecimal or base64 [default: of --pod-ip]
    #[arg(long, env = "QPC_SERVER_ID")]
    pub server_id: Option<ServerId>,
    /// Address of the pod, where there is one
    #[arg(long, env = "POD_IP")]
    pub pod_ip: Option<IpAddr>,
    /// UDP address for other gateways, which pass on packets of clients
    #[arg(long, env = "QPC_RELAY_LISTEN")]
    pub relay_listen: Option<SocketAddr>,
    /// Address and port under which other gateways reach it [default: --relay-listen, at --pod-ip]
    #[arg(long, env = "QPC_RELAY_ANNOUNCE")]
    pub relay_announce: Option<SocketAddr>,
    #[command(flatten)]
    pub bulk_tls: BulkTls,
    #[command(flatten)]
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0u16; 8], qpc_wire::limits::DEFAULT_PORT)),
            data: "qpc-data".into(),
            tls_cert: None,
            tls_key: None,
            production: false,
            drain_grace_ms: 20_000,
            presence_ms: 30_000,
            look_ms: 5_000,
            revocations_ms: 2_000,
            mdns: false,
            domain: "localhost".to_owned(),
            edge_keys: None,
            server_id: None,
            pod_ip: None,
            relay_listen: None,
            relay_announce: None,
            bulk_tls: BulkTls::default(),
            limits: Limits::default(),
        }
    }
}

/// Time for calls in flight once the grace is over, and for the last packets after that.
pub(crate) const FINISH: Duration = Duration::from_secs(5);
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

impl Config {
    /// Server id in connection ids; `None` when they name nobody.
    pub(crate) fn server(&self) -> Option<ServerId> {
        self.server_id.or_else(|| self.pod_ip.map(ServerId::of))
    }

    /// Where other gateways reach the relay that is bound here.
    pub(crate) fn relay_announced(&self, bound: SocketAddr) -> Option<SocketAddr> {
        let specified = (!bound.ip().is_unspecified()).then_some(bound);
        self.relay_announce.or(specified).or_else(|| Some(SocketAddr::new(self.pod_ip?, bound.port())))
    }

    pub(crate) fn drain_grace(&self) -> Duration {
        Duration::from_millis(self.drain_grace_ms.into())
    }

    /// The longest a drain takes.
    pub fn drain_budget(&self) -> Duration {
        self.drain_grace() + FINISH + FAREWELL
    }
}

/// What one peer may cost.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Limits {
    /// Connections of one address (IPv6: /64) that have no session
    #[arg(long, env = "QPC_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 32)]
    pub max_connections_per_address: usize,
    /// Connections of one device
    #[arg(long, env = "QPC_MAX_CONNECTIONS_PER_DEVICE", default_value_t = 10)]
    pub max_connections_per_device: usize,
    /// Handshakes in progress
    #[arg(long, env = "QPC_MAX_PENDING", default_value_t = 4096)]
    pub max_pending: usize,
    /// Handshakes in progress from which on an address must prove itself (Retry)
    #[arg(long, env = "QPC_RETRY_PENDING", default_value_t = 1024)]
    pub retry_pending: usize,
    /// The same for one address
    #[arg(long, env = "QPC_RETRY_PENDING_PER_ADDRESS", default_value_t = 8)]
    pub retry_pending_per_address: usize,
    /// Calls at once on one connection
    #[arg(long, env = "QPC_MAX_STREAMS", default_value_t = 32)]
    pub max_streams: u32,
    /// Milliseconds for a handshake
    #[arg(long, env = "QPC_HANDSHAKE_MS", default_value_t = 5_000)]
    pub handshake_ms: u64,
    /// Milliseconds for a frame before its rate counts
    #[arg(long, env = "QPC_FIRST_FRAME_MS", default_value_t = 5_000)]
    pub first_frame_ms: u64,
    /// Bytes a second that an open frame must make
    #[arg(long, env = "QPC_MIN_RATE", default_value_t = 1024)]
    pub min_rate: u64,
    /// Milliseconds of silence after which a connection is dropped
    #[arg(long, env = "QPC_IDLE_TIMEOUT_MS", default_value_t = 30_000)]
    pub idle_timeout_ms: u32,
    /// Bad frames after which a connection is closed
    #[arg(long, env = "QPC_MAX_BAD_FRAMES", default_value_t = 64)]
    pub max_bad_frames: u32,
    /// Pushes that one connection may have waiting
    #[arg(long, env = "QPC_PUSH_QUEUE", default_value_t = 64)]
    pub push_queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections_per_address: 32,
            max_connections_per_device: 10,
            max_pending: 4096,
            retry_pending: 1024,
            retry_pending_per_address: 8,
            max_streams: 32,
            handshake_ms: 5_000,
            first_frame_ms: 5_000,
            min_rate: 1024,
            idle_timeout_ms: 30_000,
            max_bad_frames: 64,
            push_queue: 64,
        }
    }
}

impl Limits {
    /// Time that a frame may have taken once `bytes` of it have passed.
    pub(crate) fn allowance(&self, bytes: usize) -> Duration {
        let earned_ms = (bytes as u64).saturating_mul(1000) / self.min_rate.max(1);
        Duration::from_millis(self.first_frame_ms.saturating_add(earned_ms))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Config, Limits};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn flags_default_to_the_defaults() {
        let parsed = Cli::parse_from(["qpc-gateway"]).config;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn one_half_of_a_certificate_is_refused() {
        assert!(Cli::try_parse_from(["qpc-gateway", "--tls-cert", "cert.pem"]).is_err());
    }

    #[test]
    fn a_frame_earns_time_by_its_bytes() {
        let limits = Limits { first_frame_ms: 5_000, min_rate: 1024, ..Limits::default() };
        assert_eq!(limits.allowance(0).as_millis(), 5_000);
        assert_eq!(limits.allowance(2048).as_millis(), 7_000);
    }
}
