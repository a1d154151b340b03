//! The cluster CA and what it signs.

use super::{PkiError, files, identity};
use holdfast_core::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Life of the CA, as kubeadm's.
const CA_TTL: Duration = Duration::from_secs(3653 * 24 * 3600);
/// Life of a serving certificate; a new one is made at each start.
const SERVER_TTL: Duration = Duration::from_secs(3653 * 24 * 3600);
/// Certificates begin to be valid so long before now, or a tenth of their life, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(24 * 3600);
/// A certificate request larger than this is refused unread.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The cluster's certificate authority (ECDSA P-256).
pub struct ClusterCa {
    certificate: CertificateDer<'static>,
    pem: String,
    hash: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was just signed.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// Leaf first, then the CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf as PEM.
    pub pem: String,
}

/// A certificate with its key, as rustls takes them.
pub struct ServerIdentity {
    /// Leaf first, then the CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key, PKCS#8.
    pub key: PrivateKeyDer<'static>,
}

impl ServerIdentity {
    /// A copy with its own key; rustls consumes keys.
    #[must_use]
    pub fn duplicate(&self) -> ServerIdentity {
        ServerIdentity { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl ClusterCa {
    /// Reads the CA of a generation under `dir`; `None` when there is none. Blocks.
    pub(super) fn read(dir: &Path, generation: u32) -> Result<Option<ClusterCa>, PkiError> {
        let (certificate_path, key_path) = paths(dir, generation);
        let Some(pem) = files::read(&certificate_path)? else { return Ok(None) };
        let damaged = |why: String| PkiError::Damaged { path: certificate_path.clone(), why };
        let key_pem = files::read(&key_path)?
            .ok_or_else(|| PkiError::Damaged { path: key_path.clone(), why: "it is missing".into() })?;
        let key = super::parse_key(&key_path, &key_pem)?;
        let certificate = identity::pem_certificate(&pem).ok_or_else(|| damaged("it holds no certificate".into()))?;
        let matches = identity::public_key_of(&certificate).is_some_and(|raw| raw == key.public_key_raw());
        if !matches {
            return Err(damaged(format!("its key is not the one in {}", key_path.display())));
        }
        if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(damaged("its key is not of ECDSA P-256, as all that it signs says".into()));
        }
        ClusterCa::new(certificate, pem, key).map(Some).map_err(|err| damaged(err.to_string()))
    }

    /// Makes the CA of a generation under `dir`. Blocks.
    pub(super) fn create(dir: &Path, generation: u32, now: Timestamp) -> Result<ClusterCa, PkiError> {
        let (certificate_path, key_path) = paths(dir, generation);
        let key = KeyPair::generate()?;
        let certificate = ca_params(generation, now).self_signed(&key)?;
        // The key goes first: a certificate without its key would be a cluster that can sign nothing.
        files::write(&key_path, key.serialize_pem().as_bytes())?;
        files::write(&certificate_path, certificate.pem().as_bytes())?;
        Ok(ClusterCa::new(certificate.der().clone(), certificate.pem(), key)?)
    }

    /// When it was made.
    pub(super) fn made_at(&self) -> Timestamp {
        let begins = identity::not_before(&self.certificate).unwrap_or_else(|| Timestamp::from_secs(0));
        begins.after(BACKDATE)
    }

    fn new(certificate: CertificateDer<'static>, pem: String, key: KeyPair) -> Result<ClusterCa, rcgen::Error> {
        let hash = identity::public_key_hash(&certificate).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(ClusterCa { certificate, pem, hash, issuer })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// `sha256:<hex>` of the CA's public key (SPKI), as kubeadm pins it.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Certifies a node: user `system:node:<name>` in `system:nodes`, its identity as the SAN URI of
    /// [`identity::node_uri`], usable as client alone: a node chooses its name, and must not pass for a server of that name to
    /// whoever trusts the CA. Of the request only the key counts, and that the requester holds it.
    ///
    /// # Errors
    /// [`PkiError::Request`] when the request is malformed or not signed by its key.
    pub fn sign_node_certificate(
        &self,
        csr_der: &[u8],
        node_name: &str,
        node_uid: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<IssuedCertificate, PkiError> {
        if csr_der.len() > MAX_REQUEST_BYTES {
            return Err(PkiError::Request(format!("it is longer than {MAX_REQUEST_BYTES} bytes")));
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr_der))
            .map_err(|err| PkiError::Request(err.to_string()))?;
        if !holdfast_core::names::dns_subdomain(node_name).is_empty() {
            return Err(PkiError::Request(format!("{node_name:?} is no node name")));
        }
        let uri = identity::node_uri(node_uid);
        let mut params = leaf(&format!("system:node:{node_name}"), &[holdfast_core::user::NODES], now, ttl);
        params.subject_alt_names = vec![
            SanType::URI(uri.try_into().map_err(|_| PkiError::Request("the node UID is not ASCII".into()))?),
            SanType::DnsName(node_name.try_into().map_err(|_| PkiError::Request("the node name is not ASCII".into()))?),
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, &request.public_key)
    }

    /// A client certificate: user `name`, in `groups`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue_client(
        &self,
        key: &KeyPair,
        name: &str,
        groups: &[&str],
        now: Timestamp,
        ttl: Duration,
    ) -> Result<IssuedCertificate, PkiError> {
        let mut params = leaf(name, groups, now, ttl);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, key)
    }

    /// A serving certificate with a new key.
    ///
    /// # Errors
    /// When signing fails, or a name is no DNS name.
    pub fn issue_server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<ServerIdentity, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = leaf("holdfast-hub", &[], now, SERVER_TTL);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|ip| SanType::IpAddress(*ip)));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = self.sign(&params, &key)?;
        Ok(ServerIdentity { chain: issued.chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() })
    }

    /// A certificate with a new key by which hubs know each other, on both sides of a connection: user `holdfast-hub` in no
    /// group, with `names` and the hub's own name as the SAN URI of [`identity::hub_uri`].
    ///
    /// # Errors
    /// When signing fails, or a name is not ASCII.
    pub fn issue_hub(&self, name: &str, names: &[&str], now: Timestamp) -> Result<ServerIdentity, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = leaf("holdfast-hub", &[], now, SERVER_TTL);
        params.subject_alt_names.push(SanType::URI(identity::hub_uri(name).as_str().try_into()?));
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let issued = self.sign(&params, &key)?;
        Ok(ServerIdentity { chain: issued.chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() })
    }

    /// The CA's signature of `message` (ASN.1, ECDSA P-256, SHA-256). Whoever calls it answers for the first bytes
    /// being no certificate's.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        Ok(rcgen::SigningKey::sign(self.issuer.key(), message)?)
    }

    fn sign(&self, params: &CertificateParams, key: &impl rcgen::PublicKeyData) -> Result<IssuedCertificate, PkiError> {
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(IssuedCertificate {
            pem: certificate.pem(),
            chain: vec![certificate.der().clone(), self.certificate.clone()],
        })
    }
}

impl std::fmt::Debug for ClusterCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterCa({})", self.hash())
    }
}

fn paths(dir: &Path, generation: u32) -> (PathBuf, PathBuf) {
    let name = match generation {
        1 => "ca".to_string(),
        later => format!("ca-{later}"),
    };
    (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")))
}

fn ca_params(generation: u32, now: Timestamp) -> CertificateParams {
    let name = match generation {
        1 => "holdfast-ca".to_string(),
        later => format!("holdfast-ca-{later}"),
    };
    let mut params = leaf(&name, &[], now, CA_TTL);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = false;
    params
}

/// How long before now a certificate of this life begins to be valid.
pub(super) fn backdate(ttl: Duration) -> Duration {
    BACKDATE.min(ttl / 10)
}

fn leaf(name: &str, groups: &[&str], now: Timestamp, ttl: Duration) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = now.since_epoch();
    let mut params = CertificateParams::default();
    params.not_before = epoch + now.saturating_sub(backdate(ttl));
    params.not_after = epoch + now.saturating_add(ttl);
    params.distinguished_name = DistinguishedName::new();
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}
