//! certificates.k8s.io/v1 CertificateSigningRequest
//! (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>, and
//! `pkg/apis/certificates/validation` for the texts).
//!
//! What was asked for never changes: the signature is over it. Approving and signing are parts of their own, so that who may do
//! the one need not be able to do the other.

use super::rules::text;
use crate::generic::update::Part;
use crate::limits::CERTIFICATE_REQUEST_BYTES;
use crate::strategy::Strategy;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::json::{at, copy, i64_at, items_at, items_at_mut, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, Timestamp, names};
use std::collections::BTreeSet;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};

/// certificates.k8s.io/v1 CertificateSigningRequest.
pub(crate) struct CertificateSigningRequest;

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";
/// The signer of the time before signers had names.
const LEGACY: &str = "kubernetes.io/legacy-unknown";
const MIN_SECONDS: i64 = 600;

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

impl Strategy for CertificateSigningRequest {
    fn has_status(&self) -> bool {
        true
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], serde_json::json!({}));
    }

    fn prepare_for_update(&self, doc: &mut Json, old: &Json) {
        copy(old, doc, &["spec"]);
    }

    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        Some(&[])
    }

    fn prepare_for_status_update(&self, doc: &mut Json, old: &Json) {
        copy(old, doc, &["spec"]);
        for kind in [APPROVED, DENIED] {
            keep_conditions(doc, old, kind);
        }
    }

    fn prepare_part(&self, _part: Part, doc: &mut Json, old: &Json) {
        copy(old, doc, &["spec"]);
        let conditions = at(doc, &["status", "conditions"]).cloned();
        copy(old, doc, &["status"]);
        match conditions {
            Some(conditions) => set(doc, &["status", "conditions"], conditions),
            None => {
                remove(doc, &["status", "conditions"]);
            }
        }
    }

    fn stamp(&self, doc: &mut Json, old: &Json, now: Timestamp) {
        for condition in items_at_mut(doc, &["status", "conditions"]) {
            if unset(condition, "lastUpdateTime") {
                set(condition, &["lastUpdateTime"], now.to_string());
            }
            if unset(condition, "lastTransitionTime") {
                let same = |before: &&Json| {
                    ["type", "status"].iter().all(|field| text(before, field) == text(condition, field))
                        && !unset(before, "lastTransitionTime")
                };
                let before = items_at(old, &["status", "conditions"]).iter().find(same);
                let since = before.map_or_else(|| now.to_string(), |before| text(before, "lastTransitionTime").into());
                set(condition, &["lastTransitionTime"], since);
            }
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        if let Err(problem) = request(text(spec, "request")) {
            errors.invalid_part(&path.child("request"), problem);
        }
        usages(spec, &path.child("usages"), errors);
        let signer = text(spec, "signerName");
        if signer == LEGACY {
            let detail = "the legacy signerName is not allowed via this API version";
            errors.invalid(&path.child("signerName"), signer, detail);
        } else {
            signer_name(signer, &path.child("signerName"), errors);
        }
        if let Some(seconds) = i64_at(spec, &["expirationSeconds"]).filter(|seconds| *seconds < MIN_SECONDS) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.invalid(&path.child("expirationSeconds"), seconds, detail);
        }
    }

    fn judges_changes_whole(&self) -> bool {
        true
    }

    fn validate_status(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        conditions(doc, old, errors);
        for kind in [APPROVED, DENIED] {
            untouched(doc, old, kind, errors);
        }
        let (path, now) = (FieldPath::new("status.certificate"), certificate(doc));
        if let Err(problem) = certificates(now) {
            errors.invalid(&path, "<certificate data>", problem);
        }
        if now != certificate(old) && !certificate(old).is_empty() {
            errors.forbidden(&path, "updates may not modify existing certificate content");
        }
    }

    fn validate_part(&self, _part: Part, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        conditions(doc, old, errors);
    }
}

fn certificate(doc: &Json) -> &str {
    str_at(doc, &["status", "certificate"]).unwrap_or_default()
}

fn unset(condition: &Json, time: &str) -> bool {
    text(condition, time).is_empty()
}

fn of_type<'a>(doc: &'a Json, kind: &str) -> Vec<&'a Json> {
    items_at(doc, &["status", "conditions"]).iter().filter(|condition| text(condition, "type") == kind).collect()
}

/// Puts the conditions of a type back to what they were, unless some came or went: that is refused later.
fn keep_conditions(doc: &mut Json, old: &Json, kind: &str) {
    let before = of_type(old, kind);
    if before.len() != of_type(doc, kind).len() {
        return;
    }
    let mut before = before.into_iter();
    for condition in items_at_mut(doc, &["status", "conditions"]) {
        if text(condition, "type") == kind
            && let Some(kept) = before.next()
        {
            *condition = kept.clone();
        }
    }
}

/// Problems of the conditions, and of what became of them.
fn conditions(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("status.conditions");
    let mut seen = BTreeSet::new();
    for (index, condition) in items_at(doc, &["status", "conditions"]).iter().enumerate() {
        let path = path.index(index);
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if kind.is_empty() {
            errors.required(&path.child("type"), "");
        }
        let allowed: &[&str] = match kind {
            APPROVED | DENIED | FAILED => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        if status.is_empty() {
            errors.required(&path.child("status"), "");
        } else if !allowed.contains(&status) {
            errors.not_supported(&path.child("status"), status, allowed);
        }
        let opposite = match kind {
            APPROVED => DENIED,
            DENIED => APPROVED,
            _ => "",
        };
        if seen.contains(opposite) {
            errors.invalid(&path.child("type"), kind, "Approved and Denied conditions are mutually exclusive");
        }
        if !seen.insert(kind) {
            errors.duplicate(&path.child("type"), kind);
        }
    }
    for kind in [APPROVED, DENIED, FAILED] {
        if of_type(doc, kind).len() < of_type(old, kind).len() {
            errors.forbidden(&path, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
}

/// Tells of a condition that only the approval may set.
fn untouched(doc: &Json, old: &Json, kind: &str, errors: &mut FieldErrors) {
    let path = FieldPath::new("status.conditions");
    let (now, before) = (of_type(doc, kind), of_type(old, kind));
    if now.len() > before.len() {
        errors.forbidden(&path, format!("updates may not add a condition of type {kind:?}"));
    } else if now.len() == before.len() && now != before {
        errors.forbidden(&path, format!("updates may not modify a condition of type {kind:?}"));
    }
}

/// What is wrong with a request: base64 of PEM of a PKCS#10 request that its own key signed.
fn request(encoded: &str) -> Result<(), String> {
    read(encoded, |request| request.verify_signature().map_err(|err| format!("x509: {err}")))?
}

/// Reads a request, whoever signed it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read<T>(encoded: &str, look: impl FnOnce(&X509CertificationRequest<'_>) -> T) -> Result<T, String> {
    let bytes = STANDARD.decode(encoded).map_err(|err| err.to_string())?;
    if bytes.len() > CERTIFICATE_REQUEST_BYTES {
        return Err(format!("must not be longer than {CERTIFICATE_REQUEST_BYTES} bytes"));
    }
    let pem = Pem::iter_from_buffer(&bytes).next().and_then(Result::ok);
    let pem = pem.filter(|pem| pem.label == "CERTIFICATE REQUEST");
    let pem = pem.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|err| format!("x509: {err}"))?;
    Ok(look(&request))
}

fn usages(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let all = items_at(spec, &["usages"]);
    if all.is_empty() {
        errors.required(path, "");
    }
    for (index, usage) in all.iter().filter_map(Json::as_str).enumerate() {
        if !USAGES.contains(&usage) {
            errors.not_supported(&path.index(index), usage, USAGES);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, usage) in all.iter().filter_map(Json::as_str).enumerate() {
        if !seen.insert(usage) {
            errors.duplicate(&path.index(index), usage);
        }
    }
}

/// Problems of the name of a signer.
pub(crate) fn signer_name(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    /// Longest domain, and longest path below it.
    const DOMAIN: usize = 253;
    const PATH: usize = 253 + 63 + 1;
    if name.is_empty() {
        return errors.required(path, "");
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path, name, detail);
    };
    if domain.len() > DOMAIN {
        errors.too_long(path, DOMAIN);
    }
    labels(domain, names::dns_label, path, errors);
    if !domain.contains('.') {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    labels(rest, names::dns_subdomain, path, errors);
    if name.len() > DOMAIN + PATH + 1 {
        errors.too_long(path, DOMAIN + PATH + 1);
    }
}

/// Tells of the first label that is none.
fn labels(segment: &str, problems: fn(&str) -> Vec<String>, path: &FieldPath, errors: &mut FieldErrors) {
    let bad = segment.split('.').map(|label| (label, problems(label))).find(|(_, problems)| !problems.is_empty());
    for (label, problem) in bad.into_iter().flat_map(|(label, all)| all.into_iter().map(move |one| (label, one))) {
        errors.invalid(path, segment, format!("validating label {label:?}: {problem}"));
    }
}

/// What is wrong with a chain of certificates: base64 of PEM.
fn certificates(encoded: &str) -> Result<(), String> {
    if encoded.is_empty() {
        return Ok(());
    }
    let bytes = STANDARD.decode(encoded).map_err(|err| err.to_string())?;
    let mut blocks = 0;
    for pem in Pem::iter_from_buffer(&bytes) {
        let pem = pem.map_err(|err| err.to_string())?;
        if pem.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", pem.label));
        }
        let (rest, _) = X509Certificate::from_der(&pem.contents).map_err(|err| format!("x509: {err}"))?;
        if !rest.is_empty() {
            return Err("x509: trailing data".into());
        }
        blocks += 1;
    }
    if blocks == 0 {
        return Err("must contain at least one CERTIFICATE PEM block".into());
    }
    Ok(())
}
