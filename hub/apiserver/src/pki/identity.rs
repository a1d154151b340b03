//! Reading certificates: who they are for.

use holdfast_core::{Timestamp, UserInfo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a client certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// Common name: the user.
    pub common_name: String,
    /// Organizations: the groups.
    pub organizations: Vec<String>,
    /// The URIs of the subject's alternative names.
    pub uris: Vec<String>,
    /// The UID that the subject names, if it does.
    pub subject_uid: Option<String>,
    /// Names the certificate in users' extras and in the audit log.
    pub credential_id: String,
    /// The last moment of validity.
    pub not_after: Timestamp,
}

/// A node, as its certificate names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node's name.
    pub name: String,
    /// The node's UID.
    pub uid: String,
}

/// Kubernetes' own attribute of a subject: the user's UID.
const USER_UID: &str = "1.3.6.1.4.1.57683.2";
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
const NODE_URI: &str = "holdfast://node/";
const HUB_URI: &str = "holdfast://hub/";

/// The SAN URI that carries a node's UID.
pub(super) fn node_uri(node_uid: &str) -> String {
    format!("{NODE_URI}{node_uid}")
}

/// Whether a SAN URI would carry a node's UID.
pub(super) fn is_node_uri(uri: &str) -> bool {
    uri.get(..NODE_URI.len()).is_some_and(|start| start.eq_ignore_ascii_case(NODE_URI))
}

/// The SAN URI that carries a hub's name among the hubs of a cluster.
pub(super) fn hub_uri(name: &str) -> String {
    format!("{HUB_URI}{name}")
}

/// Whether a SAN URI would carry a hub's name.
pub(super) fn is_hub_uri(uri: &str) -> bool {
    uri.get(..HUB_URI.len()).is_some_and(|start| start.eq_ignore_ascii_case(HUB_URI))
}

/// Reads a certificate. It must have been verified before: nothing is checked here. `None` without a common name, and where
/// readers would not agree on who it is: with more than one, or with names that are no text.
pub fn client_identity(der: &[u8]) -> Option<CertificateIdentity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let mut common_names = subject.iter_common_name();
    let common_name = common_names.next()?.as_str().ok()?.to_string();
    if common_names.next().is_some() {
        return None;
    }
    let mut uids = subject.iter_attributes().filter(|attribute| attribute.attr_type().to_id_string() == USER_UID);
    let organizations = subject.iter_organization().map(|name| name.as_str().map(String::from));
    let uris = match certificate.subject_alternative_name() {
        Ok(Some(san)) => san
            .value
            .general_names
            .iter()
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some((*uri).to_string()) } else { None })
            .collect(),
        _ => Vec::new(),
    };
    Some(CertificateIdentity {
        common_name,
        organizations: organizations.collect::<Result<_, _>>().ok()?,
        uris,
        subject_uid: match uids.next() {
            None => None,
            Some(uid) if uids.next().is_none() => Some(uid.as_str().ok().filter(|uid| !uid.is_empty())?.to_string()),
            Some(_) => return None,
        },
        credential_id: format!("X509SHA256={}", hex(&Sha256::digest(der))),
        not_after: Timestamp::from_secs(certificate.validity().not_after.timestamp()),
    })
}

impl CertificateIdentity {
    /// The user of the API.
    pub fn user(&self) -> UserInfo {
        let groups: Vec<&str> = self.organizations.iter().map(String::as_str).collect();
        UserInfo {
            uid: self.node().map(|node| node.uid).or_else(|| self.subject_uid.clone()).unwrap_or_default(),
            extra: BTreeMap::from([(CREDENTIAL_ID.to_string(), vec![self.credential_id.clone()])]),
            ..UserInfo::new(&self.common_name, &groups)
        }
    }

    /// The node that holds the certificate, if it is one.
    pub fn node(&self) -> Option<NodeIdentity> {
        if !self.organizations.iter().any(|group| group == holdfast_core::user::NODES) {
            return None;
        }
        let name = self.common_name.strip_prefix("system:node:")?;
        let uid = self.uris.iter().find_map(|uri| uri.strip_prefix(NODE_URI))?;
        Some(NodeIdentity { name: name.to_string(), uid: uid.to_string() })
    }
}

/// The node that a verified certificate was issued to.
pub fn node_identity(der: &[u8]) -> Option<NodeIdentity> {
    client_identity(der)?.node()
}

pub(super) fn pem_certificate(pem: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

pub(super) fn pem_not_after(pem: &str) -> Option<Timestamp> {
    let der = pem_certificate(pem)?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(Timestamp::from_secs(certificate.validity().not_after.timestamp()))
}

pub(super) fn not_before(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Timestamp::from_secs(certificate.validity().not_before.timestamp()))
}

/// `sha256:<hex>` of a certificate's public key (SPKI), as kubeadm pins a CA.
pub fn public_key_hash(der: &[u8]) -> Option<String> {
    Some(format!("sha256:{}", hex(&Sha256::digest(spki_of(der)?))))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spki_of(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

pub(super) fn public_key_of(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}
