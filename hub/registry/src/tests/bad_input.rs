//! Whatever a client sends, the answer is an object or a Status, never a panic.

use super::*;
use crate::strategy::strategy_of;
use holdfast_core::FieldErrors;
use proptest::prelude::*;

/// Values that are wrong in most places.
fn odd_value() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(json!(null)),
        Just(json!({})),
        Just(json!([])),
        Just(json!([null, {}, ""])),
        Just(json!({ "": "" })),
        Just(json!(true)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-zA-Z0-9./%:@\\-é ]{0,12}".prop_map(|text| json!(text)),
    ]
}

/// Replaces the value at the `nth` place of a document, counted over all places.
fn replace(doc: &mut Json, nth: &mut usize, value: &Json) -> bool {
    if *nth == 0 {
        *doc = value.clone();
        return true;
    }
    *nth -= 1;
    match doc {
        Json::Object(map) => map.values_mut().any(|child| replace(child, nth, value)),
        Json::Array(items) => items.iter_mut().any(|child| replace(child, nth, value)),
        _ => false,
    }
}

fn samples() -> Vec<(&'static str, Json)> {
    let mut rich = pod("a");
    rich["metadata"] = json!({
        "name": "a", "namespace": "default", "labels": { "a": "b" }, "annotations": { "a": "b" },
        "finalizers": ["a/b"], "ownerReferences": [{ "apiVersion": "v1", "kind": "K", "name": "n", "uid": "u", "controller": true }],
    });
    rich["spec"]["containers"][0] = json!({
        "name": "main", "image": "app:1", "ports": [{ "containerPort": 80, "hostPort": 80, "name": "web" }],
        "env": [{ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
        "envFrom": [{ "configMapRef": { "name": "c" } }], "volumeMounts": [{ "name": "v", "mountPath": "/v", "subPath": "x" }],
        "resources": { "limits": { "cpu": "1" }, "requests": { "cpu": "500m" } },
        "livenessProbe": { "httpGet": { "port": 80, "httpHeaders": [{ "name": "X", "value": "y" }] } },
        "lifecycle": { "preStop": { "exec": { "command": ["x"] } } },
        "securityContext": { "runAsUser": 1, "seccompProfile": { "type": "RuntimeDefault" } },
    });
    rich["spec"]["volumes"] = json!([{ "name": "v", "projected": { "sources": [
        { "serviceAccountToken": { "path": "token" } }, { "downwardAPI": { "items": [{ "path": "p", "fieldRef": { "fieldPath": "metadata.uid" } }] } },
    ] } }]);
    rich["spec"]["tolerations"] =
        json!([{ "key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1 }]);
    rich["spec"]["affinity"] = json!({
        "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "a", "operator": "In", "values": ["b"] }] }] } },
        "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "podAffinityTerm": { "topologyKey": "zone", "labelSelector": {} } }] },
    });
    rich["spec"]["topologySpreadConstraints"] =
        json!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" }]);
    let mut workload = deployment("web");
    workload["spec"]["strategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "10%", "maxUnavailable": 1 } });
    workload["spec"]["template"]["spec"] = rich["spec"].clone();
    vec![
        ("pods", rich),
        ("apps/deployments", workload),
        (
            "services",
            json!({ "metadata": { "name": "a" }, "spec": { "type": "NodePort", "clusterIPs": ["10.96.0.7"], "ports": [{ "port": 80, "nodePort": 30000 }], "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 1 } } } }),
        ),
        (
            "discovery.k8s.io/endpointslices",
            json!({ "metadata": { "name": "a" }, "addressType": "IPv4", "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": true } }], "ports": [{ "port": 1 }] }),
        ),
        (
            "rbac.authorization.k8s.io/clusterroles",
            json!({ "metadata": { "name": "a" }, "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] }, "rules": [{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }] }),
        ),
        (
            "rbac.authorization.k8s.io/rolebindings",
            json!({ "metadata": { "name": "a" }, "roleRef": { "kind": "Role", "name": "r" }, "subjects": [{ "kind": "User", "name": "u" }] }),
        ),
        (
            "nodes",
            json!({ "metadata": { "name": "a" }, "spec": { "podCIDRs": ["10.0.0.0/24"], "taints": [{ "key": "a", "effect": "NoSchedule" }] }, "status": { "capacity": { "cpu": "1" }, "addresses": [{ "type": "InternalIP", "address": "1.2.3.4" }] } }),
        ),
        (
            "secrets",
            json!({ "metadata": { "name": "a" }, "type": "kubernetes.io/tls", "data": { "tls.crt": "eA==", "tls.key": "eA==" }, "stringData": { "a": "b" } }),
        ),
        (
            "events",
            json!({ "metadata": { "name": "a" }, "involvedObject": { "namespace": "default" }, "eventTime": "2026-01-01T00:00:00Z", "message": "m", "reason": "r" }),
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broken_documents_are_judged(which in 0..9usize, changes in prop::collection::vec((0..120usize, odd_value()), 1..4)) {
        let (resource, mut doc) = samples().swap_remove(which);
        for (nth, value) in &changes {
            replace(&mut doc, &mut nth.clone(), value);
        }
        let gvr = gvr(resource);
        let kind = holdfast_kinds::by_gvr(&gvr.group, &gvr.version, &gvr.resource).unwrap();
        let old = samples().swap_remove(which).1;
        if holdfast_schema::builtin().check(kind.schema, &mut doc).is_ok() {
            let strategy = strategy_of(kind);
            strategy.default(&mut doc);
            strategy.prepare_for_create(&mut doc);
            let mut errors = FieldErrors::new();
            crate::meta::validate(kind, strategy, &doc, &mut errors);
            strategy.validate(&doc, &mut errors);
            strategy.prepare_for_update(&mut doc, &old);
            strategy.validate_update(&doc, &old, &mut errors);
            strategy.prepare_for_status_update(&mut doc, &old);
            strategy.validate_status(&doc, &old, &mut errors);
            strategy.warnings(&doc);
            strategy.canonicalise(&mut doc);
            strategy.grace_seconds(&doc, None);
        }
    }
}

#[test]
fn the_samples_are_fine_unbroken() {
    for (resource, mut doc) in samples() {
        let gvr = gvr(resource);
        let kind = holdfast_kinds::by_gvr(&gvr.group, &gvr.version, &gvr.resource).unwrap();
        assert_eq!(holdfast_schema::builtin().check(kind.schema, &mut doc), Ok(Vec::new()), "{resource}");
    }
}
