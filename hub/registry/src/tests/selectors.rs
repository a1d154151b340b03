//! Field selectors that every kind has.

use super::*;
use holdfast_core::{FieldSelector, Revision};
use holdfast_kinds::Kind;

/// As little as each stored kind takes.
fn body(kind: &Kind, name: &str) -> Json {
    let template = || {
        json!({ "metadata": { "labels": { "app": "a" } },
            "spec": { "restartPolicy": "Always", "containers": [{ "name": "main", "image": "app" }] } })
    };
    let once = || json!({ "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": "app" }] } } });
    let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] });
    let hook = json!({ "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": { "url": "https://example.com" }, "rules": [rule] });
    let mut doc = match (kind.group, kind.kind) {
        ("", "ConfigMap" | "Endpoints" | "LimitRange" | "Namespace" | "Node" | "ResourceQuota" | "Secret")
        | ("", "ServiceAccount")
        | ("coordination.k8s.io", "Lease")
        | ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => json!({}),
        ("", "Event") => json!({ "involvedObject": { "kind": "Pod", "name": "a", "namespace": "default" } }),
        ("", "PersistentVolume") => json!({ "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/a" },
        } }),
        ("", "PersistentVolumeClaim") => json!({ "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
        } }),
        ("", "Pod") => pod(name),
        ("", "PodTemplate") => json!({ "template": template() }),
        ("", "ReplicationController") => json!({ "spec": { "selector": { "app": "a" }, "template": template() } }),
        ("", "Service") => json!({ "spec": { "ports": [{ "port": 80 }] } }),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            json!({ "webhooks": [hook] })
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => json!({ "spec": {
            "matchConstraints": { "resourceRules": [rule] }, "validations": [{ "expression": "true" }],
        } }),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => json!({ "spec": {
            "matchConstraints": { "resourceRules": [rule] }, "reinvocationPolicy": "Never",
            "mutations": [{ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": "Object{}" } }],
        } }),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            json!({ "spec": { "policyName": "a", "validationActions": ["Deny"] } })
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => json!({ "spec": { "policyName": "a" } }),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => json!({ "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": name.trim_end_matches(".example.com"), "kind": &name[..3] },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }],
        } }),
        ("apiregistration.k8s.io", "APIService") => json!({ "spec": {
            "group": "example.com", "version": name, "groupPriorityMinimum": 1000, "versionPriority": 10,
        } }),
        ("apps", "ControllerRevision") => json!({ "revision": 1, "data": {} }),
        ("apps", "DaemonSet" | "StatefulSet" | "Deployment" | "ReplicaSet") => {
            json!({ "spec": { "selector": { "matchLabels": { "app": "a" } }, "template": template() } })
        }
        ("autoscaling", "HorizontalPodAutoscaler") => json!({ "spec": {
            "maxReplicas": 3, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "a" },
        } }),
        ("batch", "Job") => json!({ "spec": once() }),
        ("batch", "CronJob") => json!({ "spec": { "schedule": "0 * * * *", "jobTemplate": { "spec": once() } } }),
        ("certificates.k8s.io", "CertificateSigningRequest") => json!({ "spec": {
            "request": super::certificates::encoded(), "signerName": "example.com/signer", "usages": ["client auth"],
        } }),
        ("discovery.k8s.io", "EndpointSlice") => json!({ "addressType": "IPv4", "endpoints": [] }),
        ("events.k8s.io", "Event") => json!({
            "eventTime": "2026-11-24T10:00:00.000000Z", "action": "Test", "reason": "Tested", "type": "Normal",
            "reportingController": "example.com/test", "reportingInstance": "test-1",
            "regarding": { "kind": "Pod", "name": "a", "namespace": "default" },
        }),
        ("edge.holdfast.io", "OfflinePolicy") => json!({ "spec": { "podSelector": {}, "mode": "RunForever" } }),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => json!({ "spec": {
            "matchingPrecedence": 100, "priorityLevelConfiguration": { "name": "a" },
        } }),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => json!({ "spec": {
            "type": "Limited", "limited": { "limitResponse": { "type": "Reject" } },
        } }),
        ("networking.k8s.io", "Ingress") => json!({ "spec": {
            "defaultBackend": { "service": { "name": "a", "port": { "number": 80 } } },
        } }),
        ("networking.k8s.io", "IngressClass") => json!({ "spec": { "controller": "example.com/ingress" } }),
        ("networking.k8s.io", "IPAddress") => json!({ "spec": {
            "parentRef": { "resource": "services", "namespace": "default", "name": "a" },
        } }),
        ("networking.k8s.io", "NetworkPolicy") => json!({ "spec": { "podSelector": {} } }),
        ("networking.k8s.io", "ServiceCIDR") => json!({ "spec": { "cidrs": ["10.97.0.0/16"] } }),
        ("node.k8s.io", "RuntimeClass") => json!({ "handler": "runc" }),
        ("policy", "PodDisruptionBudget") => json!({ "spec": { "minAvailable": 1, "selector": {} } }),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding" | "RoleBinding") => json!({
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        }),
        ("resource.k8s.io", "ResourceClaim") => json!({ "spec": {} }),
        ("resource.k8s.io", "ResourceClaimTemplate") => json!({ "spec": { "spec": {} } }),
        ("resource.k8s.io", "DeviceClass") => json!({ "spec": {} }),
        ("resource.k8s.io", "ResourceSlice") => json!({ "spec": {
            "driver": "example.com", "nodeName": "edge-1",
            "pool": { "name": "a", "generation": 1, "resourceSliceCount": 1 },
        } }),
        ("scheduling.k8s.io", "PriorityClass") => json!({ "value": 1 }),
        ("storage.k8s.io", "CSIDriver") => json!({ "spec": {} }),
        ("storage.k8s.io", "CSINode") => json!({ "spec": { "drivers": [] } }),
        ("storage.k8s.io", "CSIStorageCapacity") => json!({ "storageClassName": "a", "nodeTopology": {} }),
        ("storage.k8s.io", "StorageClass") => json!({ "provisioner": "example.com/disk" }),
        ("storage.k8s.io", "VolumeAttachment") => json!({ "spec": {
            "attacher": "example.com", "nodeName": "edge-1", "source": { "persistentVolumeName": "a" },
        } }),
        ("storage.k8s.io", "VolumeAttributesClass") => {
            json!({ "driverName": "example.com", "parameters": { "iops": "100" } })
        }
        other => panic!("this test knows no body for {other:?}"),
    };
    (doc["apiVersion"], doc["kind"]) = (kind.gvk().api_version().into(), kind.kind.into());
    doc["metadata"]["name"] = name.into();
    doc
}

#[tokio::test]
async fn every_stored_kind_is_selected_by_name() {
    let stored = holdfast_kinds::all().iter().filter(|kind| kind.is_stored());
    let mut count = 0;
    for kind in stored {
        count += 1;
        // v1 and events.k8s.io are two views of the same Events, so each kind has a cluster of its own.
        let cluster = cluster().await;
        let at = Target::collection(kind.gvr(), if kind.namespaced { "default" } else { "" });
        // Some names say what the object is.
        let (one, two) = match kind.kind {
            "CustomResourceDefinition" => ("ones.example.com", "twos.example.com"),
            "IPAddress" => ("10.96.0.8", "10.96.0.9"),
            _ => ("one", "two"),
        };
        for name in [one, two] {
            let made = cluster.registry.create(&cluster.cx, &at, body(kind, name), &strict()).await;
            made.unwrap_or_else(|status| panic!("{kind:?}: {status}"));
        }
        let select = |name: &str, equal: bool| {
            let fields = FieldSelector { terms: vec![("metadata.name".into(), name.into(), equal)] };
            ListOptions { fields, ..ListOptions::default() }
        };
        let names = async |options: ListOptions| {
            let list = cluster.registry.list(&cluster.cx, &at, &options).await;
            let list = list.unwrap_or_else(|status| panic!("{kind:?}: {status}"));
            list.items.iter().map(|object| object.meta.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(select(one, true)).await, [one], "{kind:?}");
        assert!(names(select("nobody", true)).await.is_empty(), "{kind:?}");
        let others = names(select(one, false)).await;
        assert!(
            others.iter().any(|name| name == two) && !others.iter().any(|name| name == one),
            "{kind:?}: {others:?}"
        );

        let from_now = ListOptions { resource_version: Some(Revision(0)), ..select(two, true) };
        let mut watch = cluster.registry.watch(&cluster.cx, &at, &from_now).await.unwrap();
        assert_eq!(cluster.next(&mut watch).await.0, format!("ADDED {two}"), "{kind:?}");
    }
    assert!(count >= 60, "only {count} kinds are stored");
}
