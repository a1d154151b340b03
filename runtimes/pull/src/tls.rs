//! TLS towards registries: the system's authorities and those that `hosts.toml` names, judged by the node's clock.

use crate::hosts::HostTls;
use crate::limits::FILE_BYTES;
use holdfast_env::World;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Where distributions keep the authorities that they trust: Debian, Fedora, SUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The clock of a world, for rustls.
struct WorldTime(World);

impl std::fmt::Debug for WorldTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorldTime")
    }
}

impl TimeProvider for WorldTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall().0))
    }
}

/// How TLS is spoken with a host. `own` is false for hosts that it only points to: they are shown no certificate, and are
/// always judged. Blocks.
///
/// # Errors
/// Which file does not read, or does not fit.
pub(crate) fn config(world: World, tls: &HostTls, own: bool) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_details(provider.clone(), Arc::new(WorldTime(world)))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|err| err.to_string())?;
    let config = if tls.skip_verify && own {
        config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone::new(&provider)))
    } else {
        config.with_root_certificates(roots(tls)?)
    };
    let mut config = match tls.client.as_ref().filter(|_| own) {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let certificates = certificates(chain)?;
            let told = |err: &dyn std::fmt::Display| format!("{}: {err}", key.display());
            let key = PrivateKeyDer::from_pem_slice(&file(key)?).map_err(|err| told(&err))?;
            config.with_client_auth_cert(certificates, key).map_err(|err| told(&err))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(tls: &HostTls) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    // One that rustls does not take is no loss.
    if let Some(bundle) = SYSTEM.iter().find_map(|path| file(Path::new(path)).ok()) {
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).flatten());
    }
    for path in &tls.ca {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|err| format!("{}: {err}", path.display()))?;
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file(path)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!("{} holds no certificate in PEM", path.display())),
        Ok(found) => Ok(found),
        Err(err) => Err(format!("{}: {err}", path.display())),
    }
}

/// A whole file, bounded.
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, String> {
    let told = |err: std::io::Error| format!("{}: {err}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(told)?.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(format!("{} is larger than {FILE_BYTES} bytes", path.display()));
    }
    Ok(bytes)
}

/// Takes any certificate (`skip_verify`); only that the other end has its key is looked at.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl Anyone {
    fn new(provider: &CryptoProvider) -> Anyone {
        Anyone(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
