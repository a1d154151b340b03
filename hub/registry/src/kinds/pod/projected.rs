//! Projected volumes: several sources in one folder, so no two may write one file.

use super::volumes::{downward, mode, modes_and_items, relative_path};
use crate::kinds::certificate_signing_request::signer_name;
use crate::kinds::rules::text;
use crate::kinds::selectors;
use holdfast_core::json::items_at;
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use std::collections::BTreeSet;

const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
/// How long a certificate of a pod may live, in seconds.
const SHORTEST: i64 = 3600;
const LONGEST: i64 = 91 * 24 * 3600;
/// The same where a signer of Kubernetes' own issues it.
const LONGEST_OWN: i64 = 24 * 3600;
/// When nothing is said.
pub(super) const DEFAULT_SECONDS: i64 = LONGEST_OWN;

/// The files that the sources before wrote.
struct Files<'a, 'p> {
    seen: BTreeSet<&'a str>,
    volume: &'p FieldPath,
}

impl<'a> Files<'a, '_> {
    /// Tells of a file that stands already; `told` is the value that upstream shows.
    fn add(&mut self, file: &'a str, told: &str, errors: &mut FieldErrors) {
        if !file.is_empty() && !self.seen.insert(file) {
            errors.invalid(self.volume, told, "conflicting duplicate paths");
        }
    }
}

/// Problems of a `projected` volume.
pub(super) fn validate(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    mode(doc, "defaultMode", path, errors);
    let mut files = Files { seen: BTreeSet::new(), volume: path };
    for (index, source) in items_at(doc, &["sources"]).iter().enumerate() {
        let at = path.child("sources").index(index);
        let parts = source.as_object().into_iter().flatten().filter(|(_, part)| !part.is_null());
        let mut count = 0;
        for (kind, part) in parts {
            count += 1;
            let path = at.child(kind);
            match kind.as_str() {
                "secret" | "configMap" => {
                    let name = text(part, "name");
                    if name.is_empty() {
                        errors.required(&path.child("name"), "");
                    }
                    modes_and_items(part, &path, errors);
                    for item in items_at(part, &["items"]) {
                        files.add(text(item, "path"), name, errors);
                    }
                }
                "downwardAPI" => {
                    downward(part, &path, errors);
                    for item in items_at(part, &["items"]) {
                        files.add(text(item, "path"), text(item, "path"), errors);
                    }
                }
                "serviceAccountToken" => token(part, &path, errors),
                "clusterTrustBundle" => {
                    trust_bundle(part, &path, errors);
                    files.add(text(part, "path"), text(part, "path"), errors);
                }
                "podCertificate" => certificate(part, &path, &mut files, errors),
                _ => {}
            }
        }
        if count > 1 {
            errors.forbidden(&at, "may not specify more than 1 volume type per source");
        }
    }
}

fn token(token: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let seconds = token.get("expirationSeconds").and_then(Json::as_i64).unwrap_or(0);
    let at = path.child("expirationSeconds");
    if seconds < 600 {
        errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    relative_path(text(token, "path"), &path.child("path"), errors);
}

fn trust_bundle(bundle: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let said = |field: &str| bundle.get(field).and_then(Json::as_str);
    match (said("name"), said("signerName")) {
        (Some(_), Some(_)) => errors.invalid(path, bundle.clone(), "only one of name and signerName may be used"),
        (Some(name), None) => {
            let at = path.child("name");
            if name.is_empty() {
                errors.required(&at, "must be a valid object name");
            }
            for problem in bundle_name(name) {
                errors.invalid(&at, name, format!("not a valid clustertrustbundlename: {problem}"));
            }
            if let Some(selector) = bundle.get("labelSelector").filter(|selector| !selector.is_null()) {
                let detail = "labelSelector must be unset if name is specified";
                errors.invalid(&path.child("labelSelector"), selector.clone(), detail);
            }
        }
        (None, Some(signer)) => {
            let at = path.child("signerName");
            if signer.is_empty() {
                errors.required(&at, "must be a valid signer name");
            }
            signer_name(signer, &at, errors);
            if let Some(selector) = bundle.get("labelSelector") {
                selectors::validate(selector, &path.child("labelSelector"), errors);
            }
        }
        (None, None) => errors.required(path, "either name or signerName must be specified"),
    }
    relative_path(text(bundle, "path"), &path.child("path"), errors);
}

/// What is wrong with the name of a ClusterTrustBundle: one of a signer begins with the signer's, its slash as a colon.
fn bundle_name(name: &str) -> Vec<String> {
    match name.rsplit_once(':') {
        None => names::dns_subdomain(name),
        Some(("", _)) => vec!["ClusterTrustBundle without signer name must not have \":\" in its name".into()],
        Some((_, own)) => names::dns_subdomain(own),
    }
}

fn certificate<'a>(certificate: &'a Json, path: &FieldPath, files: &mut Files<'a, '_>, errors: &mut FieldErrors) {
    let signer = text(certificate, "signerName");
    signer_name(signer, &path.child("signerName"), errors);
    let at = path.child("userAnnotations");
    let annotations = certificate.get("userAnnotations");
    crate::meta::annotations(annotations, &at, errors);
    for key in annotations.and_then(Json::as_object).into_iter().flat_map(|all| all.keys()) {
        if !key.contains('/') {
            errors.invalid(&at, key.as_str(), "must be a domain-prefixed key (such as \"acme.io/foo\")");
        }
    }
    let key_type = text(certificate, "keyType");
    if !KEY_TYPES.contains(&key_type) {
        errors.not_supported(&path.child("keyType"), key_type, KEY_TYPES);
    }
    if let Some(seconds) = certificate.get("maxExpirationSeconds").and_then(Json::as_i64) {
        let at = path.child("maxExpirationSeconds");
        let domain = signer.split('/').next().unwrap_or_default();
        let own = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
        let longest = if own { LONGEST_OWN } else { LONGEST };
        if seconds < SHORTEST {
            errors.invalid(&at, seconds, format!("if provided, maxExpirationSeconds must be >= {SHORTEST}"));
        }
        if seconds > longest {
            errors.invalid(&at, seconds, format!("if provided, maxExpirationSeconds must be <= {longest}"));
        }
    }
    let mut written = 0;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = text(certificate, field);
        if !file.is_empty() {
            written += 1;
            relative_path(file, &path.child(field), errors);
            files.add(file, file, errors);
        }
    }
    if written == 0 {
        errors.required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath");
    }
}
