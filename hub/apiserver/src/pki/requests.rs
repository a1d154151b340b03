//! Requests of the API (CertificateSigningRequest): reading them, and certifying what was judged elsewhere.
//!
//! Subject, key and alternative names are those of the request, as [`super::asked`] reads them; the rest is ours to say.

use super::asked::Asked;
use super::{ClusterCa, Pki, PkiError, der, identity};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_controllers::{CertificateAuthority, CertificateRequest};
use holdfast_core::Timestamp;
use holdfast_env::World;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Bytes of a serial number.
const SERIAL: usize = 16;
/// `ecdsa-with-SHA256`, which is how the CA signs.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// The cluster's CA, as the controllers of certificate requests use it.
pub struct RequestAuthority {
    pki: Arc<Pki>,
    world: World,
}

impl RequestAuthority {
    /// Over the cluster's keys; `world` draws serial numbers.
    pub fn new(pki: Arc<Pki>, world: World) -> RequestAuthority {
        RequestAuthority { pki, world }
    }
}

impl fmt::Debug for RequestAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestAuthority({:?})", self.pki.ca)
    }
}

impl CertificateAuthority for RequestAuthority {
    fn read(&self, request: &str) -> Result<CertificateRequest, String> {
        Ok(Asked::of(request)?.read)
    }

    fn sign(&self, request: &str, usages: &[String], now: Timestamp, ttl: Duration) -> Result<String, String> {
        let mut serial = [0; SERIAL];
        self.world.fill_random(&mut serial);
        let signed = certify(&self.pki.ca, &Asked::of(request)?, serial, usages, now, ttl);
        Ok(STANDARD.encode(pem(&signed.map_err(|err| err.to_string())?)))
    }

    fn ends(&self, certificate: &str) -> Option<Timestamp> {
        let pem = String::from_utf8(STANDARD.decode(certificate).ok()?).ok()?;
        identity::pem_not_after(&pem)
    }
}

/// Signs a certificate for the subject, key and names of a request.
fn certify(
    ca: &ClusterCa,
    asked: &Asked,
    mut serial: [u8; SERIAL],
    usages: &[String],
    now: Timestamp,
    ttl: Duration,
) -> Result<Vec<u8>, PkiError> {
    let malformed = |_| PkiError::Request("the CA's own certificate is malformed".into());
    let (_, issuer) = X509Certificate::from_der(ca.certificate()).map_err(malformed)?;
    // Positive, and of one length, whatever was drawn.
    serial[0] = serial[0] & 0x7f | 0x40;
    let algorithm = der::all(der::SEQUENCE, &[&der::value(der::OBJECT_IDENTIFIER, ECDSA_SHA256)]);
    let backdate = super::ca::backdate(ttl);
    let begins = Timestamp::from_wall(now.since_epoch().saturating_sub(backdate));
    let ends = now.after(ttl).min(Timestamp::from_secs(issuer.validity().not_after.timestamp()));
    if ends <= now {
        return Err(PkiError::Request("the CA's own certificate has ended".into()));
    }
    let tbs = der::all(
        der::SEQUENCE,
        &[
            // Version 3.
            &der::all(der::EXPLICIT, &[&der::unsigned(&[2])]),
            &der::unsigned(&serial),
            &algorithm,
            issuer.subject().as_raw(),
            &der::all(der::SEQUENCE, &[&time(begins), &time(ends)]),
            &asked.subject,
            &asked.key,
            &der::all(der::EXPLICIT | 3, &[&extensions(&issuer, asked, usages)]),
        ],
    );
    let signature = ca.sign_message(&tbs)?;
    Ok(der::all(der::SEQUENCE, &[&tbs, &algorithm, &der::bits(&signature, 0)]))
}

fn extensions(issuer: &X509Certificate<'_>, asked: &Asked, usages: &[String]) -> Vec<u8> {
    let has = |wanted: &str| usages.iter().any(|usage| usage == wanted);
    let mut all = Vec::new();
    // Bits 0 and 2 of the first byte.
    let flags = u8::from(has("digital signature")) << 7 | u8::from(has("key encipherment")) << 5;
    if flags != 0 {
        all.extend(extension(KEY_USAGE, true, &der::bits(&[flags], flags.trailing_zeros() as u8)));
    }
    let purposes: Vec<Vec<u8>> = [("server auth", SERVER_AUTH), ("client auth", CLIENT_AUTH)]
        .into_iter()
        .filter(|(usage, _)| has(usage))
        .map(|(_, oid)| der::value(der::OBJECT_IDENTIFIER, oid))
        .collect();
    if !purposes.is_empty() {
        all.extend(extension(EXTENDED_KEY_USAGE, false, &der::value(der::SEQUENCE, &purposes.concat())));
    }
    // No authority itself.
    all.extend(extension(BASIC_CONSTRAINTS, true, &der::value(der::SEQUENCE, &[])));
    let key = issuer.extensions().iter().find(|one| one.oid == OID_X509_EXT_SUBJECT_KEY_IDENTIFIER);
    if let Some(ParsedExtension::SubjectKeyIdentifier(key)) = key.map(|one| one.parsed_extension()) {
        let key = der::value(der::IMPLICIT, key.0);
        all.extend(extension(AUTHORITY_KEY_IDENTIFIER, false, &der::value(der::SEQUENCE, &key)));
    }
    if let Some(names) = &asked.names {
        all.extend(extension(SUBJECT_ALT_NAME, asked.nameless, names));
    }
    der::value(der::SEQUENCE, &all)
}

fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { der::value(der::BOOLEAN, &[0xff]) } else { Vec::new() };
    let oid = der::value(der::OBJECT_IDENTIFIER, oid);
    der::all(der::SEQUENCE, &[&oid, &critical, &der::value(der::OCTET_STRING, content)])
}

/// As RFC 5280 has times: two digits of the year up to 2049, four after.
fn time(at: Timestamp) -> Vec<u8> {
    let digits: String = at.to_string().chars().filter(char::is_ascii_digit).collect();
    match digits.get(..4) {
        Some(year) if year < "2050" => der::value(der::UTC_TIME, format!("{}Z", &digits[2..]).as_bytes()),
        _ => der::value(der::GENERALIZED_TIME, format!("{digits}Z").as_bytes()),
    }
}

/// A certificate as PEM.
pub(crate) fn pem(der: &[u8]) -> String {
    const LINE: usize = 64;
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(LINE) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
mod tests;
