//! What a certificate request asks for, read strictly.
//!
//! A certificate is made of what was judged, and of nothing else: its parts are written anew from what was read, and a request
//! whose own bytes differ from that is refused. For the library that reads is lenient. It passes over what it does not
//! understand, and over what stands behind it where a length says that there is more. Copied, such bytes would be certified
//! unjudged, or a length without them would take in the parts that follow: other readers would then find a key, names and
//! purposes that nobody ever saw.

use super::{der, identity};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_controllers::CertificateRequest;
use std::net::IpAddr;
use x509_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::{
    OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519, OID_X509_COMMON_NAME,
    OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_ORGANIZATION_NAME,
};
use x509_parser::prelude::{FromDer, ParsedCriAttribute, X509CertificationRequest};
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

/// A request larger than this is refused unread.
const MAX_BYTES: usize = 64 * 1024;
/// Sorts of alternative names (RFC 5280, 4.2.1.6).
const EMAIL: u8 = 1;
const DNS: u8 = 2;
const URI: u8 = 6;
const ADDRESS: u8 = 7;

/// A request that its own key signed.
#[derive(Debug)]
pub(super) struct Asked {
    /// What is judged.
    pub(super) read: CertificateRequest,
    /// The same as it is certified: the subject, DER.
    pub(super) subject: Vec<u8>,
    /// Whether the subject names nobody.
    pub(super) nameless: bool,
    /// The key (SubjectPublicKeyInfo), DER.
    pub(super) key: Vec<u8>,
    /// The alternative names, DER; `None` without any.
    pub(super) names: Option<Vec<u8>>,
}

impl Asked {
    /// Reads a request: base64 of PEM.
    ///
    /// # Errors
    /// Why it can never be certified.
    pub(super) fn of(request: &str) -> Result<Asked, String> {
        let der = decode(request)?;
        let malformed = |err| format!("the request is malformed: {err}");
        let (rest, request) = X509CertificationRequest::from_der(&der).map_err(malformed)?;
        if !rest.is_empty() {
            return Err("something stands behind the request".into());
        }
        request.verify_signature().map_err(|_| "the request is not signed by its own key")?;
        let info = &request.certification_request_info;
        let mut read = CertificateRequest::default();
        let subject = subject(&info.subject, &mut read)?;
        same("subject", &subject, info.subject.as_raw())?;
        let key = key(&info.subject_pki)?;
        same("key", &key, info.subject_pki.raw)?;
        let mut names = None;
        if let Some(extension) = only_names(&request)? {
            let written = alternatives(extension, &mut read)?;
            same("list of subjectAltNames", &written, extension.value)?;
            names = Some(written);
        }
        let nameless = info.subject.iter_rdn().next().is_none();
        Ok(Asked { read, subject, nameless, key, names })
    }
}

fn decode(request: &str) -> Result<Vec<u8>, String> {
    let pem = STANDARD.decode(request).map_err(|err| format!("the request is no base64: {err}"))?;
    if pem.len() > MAX_BYTES {
        return Err(format!("the request is longer than {MAX_BYTES} bytes"));
    }
    let pem = x509_parser::pem::Pem::iter_from_buffer(&pem).next().and_then(Result::ok);
    let pem = pem.filter(|pem| pem.label == "CERTIFICATE REQUEST");
    Ok(pem.ok_or("PEM block type must be CERTIFICATE REQUEST")?.contents)
}

/// Whether a part of the request is just what was read of it.
fn same(what: &str, written: &[u8], sent: &[u8]) -> Result<(), String> {
    if written == sent {
        return Ok(());
    }
    Err(format!("the {what} is not DER, or holds more than can be read"))
}

fn subject(name: &X509Name<'_>, read: &mut CertificateRequest) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    let mut common_names = 0;
    for set in name.iter_rdn() {
        let mut pairs = Vec::new();
        for pair in set.iter() {
            let (kind, value) = (pair.attr_type(), pair.attr_value());
            let text = plain_text(value);
            let text = text.filter(|_| der::is_object_identifier(kind.as_bytes())).ok_or_else(|| {
                format!("the subject's {kind} is no plain UTF8String, PrintableString or IA5String without controls")
            })?;
            if *kind == OID_X509_COMMON_NAME {
                common_names += 1;
                read.common_name = text.into();
            } else if *kind == OID_X509_ORGANIZATION_NAME {
                read.organizations.push(text.into());
            }
            let kind = der::value(der::OBJECT_IDENTIFIER, kind.as_bytes());
            pairs.push(der::all(der::SEQUENCE, &[&kind, &universal(value)]));
        }
        // Sets are sorted in DER.
        pairs.sort_unstable();
        all.extend(der::value(der::SET, &pairs.concat()));
    }
    if common_names > 1 {
        // Some take the first for the user, others the last.
        return Err("the subject has more than one common name".into());
    }
    Ok(der::value(der::SEQUENCE, &all))
}

/// A value of a universal and primitive type.
fn universal(value: &Any<'_>) -> Vec<u8> {
    der::value(value.tag().0 as u8, value.data)
}

fn is_plain(value: &Any<'_>) -> bool {
    value.class() == Class::Universal && !value.header.constructed()
}

/// The text of a value that all readers take for the same. Of the older sorts of text some read the bytes, others none.
fn plain_text<'a>(value: &Any<'a>) -> Option<&'a str> {
    let text = std::str::from_utf8(value.data).ok()?;
    let fits = match value.tag() {
        Tag::Utf8String => true,
        Tag::PrintableString => text.bytes().all(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b)),
        Tag::Ia5String => text.is_ascii(),
        _ => false,
    };
    (is_plain(value) && fits && !text.chars().any(char::is_control)).then_some(text)
}

/// Keys of the sorts whose parameters are known: what else stands there, nobody reads.
fn key(info: &SubjectPublicKeyInfo<'_>) -> Result<Vec<u8>, String> {
    let (kind, parameters) = (&info.algorithm.algorithm, info.algorithm.parameters.as_ref());
    let known = match parameters {
        Some(value) if !is_plain(value) => false,
        Some(value) if *kind == OID_PKCS1_RSAENCRYPTION => value.tag() == Tag::Null && value.data.is_empty(),
        Some(value) if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY => {
            value.tag() == Tag::Oid && der::is_object_identifier(value.data)
        }
        None => *kind == OID_SIG_ED25519,
        Some(_) => false,
    };
    if !known || info.subject_public_key.unused_bits != 0 {
        return Err("the key is none of RSA, of a named curve, or of Ed25519".into());
    }
    let kind = der::value(der::OBJECT_IDENTIFIER, kind.as_bytes());
    let parameters = parameters.map(universal).unwrap_or_default();
    let algorithm = der::all(der::SEQUENCE, &[&kind, &parameters]);
    Ok(der::all(der::SEQUENCE, &[&algorithm, &der::bits(&info.subject_public_key.data, 0)]))
}

/// The alternative names of a request. What is judged and what is signed must be the same: there is one list of them, or none.
fn only_names<'r>(request: &'r X509CertificationRequest<'_>) -> Result<Option<&'r X509Extension<'r>>, String> {
    let mut all = request.certification_request_info.iter_attributes().flat_map(|attribute| {
        let asked = match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(asked) => asked.extensions.as_slice(),
            _ => &[],
        };
        asked.iter().filter(|one| one.oid == OID_X509_EXT_SUBJECT_ALT_NAME)
    });
    let names = all.next();
    if all.next().is_some() {
        return Err("the request has more than one list of subjectAltNames".into());
    }
    Ok(names)
}

fn alternatives(extension: &X509Extension<'_>, read: &mut CertificateRequest) -> Result<Vec<u8>, String> {
    let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
        return Err("the subjectAltNames are malformed".into());
    };
    if names.general_names.is_empty() {
        return Err("the list of subjectAltNames is empty".into());
    }
    let mut all = Vec::new();
    for name in &names.general_names {
        let (sort, content) = match name {
            GeneralName::DNSName(name) => {
                read.dns_names.push(visible(name)?);
                (DNS, name.as_bytes())
            }
            GeneralName::RFC822Name(name) => {
                read.emails.push(visible(name)?);
                (EMAIL, name.as_bytes())
            }
            GeneralName::URI(uri) if identity::is_node_uri(uri) => {
                return Err("a node's identity is certified by its link alone".into());
            }
            GeneralName::URI(uri) if identity::is_hub_uri(uri) => {
                return Err("a hub's identity is certified by the hub alone".into());
            }
            GeneralName::URI(uri) => {
                read.uris.push(visible(uri)?);
                (URI, uri.as_bytes())
            }
            GeneralName::IPAddress(bytes) => {
                let address = match bytes.len() {
                    4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
                    _ => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
                };
                read.addresses.push(address.ok_or("an IP subjectAltName is malformed")?.to_string());
                (ADDRESS, *bytes)
            }
            _ => return Err("subjectAltNames of other sorts than DNS, IP, Email and URI are not allowed".into()),
        };
        all.extend(der::value(der::IMPLICIT | sort, content));
    }
    Ok(der::value(der::SEQUENCE, &all))
}

/// A name that reads as it is.
fn visible(name: &str) -> Result<String, String> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("the subjectAltName {name:?} is not of visible ASCII characters"));
    }
    Ok(name.to_string())
}
