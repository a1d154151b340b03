//! Resizing in place. A container whose policy it is to be restarted for that is; the others go on with what they were started
//! with, and the pod's status says so: no runtime here changes a container that runs.

use crate::container::Stage;
use crate::spec::{self, Role};
use crate::{Now, PodAction, PodMachine};
use holdfast_core::Quantity;
use k8s_openapi::api::core::v1::{Container, ResourceRequirements};

/// The condition of a pod that is not what its spec says.
pub(crate) const PENDING: &str = "PodResizePending";
/// What the API lets be resized.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// The resources that differ.
fn differing(wanted: Option<&ResourceRequirements>, actual: Option<&ResourceRequirements>) -> Vec<&'static str> {
    let amounts = |of: Option<&ResourceRequirements>, name: &str| {
        let amount = |map: &Option<std::collections::BTreeMap<String, _>>| {
            let quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = map.as_ref()?.get(name)?;
            Some(quantity.0.parse::<Quantity>().map_or(0, Quantity::milli))
        };
        of.map_or((None, None), |of| (amount(&of.requests), amount(&of.limits)))
    };
    RESIZABLE.into_iter().filter(|name| amounts(wanted, name) != amounts(actual, name)).collect()
}

fn restarts_for(container: &Container, resource: &str) -> bool {
    let mut policies = container.resize_policy.iter().flatten();
    policies.any(|policy| policy.resource_name == resource && policy.restart_policy == "RestartContainer")
}

impl PodMachine {
    /// What of a running container is not as its spec says.
    fn unsized_parts(&self, container: &Container) -> Vec<&'static str> {
        let live = self.live.get(&container.name).filter(|live| matches!(live.stage, Stage::Running { .. }));
        live.map_or_else(Vec::new, |live| differing(container.resources.as_ref(), live.resources.as_ref()))
    }

    /// Notes what a container is started with.
    pub(crate) fn size(&mut self, name: &str) {
        let resources = self.container(name).and_then(|(_, container)| container.resources.clone());
        self.live(name).resources = resources;
    }

    /// A container that ran before this machine: what its status said at the hub for this attempt, else what its spec says.
    pub(crate) fn resume_size(&mut self, name: &str) {
        self.size(name);
        if let Some(told) = self.size_at_hub(name) {
            self.live(name).resources = Some(told);
        }
    }

    fn size_at_hub(&self, name: &str) -> Option<ResourceRequirements> {
        let status = self.pod.status.as_ref()?;
        let attempt = self.memory.containers.get(name).map(|memory| memory.attempt);
        let mut told = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        told.find(|told| told.name == name && u32::try_from(told.restart_count).ok() == attempt)?.resources.clone()
    }

    /// Stops a container that is to be started again with other resources.
    pub(crate) fn restart_for_size(&mut self, now: Now, role: Role, name: &str, out: &mut Vec<PodAction>) {
        let Some((_, container)) = spec::container(&self.pod, name).filter(|_| role != Role::Init) else { return };
        if !self.unsized_parts(container).into_iter().any(|resource| restarts_for(container, resource)) {
            return;
        }
        self.live(name).force = true;
        self.stop_one(now, name, spec::grace(&self.pod), format!("Container {name} resize requires restart"), out);
    }

    /// Why the pod is not of the size that its spec says.
    pub(crate) fn resize_pending(&self) -> Option<String> {
        let parts: Vec<String> = spec::containers(&self.pod)
            .filter(|(role, _)| *role != Role::Init)
            .filter_map(|(_, container)| {
                let parts = self.unsized_parts(container);
                (!parts.is_empty()).then(|| format!("{} ({})", container.name, parts.join(", ")))
            })
            .collect();
        (!parts.is_empty()).then(|| {
            format!(
                "this node does not resize running containers: {} goes on with what it was started with, until it is restarted",
                parts.join(", ")
            )
        })
    }
}
