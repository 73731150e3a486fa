//! Requests to addresses that clients name. What a client has a server call is an attack until it is shown to be none: https
//! and public addresses only, looked at in the moment of the connection, no redirects, no proxies of the environment, and
//! little time. The address itself is a secret of the client, so no error and no `Debug` here shows it.

mod public;

use std::{error::Error as _, fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use reqwest::{
    Certificate, Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};

use header::{HeaderMap, RETRY_AFTER};
use qpc_wire::limits::MAX_PUSH_ENDPOINT;

pub use public::{Exempt, InvalidExempt};
pub use reqwest::header;

/// Bytes of an address.
const MAX_URL: usize = MAX_PUSH_ENDPOINT;
/// The one port, but for hosts that are exempt.
const PORT: u16 = 443;
/// For the whole of a request, its connection included.
const WITHIN: Duration = Duration::from_secs(10);
/// For the connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Connections that wait for the next request to the same host, and how long.
const IDLE: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Longest pause that an answer may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A text is no address that may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDestination {
    /// Too long.
    #[error("an address has at most {MAX_URL} bytes")]
    TooLong,
    /// Not a URL with a host, without user and password.
    #[error("this is not the address of a service")]
    Form,
    /// Not https.
    #[error("an address begins with https://")]
    Scheme,
    /// Neither 443 nor a host of the settings.
    #[error("this port is not called")]
    Port,
    /// An address that is not on the internet.
    #[error("this address is not on the internet")]
    NotPublic,
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The file of further authorities cannot be read.
    #[error("authorities in {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The authorities are not PEM, or there are none, neither of the system nor of the settings.
    #[error("https: {0}")]
    Client(#[source] reqwest::Error),
}

/// No answer. Nothing here names the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The name stands for an address that is not on the internet.
    #[error("the host is not on the internet")]
    NotPublic,
    /// No connection: no such name, nobody there, no certificate that holds.
    #[error("no connection")]
    Unreachable,
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// It broke.
    #[error("the connection broke")]
    Broken,
}

/// Where a request goes. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination(Url);

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Destination")
    }
}

impl Destination {
    /// As it goes into a request.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme, host, and port where it is not the usual one (RFC 6454 section 6.2).
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

/// The host of an address, empty where there is none.
pub fn host(text: &str) -> String {
    Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// What a request was answered with. Its body is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// The pause that it asks for in seconds, at most a day.
    pub retry_after: Option<Duration>,
}

/// See the module.
pub struct Outbound {
    client: Client,
    exempt: Arc<[Exempt]>,
}

impl Outbound {
    /// A client that may also call what is `exempt`, and trusts the authorities of the system and those in the PEM file
    /// `authorities`.
    pub fn new(exempt: &[Exempt], authorities: Option<&PathBuf>) -> Result<Self, OutboundError> {
        let further = match authorities {
            None => Vec::new(),
            Some(path) => {
                let pem = std::fs::read(path).map_err(|source| OutboundError::File { path: path.clone(), source })?;
                Certificate::from_pem_bundle(&pem).map_err(OutboundError::Client)?
            }
        };
        let exempt: Arc<[Exempt]> = exempt.into();
        let client = Client::builder()
            .https_only(true)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .http1_only()
            .timeout(WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .pool_max_idle_per_host(IDLE)
            .pool_idle_timeout(IDLE_FOR)
            .tls_certs_merge(further)
            .dns_resolver(PublicOnly { exempt: exempt.clone() })
            .build()
            .map_err(OutboundError::Client)?;
        Ok(Self { client, exempt })
    }

    /// Parses an address and says whether it may be called, as far as that can be said without a name server.
    pub fn destination(&self, text: &str) -> Result<Destination, InvalidDestination> {
        if text.len() > MAX_URL {
            return Err(InvalidDestination::TooLong);
        }
        let url = Url::parse(text).map_err(|_| InvalidDestination::Form)?;
        let host = url.host_str().ok_or(InvalidDestination::Form)?;
        if url.scheme() != "https" {
            return Err(InvalidDestination::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidDestination::Form);
        }
        // What is kept is written with percent signs, and read again.
        if url.as_str().len() > MAX_URL {
            return Err(InvalidDestination::TooLong);
        }
        let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let listed = self.exempt.iter().any(|exempt| exempt.host(host))
            || address.is_some_and(|address| self.exempt.iter().any(|exempt| exempt.address(address)));
        if !listed && address.is_some_and(|address| !public::is_public(address)) {
            return Err(InvalidDestination::NotPublic);
        }
        if !listed && url.port_or_known_default() != Some(PORT) {
            return Err(InvalidDestination::Port);
        }
        Ok(Destination(url))
    }

    /// POST without a body.
    pub async fn post_nothing(&self, to: &Destination, headers: HeaderMap) -> Result<Answer, NoAnswer> {
        // Addresses do not go through the resolver, and the settings may have changed since this one was parsed.
        self.destination(to.as_str()).map_err(|_| NoAnswer::NotPublic)?;
        // Left out where there is no body, which some services do not take.
        let request = self.client.post(to.0.clone()).headers(headers).header(header::CONTENT_LENGTH, 0);
        let response = request.send().await.map_err(|error| no_answer(&error))?;
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        Ok(Answer { status: response.status().as_u16(), retry_after })
    }
}

fn no_answer(error: &reqwest::Error) -> NoAnswer {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.downcast_ref::<NoAnswer>() == Some(&NoAnswer::NotPublic) {
            return NoAnswer::NotPublic;
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        NoAnswer::Timeout
    } else if error.is_connect() {
        NoAnswer::Unreachable
    } else {
        NoAnswer::Broken
    }
}

/// Finds the addresses that are then connected to, so that a name cannot stand for another one a moment later.
struct PublicOnly {
    exempt: Arc<[Exempt]>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let exempt = self.exempt.clone();
        Box::pin(async move {
            let addresses: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let known = exempt.iter().any(|exempt| exempt.host(name.as_str()));
            let may = |address: IpAddr| {
                known || public::is_public(address) || exempt.iter().any(|exempt| exempt.address(address))
            };
            // One that is not public makes the others suspicious.
            if !addresses.iter().all(|address| may(address.ip())) {
                return Err(NoAnswer::NotPublic.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound(exempt: &[&str]) -> Outbound {
        let exempt: Vec<Exempt> = exempt.iter().map(|text| text.parse().unwrap()).collect();
        Outbound::new(&exempt, None).unwrap()
    }

    #[test]
    fn only_services_on_the_internet_are_called() {
        let outbound = outbound(&[]);
        let fine = outbound.destination("https://push.example.org/wpush/v2/abc?x=1").unwrap();
        assert_eq!(
            (fine.origin().as_str(), host(fine.as_str()).as_str()),
            ("https://push.example.org", "push.example.org")
        );
        assert_eq!(format!("{fine:?}"), "Destination");
        for (text, why) in [
            ("push.example.org/x", InvalidDestination::Form),
            ("data:text/plain,x", InvalidDestination::Form),
            ("https://", InvalidDestination::Form),
            ("https://user@push.example.org/", InvalidDestination::Form),
            ("https://:secret@push.example.org/", InvalidDestination::Form),
            ("http://push.example.org/", InvalidDestination::Scheme),
            ("file://push.example.org/etc/passwd", InvalidDestination::Scheme),
            ("https://push.example.org:8443/", InvalidDestination::Port),
            ("https://push.example.org:22/", InvalidDestination::Port),
            ("https://127.0.0.1/", InvalidDestination::NotPublic),
            ("https://127.0.0.1:8443/", InvalidDestination::NotPublic),
            ("https://2130706433/", InvalidDestination::NotPublic),
            ("https://0x7f.1/", InvalidDestination::NotPublic),
            ("https://0177.0.0.1/", InvalidDestination::NotPublic),
            ("https://[::1]/", InvalidDestination::NotPublic),
            ("https://[::ffff:127.0.0.1]/", InvalidDestination::NotPublic),
            ("https://[fd00::7]/", InvalidDestination::NotPublic),
            ("https://169.254.169.254/latest/meta-data", InvalidDestination::NotPublic),
        ] {
            assert_eq!(outbound.destination(text), Err(why), "{text}");
        }
        let long = |path: usize| format!("https://a.example/{}", "x".repeat(path));
        assert!(outbound.destination(&long(MAX_URL - 18)).is_ok());
        assert_eq!(outbound.destination(&long(MAX_URL - 17)), Err(InvalidDestination::TooLong));
    }

    #[test]
    fn what_is_exempt_is_called_at_any_port_and_still_by_https() {
        let outbound = outbound(&["push.lan", "10.0.0.0/8"]);
        for text in ["https://push.lan:8443/x", "https://PUSH.lan/", "https://10.7.7.7:8443/"] {
            assert!(outbound.destination(text).is_ok(), "{text}");
        }
        assert_eq!(outbound.destination("http://push.lan/"), Err(InvalidDestination::Scheme));
        assert_eq!(outbound.destination("https://other.lan:8443/"), Err(InvalidDestination::Port));
        assert_eq!(outbound.destination("https://192.168.0.1/"), Err(InvalidDestination::NotPublic));
    }

    #[tokio::test]
    async fn a_name_for_this_machine_is_not_connected_to() {
        let outbound = outbound(&[]);
        let named = outbound.destination("https://localhost/").unwrap();
        assert_eq!(outbound.post_nothing(&named, HeaderMap::new()).await, Err(NoAnswer::NotPublic));
        // Parsed where it was allowed.
        let before = self::outbound(&["127.0.0.1"]).destination("https://127.0.0.1/").unwrap();
        assert_eq!(outbound.post_nothing(&before, HeaderMap::new()).await, Err(NoAnswer::NotPublic));
    }
}
