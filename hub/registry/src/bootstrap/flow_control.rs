//! Priority levels and flow schemas, upstream's mandatory and suggested ones
//! (<https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults>). Nothing is limited by them yet; clients
//! and operators look for them.

use crate::kinds::flow_control::{groups, schema_of_all};
use holdfast_core::json::{at, set, str_at};
use holdfast_core::user::{AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED};
use holdfast_core::{Json, Object};
use serde_json::json;

const VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
/// While it is `true` the server keeps the spec as it made it.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Name, shares, percentage that may be lent; queues and hand.
type Limited = (&'static str, i64, i64, Option<(i64, i64)>);

const LIMITED: &[Limited] = &[
    ("catch-all", 5, 0, None),
    ("system", 30, 33, Some((64, 6))),
    ("node-high", 40, 25, Some((64, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
    ("global-default", 20, 50, Some((128, 6))),
];
const QUEUE_LENGTH: i64 = 50;

const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

fn object(kind: &str, name: &str, spec: Json) -> Json {
    let metadata = json!({ "name": name, "annotations": { AUTO_UPDATE: "true" } });
    json!({ "apiVersion": VERSION, "kind": kind, "metadata": metadata, "spec": spec })
}

fn users(names: &[&str]) -> Vec<Json> {
    names.iter().map(|name| json!({ "kind": "User", "user": { "name": name } })).collect()
}

/// Every account of `kube-system`: upstream's controllers are among them, as ours are.
fn accounts() -> Vec<Json> {
    vec![json!({ "kind": "ServiceAccount", "serviceAccount": { "name": "*", "namespace": "kube-system" } })]
}

/// All of them, levels first.
pub(super) fn all() -> Vec<Json> {
    let mut all = levels();
    all.extend(schemas().into_iter().map(|(name, spec)| object("FlowSchema", name, spec)));
    all
}

fn levels() -> Vec<Json> {
    let exempt = json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 } });
    let mut all = vec![object("PriorityLevelConfiguration", "exempt", exempt)];
    for (name, shares, lendable, queuing) in LIMITED {
        let response = match queuing {
            None => json!({ "type": "Reject" }),
            Some((queues, hand)) => json!({ "type": "Queue", "queuing": {
                "queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH } }),
        };
        let spec = json!({ "type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response } });
        all.push(object("PriorityLevelConfiguration", name, spec));
    }
    all
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Json {
    let mut rule = json!({ "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"] });
    if cluster {
        set(&mut rule, &["clusterScope"], true);
    }
    rule
}

/// A schema of some requests of its subjects.
fn some(level: &str, precedence: i64, method: Option<&str>, subjects: Vec<Json>, rules: Json) -> Json {
    let mut spec = schema_of_all(level, precedence, method, Vec::new());
    let mut rule = rules;
    set(&mut rule, &["subjects"], subjects);
    set(&mut spec, &["rules"], vec![rule]);
    spec
}

fn schemas() -> Vec<(&'static str, Json)> {
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let everybody = || groups(&[UNAUTHENTICATED, AUTHENTICATED]);
    let leases = |verbs: &[&str]| rule(verbs, "coordination.k8s.io", &["leases"], false);
    let probes = json!({ "nonResourceRules": [
        { "verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"] }] });
    let electors = users(&[MANAGER, SCHEDULER]).into_iter().chain(accounts()).collect();
    let elections = json!({ "resourceRules": [leases(&["get", "create", "update"])] });
    let heartbeats = json!({ "resourceRules": [rule(&["*"], "", &["nodes", "nodes/status"], true), leases(&["*"])] });
    vec![
        ("exempt", schema_of_all("exempt", 1, None, groups(&[MASTERS]))),
        ("probes", some("exempt", 2, None, everybody(), probes)),
        ("system-leader-election", some("leader-election", 100, by_user, electors, elections)),
        ("system-node-high", some("node-high", 400, by_user, groups(&[NODES]), heartbeats)),
        ("system-nodes", schema_of_all("system", 500, by_user, groups(&[NODES]))),
        ("kube-controller-manager", schema_of_all("workload-high", 800, by_namespace, users(&[MANAGER]))),
        ("kube-scheduler", schema_of_all("workload-high", 800, by_namespace, users(&[SCHEDULER]))),
        ("kube-system-service-accounts", schema_of_all("workload-high", 900, by_namespace, accounts())),
        ("service-accounts", schema_of_all("workload-low", 9000, by_user, groups(&["system:serviceaccounts"]))),
        ("global-default", schema_of_all("global-default", 9900, by_user, everybody())),
        ("catch-all", schema_of_all("catch-all", 10_000, by_user, everybody())),
    ]
}

/// The object with the spec that it is to have, where the server keeps that and it has another.
pub(super) fn renewed(found: &Object, wanted: &Json) -> Option<Json> {
    let kept = str_at(wanted, &["apiVersion"]) == Some(VERSION)
        && found.meta.annotations.get(AUTO_UPDATE).is_some_and(|value| value == "true");
    let mut doc = found.to_json();
    if !kept || at(&doc, &["spec"]) == at(wanted, &["spec"]) {
        return None;
    }
    holdfast_core::json::copy(wanted, &mut doc, &["spec"]);
    Some(doc)
}
