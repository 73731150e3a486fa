//! A connection to the admin API.

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};

use crate::{MAX_MESSAGE, stubs::admin_client::AdminClient};

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for a call; a little more than the server gives it.
const CALL: Duration = Duration::from_secs(20);

/// Who is called, who is believed, and who calls. All certificates and keys are PEM.
#[derive(Debug, Clone)]
pub struct Access {
    /// HOST:PORT.
    pub server: String,
    /// Name in the server's certificate, where that is not the host.
    pub server_name: Option<String>,
    /// Authority of the server's certificate.
    pub ca: Vec<u8>,
    /// Certificate of the admin, and its key; without them no server talks to anybody.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Connects with mutual TLS.
pub async fn connect(access: Access) -> Result<AdminClient<Channel>, Error> {
    let client = AdminClient::new(channel(access).await?);
    Ok(client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
}

/// The connection alone, for what else is served on it: health, reflection.
pub async fn channel(access: Access) -> Result<Channel, Error> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(access.ca));
    if let Some((certificate, key)) = access.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    if let Some(name) = access.server_name {
        tls = tls.domain_name(name);
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", access.server))?;
    endpoint.tls_config(tls)?.connect_timeout(CONNECT).timeout(CALL).connect().await
}
