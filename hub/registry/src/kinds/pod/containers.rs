//! Containers.

use super::volumes::Volumes;
use super::{env, ephemeral, probes, resize, resources, restarts, security, volumes};
use crate::kinds::rules::{ip_address, one_of, port_number, text};
use holdfast_core::json::{i64_at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use std::collections::BTreeSet;

/// Which list a container stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Regular,
    Init,
    Ephemeral,
}

/// Problems of all containers of a spec.
pub(crate) fn validate(spec: &Json, volumes: &Volumes<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    let pod = OfPod {
        volumes,
        claims: resources::claim_names(spec),
        grace: i64_at(spec, &["terminationGracePeriodSeconds"]),
    };
    let mut seen = BTreeSet::new();
    if items_at(spec, &["containers"]).is_empty() {
        errors.required(&path.child("containers"), "");
    }
    for (field, list) in
        [("containers", List::Regular), ("initContainers", List::Init), ("ephemeralContainers", List::Ephemeral)]
    {
        for (index, container) in items_at(spec, &[field]).iter().enumerate() {
            let path = path.child(field).index(index);
            let name = text(container, "name");
            if name.is_empty() {
                errors.required(&path.child("name"), "");
            } else {
                errors.all_invalid(&path.child("name"), name, names::dns_label(name));
                if !seen.insert(name) {
                    errors.duplicate(&path.child("name"), name);
                }
            }
            one(container, list, &pod, &path, errors);
            match list {
                List::Ephemeral => ephemeral::validate(container, spec, &path, errors),
                List::Regular | List::Init => {
                    resize::policies(container, text(spec, "restartPolicy"), &path, errors);
                }
            }
        }
    }
    host_ports(spec, path, errors);
}

/// What of the pod its containers refer to.
struct OfPod<'a> {
    volumes: &'a Volumes<'a>,
    /// Names of `resourceClaims`.
    claims: BTreeSet<&'a str>,
    /// Seconds to end.
    grace: Option<i64>,
}

fn one(container: &Json, list: List, pod: &OfPod<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    let image = text(container, "image");
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
    one_of(container, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"], true, path, errors);
    one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], true, path, errors);
    ports(container, path, errors);
    env::validate(container, path, errors);
    volumes::mounts(container, pod.volumes, path, errors);
    if let Some(wanted) = container.get("resources") {
        resources::validate(wanted, &pod.claims, &path.child("resources"), errors);
    }
    if let Some(context) = container.get("securityContext") {
        security::container(context, &path.child("securityContext"), errors);
    }
    let restarts = list == List::Init && text(container, "restartPolicy") == "Always";
    if list != List::Ephemeral {
        restarts::validate(container, list == List::Init, path, errors);
    }
    if list == List::Init && !restarts {
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.get(field).is_some() {
                errors.forbidden(&path.child(field), "may not be set for init containers without restartPolicy=Always");
            }
        }
    } else {
        probes::validate(container, pod.grace, path, errors);
    }
}

fn ports(container: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, port) in items_at(container, &["ports"]).iter().enumerate() {
        let path = path.child("ports").index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = names::port_name(name);
            if problems.is_empty() {
                if !seen.insert(name) {
                    errors.duplicate(&path.child("name"), name);
                }
            } else {
                errors.all_invalid(&path.child("name"), name, problems);
            }
        }
        match port.get("containerPort").and_then(Json::as_i64).unwrap_or(0) {
            0 => errors.required(&path.child("containerPort"), ""),
            number => port_number(number, &path.child("containerPort"), errors),
        }
        if let Some(number) = port.get("hostPort").and_then(Json::as_i64).filter(|number| *number != 0) {
            port_number(number, &path.child("hostPort"), errors);
        }
        let host = text(port, "hostIP");
        if !host.is_empty() {
            ip_address(host, &path.child("hostIP"), errors);
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], true, &path, errors);
    }
}

fn host_ports(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, container) in items_at(spec, &["containers"]).iter().enumerate() {
        for (at, port) in items_at(container, &["ports"]).iter().enumerate() {
            let number = port.get("hostPort").and_then(Json::as_i64).unwrap_or(0);
            let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if number != 0 && !seen.insert(key.clone()) {
                let path = path.child("containers").index(index).child("ports").index(at).child("hostPort");
                errors.duplicate(&path, key);
            }
        }
    }
}
