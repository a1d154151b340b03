//! A node's identity: its key, its certificate chain and the cluster's CA certificates.

use crate::tls::TlsError;
use holdfast_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Prefix of the SAN URI that carries a node's UID.
pub const NODE_URI: &str = "holdfast://node/";

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

/// The node UID and name that a verified certificate speaks for.
///
/// # Errors
/// When it is no node's certificate.
pub fn node_of(certificate: &[u8]) -> Result<(String, String), TlsError> {
    use x509_parser::extensions::GeneralName;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|err| TlsError::Certificate(format!("cannot be parsed: {err}")))?;
    let name = parsed
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .and_then(|name| name.strip_prefix("system:node:"))
        .ok_or_else(|| TlsError::Certificate("is no node's: its common name is not system:node:…".into()))?;
    let alternatives = parsed
        .subject_alternative_name()
        .map_err(|err| TlsError::Certificate(format!("has malformed alternative names: {err}")))?;
    let uid = alternatives
        .iter()
        .flat_map(|names| &names.value.general_names)
        .find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(NODE_URI),
            _ => None,
        })
        .ok_or_else(|| TlsError::Certificate("carries no node UID".into()))?;
    Ok((uid.to_string(), name.to_string()))
}

/// When a certificate ends.
///
/// # Errors
/// When the certificate cannot be parsed.
pub fn ends_at(certificate: &[u8]) -> Result<Timestamp, TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|err| TlsError::Certificate(format!("cannot be parsed: {err}")))?;
    Ok(Timestamp::from_secs(parsed.validity().not_after.timestamp()))
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
