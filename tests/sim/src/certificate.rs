//! Certificates of simulated nodes: shaped as the hub's, the same bytes in every run, worth nothing.
//!
//! The link asks a certificate for a name and a UID; whether it is genuine is TLS's business, which is not simulated.

use rcgen::{CertificateParams, DnType, PublicKeyData, SanType, SignatureAlgorithm, SigningKey};

/// Signs everything with the same bytes.
struct Seal;

impl PublicKeyData for Seal {
    fn der_bytes(&self) -> &[u8] {
        &[4; 65]
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Seal {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(vec![0x30, 6, 2, 1, 1, 2, 1, 1])
    }
}

/// The certificate of a node, DER.
///
/// # Errors
/// When the UID makes no URI.
pub fn of(node_name: &str, node_uid: &str) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(1u64.into());
    // Long-lived: a renewal would make a key, and keys are not drawn from the seed.
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2126, 1, 1);
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node_name}"));
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    let uri = format!("{}{node_uid}", holdfast_link::identity::NODE_URI);
    params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    Ok(params.self_signed(&Seal)?.der().to_vec())
}
