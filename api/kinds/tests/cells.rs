//! Headers and cells of Tables against upstream's printers (`pkg/printers/internalversion/printers.go` of 1.36, and the
//! tables of kube-aggregator): each expectation is read from there, none from our output.

#![allow(clippy::unwrap_used, reason = "a test may; its helpers are not seen as tests")]

use holdfast_core::{Json, Timestamp};
use serde_json::json;

/// Two hours and a bit before `now`.
const CREATED: &str = "2026-11-24T10:00:00Z";

fn meta() -> Json {
    json!({"name": "a", "namespace": "demo", "creationTimestamp": CREATED})
}

/// Compares the header (wide columns in brackets) and the cells of an object.
fn check(api_version: &str, kind: &str, mut doc: Json, header: &str, cells: Json) {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let entry = holdfast_kinds::by_gvk(group, version, kind).unwrap();
    let now = Timestamp::parse("2026-11-24T12:03:20Z").unwrap();
    if doc.get("metadata").is_none() {
        doc["metadata"] = meta();
    }
    let names = entry.columns.iter().map(|column| match column.priority {
        0 => column.name.to_string(),
        _ => format!("[{}]", column.name),
    });
    assert_eq!(names.collect::<Vec<_>>().join(" | "), header, "{entry:?}");
    assert_eq!(Json::from((entry.row)(&doc, now)), cells, "{entry:?}");
}

fn template() -> Json {
    json!({"metadata": {"labels": {"app": "web", "a": "1"}}, "spec": {"nodeSelector": {"disk": "ssd"},
        "containers": [{"name": "x", "image": "x:1"}, {"name": "y", "image": "y:2"}]}})
}

#[test]
fn workloads() {
    let selector = json!({"matchLabels": {"app": "web"}});
    check(
        "apps/v1",
        "StatefulSet",
        json!({"spec": {"replicas": 5, "template": template()}, "status": {"readyReplicas": 2}}),
        "Name | Ready | Age | [Containers] | [Images]",
        json!(["a", "2/5", "123m", "x,y", "x:1,y:2"]),
    );
    check(
        "apps/v1",
        "DaemonSet",
        json!({"spec": {"selector": selector, "template": template()}, "status": {"desiredNumberScheduled": 3,
            "currentNumberScheduled": 2, "numberReady": 1, "updatedNumberScheduled": 2, "numberAvailable": 0}}),
        "Name | Desired | Current | Ready | Up-to-date | Available | Node Selector | Age | [Containers] | [Images] \
         | [Selector]",
        json!(["a", 3, 2, 1, 2, 0, "disk=ssd", "123m", "x,y", "x:1,y:2", "app=web"]),
    );
    check(
        "apps/v1",
        "ControllerRevision",
        json!({"revision": 1, "metadata": {"name": "a", "creationTimestamp": CREATED, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "foo", "uid": "u", "controller": true}]}}),
        "Name | Controller | Revision | Age",
        json!(["a", "daemonset.apps/foo", 1, "123m"]),
    );
    check(
        "apps/v1",
        "ControllerRevision",
        json!({"revision": 2}),
        "Name | Controller | Revision | Age",
        json!(["a", "<none>", 2, "123m"]),
    );
    check(
        "v1",
        "ReplicationController",
        json!({"spec": {"replicas": 5, "selector": {"b": "2", "a": "1"}, "template": template()},
            "status": {"replicas": 3, "readyReplicas": 1}}),
        "Name | Desired | Current | Ready | Age | [Containers] | [Images] | [Selector]",
        json!(["a", 5, 3, 1, "123m", "x,y", "x:1,y:2", "a=1,b=2"]),
    );
    check(
        "v1",
        "PodTemplate",
        json!({"template": template()}),
        "Name | Containers | Images | Pod Labels",
        json!(["a", "x,y", "x:1,y:2", "a=1,app=web"]),
    );
}

#[test]
fn jobs() {
    const HEADER: &str = "Name | Status | Completions | Duration | Age | [Containers] | [Images] | [Selector]";
    let job = |spec: Json, status: Json, cells: [&str; 3]| {
        let doc = json!({"spec": {"template": template(), "completions": spec["completions"],
            "parallelism": spec["parallelism"], "selector": {"matchLabels": {"app": "web"}}}, "status": status});
        let [state, completions, duration] = cells;
        let cells = json!(["a", state, completions, duration, "123m", "x,y", "x:1,y:2", "app=web"]);
        check("batch/v1", "Job", doc, HEADER, cells);
    };
    let holds = |kind: &str| json!([{"type": kind, "status": "True"}]);
    job(json!({"completions": 2}), json!({"succeeded": 1}), ["Running", "1/2", ""]);
    job(json!({}), json!({"succeeded": 0}), ["Running", "0/1", ""]);
    job(json!({"parallelism": 20}), json!({"succeeded": 3}), ["Running", "3/1 of 20", ""]);
    job(
        json!({"completions": 1}),
        json!({"succeeded": 1, "startTime": CREATED, "completionTime": "2026-11-24T10:30:00Z",
            "conditions": holds("Complete")}),
        ["Complete", "1/1", "30m"],
    );
    job(
        json!({"completions": 1}),
        json!({"startTime": CREATED, "conditions": holds("FailureTarget")}),
        ["FailureTarget", "0/1", "123m"],
    );
    job(json!({"completions": 1}), json!({"conditions": holds("Failed")}), ["Failed", "0/1", ""]);
    job(json!({"completions": 1}), json!({"conditions": holds("Suspended")}), ["Suspended", "0/1", ""]);
    check(
        "batch/v1",
        "CronJob",
        json!({"spec": {"schedule": "0/5 * * * ?", "suspend": false, "jobTemplate": {"spec": {"template": template()}}},
            "status": {"active": [{}], "lastScheduleTime": "2026-11-24T12:02:20Z"}}),
        "Name | Schedule | Timezone | Suspend | Active | Last Schedule | Age | [Containers] | [Images] | [Selector]",
        json!(["a", "0/5 * * * ?", "<none>", "False", 1, "60s", "123m", "x,y", "x:1,y:2", "<none>"]),
    );
}

#[test]
fn volumes() {
    const PV: &str = "Name | Capacity | Access Modes | Reclaim Policy | Status | Claim | StorageClass \
                      | VolumeAttributesClass | Reason | Age | [VolumeMode]";
    check(
        "v1",
        "PersistentVolume",
        json!({"spec": {"capacity": {"storage": "4Gi"}, "accessModes": ["ReadOnlyMany", "ReadWriteOnce", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "default", "name": "test"},
            "storageClassName": "my-scn", "volumeMode": "Filesystem"}, "status": {"phase": "Bound"}}),
        PV,
        json!([
            "a",
            "4Gi",
            "RWO,ROX",
            "Retain",
            "Bound",
            "default/test",
            "my-scn",
            "<unset>",
            "",
            "123m",
            "Filesystem"
        ]),
    );
    check(
        "v1",
        "PersistentVolume",
        json!({}),
        PV,
        json!(["a", "0", "", "", "", "", "", "<unset>", "", "123m", "<unset>"]),
    );
    const PVC: &str = "Name | Status | Volume | Capacity | Access Modes | StorageClass | VolumeAttributesClass | Age \
                       | [VolumeMode]";
    check(
        "v1",
        "PersistentVolumeClaim",
        json!({"spec": {"volumeName": "my-volume", "volumeAttributesClassName": "gold"}, "status": {"phase": "Bound",
            "accessModes": ["ReadWriteOncePod"], "capacity": {"storage": "4Gi"}}}),
        PVC,
        json!(["a", "Bound", "my-volume", "4Gi", "RWOP", "", "gold", "123m", "<unset>"]),
    );
    check(
        "v1",
        "PersistentVolumeClaim",
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Block"}, "status": {"phase": "Pending"}}),
        PVC,
        json!(["a", "Pending", "", "", "", "", "<unset>", "123m", "Block"]),
    );
    check(
        "storage.k8s.io/v1",
        "StorageClass",
        json!({"provisioner": "kubernetes.io/glusterfs", "metadata": {"name": "sc1", "creationTimestamp": CREATED,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}),
        "Name | Provisioner | ReclaimPolicy | VolumeBindingMode | AllowVolumeExpansion | Age",
        json!(["sc1 (default)", "kubernetes.io/glusterfs", "Delete", "Immediate", false, "123m"]),
    );
    check(
        "storage.k8s.io/v1",
        "VolumeAttributesClass",
        json!({"driverName": "fake"}),
        "Name | DriverName | Age",
        json!(["a", "fake", "123m"]),
    );
    check(
        "storage.k8s.io/v1",
        "VolumeAttachment",
        json!({"spec": {"attacher": "myAttacher", "source": {"persistentVolumeName": "myPV"}, "nodeName": "myNode"},
            "status": {"attached": true}}),
        "Name | Attacher | PV | Node | Attached | Age",
        json!(["a", "myAttacher", "myPV", "myNode", true, "123m"]),
    );
    check(
        "storage.k8s.io/v1",
        "CSIDriver",
        json!({"spec": {"tokenRequests": [{"audience": "one"}, {"audience": "two"}],
            "volumeLifecycleModes": ["Persistent", "Ephemeral"]}}),
        "Name | AttachRequired | PodInfoOnMount | StorageCapacity | TokenRequests | RequiresRepublish | Modes | Age",
        json!(["a", true, false, false, "one,two", false, "Persistent,Ephemeral", "123m"]),
    );
    check(
        "storage.k8s.io/v1",
        "CSINode",
        json!({"spec": {"drivers": [{"name": "driver1"}]}}),
        "Name | Drivers | Age",
        json!(["a", 1, "123m"]),
    );
    check(
        "storage.k8s.io/v1",
        "CSIStorageCapacity",
        json!({"storageClassName": "sc1"}),
        "Name | StorageClassName | Capacity",
        json!(["a", "sc1", "<unset>"]),
    );
}

#[test]
fn networking() {
    const INGRESS: &str = "Name | Class | Hosts | Address | Ports | Age";
    check(
        "networking.k8s.io/v1",
        "Ingress",
        json!({"spec": {"ingressClassName": "foo", "tls": [{}],
                "rules": [{"host": "a.test"}, {"host": "b.test"}, {}, {"host": "c.test"}, {"host": "d.test"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "2.3.4.5"}, {"hostname": "localhost.localdomain"}]}}}),
        INGRESS,
        json!(["a", "foo", "a.test,b.test,c.test + 2 more...", "2.3.4.5,localhost.localdomain", "80, 443", "123m"]),
    );
    check("networking.k8s.io/v1", "Ingress", json!({}), INGRESS, json!(["a", "<none>", "*", "", "80", "123m"]));
    const CLASS: &str = "Name | Controller | Parameters | Age";
    check(
        "networking.k8s.io/v1",
        "IngressClass",
        json!({"spec": {"controller": "example.com/controller",
            "parameters": {"apiGroup": "example.com", "kind": "customparam", "name": "example"}}}),
        CLASS,
        json!(["a", "example.com/controller", "customparam.example.com/example", "123m"]),
    );
    check(
        "networking.k8s.io/v1",
        "IngressClass",
        json!({"metadata": {"name": "b", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
            "spec": {"controller": "c"}}),
        CLASS,
        json!(["b (default)", "c", "<none>", "<unknown>"]),
    );
    check(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        json!({"spec": {"podSelector": {}}}),
        "Name | Pod-Selector | Age",
        json!(["a", "<none>", "123m"]),
    );
    check(
        "networking.k8s.io/v1",
        "IPAddress",
        json!({"spec": {"parentRef": {"group": "mygroup", "resource": "myresource", "namespace": "mynamespace",
            "name": "myname"}}}),
        "Name | ParentRef",
        json!(["a", "myresource.mygroup/mynamespace/myname"]),
    );
    check(
        "networking.k8s.io/v1",
        "ServiceCIDR",
        json!({"spec": {"cidrs": ["10.1.0.0/16", "fd00::/64"]}}),
        "Name | CIDRs | Age",
        json!(["a", "10.1.0.0/16,fd00::/64", "123m"]),
    );
    const ENDPOINTS: &str = "Name | Endpoints | Age";
    let addresses = json!([{"ip": "1.2.3.4"}, {"ip": "5.6.7.8"}]);
    check(
        "v1",
        "Endpoints",
        json!({"subsets": [{"addresses": addresses, "ports": [{"port": 8001}, {"port": 8002}]}]}),
        ENDPOINTS,
        json!(["a", "1.2.3.4:8001,5.6.7.8:8001,1.2.3.4:8002 + 1 more...", "123m"]),
    );
    check(
        "v1",
        "Endpoints",
        json!({"subsets": [{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 1}]}]}),
        ENDPOINTS,
        json!(["a", "[fd00::1]:1", "123m"]),
    );
    check("v1", "Endpoints", json!({}), ENDPOINTS, json!(["a", "<none>", "123m"]));
}

#[test]
fn quotas_and_budgets() {
    check(
        "v1",
        "ResourceQuota",
        json!({"status": {"hard": {"limits.cpu": "4", "pods": "10", "requests.cpu": "2"}, "used": {"pods": "3",
            "limits.cpu": "1"}}}),
        "Name | Request | Limit | Age",
        json!(["a", "pods: 3/10, requests.cpu: 0/2", "limits.cpu: 1/4", "123m"]),
    );
    check("v1", "LimitRange", json!({}), "Name | Created At", json!(["a", CREATED]));
    check(
        "policy/v1",
        "PodDisruptionBudget",
        json!({"spec": {"maxUnavailable": "50%"}, "status": {"disruptionsAllowed": 5}}),
        "Name | Min Available | Max Unavailable | Allowed Disruptions | Age",
        json!(["a", "N/A", "50%", 5, "123m"]),
    );
    check(
        "policy/v1",
        "PodDisruptionBudget",
        json!({"spec": {"minAvailable": 22}}),
        "Name | Min Available | Max Unavailable | Allowed Disruptions | Age",
        json!(["a", "22", "N/A", 0, "123m"]),
    );
}

#[test]
fn autoscalers() {
    const HEADER: &str = "Name | Reference | Targets | MinPods | MaxPods | Replicas | Age";
    let target = json!({"kind": "ReplicationController", "name": "some-rc"});
    let v2 = |metrics: Json, current: Json, shown: &str| {
        let doc = json!({"spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 10, "metrics": metrics},
            "status": {"currentReplicas": 4, "desiredReplicas": 5, "currentMetrics": current}});
        check(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            doc,
            HEADER,
            json!(["a", "ReplicationController/some-rc", shown, "2", 10, 4, "123m"]),
        );
    };
    let external = json!({"type": "External", "external": {"metric": {"name": "m"},
        "target": {"type": "AverageValue", "averageValue": "100m"}}});
    v2(json!([]), json!([]), "<none>");
    v2(json!([external]), json!([]), "<unknown>/100m (avg)");
    v2(
        json!([external]),
        json!([{"type": "External", "external": {"current": {"averageValue": "50m"}}}]),
        "50m/100m (avg)",
    );
    let pods = json!({"type": "Pods", "pods": {"target": {"type": "AverageValue", "averageValue": "100m"}}});
    v2(json!([pods]), json!([{"type": "Pods", "pods": {"current": {"averageValue": "50m"}}}]), "50m/100m");
    let object = json!({"type": "Object", "object": {"target": {"type": "Value", "value": "100m"}}});
    v2(json!([object]), json!([]), "<unknown>/100m");
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
    let used = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 50}}});
    v2(json!([cpu, pods, external]), json!([used]), "cpu: 50%/80%, <unknown>/100m + 1 more...");
    check(
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        json!({"spec": {"scaleTargetRef": target, "maxReplicas": 10, "targetCPUUtilizationPercentage": 80},
            "status": {"currentReplicas": 4, "desiredReplicas": 5, "currentCPUUtilizationPercentage": 50}}),
        HEADER,
        json!(["a", "ReplicationController/some-rc", "cpu: 50%/80%", "<unset>", 10, 4, "123m"]),
    );
}

#[test]
fn the_api_itself() {
    check(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        json!({"webhooks": [{}, {}]}),
        "Name | Webhooks | Age",
        json!(["a", 2, "123m"]),
    );
    check(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicy",
        json!({"spec": {"validations": [{}, {}], "paramKind": {"apiVersion": "params.example.com/v1", "kind": "Limit"}}}),
        "Name | Validations | ParamKind | Age",
        json!(["a", 2, "params.example.com/v1/Limit", "123m"]),
    );
    check(
        "admissionregistration.k8s.io/v1",
        "MutatingAdmissionPolicy",
        json!({"spec": {}}),
        "Name | Mutations | ParamKind | Age",
        json!(["a", 0, "<unset>", "123m"]),
    );
    check(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
        json!({"spec": {"policyName": "p", "paramRef": {"name": "n"}}}),
        "Name | PolicyName | ParamRef | Age",
        json!(["a", "p", "*/n", "123m"]),
    );
    check(
        "certificates.k8s.io/v1",
        "CertificateSigningRequest",
        json!({"spec": {"username": "CSR Requestor", "signerName": "example.com/test-signer", "expirationSeconds": 7200},
            "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="}}),
        "Name | Age | SignerName | Requestor | RequestedDuration | Condition",
        json!(["a", "123m", "example.com/test-signer", "CSR Requestor", "120m", "Approved,Issued"]),
    );
    check("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({}), "Name | Created At", json!(["a", CREATED]));
    check(
        "apiregistration.k8s.io/v1",
        "APIService",
        json!({"spec": {"service": {"namespace": "ns", "name": "s"}}, "status": {"conditions": [
            {"type": "Available", "status": "False", "reason": "MissingEndpoints"}]}}),
        "Name | Service | Available | Age",
        json!(["a", "ns/s", "False (MissingEndpoints)", "123m"]),
    );
    check(
        "flowcontrol.apiserver.k8s.io/v1",
        "FlowSchema",
        json!({"spec": {"matchingPrecedence": 1, "priorityLevelConfiguration": {"name": "exempt"}},
            "status": {"conditions": [{"type": "Dangling", "status": "False"}]}}),
        "Name | PriorityLevel | MatchingPrecedence | DistinguisherMethod | Age | MissingPL",
        json!(["a", "exempt", 1, "<none>", "123m", "False"]),
    );
    check(
        "flowcontrol.apiserver.k8s.io/v1",
        "PriorityLevelConfiguration",
        json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 47,
            "limitResponse": {"queuing": {"queues": 64, "handSize": 6, "queueLengthLimit": 50}}}}}),
        "Name | Type | NominalConcurrencyShares | Queues | HandSize | QueueLengthLimit | Age",
        json!(["a", "Limited", 47, 64, 6, 50, "123m"]),
    );
    check(
        "v1",
        "ComponentStatus",
        json!({"conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]}),
        "Name | Status | Message | Error",
        json!(["a", "Healthy", "ok", ""]),
    );
    check("v1", "ServiceAccount", json!({"secrets": [{"name": "a"}]}), "Name | Age", json!(["a", "123m"]));
}

#[test]
fn devices() {
    check("resource.k8s.io/v1", "DeviceClass", json!({}), "Name | Age", json!(["a", "123m"]));
    check(
        "resource.k8s.io/v1",
        "ResourceClaim",
        json!({"status": {"allocation": {}, "reservedFor": [{}]}}),
        "Name | State | Age",
        json!(["a", "allocated,reserved", "123m"]),
    );
    check("resource.k8s.io/v1", "ResourceClaim", json!({}), "Name | State | Age", json!(["a", "pending", "123m"]));
    check("resource.k8s.io/v1", "ResourceClaimTemplate", json!({}), "Name | Age", json!(["a", "123m"]));
    check(
        "resource.k8s.io/v1",
        "ResourceSlice",
        json!({"spec": {"nodeName": "n", "driver": "d", "pool": {"name": "p"}}}),
        "Name | Node | Driver | Pool | Age",
        json!(["a", "n", "d", "p", "123m"]),
    );
}
