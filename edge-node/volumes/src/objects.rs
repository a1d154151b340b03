//! Where the objects that volumes and environments read come from.

use crate::fields::Allocatable;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

/// The node's view of the hub's objects. Answers from what is here; it never waits for the hub.
pub trait VolumeObjects {
    /// A ConfigMap.
    fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap>;

    /// A Secret.
    fn secret(&self, namespace: &str, name: &str) -> Option<Secret>;

    /// A token of the pod's service account for `audience` (empty for the API server's), valid for about `seconds`.
    /// `None` when none can be had now.
    fn token(&self, namespace: &str, pod_uid: &str, audience: &str, seconds: i64) -> Option<String>;

    /// What of the node its pods may have.
    fn allocatable(&self) -> Allocatable {
        Allocatable::new()
    }
}
