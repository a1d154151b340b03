//! What the machine asks for, each in a task that answers with an event: volumes, sandbox, images, containers, probes.

use super::{State, Word};
use crate::pods::hooks::run_hook;
use crate::pods::images::{Fetched, fetch_image, fetch_volume_images};
use crate::pods::probes::ProbeTarget;
use crate::pods::sizes;
use crate::pods::work::{
    ANSWER, Common, Target, detach, drop_sandbox, forget_container, handler, is_dense, known_home, launch,
    make_sandbox, runtime_with,
};
use holdfast_pods::ledger::INFEASIBLE;
use holdfast_pods::memory::Run;
use holdfast_pods::{
    Ask, ImageFailure, PodEvent, ProbeKind, ProbeOutcome, StartFailure, container_id, container_named, target,
};
use holdfast_runtime::Resize;
use k8s_openapi::api::core::v1::Pod;
use std::sync::PoisonError;
use std::time::Duration;

/// How long a container may take to start, its compilation and `postStart` hook included.
const LAUNCH: Duration = Duration::from_secs(300);
/// How long an image may take to come, the wait for its turn included. A pull that does not get on ends much sooner, and the
/// next one goes on where it stopped: this is for what nobody thought of.
const PULL: Duration = Duration::from_secs(24 * 3600);
/// How long a stop may take beyond the container's grace.
const STOP_SLACK: Duration = Duration::from_secs(30);
/// How often a pod's address is tried to be given back before it is left to the clean-up of the next start.
const DETACH_TRIES: u32 = 3;

impl State {
    /// Gives the pod's address back and removes its volumes: it ends for good.
    pub(super) fn tear_down(&mut self) {
        let (common, pod, uid) = (self.common.clone(), self.pod.clone(), self.uid.clone());
        self.go(async move {
            let env = &common.parts.env;
            for attempt in 1..=DETACH_TRIES {
                match env.timeout(ANSWER, detach(&common, &pod)).await.unwrap_or_else(|| Err("no answer".into())) {
                    Ok(()) => break,
                    Err(err) => tracing::warn!(pod_uid = uid, attempt, err, "Could not detach a pod from the network"),
                }
                env.sleep(Duration::from_secs(1)).await;
            }
            let (volumes, of) = (common.parts.volumes.clone(), uid.clone());
            if let Some(Err(err)) = env.blocking(move || volumes.tear_down(&of)).await {
                tracing::warn!(pod_uid = uid, %err, "Could not tear down volumes");
            } else if pod
                .spec
                .iter()
                .flat_map(|spec| spec.volumes.iter().flatten())
                .any(|volume| volume.image.is_some())
                && let Some(Err(err)) = env.timeout(ANSWER, common.parts.oci.release_images(&uid)).await
            {
                // The clean-up of the next start finds it.
                tracing::warn!(pod_uid = uid, %err, "Could not let go of the images of volumes");
            }
            PodEvent::VolumesGone
        });
    }

    pub(super) fn set_up_volumes(&mut self) {
        let (common, pod, place) = (self.common.clone(), self.pod.clone(), self.place.clone());
        self.go(async move {
            let (volumes, objects) = (common.parts.volumes.clone(), common.pod_objects());
            let done = common.parts.env.blocking(move || volumes.set_up(&pod, &objects)).await;
            match done {
                Some(Ok(mounted)) => {
                    place.lock().unwrap_or_else(PoisonError::into_inner).volumes = mounted;
                    PodEvent::VolumesReady
                }
                Some(Err(err)) => PodEvent::VolumesFailed(err.to_string()),
                None => PodEvent::VolumesFailed("the node is stopping".into()),
            }
        });
    }

    pub(super) fn refresh_volumes(&mut self) {
        let (common, pod) = (self.common.clone(), self.pod.clone());
        let run = async move {
            let (volumes, objects, of) = (common.parts.volumes.clone(), common.pod_objects(), pod.clone());
            if let Some(Err(err)) = common.parts.env.blocking(move || volumes.refresh(&of, &objects)).await {
                tracing::warn!(pod = Common::key(&pod), %err, "Could not refresh volumes");
            }
        };
        self.tasks.push(self.common.parts.env.spawn("pod-volumes", Box::pin(run)));
    }

    pub(super) fn run_sandbox(&mut self, attempt: u32) {
        let (common, place, uid) = (self.common.clone(), self.place.clone(), self.uid.clone());
        let pod = self.machine.granted_pod();
        self.go(async move {
            let made = common.parts.env.timeout(ANSWER, make_sandbox(&common, &pod, &uid, attempt)).await;
            match made.unwrap_or_else(|| Err("the runtime did not answer in time".into())) {
                Ok((attachment, spec)) => {
                    let ips = attachment.ips.clone();
                    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                    place.attachment = Some(attachment);
                    place.sandbox = Some(spec);
                    PodEvent::SandboxReady { attempt, ips }
                }
                Err(message) => PodEvent::SandboxFailed { attempt, message },
            }
        });
    }

    pub(super) fn pull_image(&mut self, name: String, always: bool, never: bool) {
        let (common, pod, events) = (self.common.clone(), self.pod.clone(), self.events.clone());
        self.go(async move {
            let container = container_named(&pod, &name).map(|of| of.into_owned()).unwrap_or_default();
            let image = container.image.clone().unwrap_or_default();
            let late = || {
                let hours = PULL.as_secs() / 3600;
                (ImageFailure::Pull, format!("PullImage: the image did not come within {hours} hours"))
            };
            let env = &common.parts.env;
            let volumes = env.timeout(PULL, fetch_volume_images(&common, &pod, &container)).await;
            if let Err((image, (reason, message))) = volumes.unwrap_or_else(|| Err((String::new(), late()))) {
                return PodEvent::VolumeImageFailed { container: name, image, reason, message };
            }
            let pulling = async {
                let _ = events.send(Word::Event(PodEvent::ImagePulling { container: name.clone() })).await;
            };
            let fetch = fetch_image(&common, &pod, &image, always, never, pulling);
            match env.timeout(PULL, fetch).await.unwrap_or_else(|| Err(late())) {
                Ok(Fetched { image_id, came }) => PodEvent::ImageReady { container: name, image_id, came },
                Err((reason, message)) => PodEvent::ImageFailed { container: name, reason, message },
            }
        });
    }

    pub(super) fn start_container(&mut self, name: String, attempt: u32) {
        let (common, place, uid) = (self.common.clone(), self.place.clone(), self.uid.clone());
        let pod = self.machine.granted_pod();
        let events = self.events.clone();
        let target = target(&pod, &name).map(|of| Target { name: of.to_string(), attempt: self.running_attempt(of) });
        self.go(async move {
            let at = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let launched =
                common.parts.env.timeout(LAUNCH, launch(&common, &pod, &at, &uid, &name, attempt, target)).await;
            let late = || Err((StartFailure::Create, "context deadline exceeded".to_string()));
            let id = container_id(&uid, &name, attempt);
            if let Some(runtime) = known_home(&common, &id) {
                let user = common.user(&*runtime, &id).await;
                let _ = events.send(Word::RunsIn(name.clone(), runtime.name(), user)).await;
            }
            match launched.unwrap_or_else(late) {
                Ok(()) => PodEvent::ContainerStarted { container: name, attempt },
                Err((reason, message)) => PodEvent::ContainerFailed { container: name, attempt, reason, message },
            }
        });
    }

    /// Does not start what may run only once, as nobody would know of it after a power cut. It is tried again.
    pub(super) fn refuse(&mut self, container: String, attempt: u32) {
        let why = self.common.store.trouble().borrow().as_ref().map(crate::trouble::message);
        let message = why.unwrap_or_else(|| "the start could not be written down".to_owned());
        let reason = StartFailure::Create;
        self.go(async move { PodEvent::ContainerFailed { container, attempt, reason, message } });
    }

    /// The attempt of a container that runs.
    fn running_attempt(&self, container: &str) -> Option<u32> {
        let memory = self.machine.memory().containers.get(container)?;
        (memory.run == Run::Started).then_some(memory.attempt)
    }

    pub(super) fn stop_container(&mut self, name: String, attempt: u32, grace: Duration) {
        let (common, pod, uid) = (self.common.clone(), self.pod.clone(), self.uid.clone());
        let pod_ip = self.pod_ip();
        let id = container_id(&uid, &name, attempt);
        // A second order shortens the grace; the hook is run once.
        let first = self.stopping.insert(id.clone());
        self.go(async move {
            let env = common.parts.env.clone();
            let begun = env.monotonic();
            let hook = container_named(&pod, &name)
                .and_then(|c| c.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone()))
                .filter(|_| first);
            if let Some(hook) = hook
                && let Some(runtime) = runtime_with(&common, &id).await
            {
                let target = ProbeTarget {
                    env: env.clone(),
                    runtime,
                    prober: common.parts.prober.clone(),
                    pod: pod.clone(),
                    container: name.clone(),
                    container_id: id.clone(),
                    pod_ip,
                };
                let run = env.timeout(grace, run_hook(&common, &target, &hook, grace)).await;
                if let Err(err) = run.unwrap_or_else(|| Err("the hook did not end within the grace".into())) {
                    tracing::warn!(container = id, err, "A preStop hook failed");
                    common.events.pod(&pod, Some(&name), true, "FailedPreStopHook", "PreStopHook failed").await;
                }
            }
            // A runtime that is just restarting is asked again: a container that was not stopped is not gone.
            let until = begun.after(grace + STOP_SLACK);
            loop {
                let left = grace.saturating_sub(env.monotonic().since(begun)).max(Duration::from_secs(1).min(grace));
                let stopped = match runtime_with(&common, &id).await {
                    Some(runtime) => env.timeout(left + STOP_SLACK, runtime.stop_container(&id, None, left)).await,
                    None => None,
                };
                match stopped {
                    Some(Ok(())) => break,
                    Some(Err(err)) => tracing::warn!(container = id, %err, "Could not stop a container"),
                    None => tracing::warn!(container = id, "No runtime answers for a container"),
                }
                if env.monotonic() >= until {
                    break;
                }
                env.sleep(Duration::from_secs(1)).await;
            }
            PodEvent::ContainerStopped { container: name }
        });
    }

    /// Whether the pod may have the size that its spec says.
    pub(super) fn ask_for_size(&mut self) {
        let answer = match unresizable(&self.common, &self.pod) {
            Some(why) => Err((INFEASIBLE, why)),
            None => {
                let mut answer = Ok(());
                let ask = Ask::of(self.machine.pod());
                self.common.account(|all| {
                    answer = all.ask(&self.uid, ask);
                    false
                });
                self.granting = answer.is_ok();
                answer
            }
        };
        self.go(async move { PodEvent::SizeAnswered(answer) });
    }

    /// Holds the pod and these containers to what was granted.
    pub(super) fn resize(&mut self, containers: &[(String, u32)]) {
        let (common, pod) = (self.common.clone(), self.machine.granted_pod());
        let (config, host) = (&common.parts.config, common.parts.host.read());
        let limits = |(name, attempt): &(String, u32)| {
            let container = container_named(&pod, name)?;
            let resources = sizes::container(&host, &pod, &container);
            let more = sizes::more(config, &host, &pod, &container);
            Some((container_id(&self.uid, name, *attempt), resources, more))
        };
        let resize = Resize {
            cgroup_parent: sizes::parent(config, &pod),
            pod: sizes::pod(config, &pod),
            containers: containers.iter().filter_map(limits).collect(),
        };
        self.go(async move {
            let done = common.parts.env.timeout(ANSWER, common.parts.oci.resize(&resize)).await;
            let failed = match done {
                Some(Ok(())) => None,
                Some(Err(err)) => Some(err.to_string()),
                None => Some("the runtime did not answer in time".to_string()),
            };
            PodEvent::Resized { failed }
        });
    }

    fn pod_ip(&self) -> String {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.attachment.as_ref().and_then(|attachment| attachment.ips.first().cloned()).unwrap_or_default()
    }

    pub(super) fn run_probe(&mut self, name: String, attempt: u32, probe: ProbeKind) {
        let (common, pod, uid, pod_ip) = (self.common.clone(), self.pod.clone(), self.uid.clone(), self.pod_ip());
        self.go(async move {
            let id = container_id(&uid, &name, attempt);
            let (outcome, message) = match runtime_with(&common, &id).await {
                Some(runtime) => {
                    let target = ProbeTarget {
                        env: common.parts.env.clone(),
                        runtime,
                        prober: common.parts.prober.clone(),
                        pod,
                        container: name.clone(),
                        container_id: id,
                        pod_ip,
                    };
                    target.run(probe).await
                }
                None => (ProbeOutcome::Error, "the container's runtime does not answer".to_string()),
            };
            PodEvent::ProbeResult { container: name, probe, outcome, message }
        });
    }

    pub(super) fn remove_container(&mut self, name: String, attempt: u32) {
        let (common, pod, uid) = (self.common.clone(), self.pod.clone(), self.uid.clone());
        let run = async move { forget_container(&common, &pod, &uid, &name, attempt).await };
        self.tasks.push(self.common.parts.env.spawn("pod-remove", Box::pin(run)));
    }

    pub(super) fn stop_sandbox(&mut self, attempt: u32) {
        let (common, pod, uid) = (self.common.clone(), self.pod.clone(), self.uid.clone());
        self.go(async move {
            loop {
                let dropped = common.parts.env.timeout(ANSWER, drop_sandbox(&common, &pod, &uid, attempt)).await;
                match dropped.unwrap_or_else(|| Err("the runtime did not answer in time".into())) {
                    Ok(()) => return PodEvent::SandboxStopped,
                    Err(err) => {
                        tracing::warn!(pod_uid = uid, %err, "Could not tear down a sandbox");
                        common.parts.env.sleep(Duration::from_secs(2)).await;
                    }
                }
            }
        });
    }
}

/// Why what runs of a pod keeps its size.
fn unresizable(common: &Common, pod: &Pod) -> Option<String> {
    let handler = handler(common, pod).unwrap_or_default();
    let why = match handler.as_str() {
        _ if is_dense(&handler) => "of Wasm modules, whose limits are set when they start",
        "gvisor" => "of gVisor, which does not change a kernel that runs",
        _ => return None,
    };
    Some(format!("In-place resize is not supported for containers {why}"))
}
