//! The cluster as a scheduling cycle sees it, kept up to date by the change rather than rebuilt.

use crate::resources::Resources;
use crate::{NodeInfo, PodInfo};
use holdfast_controller::Key;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node with what is on it.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    /// The node.
    pub node: NodeInfo,
    /// Its pods, assumed ones included.
    pub pods: BTreeMap<Key, Arc<PodInfo>>,
    /// What they take together.
    pub requested: Resources,
    /// CPU (thousandths) and memory (bytes) that they take for scores.
    pub nonzero: (i64, i64),
}

/// All nodes, by name. Pods on a node that is not known (yet) are kept for when it comes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<String, NodeState>,
    /// Which node a pod is on.
    places: BTreeMap<Key, String>,
    homeless: BTreeMap<Key, Arc<PodInfo>>,
}

impl Snapshot {
    /// The nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeState> {
        self.nodes.values()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.nodes.get(name)
    }

    /// Which node a pod is on, assumed or bound.
    pub fn place(&self, pod: &Key) -> Option<&str> {
        self.places.get(pod).map(String::as_str)
    }

    /// Adds a node or replaces what is known of it.
    pub fn put_node(&mut self, node: NodeInfo) {
        let name = node.name.clone();
        if let Some(state) = self.nodes.get_mut(&name) {
            state.node = node;
            return;
        }
        self.nodes.insert(name.clone(), NodeState { node, ..NodeState::default() });
        let waiting: Vec<Key> =
            self.homeless.keys().filter(|key| self.places.get(*key) == Some(&name)).cloned().collect();
        for key in waiting {
            if let Some(pod) = self.homeless.remove(&key) {
                self.put_pod(pod, &name);
            }
        }
    }

    /// Removes a node; its pods stay known until they go.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(state) = self.nodes.remove(name) {
            self.homeless.extend(state.pods);
        }
    }

    /// Puts a pod on a node, bound or assumed. A pod of the same key is replaced.
    pub fn put_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove_pod(&pod.key);
        self.places.insert(pod.key.clone(), node.to_string());
        match self.nodes.get_mut(node) {
            Some(state) => {
                state.requested.add(&pod.requests);
                state.nonzero.0 += pod.nonzero.0;
                state.nonzero.1 += pod.nonzero.1;
                state.pods.insert(pod.key.clone(), pod);
            }
            None => {
                self.homeless.insert(pod.key.clone(), pod);
            }
        }
    }

    /// Takes a pod off its node; `false` when it was on none.
    pub fn remove_pod(&mut self, key: &Key) -> bool {
        let Some(node) = self.places.remove(key) else { return false };
        self.homeless.remove(key);
        if let Some(state) = self.nodes.get_mut(&node)
            && let Some(pod) = state.pods.remove(key)
        {
            state.requested.subtract(&pod.requests);
            state.nonzero.0 -= pod.nonzero.0;
            state.nonzero.1 -= pod.nonzero.1;
        }
        true
    }
}
