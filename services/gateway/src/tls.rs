//! The certificate: from files, or self-signed and kept in the data folder. Read again when the files change.

use std::{
    fmt, fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use qpc_chassis::{
    run::Deps,
    secrets::write_private,
    tls::{self, TlsError},
    watched::Watched,
};
use rand::RngCore;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::CertificateDer,
    server::{ClientHello, ProducesTickets, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{Config, GatewayError, SERVICE};

/// Certificate chain and key.
pub struct Identity {
    leaf: CertificateDer<'static>,
    shown: Arc<Watched<CertifiedKey>>,
}

impl Identity {
    /// The certificate of this server when it was started.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// Shows what the files hold from now on, whenever they change.
    pub(crate) fn watch(&self, deps: &Deps) {
        let metrics = deps.metrics.clone();
        self.shown.watch(deps, "the certificate for clients", move |key| {
            key.cert.first().into_iter().for_each(|leaf| metrics.certificate(SERVICE, leaf));
        });
    }
}

/// The file of the self-signed certificate: what clients are given as `--ca-cert`.
pub fn self_signed_path(data: &Path) -> PathBuf {
    data.join("cert.pem")
}

/// The identity that the settings ask for; makes a self-signed one on first start.
pub fn load(config: &Config, rng: &mut impl RngCore) -> Result<Identity, GatewayError> {
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => identity(cert, key),
        (None, None) if config.production => Err(GatewayError::SelfSignedInProduction),
        (None, None) => self_signed(&config.data, rng),
        _ => Err(GatewayError::HalfGiven),
    }
}

/// TLS 1.3 only. The provider prefers X25519MLKEM768 and the tests hold it to that. `ticketer` is that of all gateways; without
/// it tickets are good at this one alone.
pub(crate) fn server_config(
    identity: &Identity,
    ticketer: Option<Arc<dyn ProducesTickets>>,
) -> Result<ServerConfig, GatewayError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Newest(identity.shown.clone())));
    config.alpn_protocols = vec![qpc_wire::limits::ALPN.to_vec()];
    // Stateless tickets cost no memory here. rustls never takes early data with them, so nothing can be replayed.
    config.ticketer = match ticketer {
        Some(shared) => shared,
        None => aws_lc_rs::Ticketer::new()?,
    };
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// What is shown in new handshakes; sessions that are resumed show nothing.
struct Newest(Arc<Watched<CertifiedKey>>);

impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Newest").field(&self.0.current().cert).finish()
    }
}

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, GatewayError> {
    let files = [cert.to_owned(), key.to_owned()];
    let shown = Watched::new(files.to_vec(), move || read(&files[0], &files[1]))?;
    let leaf = shown.current().cert.first().cloned().ok_or_else(|| TlsError::NoCertificate(cert.to_owned()))?;
    Ok(Identity { leaf, shown })
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, GatewayError> {
    let (chain, key) = (tls::certificates(cert)?, tls::private_key(key)?);
    Ok(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?)
}

fn self_signed(data: &Path, rng: &mut impl RngCore) -> Result<Identity, GatewayError> {
    let (cert, key) = (self_signed_path(data), data.join("key.pem"));
    match (cert.exists(), key.exists()) {
        (true, true) => {}
        (true, false) => return Err(GatewayError::KeyLost(cert)),
        (false, _) => make(data, &cert, &key, rng)?,
    }
    identity(&cert, &key)
}

/// The key comes first, and the certificate appears whole: a start that dies between the two is made good by the next.
fn make(data: &Path, cert: &Path, key: &Path, rng: &mut impl RngCore) -> Result<(), GatewayError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| GatewayError::Write { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed(data))?;
    let pair = if key.exists() {
        let pem = fs::read_to_string(key).map_err(failed(key))?;
        rcgen::KeyPair::from_pem(&pem)?
    } else {
        let pair = rcgen::KeyPair::generate()?;
        write_private(key, pair.serialize_pem().as_bytes()).map_err(failed(key))?;
        pair
    };
    // Not a CA: webpki takes it as its own trust anchor. It does not expire, since nobody would renew it.
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = rcgen::CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "quicprochat self-signed");
    let pem = params.self_signed(&pair)?.pem();
    let draft = data.join(format!("cert.pem.{:016x}", rng.next_u64()));
    fs::write(&draft, pem).map_err(failed(&draft))?;
    fs::rename(&draft, cert).map_err(failed(cert))
}

#[cfg(test)]
mod tests {
    use qpc_chassis::Runtime;

    use super::*;

    fn config(data: &Path) -> Config {
        Config { data: data.to_owned(), ..Config::default() }
    }

    #[test]
    fn a_self_signed_certificate_is_made_once_and_its_key_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new/data");
        let mut rng = Runtime::system().rng();
        let made = load(&config(&data), &mut rng).unwrap();
        assert_eq!(fs::metadata(data.join("key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
        let again = load(&config(&data), &mut rng).unwrap();
        assert_eq!(made.leaf(), again.leaf());
        assert!(server_config(&again, None).is_ok());
    }

    #[test]
    fn a_lost_certificate_is_signed_again_and_a_lost_key_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = Runtime::system().rng();
        load(&config(folder.path()), &mut rng).unwrap();
        fs::remove_file(folder.path().join("cert.pem")).unwrap();
        load(&config(folder.path()), &mut rng).unwrap();
        fs::remove_file(folder.path().join("key.pem")).unwrap();
        assert!(matches!(load(&config(folder.path()), &mut rng), Err(GatewayError::KeyLost(_))));
    }

    #[test]
    fn production_refuses_to_make_one_but_takes_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = Runtime::system().rng();
        let production = Config { production: true, ..config(folder.path()) };
        let error = load(&production, &mut rng).err().unwrap();
        assert!(matches!(error, GatewayError::SelfSignedInProduction));
        assert!(error.to_string().contains("--tls-cert"));
        assert!(!folder.path().join("key.pem").exists());

        load(&config(folder.path()), &mut rng).unwrap();
        let given = Config {
            tls_cert: Some(folder.path().join("cert.pem")),
            tls_key: Some(folder.path().join("key.pem")),
            ..production
        };
        assert!(load(&given, &mut rng).is_ok());
        let half = Config { tls_key: None, ..given };
        assert!(matches!(load(&half, &mut rng), Err(GatewayError::HalfGiven)));
    }

    #[test]
    fn the_hybrid_key_exchange_comes_first() {
        let groups = aws_lc_rs::default_provider().kx_groups;
        assert_eq!(groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
    }
}
