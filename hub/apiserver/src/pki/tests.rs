use super::*;
use rustls::pki_types::pem::PemObject;
use std::os::unix::fs::PermissionsExt;

const NOW: i64 = 1_790_000_000;

fn open(dir: &Path) -> Pki {
    at(dir, NOW)
}

/// How long a CA is used after its successor was made.
const OVERLAP: Duration = Duration::from_secs(455 * 24 * 3600);

fn at(dir: &Path, secs: i64) -> Pki {
    Pki::open(dir, Timestamp::from_secs(secs), OVERLAP).unwrap()
}

#[test]
fn keys_are_made_once_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = open(dir.path());
    assert_eq!(first.ca.hash(), second.ca.hash());
    assert_eq!(first.admin_certificate_pem, second.admin_certificate_pem);
    assert_eq!(first.service_account_key_pem, second.service_account_key_pem);
    assert!(first.ca.hash().starts_with("sha256:") && first.ca.hash().len() == 7 + 64);
    for file in ["ca.crt", "ca.key", "sa.key", "admin.crt", "admin.key"] {
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn admin_certificate_is_renewed_before_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let later = Timestamp::from_secs(NOW).after(Duration::from_secs(300 * 24 * 3600));
    let second = Pki::open(dir.path(), later, OVERLAP).unwrap();
    assert_ne!(first.admin_certificate_pem, second.admin_certificate_pem);
    let der = rustls::pki_types::CertificateDer::from_pem_slice(second.admin_certificate_pem.as_bytes()).unwrap();
    let identity = client_identity(&der).unwrap();
    assert_eq!(identity.common_name, "kubernetes-admin");
    assert!(identity.user().is_in(holdfast_core::user::MASTERS));
}

#[test]
fn damaged_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    std::fs::write(dir.path().join("ca.key"), "nonsense").unwrap();
    let err = Pki::open(dir.path(), Timestamp::from_secs(NOW), OVERLAP).err().unwrap().to_string();
    assert!(err.contains("ca.key is damaged"), "{err}");
    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    let err = Pki::open(dir.path(), Timestamp::from_secs(NOW), OVERLAP).err().unwrap().to_string();
    assert!(err.contains("it is missing"), "{err}");
}

#[test]
fn node_certificates_name_the_node_and_ignore_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path());
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    let csr = params.serialize_request(&key).unwrap();
    let now = Timestamp::from_secs(NOW);
    let ttl = Duration::from_secs(3600);
    let issued = pki.ca.sign_node_certificate(csr.der(), "edge-1", "uid-1", now, ttl).unwrap();
    let identity = client_identity(&issued.chain[0]).unwrap();
    assert_eq!(identity.organizations, ["system:nodes"]);
    assert_eq!(identity.not_after, now.after(ttl));
    assert_eq!(node_identity(&issued.chain[0]), Some(NodeIdentity { name: "edge-1".into(), uid: "uid-1".into() }));
    // A node chooses its name: nobody may take it for a server of that name.
    let (_, certificate) = x509_parser::parse_x509_certificate(&issued.chain[0]).unwrap();
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    let mut broken = csr.der().to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    for (csr, name) in [(&broken[..], "edge-1"), (&[0u8; 4][..], "edge-1"), (csr.der().as_ref(), "Edge_1")] {
        assert!(pki.ca.sign_node_certificate(csr, name, "uid", now, ttl).is_err(), "{name}");
    }
}

#[test]
fn a_hubs_certificate_names_a_hub_and_no_user_with_rights() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path());
    let identity = pki.hub_identity("host_1", Timestamp::from_secs(NOW)).unwrap();
    let read = client_identity(&identity.chain[0]).unwrap();
    assert_eq!((read.common_name.as_str(), read.organizations.len(), read.node()), ("holdfast-hub", 0, None));
    assert_eq!(read.uris, ["holdfast://hub/host_1"]);
    assert!(pki.hub_identity("h\u{f6}st", Timestamp::from_secs(NOW)).is_err());
}

#[test]
fn a_rotation_keeps_the_old_ca_until_nobody_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    assert_eq!((first.roots().len(), first.serving_ca().hash()), (1, first.ca.hash()));
    let hash = Pki::rotate(dir.path(), Timestamp::from_secs(NOW), OVERLAP).unwrap();
    let second = open(dir.path());
    assert_eq!(second.ca.hash(), hash);
    assert_ne!(second.ca.hash(), first.ca.hash());
    assert_eq!(second.serving_ca().hash(), first.ca.hash(), "what everybody trusts");
    assert_eq!(second.roots().len(), 2);
    assert!(second.roots_pem().starts_with(first.ca.pem()) && second.roots_pem().ends_with(second.ca.pem()));
    assert_eq!(second.admin_certificate_pem, first.admin_certificate_pem, "still good");
    let again = Pki::rotate(dir.path(), Timestamp::from_secs(NOW), OVERLAP).unwrap_err().to_string();
    assert!(again.contains("rotated not long ago"), "{again}");

    // A node of the old CA, one of the new, and the hub itself, as each judges the other.
    let names = |pki: &Pki| pki.serving_identity(&[], &[], Timestamp::from_secs(NOW)).unwrap();
    let trusts = |roots: Vec<rustls::pki_types::CertificateDer<'static>>,
                  chain: &[rustls::pki_types::CertificateDer<'static>]| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider);
        let name = "hub.holdfast.internal".try_into().unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs()));
        let verifier = verifier.build().unwrap();
        rustls::client::danger::ServerCertVerifier::verify_server_cert(
            &*verifier,
            &chain[0],
            &chain[1..],
            &name,
            &[],
            at,
        )
        .is_ok()
    };
    assert!(trusts(first.roots(), &names(&second).chain) && trusts(second.roots(), &names(&second).chain));
    let over = NOW + i64::try_from(OVERLAP.as_secs()).unwrap();
    assert!(at(dir.path(), over - 1).previous.is_some());
    let third = at(dir.path(), over);
    assert_eq!((third.roots().len(), third.serving_ca().hash()), (1, hash.as_str()));
    assert!(trusts(second.roots(), &names(&third).chain) && !trusts(first.roots(), &names(&third).chain));
    assert!(third.is_trusted(&third.admin_certificate_pem, Timestamp::from_secs(over)));
    Pki::rotate(dir.path(), Timestamp::from_secs(over), OVERLAP).unwrap();
    assert_eq!(at(dir.path(), over).serving_ca().hash(), hash);
}

#[test]
fn an_administrators_certificate_of_a_retired_ca_is_issued_anew() {
    let dir = tempfile::tempdir().unwrap();
    let short = Duration::from_secs(60);
    let first = open(dir.path());
    Pki::rotate(dir.path(), Timestamp::from_secs(NOW), short).unwrap();
    let later = Pki::open(dir.path(), Timestamp::from_secs(NOW + 61), short).unwrap();
    assert!(later.previous.is_none());
    assert_ne!(later.admin_certificate_pem, first.admin_certificate_pem);
}
