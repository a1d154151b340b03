//! Questions to a pod's spec, with upstream's defaults where a field is not set.

use crate::limits;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe};
use std::time::Duration;

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next.
    Init,
    /// An init container that stays (`restartPolicy: Always`).
    Sidecar,
    /// A container of the pod proper.
    App,
    /// One that was added to look into the pod.
    Ephemeral,
}

/// All containers with their roles, in the order of starting.
pub(crate) fn containers(pod: &Pod) -> impl DoubleEndedIterator<Item = (Role, &Container)> {
    let spec = pod.spec.as_ref();
    let inits = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let apps = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let role = |container: &Container| match container.restart_policy.as_deref() {
        Some("Always") => Role::Sidecar,
        _ => Role::Init,
    };
    inits.iter().map(move |init| (role(init), init)).chain(apps.iter().map(|app| (Role::App, app)))
}

/// One container by name.
pub(crate) fn container<'a>(pod: &'a Pod, name: &str) -> Option<(Role, &'a Container)> {
    containers(pod).find(|(_, container)| container.name == name)
}

/// Names in the order of starting.
pub(crate) fn names(pod: &Pod, wanted: impl Fn(Role) -> bool) -> Vec<String> {
    containers(pod).filter(|(role, _)| wanted(*role)).map(|(_, container)| container.name.clone()).collect()
}

/// Whether the pod has init containers.
pub(crate) fn has_inits(pod: &Pod) -> bool {
    containers(pod).any(|(role, _)| role != Role::App)
}

fn spec(pod: &Pod) -> Option<&PodSpec> {
    pod.spec.as_ref()
}

/// `restartPolicy`.
pub(crate) fn restart_policy(pod: &Pod) -> &str {
    spec(pod).and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether a container is started again after it ended with `exit_code`.
pub(crate) fn restarts(pod: &Pod, role: Role, container: &Container, exit_code: i32) -> bool {
    match role {
        Role::Sidecar => return true,
        Role::Ephemeral => return false,
        Role::Init | Role::App => {}
    }
    if role == Role::Init && exit_code == 0 {
        return false;
    }
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        if rule.action == "Restart" && listed == (codes.operator == "In") {
            return true;
        }
    }
    match container.restart_policy.as_deref().unwrap_or(restart_policy(pod)) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// `terminationGracePeriodSeconds`.
pub(crate) fn grace(pod: &Pod) -> Duration {
    spec(pod)
        .and_then(|spec| spec.termination_grace_period_seconds)
        .map_or(limits::GRACE_DEFAULT, seconds)
        .max(limits::GRACE_MIN)
}

/// The grace of a deletion.
pub(crate) fn deletion_grace(pod: &Pod) -> Duration {
    pod.metadata.deletion_grace_period_seconds.map_or(grace(pod), seconds).max(limits::GRACE_MIN)
}

/// The grace after a failed probe.
pub(crate) fn probe_grace(pod: &Pod, probe: &Probe) -> Duration {
    probe.termination_grace_period_seconds.map_or(grace(pod), seconds).max(limits::GRACE_MIN)
}

/// Seconds of the API as a duration; negative ones are none.
pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// What an image pull policy says: whether to ask the registry always, or never. Without one the image's name decides.
pub fn pull_policy(policy: Option<&str>, image: &str) -> (bool, bool) {
    match policy {
        Some("Always") => (true, false),
        Some("Never") => (false, true),
        Some(_) => (false, false),
        None => {
            let last = image.rsplit('/').next().unwrap_or_default();
            (!last.contains('@') && (last.ends_with(":latest") || !last.contains(':')), false)
        }
    }
}

/// `namespace/name` parts and uid as upstream prints them: `web-0_demo(uid)`.
pub(crate) fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    )
}

/// The terminal phase that the hub shows; `None` when it is not terminal.
pub(crate) fn terminal_phase(pod: &Pod) -> Option<bool> {
    match pod.status.as_ref()?.phase.as_deref()? {
        "Succeeded" => Some(true),
        "Failed" => Some(false),
        _ => None,
    }
}
