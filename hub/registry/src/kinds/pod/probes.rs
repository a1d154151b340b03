//! Probes and life cycle handlers.

use crate::kinds::rules::{not_negative, port_number, port_number_or_name, text};
use holdfast_core::json::items_at;
use holdfast_core::{FieldErrors, FieldPath, Json};

/// Problems of the probes and hooks of a container, whose pod has `grace` seconds to end.
pub(crate) fn validate(container: &Json, grace: Option<i64>, path: &FieldPath, errors: &mut FieldErrors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(name) else { continue };
        let path = path.child(name);
        handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], &path, errors);
        for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            not_negative(probe, field, &path, errors);
        }
        if let Some(grace) = probe.get("terminationGracePeriodSeconds").and_then(Json::as_i64) {
            if grace <= 0 {
                errors.invalid(&path.child("terminationGracePeriodSeconds"), grace, "must be greater than 0");
            }
            if name == "readinessProbe" {
                errors.invalid(
                    &path.child("terminationGracePeriodSeconds"),
                    grace,
                    "must not be set for readinessProbes",
                );
            }
        }
        let successes = probe.get("successThreshold").and_then(Json::as_i64).unwrap_or(1);
        if name != "readinessProbe" && successes != 1 {
            errors.invalid(&path.child("successThreshold"), successes, "must be 1");
        }
    }
    for hook in ["postStart", "preStop"] {
        let Some(lifecycle) = container.get("lifecycle").and_then(|lifecycle| lifecycle.get(hook)) else { continue };
        let path = path.child("lifecycle").child(hook);
        handler(lifecycle, &["exec", "httpGet", "tcpSocket", "sleep"], &path, errors);
        let seconds = lifecycle.get("sleep").map(|sleep| sleep.get("seconds").and_then(Json::as_i64).unwrap_or(0));
        if let (Some(seconds), Some(grace)) = (seconds, grace)
            && !(0..=grace).contains(&seconds)
        {
            let text = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
            errors.invalid(&path.child("sleep"), seconds, text);
        }
    }
}

fn handler(doc: &Json, kinds: &[&str], path: &FieldPath, errors: &mut FieldErrors) {
    let given: Vec<&str> = kinds.iter().copied().filter(|kind| doc.get(*kind).is_some()).collect();
    if given.is_empty() {
        errors.required(path, "must specify a handler type");
        return;
    }
    for extra in given.iter().skip(1) {
        errors.forbidden(&path.child(extra), "may not specify more than 1 handler type");
    }
    let kind = given[0];
    let (Some(action), path) = (doc.get(kind), path.child(kind)) else { return };
    match kind {
        "exec" if items_at(action, &["command"]).is_empty() => {
            errors.required(&path.child("command"), "");
        }
        "httpGet" => {
            if text(action, "path").is_empty() {
                errors.required(&path.child("path"), "");
            }
            port_number_or_name(action.get("port"), &path.child("port"), errors);
            let scheme = text(action, "scheme");
            if !["HTTP", "HTTPS"].contains(&scheme) {
                errors.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
            }
            for (index, header) in items_at(action, &["httpHeaders"]).iter().enumerate() {
                let name = text(header, "name");
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                    let path = path.child("httpHeaders").index(index).child("name");
                    errors.invalid(
                        &path,
                        name,
                        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', \
                         regex used for validation is '[-A-Za-z0-9]+')",
                    );
                }
            }
        }
        "tcpSocket" => port_number_or_name(action.get("port"), &path.child("port"), errors),
        "grpc" => port_number(action.get("port").and_then(Json::as_i64).unwrap_or(0), &path.child("port"), errors),
        _ => {}
    }
}
