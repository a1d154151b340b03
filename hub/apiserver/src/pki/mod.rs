//! The cluster's keys and certificates: made at the first start, kept under `<data-dir>/pki`.
//!
//! Owns the cluster CA, the key that signs ServiceAccount tokens and the administrator's client certificate.
//! Serving certificates are made anew at each start from the CA, so that addresses may change freely.
//! Never: deciding who may have a certificate (that is the link's and the authorizer's business).

mod ca;
mod files;
mod identity;

pub use ca::{ClusterCa, IssuedCertificate, ServerIdentity};
pub use identity::{CertificateIdentity, NodeIdentity, client_identity, node_identity, public_key_hash};

use holdfast_core::Timestamp;
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
    /// Signing failed.
    #[error("sign a certificate")]
    Sign(#[from] rcgen::Error),
}

/// All keys of a cluster.
pub struct Pki {
    /// The authority that every certificate of the cluster comes from.
    pub ca: Arc<ClusterCa>,
    /// PKCS#8 PEM of the ECDSA P-256 key that signs ServiceAccount tokens (ES256).
    pub service_account_key_pem: String,
    /// The administrator's certificate chain, PEM.
    pub admin_certificate_pem: String,
    /// The administrator's key, PKCS#8 PEM.
    pub admin_key_pem: String,
}

/// The administrator's certificate is renewed at a start when less than this is left of it.
const ADMIN_RENEW_BEFORE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Life of the administrator's certificate.
const ADMIN_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

impl Pki {
    /// Reads the keys under `dir`, and makes those that are missing; durable when this returns. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Pki, PkiError> {
        files::make_folder(dir)?;
        let ca = Arc::new(ClusterCa::open(dir, now)?);
        let service_account_key_pem = open_key(&dir.join("sa.key"))?;
        let (admin_certificate_pem, admin_key_pem) = open_admin(dir, &ca, now)?;
        Ok(Pki { ca, service_account_key_pem, admin_certificate_pem, admin_key_pem })
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
            // What nodes verify on the link; they know the hub by many addresses.
            "hub.holdfast.internal",
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
        self.ca.issue_server(&all, &ips, now)
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

fn open_admin(dir: &Path, ca: &ClusterCa, now: Timestamp) -> Result<(String, String), PkiError> {
    let (certificate, key) = (dir.join("admin.crt"), dir.join("admin.key"));
    let key_pem = open_key(&key)?;
    if let Some(pem) = files::read(&certificate)?
        && let Some(end) = identity::pem_not_after(&pem)
        && end > now.after(ADMIN_RENEW_BEFORE)
    {
        return Ok((pem, key_pem));
    }
    let pair = parse_key(&key, &key_pem)?;
    let issued = ca.issue_client(&pair, "kubernetes-admin", &[holdfast_core::user::MASTERS], now, ADMIN_TTL)?;
    files::write(&certificate, issued.pem.as_bytes())?;
    Ok((issued.pem, key_pem))
}

#[cfg(test)]
mod tests;
