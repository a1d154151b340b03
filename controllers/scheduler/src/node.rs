//! What the scheduler keeps of a node.

use crate::resources::{ResourceList, Resources};
use crate::selector::Taint;
use holdfast_controller::{Project, decode};
use holdfast_core::Object;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node, as the scheduler sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable` (cordoned).
    pub unschedulable: bool,
    /// What pods may take.
    pub allocatable: Resources,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawNode {
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    taints: Vec<Taint>,
    unschedulable: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    allocatable: ResourceList,
}

impl NodeInfo {
    /// From a stored node.
    pub fn of(object: &Object) -> NodeInfo {
        let raw: RawNode = decode(object);
        NodeInfo {
            name: object.meta.name.clone(),
            labels: object.meta.labels.clone(),
            taints: raw.spec.taints,
            unschedulable: raw.spec.unschedulable,
            allocatable: Resources::from(&raw.status.allocatable),
        }
    }
}

impl Project for NodeInfo {
    fn project(object: &Arc<Object>) -> Self {
        NodeInfo::of(object)
    }
}
