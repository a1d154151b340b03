//! The cluster's keys and certificates: made at the first start, kept under `<data-dir>/pki`.
//!
//! Owns the cluster CA (and the one before it, see [`rotation`]), the key that signs ServiceAccount tokens and the administrator's client certificate.
//! Serving certificates are made anew at each start from the CA, so that addresses may change freely.
//! Never: deciding who may have a certificate (that is the business of the link, and of the controllers of certificate requests).

mod asked;
mod ca;
mod der;
mod files;
mod identity;
mod requests;
mod rotation;

pub use ca::{ClusterCa, IssuedCertificate, ServerIdentity};
pub use identity::{CertificateIdentity, NodeIdentity, client_identity, node_identity, public_key_hash};
pub use requests::RequestAuthority;
pub(crate) use requests::pem;

use holdfast_core::Timestamp;
use rotation::Authorities;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why keys could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("{what} {path}", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file is there but holds something else.
    #[error("{path} is damaged: {why}; restore it from a backup, or remove the whole folder to begin a new cluster", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A certificate request that cannot be granted.
    #[error("the certificate request is not acceptable: {0}")]
    Request(String),
    /// The rotation before is not over.
    #[error("the CA was rotated not long ago: nodes may still know only the one before it, until {until}")]
    Rotating {
        /// When it will be.
        until: Timestamp,
    },
    /// Signing failed.
    #[error("sign a certificate")]
    Sign(#[from] rcgen::Error),
}

/// All keys of a cluster.
pub struct Pki {
    /// The authority that certifies nodes and clients.
    pub ca: Arc<ClusterCa>,
    /// The one before it, until nobody needs it any more.
    pub previous: Option<Arc<ClusterCa>>,
    /// PKCS#8 PEM of the ECDSA P-256 key that signs ServiceAccount tokens (ES256).
    pub service_account_key_pem: String,
    /// The administrator's certificate chain, PEM.
    pub admin_certificate_pem: String,
    /// The administrator's key, PKCS#8 PEM.
    pub admin_key_pem: String,
}

/// The administrator's certificate is renewed at a start when less than this is left of it.
const ADMIN_RENEW_BEFORE: Duration = Duration::from_secs(90 * 24 * 3600);
/// What nodes and other hubs verify of a hub; they know it by many addresses.
const LINK_NAME: &str = "hub.holdfast.internal";
/// Life of the administrator's certificate.
const ADMIN_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

impl Pki {
    /// Reads the keys under `dir`, and makes those that are missing; durable when this returns. Blocks. `overlap` is
    /// how long a CA is used after a rotation: the life of a node's certificate and the grace after it.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else.
    pub fn open(dir: &Path, now: Timestamp, overlap: Duration) -> Result<Pki, PkiError> {
        files::make_folder(dir)?;
        let Authorities { current: ca, previous, .. } = Authorities::open(dir, now, overlap)?;
        let service_account_key_pem = open_key(&dir.join("sa.key"))?;
        let mut pki = Pki {
            ca,
            previous,
            service_account_key_pem,
            admin_certificate_pem: String::new(),
            admin_key_pem: String::new(),
        };
        (pki.admin_certificate_pem, pki.admin_key_pem) = pki.open_admin(dir, now)?;
        Ok(pki)
    }

    /// Makes the CA that follows the present one; the hub uses it from its next start on. Blocks. Its hash.
    ///
    /// # Errors
    /// [`PkiError::Rotating`] while the last rotation is not over; files.
    pub fn rotate(dir: &Path, now: Timestamp, overlap: Duration) -> Result<String, PkiError> {
        Ok(Authorities::open(dir, now, overlap)?.rotate(dir, now, overlap)?.hash().to_string())
    }

    /// The CA that the hub's own certificates come from: the one that everybody trusts.
    pub fn serving_ca(&self) -> &ClusterCa {
        self.previous.as_ref().unwrap_or(&self.ca)
    }

    /// The CA certificates to trust, first that of [`Pki::serving_ca`].
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.previous.iter().chain([&self.ca]).map(|ca| ca.certificate().clone()).collect()
    }

    /// The same as PEM.
    pub fn roots_pem(&self) -> String {
        self.previous.iter().chain([&self.ca]).map(|ca| ca.pem()).collect()
    }

    /// A serving certificate for the hub: API and link. `names` and `addresses` come on top of the usual ones.
    ///
    /// # Errors
    /// When signing fails, or a name is no DNS name.
    pub fn serving_identity(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<ServerIdentity, PkiError> {
        let mut all: Vec<String> = [
            "localhost",
            "holdfast-hub",
            LINK_NAME,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        .map(String::from)
        .to_vec();
        all.extend(names.iter().cloned());
        let mut ips: Vec<IpAddr> = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16])];
        ips.extend(addresses.iter().filter(|ip| !ip.is_unspecified()));
        ips.sort();
        ips.dedup();
        self.serving_ca().issue_server(&all, &ips, now)
    }

    /// What a hub shows the other hubs of its cluster.
    ///
    /// # Errors
    /// When signing fails, or the name is not ASCII.
    pub fn hub_identity(&self, name: &str, now: Timestamp) -> Result<ServerIdentity, PkiError> {
        self.serving_ca().issue_hub(name, &[LINK_NAME], now)
    }

    fn open_admin(&self, dir: &Path, now: Timestamp) -> Result<(String, String), PkiError> {
        let (certificate, key) = (dir.join("admin.crt"), dir.join("admin.key"));
        let key_pem = open_key(&key)?;
        if let Some(pem) = files::read(&certificate)?
            && let Some(end) = identity::pem_not_after(&pem)
            && end > now.after(ADMIN_RENEW_BEFORE)
            && self.is_trusted(&pem, now)
        {
            return Ok((pem, key_pem));
        }
        let pair = parse_key(&key, &key_pem)?;
        let groups = [holdfast_core::user::MASTERS];
        let issued = self.ca.issue_client(&pair, "kubernetes-admin", &groups, now, ADMIN_TTL)?;
        files::write(&certificate, issued.pem.as_bytes())?;
        Ok((issued.pem, key_pem))
    }

    /// Whether a client certificate comes from one of the CAs in use.
    fn is_trusted(&self, pem: &str, now: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let at = UnixTime::since_unix_epoch(now.since_epoch());
        let certificate = identity::pem_certificate(pem);
        certificate.zip(verifier.ok()).is_some_and(|(it, verifier)| verifier.verify_client_cert(&it, &[], at).is_ok())
    }
}

fn open_key(path: &Path) -> Result<String, PkiError> {
    if let Some(pem) = files::read(path)? {
        parse_key(path, &pem)?;
        return Ok(pem);
    }
    let pem = rcgen::KeyPair::generate()?.serialize_pem();
    files::write(path, pem.as_bytes())?;
    Ok(pem)
}

fn parse_key(path: &Path, pem: &str) -> Result<rcgen::KeyPair, PkiError> {
    rcgen::KeyPair::from_pem(pem).map_err(|err| PkiError::Damaged { path: path.into(), why: err.to_string() })
}

#[cfg(test)]
mod tests;
