//! Running pods: a manager that starts and ends workers as the journal says, one worker a pod, and what
//! reaches into them (logs, exec).

mod calls;
mod containers;
mod images;
mod manager;
mod probes;
mod results;
mod sweep;
mod work;
mod worker;

pub use calls::PodCalls;
pub use images::PullSummary;
pub(crate) use images::Pulls;
pub use manager::{PodManager, PodSummary};
pub(crate) use work::Common;
