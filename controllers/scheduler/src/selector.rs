//! Selectors, taints and tolerations as pods and nodes carry them (`core/v1`).

use holdfast_core::LabelSelector;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A taint of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A toleration of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Key; empty for every key.
    pub key: String,
    /// `Equal` (the default) or `Exists`.
    pub operator: String,
    /// Value.
    pub value: String,
    /// Effect; empty for every effect.
    pub effect: String,
}

impl Toleration {
    /// Whether it tolerates `taint`.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if !self.effect.is_empty() && self.effect != taint.effect {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        match self.operator.as_str() {
            "Exists" => true,
            "" | "Equal" => !self.key.is_empty() && self.value == taint.value,
            _ => false,
        }
    }
}

/// One requirement of a node selector term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeRequirement {
    /// Label, or field.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// Values.
    pub values: Vec<String>,
}

impl NodeRequirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|wanted| wanted == value);
        let compare = |holds: fn(i64, i64) -> bool| {
            let bound = self.values.first().and_then(|bound| bound.parse().ok());
            let value = value.and_then(|value| value.parse().ok());
            matches!((value, bound), (Some(value), Some(bound)) if holds(value, bound))
        };
        match self.operator.as_str() {
            "In" => value.is_some_and(listed),
            "NotIn" => !value.is_some_and(listed),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compare(|value, bound| value > bound),
            "Lt" => compare(|value, bound| value < bound),
            _ => false,
        }
    }
}

/// Requirements that must all hold. A term without any matches no node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeTerm {
    /// On labels.
    pub match_expressions: Vec<NodeRequirement>,
    /// On fields; only `metadata.name` is known.
    pub match_fields: Vec<NodeRequirement>,
}

impl NodeTerm {
    /// Whether it matches a node.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        if self.match_expressions.is_empty() && self.match_fields.is_empty() {
            return false;
        }
        self.match_expressions.iter().all(|need| need.matches(labels.get(&need.key).map(String::as_str)))
            && self.match_fields.iter().all(|need| need.matches((need.key == "metadata.name").then_some(name)))
    }
}

/// Terms of which one must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// The terms.
    pub node_selector_terms: Vec<NodeTerm>,
}

impl NodeSelector {
    /// Whether it selects a node.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(name, labels))
    }
}

/// A preferred term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PreferredTerm {
    /// 1 to 100.
    pub weight: i64,
    /// The term.
    pub preference: NodeTerm,
}

/// A topology spread constraint.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpreadConstraint {
    /// How uneven it may be.
    pub max_skew: i64,
    /// The label that makes domains.
    pub topology_key: String,
    /// `DoNotSchedule` or `ScheduleAnyway`.
    pub when_unsatisfiable: String,
    /// Which pods count.
    pub label_selector: Option<holdfast_core::Json>,
    /// Labels of the pod that are added to the selector.
    pub match_label_keys: Vec<String>,
    /// With fewer domains the least is taken to be zero.
    pub min_domains: Option<usize>,
    /// `Honor` (the default) or `Ignore`.
    pub node_affinity_policy: String,
    /// `Honor` or `Ignore` (the default).
    pub node_taints_policy: String,
}

impl SpreadConstraint {
    /// Which pods count, for a pod with these labels. No selector counts none, as upstream has it.
    pub fn selector(&self, labels: &BTreeMap<String, String>) -> Option<LabelSelector> {
        let mut selector = LabelSelector::from_spec(self.label_selector.as_ref()?).ok()?;
        for key in &self.match_label_keys {
            if let Some(value) = labels.get(key) {
                let must = holdfast_core::selector::Requirement::In(key.clone(), vec![value.clone()]);
                selector.requirements.push(must);
            }
        }
        Some(selector)
    }
}
