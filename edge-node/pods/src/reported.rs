//! Of a container's status: whom it runs as.

use crate::container::Live;
use k8s_openapi::api::core::v1::{ContainerUser, LinuxContainerUser};

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
