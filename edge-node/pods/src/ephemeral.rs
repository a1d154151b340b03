//! Ephemeral containers: started beside the others as soon as there is a sandbox, once, and never waited for.

use crate::container::Stage;
use crate::memory::Run;
use crate::spec::{self, Role};
use crate::{Now, PodAction, PodMachine};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::borrow::Cow;

/// A pod's ephemeral containers as containers: what they have more is [`target`], what they lack no API lets them have.
pub(crate) fn of(pod: &Pod) -> Vec<Container> {
    let all = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten()).cloned();
    all.map(|one| Container {
        name: one.name,
        image: one.image,
        image_pull_policy: one.image_pull_policy,
        command: one.command,
        args: one.args,
        working_dir: one.working_dir,
        env: one.env,
        env_from: one.env_from,
        volume_mounts: one.volume_mounts,
        volume_devices: one.volume_devices,
        security_context: one.security_context,
        stdin: one.stdin,
        stdin_once: one.stdin_once,
        tty: one.tty,
        termination_message_path: one.termination_message_path,
        termination_message_policy: one.termination_message_policy,
        ..Container::default()
    })
    .collect()
}

/// The container of this name, of any sort.
pub fn container_named<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    match spec::container(pod, name) {
        Some((_, container)) => Some(Cow::Borrowed(container)),
        None => of(pod).into_iter().find(|one| one.name == name).map(Cow::Owned),
    }
}

/// The container whose processes an ephemeral one is to see.
pub fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let mut all = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    all.find(|one| one.name == name)?.target_container_name.as_deref().filter(|target| !target.is_empty())
}

impl PodMachine {
    /// The container of this name, of any sort.
    pub(crate) fn container(&self, name: &str) -> Option<(Role, &Container)> {
        let ephemeral = || self.ephemeral.iter().find(|one| one.name == name).map(|one| (Role::Ephemeral, one));
        spec::container(&self.pod, name).or_else(ephemeral)
    }

    /// Names of containers of any sort, in the order of starting.
    pub(crate) fn names(&self, wanted: impl Fn(Role) -> bool) -> Vec<String> {
        let mut names = spec::names(&self.pod, &wanted);
        if wanted(Role::Ephemeral) {
            names.extend(self.ephemeral.iter().map(|one| one.name.clone()));
        }
        names
    }

    /// Starts those that never ran.
    pub(crate) fn drive_ephemeral(&mut self, now: Now, out: &mut Vec<PodAction>) {
        if self.volumes != crate::machine::Volumes::Ready {
            return;
        }
        for name in self.names(|role| role == Role::Ephemeral) {
            let new = self.memory.containers.get(&name).is_none_or(|memory| memory.run == Run::No);
            match self.live(&name).stage {
                Stage::Idle if new => self.begin(&name, out),
                Stage::Failed { retry_at, .. } if new && retry_at <= now.mono => self.begin(&name, out),
                _ => {}
            }
        }
    }
}
