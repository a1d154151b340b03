//! The keys of the node's own API, and the kubeconfig that lets its administrator in.
//!
//! A CA of this node alone signs one serving and one client certificate, and its key is thrown away: nobody can make
//! a second administrator. The certificates hold from 1970 to 9999, because a node with a wrong clock must still
//! answer the person who stands before it; whoever can read the kubeconfig (mode 0600) is root on this box anyway.
//! To replace them, remove the file `local-api` from the data folder and restart the agent.

use anyhow::{Context, anyhow};
use holdfast_edge_store::file;
use holdfast_env::World;
use holdfast_node::local_api::LOCAL_ADMIN;
use holdfast_server::{kubeconfig, listen::tls};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PATH: &str = "local-api";
/// Name of cluster and context in the kubeconfig.
const CONTEXT: &str = "holdfast-local";

/// Where the kubeconfig of the node's own API is.
pub(crate) fn kubeconfig_path(data_dir: &Path) -> PathBuf {
    data_dir.join("local.kubeconfig")
}

/// What the file holds: fields never change, new ones are added at the end.
#[derive(Serialize, Deserialize)]
pub(crate) struct LocalKeys {
    /// The CA's certificate, DER.
    ca: Vec<u8>,
    ca_pem: String,
    /// The serving certificate, DER, and its key, PKCS #8.
    server: Vec<u8>,
    server_key: Vec<u8>,
    client_pem: String,
    client_key_pem: String,
}

impl LocalKeys {
    /// Reads the keys, or makes them. Damaged ones are made anew: nothing else hangs on them.
    ///
    /// # Errors
    /// When the disk fails, or a key cannot be made.
    pub(crate) fn open(env: &World, node_name: &str) -> anyhow::Result<LocalKeys> {
        let disk = env.disk();
        match file::read(&*disk, PATH) {
            Ok(Some(bytes)) => match postcard::from_bytes(&bytes) {
                Ok(keys) => return Ok(keys),
                Err(err) => tracing::warn!(%err, "The keys of the local API do not decode and are made anew"),
            },
            Ok(None) => {}
            Err(err) => tracing::warn!(%err, "The keys of the local API are damaged and are made anew"),
        }
        let keys = LocalKeys::make(node_name).context("the keys of the local API cannot be made")?;
        let bytes = postcard::to_allocvec(&keys).context("the keys of the local API do not encode")?;
        file::write(&*disk, PATH, &bytes).context("the keys of the local API cannot be written")?;
        Ok(keys)
    }

    fn make(node_name: &str) -> Result<LocalKeys, rcgen::Error> {
        let ca_key = KeyPair::generate()?;
        let mut params = always(&format!("holdfast-local-ca {node_name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let ca = params.self_signed(&ca_key)?;
        let issuer = Issuer::new(params, ca_key);

        let server_key = KeyPair::generate()?;
        let mut params = always(node_name);
        params.subject_alt_names = vec![
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            SanType::DnsName("localhost".try_into()?),
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = params.signed_by(&server_key, &issuer)?;

        let client_key = KeyPair::generate()?;
        let mut params = always(LOCAL_ADMIN);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = params.signed_by(&client_key, &issuer)?;
        Ok(LocalKeys {
            ca: ca.der().to_vec(),
            ca_pem: ca.pem(),
            server: server.der().to_vec(),
            server_key: server_key.serialize_der(),
            client_pem: client.pem(),
            client_key_pem: client_key.serialize_pem(),
        })
    }

    /// How the API proves itself, and whom it believes.
    pub(crate) fn tls(&self) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let ca = CertificateDer::from(self.ca.clone());
        let chain = vec![CertificateDer::from(self.server.clone()), ca.clone()];
        let key = PrivatePkcs8KeyDer::from(self.server_key.clone()).into();
        tls::server_config(chain, key, std::slice::from_ref(&ca)).map_err(|err| anyhow!(err))
    }

    /// Writes the kubeconfig for the API at `address`, readable by its owner alone.
    pub(crate) fn write_kubeconfig(&self, path: &Path, address: SocketAddr) -> anyhow::Result<()> {
        let server = format!("https://{address}");
        let text = kubeconfig::render(CONTEXT, &server, &self.ca_pem, &self.client_pem, &self.client_key_pem);
        if std::fs::read_to_string(path).ok().as_deref() == Some(&text) {
            return Ok(());
        }
        let part = path.with_extension("part");
        // Left over from a start that was cut short.
        let _ = std::fs::remove_file(&part);
        let file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&part);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.and_then(|()| std::fs::rename(&part, path)).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A certificate that no clock, however wrong, takes for one of another time (RFC 5280 §4.1.2.5 for the end).
fn always(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}
