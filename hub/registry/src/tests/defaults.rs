//! Defaults, a table a kind. Source: upstream's `SetDefaults_*` (pkg/apis/*/v1/defaults.go).

use super::*;
use crate::strategy::strategy_of;

/// Runs a kind's defaults over `input`; twice, since they must be idempotent.
fn check(resource: &str, input: Json, expected: Json) {
    let gvr = gvr(resource);
    let kind = holdfast_kinds::by_gvr(&gvr.group, &gvr.version, &gvr.resource).unwrap();
    let mut doc = input;
    strategy_of(kind).default(&mut doc);
    assert_eq!(doc, expected, "{resource}: {doc:#}");
    strategy_of(kind).default(&mut doc);
    assert_eq!(doc, expected, "{resource}, twice");
}

#[test]
fn pods() {
    check(
        "pods",
        json!({ "spec": {
            "serviceAccount": "builder",
            "volumes": [{ "name": "tmp" }, { "name": "cfg", "configMap": { "name": "c" } }],
            "containers": [{
                "name": "main", "image": "app",
                "ports": [{ "containerPort": 80 }],
                "resources": { "limits": { "cpu": "1" } },
                "env": [{ "name": "N", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
                "readinessProbe": { "httpGet": { "port": 80 } },
            }],
        } }),
        json!({ "spec": {
            "serviceAccount": "builder", "serviceAccountName": "builder",
            "volumes": [
                { "name": "tmp", "emptyDir": {} },
                { "name": "cfg", "configMap": { "name": "c", "defaultMode": 420 } },
            ],
            "containers": [{
                "name": "main", "image": "app", "imagePullPolicy": "Always",
                "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                "resources": { "limits": { "cpu": "1" }, "requests": { "cpu": "1" } },
                "env": [{ "name": "N", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName", "apiVersion": "v1" } } }],
                "readinessProbe": {
                    "httpGet": { "port": 80, "path": "/", "scheme": "HTTP" },
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                },
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "enableServiceLinks": true, "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
        } }),
    );
}

#[test]
fn workloads() {
    let template = json!({ "metadata": {}, "spec": {
        "containers": [], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
        "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
    } });
    check(
        "apps/deployments",
        json!({ "spec": { "template": { "spec": { "containers": [] } } } }),
        json!({ "spec": {
            "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "25%", "maxSurge": "25%" } },
            "template": template,
        } }),
    );
    check(
        "apps/replicasets",
        json!({ "spec": { "replicas": 0, "template": { "spec": { "containers": [] } } } }),
        json!({ "spec": { "replicas": 0, "template": template } }),
    );
}

#[test]
fn services_and_slices() {
    check(
        "services",
        json!({ "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }, { "port": 90, "targetPort": "web" }] } }),
        json!({ "spec": {
            "type": "LoadBalancer", "sessionAffinity": "None", "externalTrafficPolicy": "Cluster",
            "internalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true,
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [
                { "port": 80, "protocol": "TCP", "targetPort": 80 },
                { "port": 90, "protocol": "TCP", "targetPort": "web" },
            ],
        } }),
    );
    check(
        "discovery.k8s.io/endpointslices",
        json!({ "addressType": "IPv4", "ports": [{ "port": 80 }] }),
        json!({ "addressType": "IPv4", "ports": [{ "port": 80, "name": "", "protocol": "TCP" }] }),
    );
}

#[test]
fn small_kinds() {
    check("secrets", json!({ "stringData": { "a": "b" } }), json!({ "type": "Opaque", "data": { "a": "Yg==" } }));
    check(
        "nodes",
        json!({ "spec": { "podCIDR": "10.1.0.0/24" }, "status": { "capacity": { "cpu": "2" } } }),
        json!({
            "spec": { "podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"] },
            "status": { "capacity": { "cpu": "2" }, "allocatable": { "cpu": "2" } },
        }),
    );
    check(
        "scheduling.k8s.io/priorityclasses",
        json!({ "value": 5 }),
        json!({ "value": 5, "preemptionPolicy": "PreemptLowerPriority" }),
    );
    check(
        "rbac.authorization.k8s.io/rolebindings",
        json!({ "roleRef": { "kind": "Role", "name": "a" }, "subjects": [{ "kind": "User", "name": "b" }] }),
        json!({
            "roleRef": { "kind": "Role", "name": "a", "apiGroup": "rbac.authorization.k8s.io" },
            "subjects": [{ "kind": "User", "name": "b", "apiGroup": "rbac.authorization.k8s.io" }],
        }),
    );
}
