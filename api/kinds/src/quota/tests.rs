//! Tables after <https://kubernetes.io/docs/concepts/policy/resource-quotas/>.

use super::*;
use serde_json::json;

fn shown(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(" ")
}

fn used(group: &str, plural: &str, doc: &Json) -> String {
    shown(&usage(group, plural, doc, Timestamp::from_secs(1000)))
}

fn sized(resources: Json) -> Json {
    json!({ "name": "main", "resources": resources })
}

#[test]
fn names_count_objects_of_one_kind() {
    for (name, kind) in [
        ("pods", Some(("", "pods"))),
        ("cpu", Some(("", "pods"))),
        ("limits.ephemeral-storage", Some(("", "pods"))),
        ("hugepages-2Mi", Some(("", "pods"))),
        ("requests.hugepages-1Gi", Some(("", "pods"))),
        ("requests.example.com/gpu", Some(("", "pods"))),
        ("count/pods", Some(("", "pods"))),
        ("services.nodeports", Some(("", "services"))),
        ("requests.storage", Some(("", "persistentvolumeclaims"))),
        ("gold.storageclass.storage.k8s.io/requests.storage", Some(("", "persistentvolumeclaims"))),
        ("secrets", Some(("", "secrets"))),
        ("count/deployments.apps", Some(("apps", "deployments"))),
        ("count/widgets.example.com", Some(("example.com", "widgets"))),
        ("gpu.deviceclass.resource.k8s.io/devices", Some(("resource.k8s.io", "resourceclaims"))),
        ("example.com/gpu", None),
        ("storage", None),
    ] {
        assert_eq!(counted_by(name), kind, "{name}");
    }
}

#[test]
fn pods_use_what_they_ask_for_until_they_end() {
    let mut doc = json!({ "metadata": { "name": "a" }, "spec": {
        "containers": [
            sized(json!({ "requests": { "cpu": "100m", "memory": "64Mi", "hugepages-2Mi": "4Mi", "example.com/gpu": "1" },
                "limits": { "cpu": "1", "memory": "64Mi" } })),
            sized(json!({ "requests": { "cpu": "200m", "ephemeral-storage": "1Gi" } })),
        ],
        "initContainers": [
            { "name": "side", "restartPolicy": "Always", "resources": { "requests": { "cpu": "50m" } } },
            { "name": "init", "resources": { "requests": { "cpu": "1" } } },
        ],
        "overhead": { "cpu": "10m", "memory": "1Mi" },
    }});
    assert_eq!(
        used("", "pods", &doc),
        "count/pods=1 cpu=1060m ephemeral-storage=1Gi hugepages-2Mi=4Mi limits.cpu=1010m limits.memory=65Mi memory=65Mi pods=1 \
         requests.cpu=1060m requests.ephemeral-storage=1Gi requests.example.com/gpu=1 requests.hugepages-2Mi=4Mi \
         requests.memory=65Mi"
    );
    doc["spec"]["resources"] = json!({ "requests": { "cpu": "3" } });
    assert!(used("", "pods", &doc).contains(" requests.cpu=3010m "));
    doc["status"] = json!({ "phase": "Succeeded" });
    assert_eq!(used("", "pods", &doc), "count/pods=1");
    doc["status"] = json!({ "phase": "Running" });
    doc["metadata"]["deletionTimestamp"] = json!(Timestamp::from_secs(970));
    doc["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    assert!(used("", "pods", &doc).contains("pods=1 requests"), "it has its grace once more");
    doc["metadata"]["deletionTimestamp"] = json!(Timestamp::from_secs(960));
    assert_eq!(used("", "pods", &doc), "count/pods=1", "its node is silent, and it should be gone");
}

#[test]
fn others_use_what_they_will_get() {
    let service = |kind: &str, more: Json| {
        let mut doc = json!({ "spec": { "type": kind, "ports": [{ "port": 1 }, { "port": 2, "nodePort": 30001 }] } });
        doc["spec"].as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        used("", "services", &doc)
    };
    let count = "count/services=1 services=1";
    assert_eq!(service("ClusterIP", json!({})), format!("{count} services.loadbalancers=0 services.nodeports=0"));
    assert_eq!(service("NodePort", json!({})), format!("{count} services.loadbalancers=0 services.nodeports=2"));
    assert_eq!(service("LoadBalancer", json!({})), format!("{count} services.loadbalancers=1 services.nodeports=2"));
    let none = json!({ "allocateLoadBalancerNodePorts": false });
    assert_eq!(service("LoadBalancer", none), format!("{count} services.loadbalancers=1 services.nodeports=1"));

    let claim = json!({ "spec": { "storageClassName": "gold", "resources": { "requests": { "storage": "1500m" } } },
        "status": { "allocatedResources": { "storage": "3" } } });
    assert_eq!(
        used("", "persistentvolumeclaims", &claim),
        "count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
         gold.storageclass.storage.k8s.io/requests.storage=3 persistentvolumeclaims=1 requests.storage=3"
    );
    let devices = json!({ "spec": { "devices": { "requests": [
        { "name": "a", "exactly": { "deviceClassName": "gpu", "count": 2 } },
        { "name": "b", "firstAvailable": [
            { "name": "x", "deviceClassName": "gpu", "count": 3 }, { "name": "y", "deviceClassName": "npu", "allocationMode": "All" }] },
    ] } } });
    assert_eq!(
        used("resource.k8s.io", "resourceclaims", &devices),
        "count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=5 npu.deviceclass.resource.k8s.io/devices=32"
    );
    assert_eq!(used("", "configmaps", &json!({})), "configmaps=1 count/configmaps=1");
    assert_eq!(used("example.com", "widgets", &json!({})), "count/widgets.example.com=1");
    assert_eq!(used("events.k8s.io", "events", &json!({})), "");
}

fn quota(spec: Json, hard: Json, used: Json) -> Quota {
    Quota::of(&json!({ "metadata": { "name": "q" }, "spec": spec, "status": { "hard": hard, "used": used } }))
}

#[test]
fn scopes_select() {
    let pod = |spec: Json| json!({ "spec": spec });
    let near = json!({ "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
        { "topologyKey": "zone", "namespaceSelector": {} }] } } });
    let sized = json!({ "containers": [sized(json!({ "requests": { "cpu": "1" } }))] });
    let expression = |scope: &str, operator: &str, values: Json| json!({ "scopeSelector": { "matchExpressions": [{ "scopeName": scope, "operator": operator, "values": values }] } });
    for (spec, doc, selected) in [
        (json!({ "scopes": ["Terminating"] }), pod(json!({ "activeDeadlineSeconds": 5 })), true),
        (json!({ "scopes": ["NotTerminating"] }), pod(json!({ "activeDeadlineSeconds": 5 })), false),
        (json!({ "scopes": ["BestEffort", "NotTerminating"] }), pod(json!({})), true),
        (json!({ "scopes": ["BestEffort"] }), pod(sized.clone()), false),
        (json!({ "scopes": ["NotBestEffort"] }), pod(sized), true),
        (json!({ "scopes": ["PriorityClass"] }), pod(json!({ "priorityClassName": "high" })), true),
        (json!({ "scopes": ["PriorityClass"] }), pod(json!({})), false),
        (json!({ "scopes": ["CrossNamespacePodAffinity"] }), pod(near), true),
        (json!({ "scopes": ["CrossNamespacePodAffinity"] }), pod(json!({})), false),
        (expression("PriorityClass", "In", json!(["high"])), pod(json!({ "priorityClassName": "high" })), true),
        (expression("PriorityClass", "NotIn", json!(["high"])), pod(json!({ "priorityClassName": "high" })), false),
        (expression("PriorityClass", "NotIn", json!(["high"])), pod(json!({})), true),
        (expression("PriorityClass", "DoesNotExist", json!([])), pod(json!({})), true),
    ] {
        assert_eq!(quota(spec.clone(), json!({}), json!({})).selects("", "pods", &doc), selected, "{spec} {doc}");
    }
    let scoped = quota(expression("VolumeAttributesClass", "In", json!(["fast"])), json!({}), json!({}));
    let claim = json!({ "spec": { "volumeAttributesClassName": "slow" }, "status": { "currentVolumeAttributesClassName": "fast" } });
    assert!(scoped.selects("", "persistentvolumeclaims", &claim));
    assert!(!scoped.selects("", "persistentvolumeclaims", &json!({})));
    assert!(!scoped.selects("", "services", &json!({})), "what has no such scope is in none");
}

#[test]
fn a_change_adds_what_is_new_and_never_takes_away() {
    let quota = quota(
        json!({ "scopes": ["Terminating"] }),
        json!({ "pods": "2", "requests.cpu": "1" }),
        json!({ "pods": "1", "requests.cpu": "600m" }),
    );
    let pod = |cpu: &str, deadline: Json| json!({ "spec": { "activeDeadlineSeconds": deadline, "containers": [sized(json!({ "requests": { "cpu": cpu } }))] } });
    let added = |new: &Json, old: Option<&Json>| {
        let change = Change { group: "", plural: "pods", new, old, now: Timestamp::from_secs(0) };
        shown(&quota.added(&change))
    };
    let (within, without) = (pod("500m", json!(5)), pod("500m", Json::Null));
    assert_eq!(added(&within, None), "pods=1 requests.cpu=500m");
    assert_eq!(added(&without, None), "");
    assert_eq!(added(&within, Some(&without)), "pods=1 requests.cpu=500m", "it came into the scope");
    assert_eq!(added(&without, Some(&within)), "", "it left it");
    assert_eq!(added(&pod("700m", json!(5)), Some(&within)), "requests.cpu=200m");
    let change = Change { group: "", plural: "pods", new: &within, old: None, now: Timestamp::from_secs(0) };
    let added = quota.added(&change);
    assert_eq!(
        quota.exceeded(&added).unwrap(),
        "exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"
    );
    assert_eq!(shown(&quota.with(&added)), "pods=2 requests.cpu=1100m");
}

#[test]
fn pods_must_say_what_is_bounded() {
    let hard = json!({ "limits.cpu": "1", "memory": "1Gi", "pods": "1", "requests.ephemeral-storage": "1Gi" });
    let told = |spec: Json, used: Json| {
        let doc = json!({ "spec": spec });
        let change = Change { group: "", plural: "pods", new: &doc, old: None, now: Timestamp::from_secs(0) };
        quota(json!({}), hard.clone(), used).uncountable(&change)
    };
    let full = sized(json!({ "limits": { "cpu": "1" }, "requests": { "memory": "1Gi" } }));
    let bare = json!({ "containers": [{ "name": "b" }, { "name": "a", "resources": { "requests": { "memory": "1" } } }, full] });
    assert_eq!(told(bare, hard.clone()).unwrap(), "failed quota: q: must specify limits.cpu for: a,b; memory for: b");
    assert_eq!(told(json!({ "containers": [full] }), hard.clone()), None);
    let whole = json!({ "resources": { "requests": { "memory": "1" } }, "containers": [{ "name": "a" }] });
    assert_eq!(told(whole, hard.clone()), None);
    assert_eq!(
        told(json!({ "containers": [full] }), json!({ "pods": "0" })).unwrap(),
        "status unknown for quota: q, resources: limits.cpu,memory,pods,requests.ephemeral-storage"
    );
}
