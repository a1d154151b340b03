//! Certificates as other programs read them, and requests that hide something.

use super::*;
use crate::pki::client_identity;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, SigningKey};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::process::Command;
use x509_parser::prelude::X509CertificationRequest;

const NOW: i64 = 1_790_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const UTF8: u8 = 0x0c;
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

struct Authority {
    pki: Arc<Pki>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let pki = Arc::new(Pki::open(folder.path(), now(), Duration::ZERO).unwrap());
        Authority { pki, folder }
    }

    fn requests(&self) -> RequestAuthority {
        RequestAuthority::new(self.pki.clone(), holdfast_env::host::HostEnv::new("/nonexistent"))
    }

    /// The certificate for a request, DER.
    fn certified(&self, request: &str, usages: &[&str]) -> Result<Vec<u8>, String> {
        let usages: Vec<String> = usages.iter().map(ToString::to_string).collect();
        let pem = STANDARD.decode(self.requests().sign(request, &usages, now(), HOUR)?).unwrap();
        Ok(CertificateDer::from_pem_slice(&pem).unwrap().to_vec())
    }

    /// What the program `openssl` says of a certificate that it finds in order; `None`, saying so, without the program.
    fn openssl(&self, certificate: &[u8]) -> Option<String> {
        let (ca, leaf) = (self.folder.path().join("ca.crt"), self.folder.path().join("leaf.pem"));
        std::fs::write(&leaf, pem(certificate)).unwrap();
        let run = |args: &[&str]| Command::new("openssl").args(args).output();
        let (ca, leaf) = (ca.to_str().unwrap(), leaf.to_str().unwrap());
        let at = NOW.to_string();
        let Ok(verified) = run(&["verify", "-x509_strict", "-check_ss_sig", "-attime", &at, "-CAfile", ca, leaf])
        else {
            eprintln!("skipped: no openssl on this machine");
            return None;
        };
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        let shown = run(&["x509", "-in", leaf, "-noout", "-text", "-nameopt", "RFC2253,utf8,-esc_msb"]).unwrap();
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        Some(String::from_utf8(shown.stdout).unwrap())
    }
}

/// A request as the API has it.
fn encoded(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    STANDARD.encode(format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"))
}

fn requested(names: &[(DnType, &str)], alternatives: Vec<SanType>, key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in names {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params.subject_alt_names = alternatives;
    encoded(params.serialize_request(key).unwrap().der())
}

fn alternatives() -> Vec<SanType> {
    vec![
        SanType::DnsName("node.example.com".try_into().unwrap()),
        SanType::IpAddress("10.0.0.7".parse().unwrap()),
        SanType::IpAddress("fd00::7".parse().unwrap()),
        SanType::Rfc822Name("jane@example.com".try_into().unwrap()),
        SanType::URI("spiffe://example.com/jane".try_into().unwrap()),
    ]
}

#[test]
fn a_certificate_reads_as_it_was_judged_whoever_reads_it() {
    let authority = Authority::new();
    for (sort, algorithm) in [
        ("prime256v1", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("secp384r1", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("ED25519", &rcgen::PKCS_ED25519),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names = [(DnType::CommonName, "jané"), (DnType::OrganizationName, "dev, ops=+\"")];
        let request = requested(&names, alternatives(), &key);
        let read = authority.requests().read(&request).unwrap();
        assert_eq!((read.common_name.as_str(), &read.organizations[..]), ("jané", &["dev, ops=+\"".to_string()][..]));
        assert_eq!(read.dns_names, ["node.example.com"]);
        assert_eq!(read.addresses, ["10.0.0.7", "fd00::7"]);
        assert_eq!(
            (&read.emails[..], &read.uris[..]),
            (&["jane@example.com".to_string()][..], &["spiffe://example.com/jane".to_string()][..])
        );

        let certificate = authority.certified(&request, &["digital signature", "client auth"]).unwrap();
        let (rest, parsed) = X509Certificate::from_der(&certificate).unwrap();
        assert!(rest.is_empty() && parsed.version().0 == 2);
        parsed.verify_signature(None).unwrap_err();
        let (_, ca) = X509Certificate::from_der(authority.pki.ca.certificate()).unwrap();
        parsed.verify_signature(Some(ca.public_key())).unwrap();
        assert_eq!(parsed.issuer().as_raw(), ca.subject().as_raw());
        assert_eq!(parsed.raw_serial().len(), SERIAL, "positive, and not padded");
        let validity = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        assert_eq!(validity, (NOW - 360, NOW + 3600));
        assert_eq!(parsed.public_key().subject_public_key.data, key.public_key_raw());
        assert!(!parsed.is_ca() && parsed.basic_constraints().unwrap().unwrap().critical);
        let purposes = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.client_auth && !purposes.server_auth && !purposes.any);
        let identity = client_identity(&certificate).unwrap();
        assert_eq!((identity.common_name, identity.organizations), (read.common_name, read.organizations));

        let Some(text) = authority.openssl(&certificate) else { return };
        for line in [
            "Version: 3 (0x2)",
            "Signature Algorithm: ecdsa-with-SHA256",
            "Issuer: CN=holdfast-ca",
            r#"Subject: O=dev\, ops=\+\",CN=jané"#,
            sort,
            "DNS:node.example.com, IP Address:10.0.0.7, IP Address:FD00:0:0:0:0:0:0:7, email:jane@example.com, URI:spiffe://example.com/jane",
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "TLS Web Client Authentication\n",
            "CA:FALSE",
        ] {
            assert!(text.contains(line), "{line:?} in\n{text}");
        }
    }
}

#[test]
fn all_shapes_of_a_certificate_are_in_order() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let long = "x".repeat(300);
    let names = [(DnType::CommonName, "jane"), (DnType::OrganizationName, long.as_str())];
    for (names, alternatives, usages) in [
        (&names[..], vec![], &["digital signature", "key encipherment", "client auth"][..]),
        (&names[..1], alternatives(), &["key encipherment", "server auth", "client auth"][..]),
        // Nobody: then the names are critical.
        (&names[..0], alternatives(), &["digital signature", "server auth"][..]),
    ] {
        let certificate = authority.certified(&requested(names, alternatives, &key), usages).unwrap();
        let (rest, parsed) = X509Certificate::from_der(&certificate).unwrap();
        assert!(rest.is_empty());
        let critical = parsed.subject_alternative_name().unwrap().map(|names| names.critical);
        assert_eq!(critical.unwrap_or_default(), names.is_empty());
        let usage = parsed.key_usage().unwrap().unwrap().value;
        let has = |wanted: &str| usages.contains(&wanted);
        assert_eq!(usage.digital_signature(), has("digital signature"));
        assert_eq!(usage.key_encipherment(), has("key encipherment"));
        assert!(!usage.key_cert_sign() && !usage.crl_sign());
        authority.openssl(&certificate);
    }
}

#[test]
fn serials_are_positive_and_times_have_the_form_of_their_century() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let asked = Asked::of(&requested(&[(DnType::CommonName, "jane")], vec![], &key)).unwrap();
    for drawn in [[0; SERIAL], [0xff; SERIAL], [0x80; SERIAL]] {
        let certificate = certify(&authority.pki.ca, &asked, drawn, &[], now(), HOUR).unwrap();
        let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
        assert!(parsed.raw_serial().len() == SERIAL && parsed.raw_serial()[0] & 0xc0 == 0x40);
    }
    let at = |text: &str| time(Timestamp::parse(text).unwrap());
    assert_eq!(at("2049-12-31T23:59:59Z"), [&[0x17, 13], &b"491231235959Z"[..]].concat());
    assert_eq!(at("2050-01-01T00:00:00Z"), [&[0x18, 15], &b"20500101000000Z"[..]].concat());
    // Nothing is signed beyond the CA's own end.
    let (_, ca) = X509Certificate::from_der(authority.pki.ca.certificate()).unwrap();
    let end = Timestamp::from_secs(ca.validity().not_after.timestamp());
    let before = Timestamp::from_secs(end.secs() - 60);
    let certificate = certify(&authority.pki.ca, &asked, [1; SERIAL], &[], before, HOUR).unwrap();
    assert_eq!(client_identity(&certificate).unwrap().not_after, end);
    let after = certify(&authority.pki.ca, &asked, [1; SERIAL], &[], end, HOUR).unwrap_err().to_string();
    assert!(after.contains("the CA's own certificate has ended"), "{after}");
}

/// A request put together by hand.
struct Crafted {
    subject: Vec<u8>,
    key: Vec<u8>,
    attributes: Vec<u8>,
}

fn pair(kind: &[u8], sort: u8, value: &[u8]) -> Vec<u8> {
    der::all(der::SEQUENCE, &[&der::value(der::OBJECT_IDENTIFIER, kind), &der::value(sort, value)])
}

/// A set of one.
fn name(kind: &[u8], sort: u8, value: &[u8]) -> Vec<u8> {
    der::value(der::SET, &pair(kind, sort, value))
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der::all(der::SEQUENCE, parts)
}

/// An Ed25519 key, with parameters that it should not have.
fn public(key: &KeyPair, parameters: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[&der::value(der::OBJECT_IDENTIFIER, ED25519), parameters]);
    sequence(&[&algorithm, &der::bits(key.public_key_raw(), 0)])
}

/// The attribute that asks for alternative names: what its list holds.
fn asks_for(names: &[u8]) -> Vec<u8> {
    const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
    let extensions = sequence(&[&extension(SUBJECT_ALT_NAME, false, names)]);
    sequence(&[&der::value(der::OBJECT_IDENTIFIER, EXTENSION_REQUEST), &der::value(der::SET, &extensions)])
}

impl Crafted {
    fn of(key: &KeyPair) -> Crafted {
        let subject = sequence(&[&name(COMMON_NAME, UTF8, b"jane")]);
        Crafted { subject, key: public(key, &[]), attributes: Vec::new() }
    }

    fn signed(&self, key: &KeyPair) -> String {
        let attributes = der::value(der::EXPLICIT, &self.attributes);
        let info = sequence(&[&der::unsigned(&[0]), &self.subject, &self.key, &attributes]);
        let algorithm = sequence(&[&der::value(der::OBJECT_IDENTIFIER, ED25519)]);
        let signature = der::bits(&key.sign(&info).unwrap(), 0);
        encoded(&sequence(&[&info, &algorithm, &signature]))
    }
}

#[test]
fn what_readers_would_not_agree_on_is_refused() {
    let authority = Authority::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let refused = |crafted: &Crafted| authority.requests().read(&crafted.signed(&key)).unwrap_err();
    let plain = Crafted::of(&key);
    assert_eq!(authority.requests().read(&plain.signed(&key)).unwrap().common_name, "jane");

    let jane = name(COMMON_NAME, UTF8, b"jane");
    let masters = name(ORGANIZATION, UTF8, b"system:masters");
    let set = |parts: &[&[u8]]| der::all(der::SET, parts);
    let lengthy = [&[0x30, 0x81, jane.len() as u8], &jane[..]].concat();
    let wide: Vec<u8> = "system:masters".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let (hidden, text) = ("holds more than can be read", "is no plain");
    for (subject, why) in [
        // Behind a set that is empty, the library stops to read.
        (sequence(&[&jane, &set(&[]), &masters]), hidden),
        (sequence(&[&jane, &[0x05, 0], &masters]), hidden),
        (sequence(&[&set(&[&pair(COMMON_NAME, UTF8, b"jane"), &[0x05, 0]])]), hidden),
        (lengthy, hidden),
        // Sets that are not sorted.
        (sequence(&[&set(&[&pair(COMMON_NAME, UTF8, b"jane"), &pair(ORGANIZATION, UTF8, b"dev")])]), hidden),
        // BMPString, T61String, UniversalString; constructed, and of another class.
        (sequence(&[&jane, &name(ORGANIZATION, 0x1e, &wide)]), text),
        (sequence(&[&jane, &name(ORGANIZATION, 0x14, b"system:masters")]), text),
        (sequence(&[&jane, &name(ORGANIZATION, 0x1c, b"\0\0\0x")]), text),
        (sequence(&[&jane, &name(ORGANIZATION, UTF8 | 0x20, &der::value(UTF8, b"system:masters"))]), text),
        (sequence(&[&jane, &name(ORGANIZATION, UTF8 | 0x80, b"system:masters")]), text),
        (sequence(&[&name(COMMON_NAME, UTF8, b"jane\0.example.com")]), text),
        (sequence(&[&name(COMMON_NAME, UTF8, b"ja\xffne")]), text),
        (sequence(&[&name(COMMON_NAME, 0x13, b"jane@example.com")]), text),
        (sequence(&[&jane, &name(&[0x55, 4, 0x80, 10], UTF8, b"system:masters")]), text),
        (sequence(&[&jane, &name(COMMON_NAME, UTF8, b"kubernetes-admin")]), "more than one common name"),
    ] {
        let told = refused(&Crafted { subject: subject.clone(), ..Crafted::of(&key) });
        assert!(told.contains(why), "{told}: {subject:02x?}");
    }
    // Names of both sorts in one set, in order, are fine: Go writes organizations so.
    let two = set(&[&pair(ORGANIZATION, UTF8, b"dev"), &pair(ORGANIZATION, UTF8, b"ops")]);
    let both = Crafted { subject: sequence(&[&two, &jane]), ..Crafted::of(&key) };
    assert_eq!(authority.requests().read(&both.signed(&key)).unwrap().organizations, ["dev", "ops"]);

    let null = der::value(0x05, &[]);
    let longer = [&[0x30, public(&key, &[]).len() as u8 + 1], &public(&key, &[])[2..], &[0x05, 0, 0][..]].concat();
    for (key, why) in [(public(&key, &null), "none of RSA"), (longer, hidden)] {
        let told = refused(&Crafted { key: key.clone(), ..plain_of(&plain) });
        assert!(told.contains(why), "{told}: {key:02x?}");
    }

    let dns = |name: &[u8]| der::value(der::IMPLICIT | 2, name);
    for (names, why) in [
        ([sequence(&[&dns(b"a.example.com")]), dns(b"b.example.com")].concat(), hidden),
        (sequence(&[]), "is empty"),
        (sequence(&[&dns(b"a\0.example.com")]), "not of visible ASCII"),
        (sequence(&[&dns("é.example.com".as_bytes())]), "not of visible ASCII"),
        (sequence(&[&dns(b"")]), "not of visible ASCII"),
        (sequence(&[&der::value(der::EXPLICIT | 2, &der::value(0x16, b"a.example.com"))]), "not of visible ASCII"),
        (sequence(&[&der::value(der::IMPLICIT | 7, &[10, 0, 0])]), "an IP subjectAltName is malformed"),
        (sequence(&[&der::value(der::EXPLICIT | 4, &plain.subject)]), "of other sorts"),
        (sequence(&[&der::value(der::IMPLICIT | 6, b"HoldFast://node/u-1")]), "by its link alone"),
    ] {
        let told = refused(&Crafted { attributes: asks_for(&names), ..Crafted::of(&key) });
        assert!(told.contains(why), "{told}: {names:02x?}");
    }
    let twice = [asks_for(&sequence(&[&dns(b"a")])), asks_for(&sequence(&[&dns(b"b")]))].concat();
    let told = refused(&Crafted { attributes: twice, ..Crafted::of(&key) });
    assert_eq!(told, "the request has more than one list of subjectAltNames");
}

fn plain_of(crafted: &Crafted) -> Crafted {
    Crafted { subject: crafted.subject.clone(), key: crafted.key.clone(), attributes: crafted.attributes.clone() }
}

/// A subject whose length says more than its names are: written as it is into a certificate it takes in the beginning of the
/// key, and a key with room in its parameters then gives what follows: another key, other names and purposes. Verifiers that do
/// not read the subject believe all of it.
#[test]
fn a_subject_that_swallows_what_follows_is_refused() {
    const HUB: &str = "hub.holdfast.internal";
    let authority = Authority::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let honest = authority.certified(&Crafted::of(&key).signed(&key), &["digital signature", "client auth"]).unwrap();
    let (_, parsed) = X509Certificate::from_der(&honest).unwrap();
    // What is behind the key's parameters in a certificate: the key's bits, and the true extensions.
    let true_extensions = parsed.tbs_certificate.as_ref();
    let true_extensions = &true_extensions[find(true_extensions, &public(&key, &[])) + public(&key, &[]).len()..];
    let behind = der::bits(key.public_key_raw(), 0).len() + true_extensions.len();

    let server_auth = der::value(der::SEQUENCE, &der::value(der::OBJECT_IDENTIFIER, SERVER_AUTH));
    let names = sequence(&[&der::value(der::IMPLICIT | 2, HUB.as_bytes())]);
    let good =
        [extension(EXTENDED_KEY_USAGE, false, &server_auth), extension(SUBJECT_ALT_NAME, false, &names)].concat();
    // One more, which nobody knows, holds the rest, and so much more that all lengths are of two bytes.
    let wide = |tag: u8, length: usize| [tag, 0x82, (length >> 8) as u8, length as u8];
    let (unknown, more) = (der::value(der::OBJECT_IDENTIFIER, &[0x2a, 3]), vec![0; 0x100]);
    let held = more.len() + behind;
    let last = [&wide(der::SEQUENCE, unknown.len() + 4 + held)[..], &unknown, &wide(der::OCTET_STRING, held), &more];
    let last = last.concat();
    let list = [&wide(der::SEQUENCE, good.len() + last.len() + behind)[..], &good, &last].concat();
    let extensions = [&wide(der::EXPLICIT | 3, list.len() + behind)[..], &list].concat();
    let blob = [public(&key, &[]), extensions].concat();
    let parameters = [&wide(der::OCTET_STRING, blob.len())[..], &blob].concat();
    let kind = der::value(der::OBJECT_IDENTIFIER, ED25519);
    let algorithm = [&wide(der::SEQUENCE, kind.len() + parameters.len())[..], &kind, &parameters].concat();
    let bits = der::bits(key.public_key_raw(), 0);
    let evil_key = [&wide(der::SEQUENCE, algorithm.len() + bits.len())[..], &algorithm, &bits].concat();
    // Up to the blob: four headers and the kind.
    let swallowed = evil_key.len() - bits.len() - blob.len();
    let visible = name(COMMON_NAME, UTF8, b"jane");
    let filler = der::value(der::OCTET_STRING, &vec![0; swallowed - 2]);
    let evil = Crafted { subject: sequence(&[&visible, &filler]), key: evil_key, attributes: Vec::new() };

    // A certificate that copied what the library calls the raw parts would be taken for the hub's.
    let raw = [&[der::SEQUENCE, (visible.len() + swallowed) as u8], &visible[..]].concat();
    let sent = STANDARD.decode(evil.signed(&key)).unwrap();
    let sent = x509_parser::pem::Pem::iter_from_buffer(&sent).next().unwrap().unwrap().contents;
    let (_, sent) = X509CertificationRequest::from_der(&sent).unwrap();
    sent.verify_signature().unwrap();
    let sent = &sent.certification_request_info;
    assert_eq!((sent.subject.as_raw(), sent.subject_pki.raw), (&raw[..], &evil.key[..]));
    let tbs = parsed.tbs_certificate.as_ref();
    let (head, _) = tbs.split_at(find(tbs, parsed.subject().as_raw()));
    let header = 2 + usize::from(tbs[1].saturating_sub(0x80));
    let content = [&head[header..], &raw, &evil.key, true_extensions].concat();
    let copied = der::value(der::SEQUENCE, &content);
    let signature = der::bits(&authority.pki.ca.sign_message(&copied).unwrap(), 0);
    let ecdsa = sequence(&[&der::value(der::OBJECT_IDENTIFIER, ECDSA_SHA256)]);
    let copied = CertificateDer::from(sequence(&[&copied, &ecdsa, &signature]));
    let believed = |certificate: &CertificateDer<'_>| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authority.pki.roots());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs()));
        verifier.verify_server_cert(certificate, &[], &HUB.try_into().unwrap(), &[], at).is_ok()
    };
    assert!(!believed(&CertificateDer::from(honest.clone())));
    assert!(believed(&copied), "no danger: the test is of no use");

    let told = authority.requests().read(&evil.signed(&key)).unwrap_err();
    assert_eq!(told, "the subject is not DER, or holds more than can be read");
    assert!(authority.certified(&evil.signed(&key), &["digital signature", "client auth"]).is_err());
}

fn find(all: &[u8], part: &[u8]) -> usize {
    all.windows(part.len()).position(|window| window == part).unwrap()
}
