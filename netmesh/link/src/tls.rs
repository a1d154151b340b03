//! TLS of the link: who is trusted, and by which clock.
//!
//! The node judges certificates by the wall clock of its [`Env`](holdfast_env::Env), as the machine believes it.
//! The hub verifies client certificates where they come; a join comes without one.

use crate::identity::{NodeIdentity, ca_hash};
use holdfast_env::World;
use holdfast_link_engine::wire::{ALPN, ALPN_JOIN};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// The name that the hub's certificate carries for the link; nodes know the hub by many addresses.
pub const HUB_NAME: &str = "hub.holdfast.internal";

/// What is wrong with keys or certificates.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate.
    #[error("the certificate {0}")]
    Certificate(String),
    /// rustls or quinn did not take the configuration.
    #[error("TLS configuration: {0}")]
    Config(String),
}

fn config<E: std::fmt::Display>(err: E) -> TlsError {
    TlsError::Config(err.to_string())
}

/// The clock of an Env, for rustls.
struct EnvTime(World);

impl std::fmt::Debug for EnvTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnvTime")
    }
}

impl TimeProvider for EnvTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall().0))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain(certificates: &[Vec<u8>]) -> Vec<CertificateDer<'static>> {
    certificates.iter().map(|der| CertificateDer::from(der.clone())).collect()
}

fn roots(certificates: &[Vec<u8>]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(CertificateDer::from(certificate.clone())).map_err(config)?;
    }
    Ok(Arc::new(store))
}

/// The hub's side: its own chain and key (PKCS #8), and the CAs that nodes' certificates must come from.
pub fn hub_config(
    env: World,
    own_chain: &[Vec<u8>],
    own_key: &[u8],
    client_roots: &[Vec<u8>],
) -> Result<rustls::ServerConfig, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(client_roots)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(config)?;
    let mut server = rustls::ServerConfig::builder_with_details(provider(), Arc::new(EnvTime(env)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(own_chain), PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.to_vec())))
        .map_err(config)?;
    server.alpn_protocols = vec![ALPN.to_vec(), ALPN_JOIN.to_vec()];
    Ok(server)
}

/// The node's side, with its identity.
pub fn node_config(env: World, identity: &NodeIdentity) -> Result<rustls::ClientConfig, TlsError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.clone()));
    let mut client = rustls::ClientConfig::builder_with_details(provider(), Arc::new(EnvTime(env)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config)?
        .with_root_certificates(roots(&identity.roots)?)
        .with_client_auth_cert(chain(&identity.chain), key)
        .map_err(config)?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    Ok(client)
}

/// The side of a machine that wants to join: it trusts the CA with this hash, whatever the clock says.
pub fn join_config(ca_hash: &str) -> Result<rustls::ClientConfig, TlsError> {
    let verifier = PinnedCa { hash: ca_hash.to_string(), provider: provider() };
    let mut client = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN_JOIN.to_vec()];
    Ok(client)
}

/// Takes a chain that ends in the pinned CA. The hub must send its CA certificate along.
///
/// The leaf is verified against that CA at the leaf's own `notBefore`: a machine without a clock must be able
/// to join, and the pin, not the date, is what tells the hub from a stranger.
#[derive(Debug)]
struct PinnedCa {
    hash: String,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refuse = |why: String| rustls::Error::General(why);
        let pinned = intermediates
            .iter()
            .find(|certificate| ca_hash(certificate).is_ok_and(|hash| hash == self.hash))
            .ok_or_else(|| refuse(format!("the hub's CA does not have the hash {} of the token", self.hash)))?;
        let store = roots(&[pinned.to_vec()]).map_err(|err| refuse(err.to_string()))?;
        let (_, leaf) = x509_parser::parse_x509_certificate(end_entity).map_err(|err| refuse(err.to_string()))?;
        let issued = u64::try_from(leaf.validity().not_before.timestamp()).unwrap_or(0);
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(issued + 1));
        rustls::client::WebPkiServerVerifier::builder_with_provider(store, self.provider.clone())
            .build()
            .map_err(|err| refuse(err.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp, at)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("the link speaks TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
