//! Running pods: a manager that starts and ends workers as the journal says, one worker a pod, and what
//! reaches into them (logs, exec).

mod calls;
mod containers;
mod image_gc;
mod images;
mod manager;
mod probes;
mod results;
pub(crate) mod sizes;
mod sweep;
mod termination;
mod work;
mod worker;

pub use calls::PodCalls;
pub(crate) use image_gc::run as collect_images;
pub use images::PullSummary;
pub(crate) use images::Pulls;
pub use manager::{PodManager, PodSummary};
pub(crate) use work::Common;
pub(crate) use worker::Shown;
