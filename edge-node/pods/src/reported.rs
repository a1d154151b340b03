//! What a container's status says of its resources, and of whom it runs as.

use crate::PodMachine;
use crate::container::Live;
use crate::spec::Role;
use k8s_openapi::api::core::v1::{Container, ContainerUser, LinuxContainerUser, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

impl PodMachine {
    /// `allocatedResources` and `resources`: what a running container was started with, and of the others what their spec says.
    /// Of containers that are never resized nothing is said, as upstream.
    pub(crate) fn reported_resources(
        &self,
        role: Role,
        container: &Container,
        running: Option<&Live>,
    ) -> (Option<BTreeMap<String, Quantity>>, Option<ResourceRequirements>) {
        if !matches!(role, Role::App | Role::Sidecar) {
            return (None, None);
        }
        let started_with = running.and_then(|live| live.resources.clone());
        let resources = started_with.or_else(|| container.resources.clone()).unwrap_or_default();
        (resources.requests.clone().filter(|requests| !requests.is_empty()), Some(resources))
    }
}

/// Whom a container runs as.
pub(crate) fn user(live: &Live) -> Option<ContainerUser> {
    let user = live.user.as_ref()?;
    let linux = LinuxContainerUser {
        uid: user.uid,
        gid: user.gid,
        supplemental_groups: Some(user.groups.clone()).filter(|groups| !groups.is_empty()),
    };
    Some(ContainerUser { linux: Some(linux) })
}
