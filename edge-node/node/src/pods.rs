//! Running pods: a manager that starts and ends workers as the journal says, one worker a pod, and what
//! reaches into them (logs, exec).

mod calls;
mod containers;
mod manager;
mod probes;
mod results;
mod sweep;
mod termination;
mod work;
mod worker;

pub use calls::PodCalls;
pub use manager::{PodManager, PodSummary};
pub(crate) use work::Common;
pub(crate) use worker::Shown;
