//! What a pod needs on its node.

use crate::Reference;
use crate::show::{or, text};
use holdfast_core::json::items_at;
use holdfast_core::{Gvr, Json};
use std::collections::BTreeSet;

/// Fields of volumes that hold a `LocalObjectReference` to a Secret.
const SECRET_REFS: &[(&str, &str)] = &[
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("csi", "nodePublishSecretRef"),
    ("flexVolume", "secretRef"),
    ("iscsi", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
];

/// Namespace, ServiceAccount, RuntimeClass, PriorityClass, and every Secret, ConfigMap and claim that its
/// volumes, environment and image pulls name, optional ones too. `kube-root-ca.crt` and the token's account come
/// in through the projected volume that admission adds. Sorted; each once.
pub(crate) fn references(pod: &Json) -> Vec<Reference> {
    let mut found = Found { namespace: text(pod, &["metadata", "namespace"]), set: BTreeSet::new() };
    found.add("", "namespaces", found.namespace, false);
    let account = or(text(pod, &["spec", "serviceAccountName"]), text(pod, &["spec", "serviceAccount"]));
    found.add("", "serviceaccounts", or(account, "default"), true);
    found.add("node.k8s.io", "runtimeclasses", text(pod, &["spec", "runtimeClassName"]), false);
    found.add("scheduling.k8s.io", "priorityclasses", text(pod, &["spec", "priorityClassName"]), false);
    for pull in items_at(pod, &["spec", "imagePullSecrets"]) {
        found.secret(text(pull, &["name"]));
    }
    for volume in items_at(pod, &["spec", "volumes"]) {
        found.volume(volume, text(pod, &["metadata", "name"]));
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_at(pod, &["spec", list]) {
            found.container(container);
        }
    }
    found.set.into_iter().collect()
}

struct Found<'a> {
    namespace: &'a str,
    set: BTreeSet<Reference>,
}

impl Found<'_> {
    fn add(&mut self, group: &str, resource: &str, name: &str, namespaced: bool) {
        if !name.is_empty() {
            let namespace = if namespaced { self.namespace.to_string() } else { String::new() };
            self.set.insert(Reference { gvr: Gvr::new(group, "v1", resource), namespace, name: name.to_string() });
        }
    }

    fn secret(&mut self, name: &str) {
        self.add("", "secrets", name, true);
    }

    fn config_map(&mut self, name: &str) {
        self.add("", "configmaps", name, true);
    }

    fn claim(&mut self, name: &str) {
        self.add("", "persistentvolumeclaims", name, true);
    }

    fn volume(&mut self, volume: &Json, pod: &str) {
        self.secret(text(volume, &["secret", "secretName"]));
        self.secret(text(volume, &["azureFile", "secretName"]));
        for (source, field) in SECRET_REFS {
            self.secret(text(volume, &[source, field, "name"]));
        }
        self.config_map(text(volume, &["configMap", "name"]));
        self.claim(text(volume, &["persistentVolumeClaim", "claimName"]));
        if volume.get("ephemeral").is_some_and(Json::is_object) {
            // The claim of a generic ephemeral volume is named after pod and volume.
            self.claim(&format!("{pod}-{}", text(volume, &["name"])));
        }
        for source in items_at(volume, &["projected", "sources"]) {
            self.secret(text(source, &["secret", "name"]));
            self.config_map(text(source, &["configMap", "name"]));
        }
    }

    fn container(&mut self, container: &Json) {
        for env in items_at(container, &["env"]) {
            self.secret(text(env, &["valueFrom", "secretKeyRef", "name"]));
            self.config_map(text(env, &["valueFrom", "configMapKeyRef", "name"]));
        }
        for env in items_at(container, &["envFrom"]) {
            self.secret(text(env, &["secretRef", "name"]));
            self.config_map(text(env, &["configMapRef", "name"]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_names_all_that_its_node_must_hold() {
        let pod = json!({
            "metadata": {"name": "web", "namespace": "demo"},
            "spec": {
                "runtimeClassName": "wasmtime", "priorityClassName": "high", "imagePullSecrets": [{"name": "pull"}],
                "volumes": [
                    {"name": "a", "secret": {"secretName": "vol"}},
                    {"name": "b", "configMap": {"name": "conf"}},
                    {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}},
                        {"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "projected"}}]}},
                    {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "e", "ephemeral": {}},
                    {"name": "f", "csi": {"nodePublishSecretRef": {"name": "csi"}}}
                ],
                "initContainers": [{"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "env"}}}]}],
                "containers": [{"envFrom": [{"secretRef": {"name": "from"}}, {"configMapRef": {"name": "conf"}}]}],
                "ephemeralContainers": [{"env": [{"name": "Y", "valueFrom": {"configMapKeyRef": {"name": "key"}}}]}]
            }
        });
        let shown: Vec<String> =
            references(&pod).iter().map(|r| format!("{} {}/{}", r.gvr.resource, r.namespace, r.name)).collect();
        assert_eq!(
            shown,
            [
                "configmaps demo/conf",
                "configmaps demo/key",
                "configmaps demo/kube-root-ca.crt",
                "namespaces /demo",
                "persistentvolumeclaims demo/data",
                "persistentvolumeclaims demo/web-e",
                "secrets demo/csi",
                "secrets demo/env",
                "secrets demo/from",
                "secrets demo/projected",
                "secrets demo/pull",
                "secrets demo/vol",
                "serviceaccounts demo/default",
                "runtimeclasses /wasmtime",
                "priorityclasses /high",
            ]
        );
    }
}
