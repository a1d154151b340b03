//! networking.k8s.io/v1 Ingress and IngressClass.

use super::rules::{domain_path, ip_address, port_number, text};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, i64_at, items_at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;

/// networking.k8s.io/v1 Ingress.
pub(crate) struct Ingress;

/// networking.k8s.io/v1 IngressClass.
pub(crate) struct IngressClass;

/// The annotation that named the class before there was a field.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";
const CONTROLLER_BYTES: usize = 250;
const BAD_SEQUENCES: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: &[&str] = &["/..", "/."];

impl Strategy for Ingress {
    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({ "loadBalancer": {} }));
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        let rules = items_at(spec, &["rules"]);
        let backend = spec.get("defaultBackend");
        if rules.is_empty() && backend.is_none() {
            let shown = spec.get("rules").cloned().unwrap_or_default();
            errors.invalid(&path, shown, "either `defaultBackend` or `rules` must be specified");
        }
        if let Some(backend) = backend {
            validate_backend(backend, &path.child("defaultBackend"), errors);
        }
        for (index, rule) in rules.iter().enumerate() {
            let path = path.child("rules").index(index);
            let host = text(rule, "host");
            if host.parse::<std::net::IpAddr>().is_ok() {
                errors.invalid(&path.child("host"), host, "must be a DNS name, not an IP address");
            }
            if !host.is_empty() {
                errors.all_invalid(&path.child("host"), host, host_problems(host));
            }
            if let Some(http) = rule.get("http") {
                validate_paths(items_at(http, &["paths"]), &path.child("http").child("paths"), errors);
            }
        }
        for (index, tls) in items_at(spec, &["tls"]).iter().enumerate() {
            let path = path.child("tls").index(index);
            for (index, host) in items_at(tls, &["hosts"]).iter().filter_map(Json::as_str).enumerate() {
                errors.all_invalid(&path.child("hosts").index(index), host, host_problems(host));
            }
            let secret = text(tls, "secretName");
            if !secret.is_empty() {
                errors.all_invalid(&path.child("secretName"), secret, names::dns_subdomain(secret));
            }
        }
        if let Some(class) = spec.get("ingressClassName").and_then(Json::as_str) {
            errors.all_invalid(&path.child("ingressClassName"), class, names::dns_subdomain(class));
        }
    }

    fn validate_new(&self, doc: &Json, errors: &mut FieldErrors) {
        let class = str_at(doc, &["spec", "ingressClassName"]);
        let old = str_at(doc, &["metadata", "annotations", OLD_CLASS]);
        if let (Some(class), Some(old)) = (class, old)
            && class != old
        {
            let path = FieldPath::new("annotations").child(OLD_CLASS);
            errors.invalid(&path, old, "must match `ingressClassName` when both are specified");
        }
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        for (index, one) in items_at(doc, &["status", "loadBalancer", "ingress"]).iter().enumerate() {
            let path = FieldPath::new("status.loadBalancer.ingress").index(index);
            let (ip, host) = (text(one, "ip"), text(one, "hostname"));
            if !ip.is_empty() {
                ip_address(ip, &path.child("ip"), errors);
            }
            if !host.is_empty() {
                errors.all_invalid(&path.child("hostname"), host, names::dns_subdomain(host));
                if host.parse::<std::net::IpAddr>().is_ok() {
                    errors.invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address");
                }
            }
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let old = str_at(doc, &["metadata", "annotations", OLD_CLASS]);
        if old.is_none() || at(doc, &["spec", "ingressClassName"]).is_some() {
            return Vec::new();
        }
        vec![format!("annotation {OLD_CLASS:?} is deprecated, please use 'spec.ingressClassName' instead")]
    }
}

fn host_problems(host: &str) -> Vec<String> {
    if host.contains('*') { names::wildcard_subdomain(host) } else { names::dns_subdomain(host) }
}

fn validate_paths(paths: &[Json], path: &FieldPath, errors: &mut FieldErrors) {
    const TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
    if paths.is_empty() {
        errors.required(path, "");
    }
    for (index, one) in paths.iter().enumerate() {
        let path = path.index(index);
        let (value, at) = (text(one, "path"), path.child("path"));
        match one.get("pathType").and_then(Json::as_str) {
            None => {
                errors.required(&path.child("pathType"), "pathType must be specified");
                continue;
            }
            Some("Exact" | "Prefix") => {
                if !value.starts_with('/') {
                    errors.invalid(&at, value, "must be an absolute path");
                }
                for bad in BAD_SEQUENCES.iter().filter(|bad| value.contains(**bad)) {
                    errors.invalid(&at, value, format!("must not contain '{bad}'"));
                }
                for bad in BAD_ENDS.iter().filter(|bad| value.ends_with(**bad)) {
                    errors.invalid(&at, value, format!("cannot end with '{bad}'"));
                }
            }
            Some("ImplementationSpecific") => {
                if !value.is_empty() && !value.starts_with('/') {
                    errors.invalid(&at, value, "must be an absolute path");
                }
            }
            Some(other) => errors.not_supported(&path.child("pathType"), other, TYPES),
        }
        validate_backend(one.get("backend").unwrap_or(&Json::Null), &path.child("backend"), errors);
    }
}

fn validate_backend(backend: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    match (backend.get("resource"), backend.get("service")) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (None, None) => errors.invalid(path, "", "resource or service backend is required"),
        (Some(resource), None) => typed_reference(resource, &path.child("resource"), errors),
        (None, Some(service)) => {
            let at_service = path.child("service");
            match text(service, "name") {
                "" => errors.required(&at_service.child("name"), ""),
                name => errors.all_invalid(&at_service.child("name"), name, names::dns_label(name)),
            }
            let port = service.get("port").unwrap_or(&Json::Null);
            let (name, number) = (text(port, "name"), i64_at(port, &["number"]).unwrap_or(0));
            let at_port = at_service.child("port");
            match (name.is_empty(), number) {
                (true, 0) => errors.required(path, "port name or number is required"),
                (true, number) => port_number(number, &at_port.child("number"), errors),
                (false, 0) => errors.all_invalid(&at_port.child("name"), name, names::port_name(name)),
                (false, _) => errors.invalid(path, "", "cannot set both port name & port number"),
            }
        }
    }
}

/// A reference by group, kind and name.
fn typed_reference(of: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(group) = of.get("apiGroup").and_then(Json::as_str) {
        errors.all_invalid(&path.child("apiGroup"), group, names::dns_subdomain(group));
    }
    for field in ["kind", "name"] {
        match text(of, field) {
            "" => errors.required(&path.child(field), ""),
            value => errors.all_invalid(&path.child(field), value, names::path_segment(value)),
        }
    }
}

impl Strategy for IngressClass {
    fn default(&self, doc: &mut Json) {
        if at(doc, &["spec", "parameters"]).is_some() {
            default(doc, &["spec", "parameters", "scope"], "Cluster");
        }
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        let controller = text(spec, "controller");
        if controller.len() > CONTROLLER_BYTES {
            errors.too_long(&path.child("controller"), CONTROLLER_BYTES);
        }
        domain_path(controller, &path.child("controller"), errors);
        let Some(parameters) = spec.get("parameters") else { return };
        let path = path.child("parameters");
        typed_reference(parameters, &path, errors);
        let namespace = parameters.get("namespace").and_then(Json::as_str);
        match (text(parameters, "scope"), namespace) {
            ("Namespace", None) => {
                errors.required(&path.child("namespace"), "`parameters.scope` is set to 'Namespace'");
            }
            ("Namespace", Some(name)) => errors.all_invalid(&path.child("namespace"), name, names::dns_label(name)),
            ("Cluster", Some(_)) => {
                errors.forbidden(&path.child("namespace"), "`parameters.scope` is set to 'Cluster'");
            }
            ("Cluster", None) => {}
            (other, _) => errors.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]),
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["spec", "controller"], &FieldPath::new("spec.controller"), errors);
    }
}
