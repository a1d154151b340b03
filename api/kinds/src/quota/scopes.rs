//! Scopes: which of the objects that a quota could count it does count.

use crate::show::text;
use holdfast_core::Json;
use holdfast_core::json::{at, i64_at, items_at, str_at};

/// One condition of a quota; all must hold.
#[derive(Clone, Debug)]
pub(super) struct Term {
    scope: String,
    operator: String,
    values: Vec<String>,
}

/// The conditions of a quota's spec: its scopes, and those of its selector.
pub(super) fn terms(spec: &Json) -> Vec<Term> {
    let scopes = items_at(spec, &["scopes"]).iter().filter_map(Json::as_str);
    let plain = scopes.map(|scope| Term { scope: scope.into(), operator: "Exists".into(), values: Vec::new() });
    let expressions = items_at(spec, &["scopeSelector", "matchExpressions"]).iter().map(|term| Term {
        scope: text(term, &["scopeName"]).into(),
        operator: text(term, &["operator"]).into(),
        values: items_at(term, &["values"]).iter().filter_map(Json::as_str).map(str::to_string).collect(),
    });
    plain.chain(expressions).collect()
}

impl Term {
    /// Whether an object is in the scope. What has no such scope is in none.
    pub(super) fn selects(&self, group: &str, plural: &str, doc: &Json) -> bool {
        match ((group, plural), self.scope.as_str()) {
            (("", "pods"), "Terminating") => is_terminating(doc),
            (("", "pods"), "NotTerminating") => !is_terminating(doc),
            (("", "pods"), "BestEffort") => is_best_effort(doc),
            (("", "pods"), "NotBestEffort") => !is_best_effort(doc),
            (("", "pods"), "PriorityClass") => self.has(str_at(doc, &["spec", "priorityClassName"])),
            (("", "pods"), "CrossNamespacePodAffinity") => crosses_namespaces(doc),
            (("", "persistentvolumeclaims"), "VolumeAttributesClass") => match attributes_classes(doc) {
                names if names.is_empty() => self.has(None),
                names => names.into_iter().any(|name| self.has(Some(name))),
            },
            _ => false,
        }
    }

    /// Whether the operator holds for a value, or for none.
    fn has(&self, value: Option<&str>) -> bool {
        let value = value.filter(|value| !value.is_empty());
        let listed = value.is_some_and(|value| self.values.iter().any(|one| one == value));
        match self.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "DoesNotExist" => value.is_none(),
            _ => value.is_some(),
        }
    }
}

fn is_terminating(pod: &Json) -> bool {
    i64_at(pod, &["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(pod: &Json) -> bool {
    match text(pod, &["status", "qosClass"]) {
        "" => crate::qos::class(pod) == "BestEffort",
        told => told == "BestEffort",
    }
}

/// Whether a pod wants to be near or far from pods of other namespaces.
fn crosses_namespaces(pod: &Json) -> bool {
    let crosses = |term: &Json| !items_at(term, &["namespaces"]).is_empty() || term.get("namespaceSelector").is_some();
    ["podAffinity", "podAntiAffinity"].into_iter().any(|which| {
        let of = |field| items_at(pod, &["spec", "affinity", which, field]);
        of("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || of("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .filter_map(|weighted| weighted.get("podAffinityTerm"))
                .any(crosses)
    })
}

/// The classes that a claim asks for, has, and is on the way to.
fn attributes_classes(claim: &Json) -> Vec<&str> {
    let places: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    places.into_iter().filter_map(|place| at(claim, place)?.as_str()).filter(|name| !name.is_empty()).collect()
}
