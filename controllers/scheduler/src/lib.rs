//! The scheduler: framework, plugins, cycle.
//!
//! The core is pure: a [`Snapshot`] of nodes with their pods, [`Plugin`]s, one [`cycle::schedule`] and a
//! [`SchedulingQueue`], all without clock, task or lock. [`run_scheduler`] drives it: informers feed the snapshot and
//! the queue, one task takes pods from the queue, assumes them on their node and binds them.
//!
//! Not built: preemption, inter-pod (anti-)affinity, volumes and resource claims. A pod that needs one of the latter
//! three is refused with a message that says so, never placed as if it had not asked.

pub mod cycle;
mod driver;
pub mod framework;
pub mod limits;
pub mod node;
pub mod plugins;
pub mod pod;
pub mod queue;
pub mod resources;
pub mod selector;
pub mod snapshot;

pub use cycle::{Rejection, schedule};
pub use driver::{PERMISSIONS, run_scheduler};
pub use framework::{ClusterEvent, Framework, Plugin};
pub use node::NodeInfo;
pub use pod::PodInfo;
pub use queue::SchedulingQueue;
pub use resources::Resources;
pub use snapshot::{NodeState, Snapshot};
