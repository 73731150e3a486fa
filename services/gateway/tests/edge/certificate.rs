//! A certificate that is renewed is shown without a restart.

use std::{fs, path::Path, time::Duration};

use qpc_gateway::Config;
use rustls::pki_types::CertificateDer;
use tokio::time::{sleep, timeout};

use crate::support::{Edge, client_config, config};

const METRIC: &str = r#"certificate_not_after_seconds{certificate="gateway"}"#;

fn write(cert: &Path, key: &Path, year: i32) -> CertificateDer<'static> {
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let made = params.self_signed(&pair).unwrap();
    fs::write(key, pair.serialize_pem()).unwrap();
    fs::write(cert, made.pem()).unwrap();
    made.der().clone()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let old = write(&cert, &key, 2100);
    let mut edge = Edge::start(Config { tls_cert: Some(cert.clone()), tls_key: Some(key.clone()), ..config() }).await;
    assert_eq!(edge.gateway.certificate_der, old);
    let (client, until_2100) = (edge.client().await, edge.metric(METRIC));

    edge.gateway.certificate_der = write(&cert, &key, 2101);
    // Files are looked at every few seconds, twice if they were being written.
    let shown = async {
        while edge.metric(METRIC) <= until_2100 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), shown).await.expect("the new one is not shown");
    edge.client().await.ping().await;
    edge.gateway.certificate_der = old;
    assert!(edge.client_with(client_config(&edge, |_| {})).await.is_err(), "the old one is shown no more");
    client.ping().await;
}
