//! One file an invariant of DESIGN §6, each written against what is seen from outside.

pub mod adopted;
pub mod durable;
pub mod facts;
pub mod healing;
pub mod identity;
pub mod offline;
pub mod once;
pub mod records;
pub mod rights;

use crate::ledger::{NodeNo, Report, Seen};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A checker: it sees everything in order, and the world's end.
pub trait Check: Send {
    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// Something happened.
    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>);
    /// The faults are over, and the world had its time to settle.
    fn settled(&mut self, _end: &End, _report: &mut Report<'_>) {}
}

/// A node at the end.
#[derive(Clone, Debug, Default)]
pub struct EndNode {
    /// Its number.
    pub no: NodeNo,
    /// Its name.
    pub name: String,
    /// It was left cut from the hub.
    pub cut: bool,
    /// Pods of its journal, by UID, as JSON.
    pub pods: BTreeMap<String, Value>,
    /// Running containers by pod UID.
    pub running: BTreeMap<String, Vec<String>>,
    /// What it says of its pods: statuses by UID.
    pub statuses: BTreeMap<String, Value>,
}

/// The world at its end.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// Pods of the hub, by UID, as JSON.
    pub pods: BTreeMap<String, Value>,
    /// Node objects of the hub, by name.
    pub nodes: BTreeMap<String, Value>,
    /// Pods that nodes keep and the hub does not take back, by UID: it has said why in an Event.
    pub kept: BTreeSet<String>,
    /// Nodes.
    pub machines: Vec<EndNode>,
}

/// All checkers.
pub fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(identity::OneIdentity::default()),
        Box::new(durable::Durable::default()),
        Box::new(facts::ExactlyOnce::default()),
        Box::new(offline::OfflineLife),
        Box::new(once::Once::default()),
        Box::new(adopted::Adopted::default()),
        Box::new(healing::OnlyDifferences::default()),
        Box::new(rights::OwnObjects::default()),
        Box::new(records::NodeRecords::default()),
    ]
}

/// Prefix of pods in the hub's log.
pub const PODS: &str = "/registry/core/pods/";
/// Prefix of Nodes in the hub's log.
pub const NODES: &str = "/registry/core/nodes/";
/// Prefix of outboxes' marks in the hub's log.
pub const MARKS: &str = "/marks/";

/// A string of a document.
pub fn text<'a>(doc: &'a Value, path: &[&str]) -> &'a str {
    path.iter().try_fold(doc, |at, part| at.get(part)).and_then(Value::as_str).unwrap_or_default()
}

/// The UIDs of a map of documents.
pub fn uids(docs: &BTreeMap<String, Value>) -> BTreeSet<&str> {
    docs.keys().map(String::as_str).collect()
}

/// Whether a pod says that it fails over.
pub fn fails_over(pod: &Value) -> bool {
    text(pod, &["metadata", "annotations", "edge.holdfast.io/offline-policy"]).starts_with("FailOverAfter")
}

/// Whether a pod was told to go.
pub fn is_deleting(pod: &Value) -> bool {
    !text(pod, &["metadata", "deletionTimestamp"]).is_empty()
}

/// Whether a pod has ended for good.
pub fn is_terminal(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// Whether a pod can run, and its program never ends by itself.
pub fn runs_for_ever(pod: &Value) -> bool {
    let mut containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    containers.all(|container| container["args"][0] == "run" && !text(container, &["image"]).starts_with("missing"))
}
