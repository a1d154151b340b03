//! The extension points, and the set of plugins that runs at them.

use crate::{NodeState, PodInfo, Snapshot, plugins};

/// What happened in the cluster, as far as it may let a rejected pod fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterEvent {
    /// A node came.
    NodeAdded,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints or its `unschedulable` changed.
    NodeTaints,
    /// A node's allocatable amounts changed.
    NodeAllocatable,
    /// A bound pod came, or its labels changed.
    PodBound,
    /// A bound pod went or ended.
    PodGone,
}

/// Judges one node for one pod: upstream's reasons why not.
pub type Filter<'a> = Box<dyn Fn(&NodeState) -> Result<(), Vec<String>> + 'a>;

/// What pre-filter came to.
pub enum PreFilter<'a> {
    /// The plugin has no say about this pod.
    Skip,
    /// No node fits, and this is why.
    Reject(String),
    /// Each node is to be judged.
    Filter(Filter<'a>),
}

/// Scores of the feasible nodes, in their order, within 0..=[`crate::limits::MAX_SCORE`].
pub type Scores = Vec<i64>;

/// A plugin. A method that it leaves out is an extension point where it has no say.
///
/// Pre-filter looks at the pod and the whole snapshot once and gives back the filter, so that state of a cycle lives
/// in the closure and nowhere else.
pub trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;

    /// What may make a pod fit that this plugin rejected.
    fn requeue_on(&self) -> &'static [ClusterEvent];

    /// Pre-filter and filter.
    fn pre_filter<'a>(&'a self, _pod: &'a PodInfo, _snapshot: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::Skip
    }

    /// Scores the feasible nodes; `None` when the plugin has no preference for this pod.
    fn score(&self, _pod: &PodInfo, _snapshot: &Snapshot, _feasible: &[&NodeState]) -> Option<Scores> {
        None
    }

    /// The pod was given to a node.
    fn reserve(&self, _pod: &PodInfo, _node: &str) {}

    /// The pod could not be bound after all.
    fn unreserve(&self, _pod: &PodInfo, _node: &str) {}
}

/// Which of two pods goes first.
pub trait QueueSort: Send + Sync {
    /// The rank of a pod; lower goes first, and among equals whoever came first.
    fn rank(&self, pod: &PodInfo) -> i64;
}

/// Plugins with their weights, in the order of filtering.
pub struct Framework {
    /// Which pod goes first.
    pub queue_sort: Box<dyn QueueSort>,
    /// Plugins, and the weight of their scores.
    pub plugins: Vec<(Box<dyn Plugin>, i64)>,
}

impl Default for Framework {
    /// Upstream's default profile, as far as it is built, with its weights.
    fn default() -> Framework {
        Framework {
            queue_sort: Box::new(plugins::PrioritySort),
            plugins: vec![
                (Box::new(plugins::Unbuilt), 0),
                (Box::new(plugins::NodeUnschedulable), 0),
                (Box::new(plugins::NodeName), 0),
                (Box::new(plugins::TaintToleration), 3),
                (Box::new(plugins::NodeAffinity), 2),
                (Box::new(plugins::NodePorts), 0),
                (Box::new(plugins::NodeResourcesFit), 1),
                (Box::new(plugins::PodTopologySpread), 2),
            ],
        }
    }
}

impl Framework {
    /// Whether `event` may make a pod fit that the plugins named in `rejectors` rejected.
    pub fn may_help(&self, event: ClusterEvent, rejectors: &std::collections::BTreeSet<&'static str>) -> bool {
        let named = self.plugins.iter().filter(|(plugin, _)| rejectors.contains(plugin.name()));
        named.into_iter().any(|(plugin, _)| plugin.requeue_on().contains(&event))
    }
}
