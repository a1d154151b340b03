//! The CA of simulated clusters: the shipped code's certificates, and the same bytes in every run, as its key is no
//! secret and Ed25519 signs without chance.
//!
//! The link asks a certificate for a name, a UID and its times; whether a peer holds its key is TLS's business, which
//! is not simulated.

use holdfast_link::identity::{NODE_URI, ca_hash, ed25519_key};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType,
};
use std::time::Duration;

/// The key of the CA, for simulated clusters and nothing else.
const KEY: [u8; 32] = *b"a key that everybody may read...";

/// The CA.
pub struct SimCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
}

impl SimCa {
    /// The CA.
    ///
    /// # Errors
    /// When its certificate cannot be made.
    pub fn new() -> Result<SimCa, rcgen::Error> {
        let key = ed25519_key(&KEY)?;
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2125, 1, 1);
        params.distinguished_name.push(DnType::CommonName, "simulated-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?.der().to_vec();
        Ok(SimCa { issuer: Issuer::new(params, key), certificate })
    }

    /// Its certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// By which a join token pins it.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub fn hash(&self) -> Result<String, String> {
        ca_hash(&self.certificate).map_err(|err| err.to_string())
    }

    /// The certificate of a node, DER, valid for `life` from `now` (since 1970). Of the request its key counts.
    ///
    /// # Errors
    /// When the request is malformed, or the UID makes no URI.
    pub fn sign(
        &self,
        csr: &[u8],
        node_name: &str,
        node_uid: &str,
        now: Duration,
        life: Duration,
    ) -> Result<Vec<u8>, rcgen::Error> {
        let request = CertificateSigningRequestParams::from_der(&csr.into())?;
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + now;
        params.not_after = params.not_before + life;
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{node_name}"));
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.subject_alt_names.push(SanType::URI(format!("{NODE_URI}{node_uid}").try_into()?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(&request.public_key, &self.issuer)?.der().to_vec())
    }
}
