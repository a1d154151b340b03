//! Namespaces, priority and runtime classes, the Service `kubernetes`.

use crate::kinds::priority_class::SYSTEM;
use holdfast_core::Json;
use serde_json::json;
use std::net::Ipv4Addr;

/// Runtime classes and their handlers: `<image type>` decides the runtime, the handler the way within it.
const RUNTIME_CLASSES: &[&str] = &["runc", "crun", "gvisor", "wasmtime"];

/// The namespaces; everything else comes after them.
pub(crate) fn namespaces() -> Vec<Json> {
    ["default", "kube-system", "kube-public", "kube-node-lease"]
        .iter()
        .map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
        .collect()
}

/// Priority and runtime classes.
pub(crate) fn classes() -> Vec<Json> {
    let mut all = Vec::new();
    for (name, value) in SYSTEM {
        let description = match *name {
            "system-node-critical" => "Used for system critical pods that must not be moved from their current node.",
            _ => {
                "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
            }
        };
        all.push(json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name },
            "value": value, "description": description,
        }));
    }
    for name in RUNTIME_CLASSES {
        all.push(json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": name }, "handler": name,
        }));
    }
    all
}

/// The API server as a Service, at the first address of the range.
pub(crate) fn kubernetes_service(address: Ipv4Addr, api_port: u16) -> Json {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": address.to_string(),
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": api_port }],
        },
    })
}
