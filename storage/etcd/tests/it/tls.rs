//! etcd by https, with certificates on both sides.

use crate::world;
use holdfast_store::Store;
use holdfast_store::suite::{put, write};
use holdfast_store_etcd::testing::EtcdServer;
use holdfast_store_etcd::{EtcdConfig, EtcdStore, EtcdTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::path::Path;
use std::time::Duration;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// Certificate and key, for both sides: etcd calls itself by its own.
    fn issue(&self) -> (Vec<u8>, Vec<u8>) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    }
}

fn start(folder: &Path, authority: &Authority) -> Option<EtcdServer> {
    let (certificate, key) = authority.issue();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let flags = [
        format!("--cert-file={}", file("etcd.crt", &certificate)),
        format!("--key-file={}", file("etcd.key", &key)),
        format!("--trusted-ca-file={}", file("ca.crt", &authority.pem())),
        "--client-cert-auth".to_owned(),
    ];
    EtcdServer::start_with(&flags.each_ref().map(String::as_str))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_certificates() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = start(folder.path(), &authority) else { return };
    let config = |ca: &Authority, identity| EtcdConfig {
        tls: Some(EtcdTls { ca: ca.pem(), identity }),
        ..EtcdConfig::new(vec![server.endpoint()])
    };
    let store = EtcdStore::open(&config(&authority, Some(authority.issue())), &world()).await.unwrap();
    let revision = write(&*store, [put("k", "1")]).await;
    assert_eq!(store.sync().await.unwrap(), revision);
    // It is waited for an etcd that does not fit, as for one that is not there.
    for wrong in [config(&authority, None), config(&authority, Some(other.issue())), config(&other, None)] {
        let opened = tokio::time::timeout(Duration::from_secs(1), EtcdStore::open(&wrong, &world())).await;
        assert!(opened.is_err(), "etcd let a stranger in, or the hub believed one");
    }
}

#[tokio::test]
async fn certificates_that_are_none_are_told() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let check = |ca: Vec<u8>, identity| {
        let tls = Some(EtcdTls { ca, identity });
        EtcdConfig { tls, ..EtcdConfig::new(vec!["https://127.0.0.1:2379".to_owned()]) }.check()
    };
    assert_eq!(check(authority.pem(), Some((certificate.clone(), key.clone()))), Ok(()));
    let said = check(b"nothing".to_vec(), None).unwrap_err();
    assert_eq!(said, "the CA of etcd: it holds no certificate in PEM");
    assert!(
        check(authority.pem(), Some((certificate.clone(), b"x".to_vec()))).unwrap_err().contains("the key for etcd")
    );
    assert!(check(authority.pem(), Some((b"x".to_vec(), key))).unwrap_err().contains("the certificate for etcd"));
}
