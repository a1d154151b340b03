//! The plugins, one file each, with upstream's names and reasons.

mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod pod_topology_spread;
mod priority_sort;
mod taint_toleration;
mod unbuilt;

pub use node_affinity::NodeAffinity;
pub use node_name::NodeName;
pub use node_ports::NodePorts;
pub use node_resources_fit::NodeResourcesFit;
pub use node_unschedulable::NodeUnschedulable;
pub use pod_topology_spread::PodTopologySpread;
pub use priority_sort::PrioritySort;
pub use taint_toleration::TaintToleration;
pub use unbuilt::Unbuilt;

use crate::framework::Scores;
use crate::limits::MAX_SCORE;

/// Stretches raw scores to 0..=[`MAX_SCORE`] by their maximum; `reverse` makes the least the best.
fn normalize(raw: Vec<i64>, reverse: bool) -> Scores {
    let most = raw.iter().max().copied().unwrap_or(0);
    if most == 0 {
        return vec![if reverse { MAX_SCORE } else { 0 }; raw.len()];
    }
    let stretch = |score: i64| MAX_SCORE * score / most;
    raw.into_iter().map(|score| if reverse { MAX_SCORE - stretch(score) } else { stretch(score) }).collect()
}
