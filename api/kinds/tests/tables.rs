//! What `kubectl get -o wide` prints of objects in many states. Each row was read off upstream's printers
//! (`pkg/printers/internalversion/printers.go` of 1.36: `printPod`, `printNode`, `printService`, `printEvent`, …), none off our
//! output; `cells.rs` has the other kinds.

#![allow(clippy::unwrap_used, reason = "a test may; its helpers are not seen as tests")]

use holdfast_core::{Json, Timestamp};
use holdfast_kinds::Kind;
use serde_json::json;

const CREATED: &str = "2026-11-24T10:00:00Z";

/// Two hours and a bit after the objects were created.
fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T12:03:20Z").unwrap()
}

/// The table of these documents, in columns.
fn table(kind: &Kind, docs: &[Json]) -> String {
    let mut rows: Vec<Vec<String>> = vec![kind.columns.iter().map(|column| column.name.to_uppercase()).collect()];
    for doc in docs {
        let cells = kind.cells(doc, now());
        assert_eq!(cells.len(), kind.columns.len(), "{kind:?}");
        rows.push(cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_string)).collect());
    }
    let widths: Vec<usize> =
        (0..kind.columns.len()).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Compares a table with the lines of `expected`, whose margin does not count.
#[track_caller]
fn check(table: impl AsRef<str>, expected: &str) {
    let expected = expected.trim_matches('\n').lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let shown = table.as_ref().lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(shown, expected.trim(), "\n{}", table.as_ref());
}

fn kind(group: &str, name: &str) -> &'static Kind {
    holdfast_kinds::all().iter().find(|kind| kind.group == group && kind.kind == name).unwrap()
}

fn meta(name: &str) -> Json {
    json!({"name": name, "namespace": "demo", "creationTimestamp": CREATED})
}

/// A pod with containers `a`, `b`, … of these statuses.
fn pod(name: &str, phase: &str, containers: &[Json]) -> Json {
    let specs: Vec<Json> = (0..containers.len().max(1)).map(|at| json!({"name": at.to_string()})).collect();
    json!({"metadata": meta(name), "spec": {"containers": specs, "nodeName": "edge-1"},
        "status": {"phase": phase, "podIPs": [{"ip": "10.1.0.5"}], "containerStatuses": containers}})
}

/// A pod whose init containers have these specs and statuses, and whose one container waits.
fn starting(name: &str, specs: Json, statuses: Json) -> Json {
    let waiting = json!({"state": {"waiting": {"reason": "PodInitializing"}}});
    let mut pod = pod(name, "Pending", &[waiting]);
    pod["spec"]["initContainers"] = specs;
    pod["status"]["initContainerStatuses"] = statuses;
    pod
}

fn with(mut doc: Json, pointer: &str, value: Json) -> Json {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    doc.pointer_mut(parent).unwrap()[field] = value;
    doc
}

fn running() -> Json {
    json!({"ready": true, "state": {"running": {"startedAt": CREATED}}})
}

fn ended(reason: &str, code: i64, signal: i64) -> Json {
    json!({"state": {"terminated": {"reason": reason, "exitCode": code, "signal": signal}}})
}

fn waiting(reason: &str) -> Json {
    json!({"state": {"waiting": {"reason": reason}}})
}

#[test]
fn pods() {
    let restarted = json!({"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2026-11-24T11:58:00Z"}}});
    let back = with(running(), "/restartCount", json!(3));
    let back = with(back, "/lastState", json!({"terminated": {"finishedAt": "2026-11-24T12:03:00Z"}}));
    let plain = json!([{"name": "i"}, {"name": "j"}]);
    let sidecar = json!([{"name": "i", "restartPolicy": "Always"}]);
    let up = json!({"name": "i", "started": true, "ready": true, "state": {"running": {}}, "restartCount": 1,
        "lastState": {"terminated": {"finishedAt": "2026-11-24T12:00:00Z"}}});
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    let mut unbound = pod("pending", "Pending", &[]);
    unbound["spec"]["nodeName"] = Json::Null;
    unbound["status"]["podIPs"] = json!([]);
    let docs = [
        unbound.clone(),
        with(with(unbound, "/metadata/name", json!("gated")), "/status/conditions", gated),
        pod("creating", "Pending", &[waiting("ContainerCreating")]),
        pod("no-image", "Pending", &[waiting("ImagePullBackOff")]),
        pod("running", "Running", &[running(), running()]),
        pod("restarted", "Running", &[back]),
        pod("not-ready", "Running", &[json!({"state": {"running": {}}})]),
        pod("crashing", "Running", &[running(), restarted]),
        pod("completed", "Succeeded", &[ended("Completed", 0, 0)]),
        pod("half-done", "Running", &[running(), ended("Completed", 0, 0)]),
        with(pod("half-done-ready", "Running", &[running(), ended("Completed", 0, 0)]), "/status/conditions", ready),
        pod("error", "Failed", &[ended("Error", 1, 0)]),
        pod("oom", "Running", &[ended("OOMKilled", 137, 0)]),
        pod("exit-code", "Failed", &[ended("", 3, 0)]),
        pod("signal", "Failed", &[ended("", 137, 9)]),
        with(pod("evicted", "Failed", &[]), "/status/reason", json!("Evicted")),
        with(pod("going", "Running", &[running()]), "/metadata/deletionTimestamp", json!(CREATED)),
        with(pod("gone", "Succeeded", &[ended("Completed", 0, 0)]), "/metadata/deletionTimestamp", json!(CREATED)),
        with(
            with(pod("lost", "Running", &[running()]), "/metadata/deletionTimestamp", json!(CREATED)),
            "/status/reason",
            json!("NodeLost"),
        ),
        starting("init-1-of-2", plain.clone(), json!([ended("Completed", 0, 0), {"name": "j"}])),
        starting("init-waits", plain.clone(), json!([waiting("PodInitializing"), waiting("PodInitializing")])),
        starting("init-crashes", plain.clone(), json!([waiting("CrashLoopBackOff")])),
        starting("init-fails", plain.clone(), json!([ended("Error", 1, 0)])),
        starting("init-exit-code", plain.clone(), json!([ended("", 2, 0)])),
        starting("init-signal", plain, json!([ended("", 2, 15)])),
        starting("sidecar-up", sidecar.clone(), json!([up])),
        starting("sidecar-starts", sidecar, json!([{"name": "i", "state": {"running": {}}}])),
        with(
            with(
                pod("gates", "Running", &[running()]),
                "/spec/readinessGates",
                json!([{"conditionType": "a"}, {"conditionType": "b"}]),
            ),
            "/status/conditions",
            json!([{"type": "a", "status": "True"}, {"type": "b", "status": "False"}]),
        ),
        json!({}),
    ];
    check(table(kind("", "Pod"), &docs), "
        NAME              READY   STATUS                  RESTARTS        AGE         IP         NODE     NOMINATED NODE   READINESS GATES
        pending           0/1     Pending                 0               123m        <none>     <none>   <none>           <none>
        gated             0/1     SchedulingGated         0               123m        <none>     <none>   <none>           <none>
        creating          0/1     ContainerCreating       0               123m        10.1.0.5   edge-1   <none>           <none>
        no-image          0/1     ImagePullBackOff        0               123m        10.1.0.5   edge-1   <none>           <none>
        running           2/2     Running                 0               123m        10.1.0.5   edge-1   <none>           <none>
        restarted         1/1     Running                 3 (20s ago)     123m        10.1.0.5   edge-1   <none>           <none>
        not-ready         0/1     Running                 0               123m        10.1.0.5   edge-1   <none>           <none>
        crashing          1/2     CrashLoopBackOff        2 (5m20s ago)   123m        10.1.0.5   edge-1   <none>           <none>
        completed         0/1     Completed               0               123m        10.1.0.5   edge-1   <none>           <none>
        half-done         1/2     NotReady                0               123m        10.1.0.5   edge-1   <none>           <none>
        half-done-ready   1/2     Running                 0               123m        10.1.0.5   edge-1   <none>           <none>
        error             0/1     Error                   0               123m        10.1.0.5   edge-1   <none>           <none>
        oom               0/1     OOMKilled               0               123m        10.1.0.5   edge-1   <none>           <none>
        exit-code         0/1     ExitCode:3              0               123m        10.1.0.5   edge-1   <none>           <none>
        signal            0/1     Signal:9                0               123m        10.1.0.5   edge-1   <none>           <none>
        evicted           0/1     Evicted                 0               123m        10.1.0.5   edge-1   <none>           <none>
        going             1/1     Terminating             0               123m        10.1.0.5   edge-1   <none>           <none>
        gone              0/1     Completed               0               123m        10.1.0.5   edge-1   <none>           <none>
        lost              1/1     Unknown                 0               123m        10.1.0.5   edge-1   <none>           <none>
        init-1-of-2       0/1     Init:1/2                0               123m        10.1.0.5   edge-1   <none>           <none>
        init-waits        0/1     Init:0/2                0               123m        10.1.0.5   edge-1   <none>           <none>
        init-crashes      0/1     Init:CrashLoopBackOff   0               123m        10.1.0.5   edge-1   <none>           <none>
        init-fails        0/1     Init:Error              0               123m        10.1.0.5   edge-1   <none>           <none>
        init-exit-code    0/1     Init:ExitCode:2         0               123m        10.1.0.5   edge-1   <none>           <none>
        init-signal       0/1     Init:Signal:15          0               123m        10.1.0.5   edge-1   <none>           <none>
        sidecar-up        1/2     PodInitializing         1 (3m20s ago)   123m        10.1.0.5   edge-1   <none>           <none>
        sidecar-starts    0/2     Init:0/1                0               123m        10.1.0.5   edge-1   <none>           <none>
        gates             1/1     Running                 0               123m        10.1.0.5   edge-1   <none>           1/2
                          0/0                             0               <unknown>   <none>     <none>   <none>           <none>
    ");
}

#[test]
fn nodes() {
    let node = |name: &str, ready: Option<&str>| {
        let conditions: Vec<Json> = ready.iter().map(|status| json!({"type": "Ready", "status": status})).collect();
        json!({"metadata": {"name": name, "creationTimestamp": CREATED}, "spec": {},
            "status": {"conditions": conditions, "addresses": [{"type": "Hostname", "address": name},
                {"type": "InternalIP", "address": "172.16.0.2"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0-holdfast.1", "osImage": "Debian GNU/Linux 12",
                "kernelVersion": "6.1.0", "containerRuntimeVersion": "containerd://2.1.0"}}})
    };
    let labels =
        json!({"node-role.kubernetes.io/edge": "", "kubernetes.io/role": "box", "node-role.kubernetes.io/": ""});
    let docs = [
        with(node("edge-1", Some("True")), "/metadata/labels", labels),
        with(node("cordoned", Some("True")), "/spec/unschedulable", json!(true)),
        node("unknown", Some("Unknown")),
        node("down", Some("False")),
        json!({"metadata": {"name": "new"}}),
    ];
    check(table(kind("", "Node"), &docs), "
        NAME       STATUS                     ROLES      AGE         VERSION              INTERNAL-IP   EXTERNAL-IP   OS-IMAGE              KERNEL-VERSION   CONTAINER-RUNTIME
        edge-1     Ready                      box,edge   123m        v1.36.0-holdfast.1   172.16.0.2    <none>        Debian GNU/Linux 12   6.1.0            containerd://2.1.0
        cordoned   Ready,SchedulingDisabled   <none>     123m        v1.36.0-holdfast.1   172.16.0.2    <none>        Debian GNU/Linux 12   6.1.0            containerd://2.1.0
        unknown    NotReady                   <none>     123m        v1.36.0-holdfast.1   172.16.0.2    <none>        Debian GNU/Linux 12   6.1.0            containerd://2.1.0
        down       NotReady                   <none>     123m        v1.36.0-holdfast.1   172.16.0.2    <none>        Debian GNU/Linux 12   6.1.0            containerd://2.1.0
        new        Unknown                    <none>     <unknown>                        <none>        <none>        <unknown>             <unknown>        <unknown>
    ");
}

#[test]
fn services() {
    let service =
        |name: &str, spec: Json, status: Json| json!({"metadata": meta(name), "spec": spec, "status": status});
    let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]);
    let docs = [
        service(
            "web",
            json!({"type": "ClusterIP", "clusterIPs": ["10.96.0.10"], "ports": ports, "selector": {"b": "2", "a": "1"}}),
            json!({}),
        ),
        service(
            "headless",
            json!({"type": "ClusterIP", "clusterIP": "None", "externalIPs": ["1.2.3.4", "1.2.3.5"]}),
            json!({}),
        ),
        service("pending", json!({"type": "LoadBalancer", "clusterIP": "10.96.0.11"}), json!({})),
        service(
            "balanced",
            json!({"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]}),
            json!({"loadBalancer": {"ingress": [{"hostname": "lb.example.org"}, {"ip": "2.2.2.2"}]}}),
        ),
        service("elsewhere", json!({"type": "ExternalName", "externalName": "example.org"}), json!({})),
    ];
    check(
        table(kind("", "Service"), &docs),
        "
        NAME        TYPE           CLUSTER-IP   EXTERNAL-IP                      PORT(S)               AGE    SELECTOR
        web         ClusterIP      10.96.0.10   <none>                           80/TCP,53:30053/UDP   123m   a=1,b=2
        headless    ClusterIP      None         1.2.3.4,1.2.3.5                  <none>                123m   <none>
        pending     LoadBalancer   10.96.0.11   <pending>                        <none>                123m   <none>
        balanced    LoadBalancer   <none>       2.2.2.2,lb.example.org,9.9.9.9   <none>                123m   <none>
        elsewhere   ExternalName   <none>       example.org                      <none>                123m   <none>
    ",
    );
}

#[test]
fn workloads() {
    let spec = json!({"replicas": 3, "selector": {"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["front"]}]},
        "template": {"spec": {"containers": [{"name": "web", "image": "agnhost:1"}, {"name": "log", "image": "log:2"}]}}});
    let status = json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1});
    let docs = [
        json!({"metadata": meta("web"), "spec": spec, "status": status}),
        json!({"metadata": meta("new"), "spec": {"replicas": 0}}),
    ];
    let both = [kind("apps", "Deployment"), kind("apps", "ReplicaSet")].map(|kind| table(kind, &docs));
    check(
        both.join("\n\n"),
        "
        NAME   READY   UP-TO-DATE   AVAILABLE   AGE    CONTAINERS   IMAGES            SELECTOR
        web    2/3     3            1           123m   web,log      agnhost:1,log:2   app=web,tier in (front)
        new    0/0     0            0           123m

        NAME   DESIRED   CURRENT   READY   AGE    CONTAINERS   IMAGES            SELECTOR
        web    3         3         2       123m   web,log      agnhost:1,log:2   app=web,tier in (front)
        new    0         0         0       123m                                  <none>
    ",
    );
}

#[test]
fn events_look_the_same_in_both_forms() {
    let old = kind("", "Event");
    let new = kind("events.k8s.io", "Event");
    let docs = [
        json!({"apiVersion": "v1", "kind": "Event", "metadata": meta("web.1"), "type": "Normal", "reason": "Started",
            "message": " Started container \n", "count": 4, "source": {"component": "holdfast-edge", "host": "edge-1"},
            "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"},
            "firstTimestamp": CREATED, "lastTimestamp": "2026-11-24T12:03:00Z"}),
        json!({"apiVersion": "v1", "kind": "Event", "metadata": meta("web.2"), "type": "Warning", "reason": "FailedScheduling",
            "message": "0/2 nodes are available", "eventTime": "2026-11-24T12:00:00.000000Z",
            "reportingComponent": "default-scheduler", "involvedObject": {"kind": "Pod", "name": "web"}}),
        json!({"apiVersion": "v1", "kind": "Event", "metadata": meta("web.3"), "eventTime": "2026-11-24T12:00:00.000000Z",
            "series": {"count": 9, "lastObservedTime": "2026-11-24T12:02:00.000000Z"}, "involvedObject": {"kind": "Node"}}),
    ];
    let mut converted = docs.clone();
    for doc in &mut converted {
        holdfast_kinds::convert(doc, new);
    }
    let shown = table(old, &docs);
    assert_eq!(shown, table(new, &converted));
    check(shown, "
        LAST SEEN   TYPE      REASON             OBJECT    SUBOBJECT              SOURCE                  MESSAGE                   FIRST SEEN   COUNT   NAME
        20s         Normal    Started            pod/web   spec.containers{web}   holdfast-edge, edge-1   Started container         123m         4       web.1
        3m20s       Warning   FailedScheduling   pod/web                          default-scheduler       0/2 nodes are available   3m20s        1       web.2
        80s                                      node                                                                               3m20s        9       web.3
    ");
}

#[test]
fn everything_else() {
    let subjects = json!([{"kind": "User", "name": "jane"}, {"kind": "User", "name": "joe"}, {"kind": "Group", "name": "g"},
        {"kind": "ServiceAccount", "namespace": "demo", "name": "sa"}]);
    let endpoints = json!([{"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.2"]}, {"addresses": ["10.1.1.1"]},
        {"addresses": ["10.1.1.2"]}]);
    let tables = [
        ("", "Namespace", json!({"metadata": meta("demo"), "status": {"phase": "Active"}})),
        ("", "ConfigMap", json!({"metadata": meta("conf"), "data": {"a": "", "b": ""}, "binaryData": {"c": ""}})),
        ("", "Secret", json!({"metadata": meta("token"), "type": "Opaque", "data": {"a": ""}})),
        ("", "ServiceAccount", json!({"metadata": meta("default")})),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            json!({"metadata": meta("web-x"), "addressType": "IPv4",
            "ports": [{"port": 80}, {"name": "any"}, {}], "endpoints": endpoints}),
        ),
        ("coordination.k8s.io", "Lease", json!({"metadata": meta("edge-1"), "spec": {"holderIdentity": "edge-1"}})),
        (
            "edge.holdfast.io",
            "OfflinePolicy",
            json!({"metadata": meta("tills"),
            "spec": {"mode": "FailOverAfter", "failOverAfter": "5m", "podSelector": {"matchLabels": {"app": "till"}}}}),
        ),
        ("node.k8s.io", "RuntimeClass", json!({"metadata": meta("wasmtime"), "handler": "wasmtime"})),
        (
            "scheduling.k8s.io",
            "PriorityClass",
            json!({"metadata": meta("high"), "value": 1000, "globalDefault": false,
            "preemptionPolicy": "PreemptLowerPriority"}),
        ),
        ("rbac.authorization.k8s.io", "Role", json!({"metadata": meta("reader")})),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            json!({"metadata": meta("readers"),
            "roleRef": {"kind": "Role", "name": "reader"}, "subjects": subjects}),
        ),
    ];
    let shown = tables.map(|(group, name, doc)| table(kind(group, name), &[doc]));
    check(
        shown.join("\n\n"),
        "
        NAME   STATUS   AGE
        demo   Active   123m

        NAME   DATA   AGE
        conf   3      123m

        NAME    TYPE     DATA   AGE
        token   Opaque   1      123m

        NAME      AGE
        default   123m

        NAME    ADDRESSTYPE   PORTS      ENDPOINTS                                AGE
        web-x   IPv4          80,any,*   10.1.0.1,10.1.0.2,10.1.1.1 + 1 more...   123m

        NAME     HOLDER   AGE
        edge-1   edge-1   123m

        NAME    MODE            AFTER   AGE    PODS
        tills   FailOverAfter   5m      123m   app=till

        NAME       HANDLER    AGE
        wasmtime   wasmtime   123m

        NAME   VALUE   GLOBAL-DEFAULT   AGE    PREEMPTIONPOLICY
        high   1000    false            123m   PreemptLowerPriority

        NAME     CREATED AT
        reader   2026-11-24T10:00:00Z

        NAME      ROLE          AGE    USERS       GROUPS   SERVICEACCOUNTS
        readers   Role/reader   123m   jane, joe   g        demo/sa
    ",
    );
}

#[test]
fn every_row_has_a_cell_for_each_column_whatever_the_document() {
    for kind in holdfast_kinds::all() {
        for doc in [json!({}), json!(null), json!([]), json!({"metadata": 1, "spec": [], "status": "x"})] {
            table(kind, std::slice::from_ref(&doc));
            assert!((kind.references)(&doc).iter().all(|reference| !reference.name.is_empty()));
            for field in kind.field_selectors {
                (kind.field)(&doc, field);
            }
        }
    }
}

#[test]
fn fields_can_be_selected() {
    let mut doc = pod("web", "Running", &[running()]);
    doc["spec"]["restartPolicy"] = json!("Always");
    let field = kind("", "Pod").field;
    assert_eq!(field(&doc, "spec.nodeName"), "edge-1");
    assert_eq!(field(&doc, "status.phase"), "Running");
    assert_eq!(field(&doc, "status.podIP"), "10.1.0.5");
    assert_eq!(field(&doc, "spec.restartPolicy"), "Always");
    assert_eq!(field(&doc, "spec.hostNetwork"), "false");
    assert_eq!(field(&doc, "spec.schedulerName"), "");
    let event = json!({"involvedObject": {"name": "web"}, "reportingComponent": "x", "type": "Normal"});
    let field = kind("", "Event").field;
    assert_eq!(field(&event, "involvedObject.name"), "web");
    assert_eq!(field(&event, "source"), "x");
    assert_eq!(field(&event, "type"), "Normal");
    let field = kind("", "Node").field;
    assert_eq!(field(&json!({"spec": {"unschedulable": true}}), "spec.unschedulable"), "true");
}
