//! Defaults of pods and pod templates (upstream's `SetDefaults_Pod*`, `SetDefaults_Container`, `SetDefaults_Probe`,
//! `SetDefaults_*VolumeSource`).

use super::{projected, resources};
use crate::kinds::rules::default_text;
use crate::kinds::volume_sources;
use holdfast_core::Json;
use holdfast_core::json::{at, at_mut, bool_at, default, items_at, items_at_mut, set, str_at};
use serde_json::json;

/// Defaults of a whole pod.
pub(crate) fn pod(doc: &mut Json) {
    if at(doc, &["spec"]).is_none() {
        return;
    }
    default(doc, &["spec", "enableServiceLinks"], true);
    for list in ["initContainers", "containers"] {
        items_at_mut(doc, &["spec", list]).iter_mut().for_each(requests_from_limits);
    }
    resources::default_requests(doc);
    if let Some(spec) = at_mut(doc, &["spec"]) {
        pod_spec(spec);
    }
}

/// A limit without a request is the request.
fn requests_from_limits(container: &mut Json) {
    let Some(limits) = at(container, &["resources", "limits"]).and_then(Json::as_object).cloned() else { return };
    for (name, amount) in limits {
        default(container, &["resources", "requests", &name], amount);
    }
}

/// Defaults that a pod and a template share.
pub(crate) fn pod_spec(spec: &mut Json) {
    default_text(spec, &["dnsPolicy"], "ClusterFirst");
    default_text(spec, &["restartPolicy"], "Always");
    default(spec, &["securityContext"], json!({}));
    default(spec, &["terminationGracePeriodSeconds"], 30);
    default_text(spec, &["schedulerName"], "default-scheduler");
    // The old name of the field is served beside the new one.
    let account = ["serviceAccountName", "serviceAccount"]
        .iter()
        .find_map(|field| str_at(spec, &[field]).filter(|text| !text.is_empty()))
        .map(str::to_string);
    if let Some(account) = account {
        set(spec, &["serviceAccountName"], account.as_str());
        set(spec, &["serviceAccount"], account);
    }
    let host_network = bool_at(spec, &["hostNetwork"]) == Some(true);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for item in items_at_mut(spec, &[list]) {
            container(item, host_network);
        }
    }
    items_at_mut(spec, &["volumes"]).iter_mut().for_each(volume);
}

fn container(container: &mut Json, host_network: bool) {
    let image = str_at(container, &["image"]).unwrap_or_default();
    let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
    default_text(container, &["imagePullPolicy"], policy);
    default_text(container, &["terminationMessagePath"], "/dev/termination-log");
    default_text(container, &["terminationMessagePolicy"], "File");
    default(container, &["resources"], json!({}));
    for port in items_at_mut(container, &["ports"]) {
        default_text(port, &["protocol"], "TCP");
        if host_network && let Some(number) = at(port, &["containerPort"]).cloned() {
            default(port, &["hostPort"], number);
        }
    }
    for variable in items_at_mut(container, &["env"]) {
        if at(variable, &["valueFrom", "fieldRef"]).is_some() {
            default_text(variable, &["valueFrom", "fieldRef", "apiVersion"], "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = at_mut(container, &[name]).filter(|probe| probe.is_object()) {
            for (field, value) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                if at(probe, &[field]).and_then(Json::as_i64).unwrap_or(0) == 0 {
                    set(probe, &[field], value);
                }
            }
            if at(probe, &["grpc"]).is_some() {
                default(probe, &["grpc", "service"], "");
            }
            http_get(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = at_mut(container, &["lifecycle", hook]) {
            http_get(handler);
        }
    }
}

fn http_get(handler: &mut Json) {
    if at(handler, &["httpGet"]).is_some() {
        default_text(handler, &["httpGet", "path"], "/");
        default_text(handler, &["httpGet", "scheme"], "HTTP");
    }
}

/// Whether the tag of an image reference is `latest`, given or implied.
pub(crate) fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

const DEFAULT_MODE: i64 = 0o644;

fn volume(volume: &mut Json) {
    if volume.as_object().is_some_and(|map| map.keys().all(|key| key == "name")) {
        set(volume, &["emptyDir"], json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if at(volume, &[source]).is_some() {
            default(volume, &[source, "defaultMode"], DEFAULT_MODE);
        }
    }
    if at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]).is_some() {
        default(volume, &["ephemeral", "volumeClaimTemplate", "spec", "volumeMode"], "Filesystem");
    }
    volume_sources::default_fields(volume);
    if let Some(reference) = at(volume, &["image"]).map(|image| str_at(image, &["reference"]).unwrap_or_default()) {
        let policy = if is_latest(reference) { "Always" } else { "IfNotPresent" };
        default_text(volume, &["image", "pullPolicy"], policy);
    }
    for item in items_at_mut(volume, &["downwardAPI", "items"]) {
        field_ref(item);
    }
    for source in items_at_mut(volume, &["projected", "sources"]) {
        if at(source, &["serviceAccountToken"]).is_some() {
            default(source, &["serviceAccountToken", "expirationSeconds"], 3600);
        }
        if at(source, &["podCertificate"]).is_some() {
            default(source, &["podCertificate", "maxExpirationSeconds"], projected::DEFAULT_SECONDS);
        }
        if !items_at(source, &["downwardAPI", "items"]).is_empty() {
            items_at_mut(source, &["downwardAPI", "items"]).iter_mut().for_each(field_ref);
        }
    }
}

fn field_ref(item: &mut Json) {
    if at(item, &["fieldRef"]).is_some() {
        default_text(item, &["fieldRef", "apiVersion"], "v1");
    }
}

#[cfg(test)]
mod tests {
    use super::is_latest;

    #[test]
    fn the_latest_tag_is_recognised() {
        for (image, latest) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1", false),
            ("registry.local:5000/a/nginx", true),
            ("registry.local:5000/a/nginx:1", false),
            ("nginx@sha256:abc", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
