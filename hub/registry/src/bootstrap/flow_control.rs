//! Priority levels and flow schemas, upstream's mandatory and suggested ones
//! (<https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults>), and what keeps them as they are to be
//! once a minute: the mandatory ones always, the suggested ones while their annotation lets it. What bears the annotation and
//! is none of them was one in another version, and goes. Task: one, started by
//! [`crate::HubRegistry::start_flow_control`] and ended by its owner.

use super::ensure_one;
use crate::engine::Engine;
use crate::kinds::flow_control::{CATCH_ALL, EXEMPT, groups, schema_of_all};
use crate::limits::FLOW_CONTROL_PERIOD;
use crate::registry::HubRegistry;
use futures_util::future::try_join_all;
use holdfast_core::json::{at, copy, set, str_at};
use holdfast_core::user::{AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED};
use holdfast_core::verbs::Preconditions;
use holdfast_core::{DeleteOptions, Gvr, Json, Object, Reason, Status, Target};
use holdfast_server::{Registry, RequestContext};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

const VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
/// While it is `true` the server keeps the spec of a suggested object as it made it.
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
fn all() -> Vec<Json> {
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

/// Keeps them as they are to be, for ever.
pub(crate) async fn keep(registry: &HubRegistry, engine: &Engine) {
    let cx = super::context();
    loop {
        engine.env.sleep(FLOW_CONTROL_PERIOD).await;
        if let Err(err) = ensure(registry, engine, &cx).await {
            tracing::warn!(%err, "Could not put flow schemas and priority levels right");
        }
    }
}

/// Makes what is missing, puts right what is to be kept, and removes what was kept and is not known any more. What is as it
/// should be is read from memory.
pub(super) async fn ensure(registry: &HubRegistry, engine: &Engine, cx: &RequestContext) -> Result<(), Status> {
    engine.sync().await?;
    let mut found = BTreeMap::new();
    for resource in ["prioritylevelconfigurations", "flowschemas"] {
        for object in engine.find_all(&Gvr::new(GROUP, "v1", resource), "").await? {
            found.insert((object.gvk.kind.clone(), object.meta.name.clone()), object);
        }
    }
    let mut wrong = Vec::new();
    for wanted in all() {
        let text = |path: &[&str]| str_at(&wanted, path).unwrap_or_default().to_string();
        let right = found.remove(&(text(&["kind"]), text(&["metadata", "name"])));
        if right.is_none_or(|found| renewed(&found, &wanted).is_some()) {
            wrong.push(wanted);
        }
    }
    try_join_all(wrong.into_iter().map(|wanted| ensure_one(registry, cx, wanted))).await?;
    let unknown = found.into_values().filter(|object| annotated(object) == Some(true));
    try_join_all(unknown.map(|object| remove(registry, cx, object))).await.map(|_| ())
}

async fn remove(registry: &HubRegistry, cx: &RequestContext, object: Arc<Object>) -> Result<(), Status> {
    let resource = if object.gvk.kind == "FlowSchema" { "flowschemas" } else { "prioritylevelconfigurations" };
    let at = Target::object(Gvr::new(GROUP, "v1", resource), "", &object.meta.name);
    let preconditions = Preconditions { uid: Some(object.meta.uid.clone()), ..Preconditions::default() };
    let options = DeleteOptions { preconditions: Some(preconditions), ..DeleteOptions::default() };
    match registry.delete(cx, &at, &options).await {
        // Another hub was faster, or somebody has made it his own.
        Err(status) if ![Reason::NotFound, Reason::Conflict].contains(status.reason()) => Err(status),
        _ => Ok(()),
    }
}

/// What the annotation says, as Go reads it; `None` where it says neither.
fn annotated(object: &Object) -> Option<bool> {
    match object.meta.annotations.get(AUTO_UPDATE)?.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The object as it is to be, where it is not. A suggested one whose annotation says nothing is the server's as long as nobody
/// has changed it, and is marked so.
pub(super) fn renewed(found: &Object, wanted: &Json) -> Option<Json> {
    if str_at(wanted, &["apiVersion"]) != Some(VERSION) {
        return None;
    }
    let said = annotated(found);
    let mandatory = [EXEMPT, CATCH_ALL].contains(&found.meta.name.as_str());
    let keeps = mandatory || said.unwrap_or(found.meta.generation == 1);
    let mut doc = found.to_json();
    let mut wanted = wanted.clone();
    if found.gvk.kind == "PriorityLevelConfiguration"
        && found.meta.name == EXEMPT
        && at(&doc, &["spec", "exempt"]).is_some()
    {
        // Its shares are the operator's.
        copy(&doc, &mut wanted, &["spec", "exempt"]);
    }
    let differs = keeps && at(&doc, &["spec"]) != at(&wanted, &["spec"]);
    if said == Some(keeps) && !differs {
        return None;
    }
    set(&mut doc, &["metadata", "annotations", AUTO_UPDATE], keeps.to_string());
    if differs {
        copy(&wanted, &mut doc, &["spec"]);
    }
    Some(doc)
}
