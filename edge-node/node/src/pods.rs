//! Running pods: a manager that starts and ends workers as the journal says, one worker a pod, and what
//! reaches into them (logs, exec).

mod calls;
mod containers;
mod hooks;
mod image_gc;
mod images;
mod manager;
mod mirrors;
mod probes;
mod pull_records;
mod results;
pub(crate) mod sizes;
mod sources;
mod sweep;
mod termination;
mod work;
mod worker;

pub use calls::PodCalls;
pub(crate) use containers::log_dir;
pub(crate) use image_gc::{remove_unused as remove_unused_images, run as collect_images};
pub use images::PullSummary;
pub(crate) use images::Pulls;
pub use manager::{PodManager, PodSummary};
pub use pull_records::PullVerification;
pub(crate) use work::{Common, forget_container};
pub(crate) use worker::Shown;
