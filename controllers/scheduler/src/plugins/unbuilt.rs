//! What is not built: a pod that needs it is refused in plain words instead of being misplaced.

use crate::framework::{ClusterEvent, PreFilter};
use crate::{Plugin, PodInfo, Snapshot};

/// See the module.
pub struct Unbuilt;

impl Plugin for Unbuilt {
    fn name(&self) -> &'static str {
        "Unbuilt"
    }
    fn requeue_on(&self) -> &'static [ClusterEvent] {
        &[]
    }
    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        match pod.unbuilt {
            None => PreFilter::Skip,
            Some(what) => PreFilter::Reject(format!("{what}: not implemented")),
        }
    }
}
