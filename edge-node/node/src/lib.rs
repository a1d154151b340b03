//! The node: `node_main` over [`holdfast_env::Env`] and traits.
//!
//! The journal says what is to run; every pod has a [`pods`] worker that drives its sans-IO machine against
//! the runtimes. The link brings objects down and facts up and is on the path of nothing: starting has no
//! network step. What touches the machine comes in through [`parts`].
//!
//! Long-running tasks, all owned by [`node_main`]: the link loop, the pod manager with one worker a pod, the
//! node's status reporter, the data plane's updater, the teller of gaps in the events, the end of doubt about the
//! journal.

pub mod commands;
pub mod events;
mod kept;
mod lease;
pub mod link;
pub mod logs;
pub mod main_loop;
pub mod objects;
pub mod parts;
pub mod pods;
pub mod status;
pub mod store;

pub use main_loop::{NodeHandle, node_main};
pub use parts::{
    Attachment, Connector, Dataplane, DataplaneSnapshot, EventIndex, HostFacts, HostInfo, NodeConfig, NodeParts,
    PodNet, PodRef, Prober,
};
pub use store::{SharedStore, WrittenFor};
