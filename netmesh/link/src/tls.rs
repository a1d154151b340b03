//! TLS of the link: who is trusted, and by which clock.
//!
//! The node judges the hub's certificates by its [`CertificateClock`]: a box whose clock is lost must connect.
//! The hub verifies client certificates by its wall clock, where they come (a join comes without one); those that
//! have expired within the grace pass, and [`crate::renew`] is all that they are good for.

use crate::identity::{NodeIdentity, Standing, ca_hash, standing, validity};
use holdfast_env::World;
use holdfast_link_engine::wire::{ALPN, ALPN_HUB, ALPN_JOIN};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;

/// The name that the hub's certificate carries for the link; nodes know the hub by many addresses.
pub const HUB_NAME: &str = "hub.holdfast.internal";

/// What a node says of a hub's certificate that ended before the node's time floor.
const HUB_EXPIRED: &str = "the hub's certificate has expired by this node's time floor; start the hub again for a new \
    one, or, if a hub's clock was far ahead once, allow `holdfast-hub time-reset`";

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

/// By which moment certificates are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateTime {
    /// Since 1970: what ended before this moment has expired.
    pub at: Duration,
    /// Whether this is known to be about now. If not, a certificate that begins later is taken all the same.
    pub trusted: bool,
}

/// A node's clock, as its TLS asks it.
pub trait CertificateClock: Send + Sync + 'static {
    /// The moment to judge by, now.
    fn certificate_time(&self) -> CertificateTime;
}

/// A [`CertificateClock`], for rustls.
struct NodeTime(Arc<dyn CertificateClock>);

impl std::fmt::Debug for NodeTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeTime")
    }
}

impl TimeProvider for NodeTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.certificate_time().at))
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

/// The hub's side: its own chain and key (PKCS #8), the CAs that nodes' certificates must come from, and how long
/// after its end a node's certificate is still good for a renewal.
pub fn hub_config(
    env: World,
    own_chain: &[Vec<u8>],
    own_key: &[u8],
    client_roots: &[Vec<u8>],
    grace: Duration,
) -> Result<rustls::ServerConfig, TlsError> {
    let inner = WebPkiClientVerifier::builder_with_provider(roots(client_roots)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(config)?;
    let mut server = rustls::ServerConfig::builder_with_details(provider(), Arc::new(EnvTime(env)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config)?
        .with_client_cert_verifier(Arc::new(NodeCertificates { inner, grace }))
        .with_single_cert(chain(own_chain), PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.to_vec())))
        .map_err(config)?;
    // A resumed session would bring a certificate along that nobody looked at again.
    server.send_tls13_tickets = 0;
    server.alpn_protocols = vec![ALPN.to_vec(), ALPN_JOIN.to_vec()];
    Ok(server)
}

/// What a hub shows the other hubs of its cluster, and whom it believes: one certificate for both sides, from the cluster's
/// CA, whose name among hubs is a SAN URI ([`crate::identity::HUB_URI`]).
pub struct HubPeers<'a> {
    /// Its chain, DER, leaf first.
    pub chain: &'a [Vec<u8>],
    /// Its key, PKCS #8.
    pub key: &'a [u8],
    /// The cluster's CAs.
    pub roots: &'a [Vec<u8>],
}

impl HubPeers<'_> {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_vec()))
    }

    /// The side that is called. Who calls must show a certificate; that it is a hub's is for [`crate::relay`] to see.
    ///
    /// # Errors
    /// When the certificates do not fit.
    pub fn listener(&self, env: World) -> Result<rustls::ServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(self.roots)?, provider()).build();
        let mut server = rustls::ServerConfig::builder_with_details(provider(), Arc::new(EnvTime(env)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(config)?
            .with_client_cert_verifier(verifier.map_err(config)?)
            .with_single_cert(chain(self.chain), self.key())
            .map_err(config)?;
        server.send_tls13_tickets = 0;
        server.alpn_protocols = vec![ALPN_HUB.to_vec()];
        Ok(server)
    }

    /// The side that calls.
    ///
    /// # Errors
    /// When the certificates do not fit.
    pub fn dialer(&self, env: World) -> Result<rustls::ClientConfig, TlsError> {
        let mut client = rustls::ClientConfig::builder_with_details(provider(), Arc::new(EnvTime(env)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(config)?
            .with_root_certificates(roots(self.roots)?)
            .with_client_auth_cert(chain(self.chain), self.key())
            .map_err(config)?;
        client.alpn_protocols = vec![ALPN_HUB.to_vec()];
        Ok(client)
    }
}

/// The node's side, with its identity.
pub fn node_config(
    clock: Arc<dyn CertificateClock>,
    identity: &NodeIdentity,
) -> Result<rustls::ClientConfig, TlsError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.clone()));
    let inner =
        WebPkiServerVerifier::builder_with_provider(roots(&identity.roots)?, provider()).build().map_err(config)?;
    let verifier = HubCertificates { inner, clock: NodeTime(clock.clone()) };
    let mut client = rustls::ClientConfig::builder_with_details(provider(), Arc::new(NodeTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
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

/// Whether `chain` (leaf first) leads to one of `roots`, judged at the leaf's own beginning.
///
/// # Errors
/// Why not.
pub(crate) fn leads_to(certificates: &[Vec<u8>], to: &[Vec<u8>]) -> Result<(), TlsError> {
    let chain = chain(certificates);
    let (leaf, others) = chain.split_first().ok_or_else(|| TlsError::Certificate("is missing".into()))?;
    let at = UnixTime::since_unix_epoch(validity(leaf)?.not_before);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(to)?, provider()).build().map_err(config)?;
    let refused = |err: rustls::Error| TlsError::Certificate(format!("does not come from the cluster's CA: {err}"));
    verifier.verify_client_cert(leaf, others, at).map(|_| ()).map_err(refused)
}

/// Judges nodes' certificates at the hub: valid, or expired within the grace.
#[derive(Debug)]
struct NodeCertificates {
    inner: Arc<dyn ClientCertVerifier>,
    grace: Duration,
}

impl ClientCertVerifier for NodeCertificates {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let judged = self.inner.verify_client_cert(end_entity, intermediates, now);
        let expired = matches!(
            judged,
            Err(rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }))
        );
        let now = Duration::from_secs(now.as_secs());
        if expired && standing(end_entity, now, self.grace).is_ok_and(|it| it == Standing::ExpiredWithinGrace) {
            // As good as it was on its last day: chain, purpose and signatures are judged as ever.
            let end = validity(end_entity).map_err(|err| rustls::Error::General(err.to_string()))?.not_after;
            return self.inner.verify_client_cert(end_entity, intermediates, UnixTime::since_unix_epoch(end));
        }
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Judges the hub's certificate at the node: its end by the time floor, its beginning only while the time is
/// trusted.
#[derive(Debug)]
struct HubCertificates {
    inner: Arc<WebPkiServerVerifier>,
    clock: NodeTime,
}

impl ServerCertVerifier for HubCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let CertificateTime { mut at, trusted } = self.clock.0.certificate_time();
        if !trusted {
            // No certificate of the chain may be judged before it began. What ended before the floor has still
            // ended then.
            for certificate in std::iter::once(end_entity).chain(intermediates) {
                let begins = validity(certificate).map_err(|err| rustls::Error::General(err.to_string()))?.not_before;
                at = at.max(begins);
            }
        }
        let at = UnixTime::since_unix_epoch(at);
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp, at) {
            // The text must not change with every second: the node logs what is new.
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })) => {
                Err(rustls::Error::General(HUB_EXPIRED.into()))
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
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
