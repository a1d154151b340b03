//! A node's identity: its key, its certificate chain and the cluster's CA certificates.

use crate::tls::TlsError;
use holdfast_env::World;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Prefix of the SAN URI that carries a node's UID.
pub const NODE_URI: &str = "holdfast://node/";
/// Prefix of the SAN URI that carries a hub's name among the hubs of a cluster.
pub const HUB_URI: &str = "holdfast://hub/";

/// Everything that a node proves itself with. Stored as one checksummed file; a wire-like record: fields never
/// change.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// The node's UID.
    pub node_uid: String,
    /// The node's name.
    pub node_name: String,
    /// Private key, PKCS #8 DER.
    pub key: Vec<u8>,
    /// Chain, DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The cluster's CA certificates, DER.
    pub roots: Vec<Vec<u8>>,
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeIdentity({} {})", self.node_name, self.node_uid)
    }
}

/// When a certificate is valid, both ends included; times since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`.
    pub not_before: Duration,
    /// `notAfter`.
    pub not_after: Duration,
}

/// When a certificate (DER) is valid.
///
/// # Errors
/// When it cannot be parsed.
pub fn validity(certificate: &[u8]) -> Result<Validity, TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|err| TlsError::Certificate(format!("cannot be parsed: {err}")))?;
    let moment = |time: x509_parser::time::ASN1Time| Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0));
    let validity = parsed.validity();
    Ok(Validity { not_before: moment(validity.not_before), not_after: moment(validity.not_after) })
}

/// How a certificate stands with the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not ended.
    Valid,
    /// It has ended, and may be renewed.
    ExpiredWithinGrace,
    /// It has ended for longer than the grace.
    Expired,
}

/// How a certificate (DER) stands at `now`, a time since 1970, when it may be renewed for `grace` after its end.
///
/// # Errors
/// When it cannot be parsed.
pub fn standing(certificate: &[u8], now: Duration, grace: Duration) -> Result<Standing, TlsError> {
    let end = validity(certificate)?.not_after;
    Ok(match now {
        now if now <= end => Standing::Valid,
        now if now <= end.saturating_add(grace) => Standing::ExpiredWithinGrace,
        _ => Standing::Expired,
    })
}

/// What an Ed25519 key's PKCS #8 form begins with; its 32 secret bytes follow (RFC 8410 §7).
const ED25519: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// The Ed25519 key that these secret bytes make.
///
/// # Errors
/// When the library does not take it.
pub fn ed25519_key(secret: &[u8; 32]) -> Result<rcgen::KeyPair, rcgen::Error> {
    let der = [ED25519.as_slice(), secret].concat();
    rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der.as_slice().into(), &rcgen::PKCS_ED25519)
}

/// A new key, and the request (PKCS #10, DER) by which a node asks for its certificate.
///
/// Ed25519 (RFC 8032), because its keys are plain random bytes, which `env` gives, and its signatures have no chance in
/// them: in the simulator a renewal is the shipped code and yet the same in every run.
///
/// # Errors
/// When the machine cannot make a key.
pub(crate) fn request(env: &World, node_name: &str) -> Result<(rcgen::KeyPair, Vec<u8>), TlsError> {
    let fail = |err: rcgen::Error| TlsError::Config(format!("a key and its request: {err}"));
    let mut secret = [0; 32];
    env.fill_random(&mut secret);
    let key = ed25519_key(&secret).map_err(fail)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("system:node:{node_name}"));
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    let csr = params.serialize_request(&key).map_err(fail)?.der().to_vec();
    Ok((key, csr))
}

/// The node UID and name that a verified certificate speaks for.
///
/// # Errors
/// When it is no node's certificate.
pub fn node_of(certificate: &[u8]) -> Result<(String, String), TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|err| TlsError::Certificate(format!("cannot be parsed: {err}")))?;
    let name = parsed
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .and_then(|name| name.strip_prefix("system:node:"))
        .ok_or_else(|| TlsError::Certificate("is no node's: its common name is not system:node:…".into()))?;
    let uid = named_by(&parsed, NODE_URI)?.ok_or_else(|| TlsError::Certificate("carries no node UID".into()))?;
    Ok((uid, name.to_string()))
}

/// The hub that a verified certificate speaks for.
///
/// # Errors
/// When it is no hub's certificate.
pub fn hub_of(certificate: &[u8]) -> Result<String, TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|err| TlsError::Certificate(format!("cannot be parsed: {err}")))?;
    named_by(&parsed, HUB_URI)?.ok_or_else(|| TlsError::Certificate("is no hub's".into()))
}

/// What follows `prefix` in the first SAN URI that begins so.
fn named_by(parsed: &x509_parser::certificate::X509Certificate<'_>, prefix: &str) -> Result<Option<String>, TlsError> {
    use x509_parser::extensions::GeneralName;
    let alternatives = parsed
        .subject_alternative_name()
        .map_err(|err| TlsError::Certificate(format!("has malformed alternative names: {err}")))?;
    let mut names = alternatives.iter().flat_map(|names| &names.value.general_names);
    Ok(names.find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(prefix).map(String::from),
        _ => None,
    }))
}

/// `sha256:` and the hex of the SHA-256 of a certificate's SubjectPublicKeyInfo, as `kubeadm` pins CAs.
///
/// # Errors
/// When the certificate cannot be parsed.
pub fn ca_hash(certificate: &[u8]) -> Result<String, TlsError> {
    use sha2::{Digest, Sha256};
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|err| TlsError::Certificate(format!("cannot be parsed: {err}")))?;
    let digest = Sha256::digest(parsed.public_key().raw);
    Ok(format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}
