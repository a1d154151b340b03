//! CertificateSubjectRestriction: nobody asks the API's own signer for a certificate of `system:masters`, whom no authorizer
//! judges.

use super::{Admission, signers};
use crate::kinds::certificate_signing_request::read;
use holdfast_core::json::str_at;
use holdfast_core::user::MASTERS;
use holdfast_core::{Json, Status};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Judges a new request.
pub(crate) fn validate(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    if !signers::is_request(cx) || signers::signer(doc) != SIGNER {
        return Ok(());
    }
    let Ok(organizations) = organizations(str_at(doc, &["spec", "request"]).unwrap_or_default()) else {
        return Err(cx.forbidden(doc, "failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"));
    };
    if organizations.iter().any(|name| name == MASTERS.as_bytes()) {
        return Err(cx.forbidden(doc, format!("use of {SIGNER} signer with {MASTERS} group is not allowed")));
    }
    Ok(())
}

/// The organizations of the subject of a request: groups, to Kubernetes. As bytes, whatever sort of text they say they are.
fn organizations(request: &str) -> Result<Vec<Vec<u8>>, String> {
    read(request, |request| {
        let names = request.certification_request_info.subject.iter_organization();
        names.map(|name| name.as_slice().to_vec()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    /// `id-at-organizationName`, 2.5.4.10.
    const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], content].concat()
    }

    /// A request of this subject (RFC 2986), with the key of no algorithm and no signature.
    fn request(names: &[(&[u8], &str)]) -> Vec<u8> {
        let name = |(identifier, value): &(&[u8], &str)| {
            let pair = [der(OBJECT_IDENTIFIER, identifier), der(0x0c, value.as_bytes())].concat();
            der(SET, &der(SEQUENCE, &pair))
        };
        let subject = der(SEQUENCE, &names.iter().flat_map(name).collect::<Vec<u8>>());
        let algorithm = der(SEQUENCE, &der(OBJECT_IDENTIFIER, &[0x2a, 0x03]));
        let bits = der(BIT_STRING, &[0]);
        let key = der(SEQUENCE, &[algorithm.clone(), bits.clone()].concat());
        let info = der(SEQUENCE, &[der(INTEGER, &[0]), subject, key, der(0xa0, &[])].concat());
        der(SEQUENCE, &[info, algorithm, bits].concat())
    }

    fn encoded(der: &[u8]) -> String {
        let body = STANDARD.encode(der);
        STANDARD.encode(format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"))
    }

    #[test]
    fn the_subject_is_read_and_nothing_panics() {
        let common: &[u8] = &[0x55, 0x04, 0x03];
        let der = request(&[(common, "me"), (ORGANIZATION, "system:masters"), (ORGANIZATION, "dev")]);
        assert_eq!(organizations(&encoded(&der)).unwrap(), [b"system:masters".as_slice(), b"dev"]);
        for end in 0..der.len() {
            assert!(organizations(&encoded(&der[..end])).is_err(), "{end}");
        }
        assert!(organizations(&encoded(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff])).is_err());
    }
}
