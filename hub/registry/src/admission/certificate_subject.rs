//! CertificateSubjectRestriction: nobody asks the API's own signer for a certificate of `system:masters`, whom no authorizer
//! judges.

use super::{Admission, signers};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::json::str_at;
use holdfast_core::user::MASTERS;
use holdfast_core::{Json, Status};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Judges a new request.
pub(crate) fn validate(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    if !signers::is_request(cx) || signers::signer(doc) != SIGNER {
        return Ok(());
    }
    let request = str_at(doc, &["spec", "request"]).unwrap_or_default();
    let der = der_of(request).unwrap_or_default();
    let Some(organizations) = organizations(&der) else {
        return Err(cx.forbidden(doc, "failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"));
    };
    if organizations.iter().any(|name| *name == MASTERS.as_bytes()) {
        return Err(cx.forbidden(doc, format!("use of {SIGNER} signer with {MASTERS} group is not allowed")));
    }
    Ok(())
}

/// The request inside its PEM, which is itself in base64 as all bytes of the API.
fn der_of(request: &str) -> Option<Vec<u8>> {
    let pem = String::from_utf8(STANDARD.decode(request).ok()?).ok()?;
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE REQUEST-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE REQUEST-----")?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok()
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `id-at-organizationName`, 2.5.4.10.
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// The organizations of the subject of a request (RFC 2986, in DER): groups, to Kubernetes. `None` when it is no request.
fn organizations(der: &[u8]) -> Option<Vec<&[u8]>> {
    let (request, _) = element(der, SEQUENCE)?;
    let (info, _) = element(request, SEQUENCE)?;
    let (_version, rest) = element(info, INTEGER)?;
    let (mut subject, _) = element(rest, SEQUENCE)?;
    let mut found = Vec::new();
    while !subject.is_empty() {
        let (mut names, rest) = element(subject, SET)?;
        subject = rest;
        while !names.is_empty() {
            let (name, rest) = element(names, SEQUENCE)?;
            names = rest;
            let (identifier, value) = element(name, OBJECT_IDENTIFIER)?;
            let (value, _) = element(value, *value.first()?)?;
            if identifier == ORGANIZATION {
                found.push(value);
            }
        }
    }
    Some(found)
}

/// The content of the element at the front, which has this tag, and what comes behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let mut length = usize::from(first);
    if first >= 0x80 {
        // The long form: so many bytes of length. Nothing here is longer than three bytes can say.
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 3 || rest.len() < count {
            return None;
        }
        length = rest[..count].iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        rest = &rest[count..];
    }
    (length <= rest.len()).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn request(names: &[(&[u8], &str)]) -> Vec<u8> {
        let name = |(identifier, value): &(&[u8], &str)| {
            let pair = [der(OBJECT_IDENTIFIER, identifier), der(0x0c, value.as_bytes())].concat();
            der(SET, &der(SEQUENCE, &pair))
        };
        let subject = der(SEQUENCE, &names.iter().flat_map(name).collect::<Vec<u8>>());
        der(SEQUENCE, &der(SEQUENCE, &[der(INTEGER, &[0]), subject].concat()))
    }

    #[test]
    fn the_subject_is_read_and_nothing_panics() {
        let common: &[u8] = &[0x55, 0x04, 0x03];
        let der = request(&[(common, "me"), (ORGANIZATION, "system:masters"), (ORGANIZATION, "dev")]);
        assert_eq!(organizations(&der).unwrap(), [b"system:masters".as_slice(), b"dev"]);
        for end in 0..der.len() {
            assert_eq!(organizations(&der[..end]), None, "{end}");
        }
        assert_eq!(organizations(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
