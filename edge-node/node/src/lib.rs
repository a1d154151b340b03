//! The node: `node_main` over [`holdfast_env::Env`] and traits.
//!
//! The journal says what is to run; every pod has a [`pods`] worker that drives its sans-IO machine against
//! the runtimes. The link brings objects down and facts up and is on the path of nothing: starting has no
//! network step. What touches the machine comes in through [`parts`].
//!
//! Long-running tasks, all owned by [`node_main`]: the link loop, the pod manager with one worker a pod, the
//! node's status reporter (which also looks whether something runs short), the judge of offline readiness, the collector of images,
//! the data plane's updater, the keeper of the [`time`] floor, the teller of gaps in the events, the end of doubt about the journal;
//! where there are manifests, the keeper of static pods. The agent adds the servers of local commands and of the local API.

pub mod commands;
mod disk;
pub mod drill;
pub mod events;
mod eviction;
pub mod identity;
mod kept;
mod lease;
pub mod link;
pub mod local_api;
pub mod logs;
pub mod main_loop;
pub mod objects;
mod pages;
pub mod parts;
pub mod pods;
mod pressure;
pub mod readiness;
mod shutdown;
mod static_pods;
pub mod status;
pub mod store;
pub mod time;
pub mod tokens;
mod trouble;

pub use identity::Identities;
pub use main_loop::{NodeHandle, node_main};
pub use parts::{
    Attachment, Connector, Dataplane, DataplaneSnapshot, EventIndex, FileSystemUsage, HostFacts, HostInfo, HostMemory,
    HostUsage, Interfaces, NodeConfig, NodeParts, NodeResources, PodNet, PodPlace, PodRef, Prober, Reserved,
    SwapBehaviour,
};
pub use pods::PullVerification;
pub use pressure::{Eviction, EvictionFlags};
pub use shutdown::{ShutdownPeriods, ShutdownReport};
pub use store::{DiskTrouble, SharedStore, WrittenFor};
pub use time::NodeClock;
