//! PrioritySort: the higher priority first.

use crate::PodInfo;
use crate::framework::QueueSort;

/// See the module.
pub struct PrioritySort;

impl QueueSort for PrioritySort {
    fn rank(&self, pod: &PodInfo) -> i64 {
        -pod.priority
    }
}
