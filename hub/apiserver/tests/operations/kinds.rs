//! The kinds whose life is tried: where they are served, what they take, what changes in them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::Json;
use serde_json::json;

/// A kind as its clients use it.
pub(crate) struct Kind {
    /// `/apis/GROUP/VERSION`, or `/api/v1`.
    pub(crate) at: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    /// Names that it takes; the last one's object has no label.
    pub(crate) names: [&'static str; 4],
    /// All but `metadata`. `NAMESPACE` stands for the object's own.
    pub(crate) doc: Json,
    /// A merge patch of what may change beside the metadata.
    pub(crate) change: Json,
    /// A status, for the kinds that have one.
    pub(crate) status: Option<Json>,
}

const NAMES: [&str; 4] = ["first", "second", "third", "other"];

fn kind(at: &'static str, plural: &'static str, kind: &'static str, namespaced: bool, doc: Json, change: Json) -> Kind {
    Kind { at, plural, kind, namespaced, names: NAMES, doc, change, status: None }
}

fn with_status(status: Json, kind: Kind) -> Kind {
    Kind { status: Some(status), ..kind }
}

fn condition(name: &str) -> Json {
    json!({"type": name, "status": "True", "reason": "Patched", "message": "by a test",
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn conditions(name: &str) -> Json {
    json!({"conditions": [condition(name)]})
}

fn template(policy: &str) -> Json {
    json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"restartPolicy": policy, "containers": [{"name": "main", "image": "app"}]}})
}

pub(crate) fn all() -> Vec<Kind> {
    [core(), admission(), workloads(), networking(), storage(), devices(), others()].into_iter().flatten().collect()
}

fn core() -> Vec<Kind> {
    const V1: &str = "/api/v1";
    let own = |plural, name, doc, change| kind(V1, plural, name, true, doc, change);
    let event = json!({"involvedObject": {"kind": "Pod", "name": "a", "namespace": "NAMESPACE"}, "type": "Normal",
        "reason": "Test", "message": "as made", "source": {"component": "test-controller"}});
    let subsets = |port: u16| json!({"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"port": port}]}]});
    let limits = |cpu: &str| json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": cpu}}]}});
    let service = json!({"spec": {"type": "LoadBalancer", "selector": {"app": "a"}, "ports": [{"port": 80}]}});
    let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/a"}}});
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    vec![
        own("configmaps", "ConfigMap", json!({"data": {"a": "1"}}), json!({"data": {"a": "2"}})),
        own("secrets", "Secret", json!({"data": {"a": "MQ=="}}), json!({"data": {"a": "Mg=="}})),
        own("events", "Event", event, json!({"message": "as changed"})),
        own("endpoints", "Endpoints", subsets(80), subsets(8080)),
        own("limitranges", "LimitRange", limits("2"), limits("3")),
        own(
            "podtemplates",
            "PodTemplate",
            json!({"template": template("Always")}),
            json!({"template": {"metadata": {"labels": {"more": "yes"}}}}),
        ),
        own(
            "serviceaccounts",
            "ServiceAccount",
            json!({"automountServiceAccountToken": true}),
            json!({"automountServiceAccountToken": false}),
        ),
        with_status(
            json!({"used": {"pods": "1"}}),
            own(
                "resourcequotas",
                "ResourceQuota",
                json!({"spec": {"hard": {"pods": "3"}}}),
                json!({"spec": {"hard": {"pods": "5"}}}),
            ),
        ),
        with_status(
            json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}),
            own("services", "Service", service, json!({"spec": {"sessionAffinity": "ClientIP"}})),
        ),
        with_status(conditions("Resizing"), own("persistentvolumeclaims", "PersistentVolumeClaim", claim, json!({}))),
        with_status(
            json!({"reason": "Tried", "message": "by a test"}),
            kind(
                V1,
                "persistentvolumes",
                "PersistentVolume",
                false,
                volume,
                json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}),
            ),
        ),
        with_status(
            conditions("Tried"),
            kind(V1, "nodes", "Node", false, json!({"spec": {}}), json!({"spec": {"unschedulable": true}})),
        ),
        with_status(
            json!({"reason": "Tried", "message": "by a test"}),
            own(
                "pods",
                "Pod",
                json!({"spec": {"containers": [{"name": "main", "image": "app"}]}}),
                json!({"metadata": {"labels": {"more": "yes"}}}),
            ),
        ),
        with_status(
            json!({"replicas": 1}),
            own(
                "replicationcontrollers",
                "ReplicationController",
                json!({"spec": {"selector": {"app": "a"}, "template": template("Always")}}),
                json!({"spec": {"replicas": 2}}),
            ),
        ),
    ]
}

fn admission() -> Vec<Kind> {
    const AT: &str = "/apis/admissionregistration.k8s.io/v1";
    let own = |plural, name, doc, change| kind(AT, plural, name, false, doc, change);
    // Of a group that nobody uses, so that nothing here is ever asked.
    let rule = json!({"apiGroups": ["none.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nones"]});
    let hook = json!({"webhooks": [{"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://example.com"}, "rules": [rule]}]});
    let labelled = json!({"metadata": {"labels": {"more": "yes"}}});
    let ignore = json!({"spec": {"failurePolicy": "Ignore"}});
    let matched = json!({"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}});
    vec![
        own("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", hook.clone(), labelled.clone()),
        own("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", hook, labelled),
        with_status(
            conditions("Tried"),
            own(
                "validatingadmissionpolicies",
                "ValidatingAdmissionPolicy",
                json!({"spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]}}),
                ignore.clone(),
            ),
        ),
        own(
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            json!({"spec": {"policyName": "none", "validationActions": ["Deny"]}}),
            matched.clone(),
        ),
        own(
            "mutatingadmissionpolicies",
            "MutatingAdmissionPolicy",
            json!({"spec": {"matchConstraints": {"resourceRules": [rule]}, "reinvocationPolicy": "Never", "mutations": [
                {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: \"test\", path: \"/kind\", value: \"None\"}]"}}]}}),
            ignore,
        ),
        own(
            "mutatingadmissionpolicybindings",
            "MutatingAdmissionPolicyBinding",
            json!({"spec": {"policyName": "none"}}),
            matched,
        ),
    ]
}

fn workloads() -> Vec<Kind> {
    let sets = |plural, name| {
        kind(
            "/apis/apps/v1",
            plural,
            name,
            true,
            json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template("Always")}}),
            json!({"spec": {"template": {"metadata": {"labels": {"more": "yes"}}}}}),
        )
    };
    let once = json!({"spec": {"template": template("Never")}});
    vec![
        with_status(conditions("Tried"), sets("deployments", "Deployment")),
        with_status(json!({"replicas": 0, "conditions": [condition("Tried")]}), sets("replicasets", "ReplicaSet")),
        with_status(json!({"replicas": 0, "conditions": [condition("Tried")]}), sets("statefulsets", "StatefulSet")),
        with_status(conditions("Tried"), sets("daemonsets", "DaemonSet")),
        kind(
            "/apis/apps/v1",
            "controllerrevisions",
            "ControllerRevision",
            true,
            json!({"revision": 1, "data": {"a": 1}}),
            json!({"revision": 2}),
        ),
        with_status(
            json!({"lastScheduleTime": "2026-01-01T00:00:00Z"}),
            kind(
                "/apis/batch/v1",
                "cronjobs",
                "CronJob",
                true,
                json!({"spec": {"schedule": "0 0 31 2 *", "jobTemplate": once}}),
                json!({"spec": {"suspend": true}}),
            ),
        ),
        with_status(
            json!({"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}),
            kind(
                "/apis/policy/v1",
                "poddisruptionbudgets",
                "PodDisruptionBudget",
                true,
                json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}}),
                json!({"spec": {"minAvailable": 2}}),
            ),
        ),
        kind(
            "/apis/scheduling.k8s.io/v1",
            "priorityclasses",
            "PriorityClass",
            false,
            json!({"value": 10}),
            json!({"description": "as changed"}),
        ),
        kind("/apis/node.k8s.io/v1", "runtimeclasses", "RuntimeClass", false, json!({"handler": "runc"}), json!({})),
    ]
}

fn networking() -> Vec<Kind> {
    const AT: &str = "/apis/networking.k8s.io/v1";
    let slice = |port: u16| json!({"ports": [{"name": "a", "port": port, "protocol": "TCP"}]});
    let mut endpoints = slice(80);
    endpoints["addressType"] = json!("IPv4");
    endpoints["endpoints"] = json!([{"addresses": ["10.0.0.24"]}]);
    let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
    vec![
        kind("/apis/discovery.k8s.io/v1", "endpointslices", "EndpointSlice", true, endpoints, slice(8080)),
        with_status(
            json!({"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}),
            kind(
                AT,
                "ingresses",
                "Ingress",
                true,
                json!({"spec": {"defaultBackend": backend}}),
                json!({"spec": {"ingressClassName": "edge"}}),
            ),
        ),
        kind(
            AT,
            "ingressclasses",
            "IngressClass",
            false,
            json!({"spec": {"controller": "example.com/ingress"}}),
            json!({"spec": {"parameters": {"kind": "K", "name": "n"}}}),
        ),
        kind(
            AT,
            "networkpolicies",
            "NetworkPolicy",
            true,
            json!({"spec": {"podSelector": {}}}),
            json!({"spec": {"podSelector": {"matchLabels": {"app": "a"}}}}),
        ),
        Kind {
            names: ["192.0.2.1", "192.0.2.2", "fe80::42:1dff:fe84:f9e2", "192.0.2.4"],
            ..kind(
                AT,
                "ipaddresses",
                "IPAddress",
                false,
                json!({"spec": {"parentRef":
                {"group": "example.com", "resource": "things", "namespace": "one", "name": "a"}}}),
                json!({}),
            )
        },
        with_status(
            conditions("Tried"),
            kind(AT, "servicecidrs", "ServiceCIDR", false, json!({"spec": {"cidrs": ["203.0.113.0/24"]}}), json!({})),
        ),
    ]
}

fn storage() -> Vec<Kind> {
    const AT: &str = "/apis/storage.k8s.io/v1";
    let own = |plural, name, doc, change| kind(AT, plural, name, false, doc, change);
    vec![
        own(
            "csidrivers",
            "CSIDriver",
            json!({"spec": {"volumeLifecycleModes": ["Ephemeral"],
            "fsGroupPolicy": "ReadWriteOnceWithFSType"}}),
            json!({}),
        ),
        own(
            "csinodes",
            "CSINode",
            json!({"spec": {"drivers": []}}),
            json!({"spec": {"drivers": [{"name": "a.example.com", "nodeID": "n"}]}}),
        ),
        kind(
            AT,
            "csistoragecapacities",
            "CSIStorageCapacity",
            true,
            json!({"storageClassName": "a", "nodeTopology": {}, "capacity": "100Gi"}),
            json!({"capacity": "200Gi"}),
        ),
        own(
            "storageclasses",
            "StorageClass",
            json!({"provisioner": "example.com/disk"}),
            json!({"allowVolumeExpansion": true}),
        ),
        with_status(
            json!({"attached": true}),
            own(
                "volumeattachments",
                "VolumeAttachment",
                json!({"spec":
            {"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}}),
                json!({}),
            ),
        ),
        own(
            "volumeattributesclasses",
            "VolumeAttributesClass",
            json!({"driverName": "a.example.com", "parameters": {"iops": "100"}}),
            json!({}),
        ),
    ]
}

fn devices() -> Vec<Kind> {
    const AT: &str = "/apis/resource.k8s.io/v1";
    let requests = json!({"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "a.example.com"}}]}});
    let slice =
        |generation: u8| json!({"spec": {"pool": {"name": "a", "generation": generation, "resourceSliceCount": 1}}});
    let mut devices = slice(1);
    devices["spec"]["driver"] = json!("a.example.com");
    devices["spec"]["nodeName"] = json!("n");
    vec![
        kind(
            AT,
            "deviceclasses",
            "DeviceClass",
            false,
            json!({"spec": {}}),
            json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
        ),
        with_status(
            json!({"reservedFor": [{"resource": "pods", "name": "a", "uid": "b"}]}),
            kind(AT, "resourceclaims", "ResourceClaim", true, json!({"spec": requests}), json!({})),
        ),
        kind(
            AT,
            "resourceclaimtemplates",
            "ResourceClaimTemplate",
            true,
            json!({"spec": {"spec": requests}}),
            json!({}),
        ),
        kind(AT, "resourceslices", "ResourceSlice", false, devices, slice(2)),
    ]
}

fn others() -> Vec<Kind> {
    const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let failed = json!({"conditions": [{"type": "PatchStatusFailed", "status": "False", "reason": "e2e"}]});
    let lease = json!({"spec": {"holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 0,
        "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:10.500000Z"}});
    let event = json!({"regarding": {"kind": "Pod", "name": "a", "namespace": "NAMESPACE"}, "type": "Normal",
        "reason": "Test", "note": "as made", "action": "Do", "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "test-controller", "reportingInstance": "test-node"});
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let request = json!({"spec": {"request": STANDARD.encode(csr), "signerName": "example.com/signer", "usages": ["client auth"]}});
    vec![
        with_status(
            failed.clone(),
            kind(
                FLOW,
                "flowschemas",
                "FlowSchema",
                false,
                json!({"spec": {
            "matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"},
            "distinguisherMethod": {"type": "ByUser"}, "rules": [{"subjects": [{"kind": "User", "user": {"name": "nobody"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}}),
                json!({"spec": {"matchingPrecedence": 9999}}),
            ),
        ),
        with_status(
            failed,
            kind(
                FLOW,
                "prioritylevelconfigurations",
                "PriorityLevelConfiguration",
                false,
                json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}}),
                json!({"spec": {"limited": {"nominalConcurrencyShares": 4}}}),
            ),
        ),
        kind(
            "/apis/coordination.k8s.io/v1",
            "leases",
            "Lease",
            true,
            lease,
            json!({"spec": {"holderIdentity": "another",
            "leaseDurationSeconds": 60, "leaseTransitions": 1, "renewTime": "2026-01-01T00:00:20.000001Z"}}),
        ),
        kind(
            "/apis/events.k8s.io/v1",
            "events",
            "Event",
            true,
            event,
            json!({"series": {"count": 100, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}}),
        ),
        with_status(
            conditions("Tried"),
            kind(
                "/apis/certificates.k8s.io/v1",
                "certificatesigningrequests",
                "CertificateSigningRequest",
                false,
                request,
                json!({}),
            ),
        ),
    ]
}
