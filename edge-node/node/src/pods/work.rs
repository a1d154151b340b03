//! What a worker's tasks do: volumes, sandboxes, images, containers, and asking the runtimes what there is.
//!
//! Each function is one answer to one action of the machine; none decides what comes next.

use super::containers::{self, Surroundings, container_spec, sandbox_spec, service_env};
use super::hooks::run_hook;
use super::image_gc::Ages;
use super::images::Pulls;
use super::probes::ProbeTarget;
use super::termination;
use crate::events::Events;
use crate::lease::RunLease;
use crate::link::LinkState;
use crate::objects::Objects;
use crate::parts::{Attachment, NodeParts, PodPlace, PodRef};
use crate::readiness::Readiness;
use crate::status::default_limits;
use crate::store::SharedStore;
use crate::tokens::{NodeTokens, PodObjects};
use holdfast_pods::{
    Ledger, ObservedContainer, ObservedSandbox, ObservedState, ObservedUser, PodEvent, StartFailure, container_id,
    container_named, sandbox_id,
};
use holdfast_runtime::{
    ContainerState, ImageInfo, ImageMount, LinuxUser, Mount, Runtime, RuntimeError, SandboxSpec, SandboxState,
    log_files, normalise_image_name,
};
use holdfast_volumes::{
    EnvSources, HostDns, MountedVolume, check_image_paths, fields, hostname_file, hosts_file, resolv_conf, resolve_env,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long one answer of a runtime or of the network may take.
pub(super) const ANSWER: Duration = Duration::from_secs(120);

/// What the workers of a node share.
pub(crate) struct Common {
    pub(crate) parts: NodeParts,
    pub(crate) store: Arc<SharedStore>,
    pub(crate) objects: Objects,
    pub(crate) events: Events,
    /// Whether pods would come back without the hub, for their statuses.
    pub(crate) readiness: Arc<Readiness>,
    /// Their tokens.
    pub(crate) tokens: Arc<NodeTokens>,
    /// Rung by workers when their pod's status changed.
    pub(crate) changed: tokio::sync::Notify,
    /// Which containers are in the Wasm runtime (`true`) or the other one, by id.
    pub(crate) homes: Mutex<BTreeMap<String, bool>>,
    /// Until when pods that fail over may run.
    pub(crate) lease: Arc<RunLease>,
    /// Images on their way.
    pub(crate) pulls: Pulls,
    /// When images of the two runtimes were used.
    pub(crate) images: Mutex<[Ages; 2]>,
    /// The conditions that speak of pressure and hold.
    pub(crate) pressure: Mutex<Vec<&'static str>>,
    /// Who holds how much of the node.
    pub(crate) ledger: Mutex<Ledger>,
    /// Counts how often somebody gave some of it back.
    pub(crate) room: watch::Sender<u64>,
    /// How the link is, once there is one.
    pub(crate) link: OnceLock<watch::Receiver<LinkState>>,
    /// Whom containers run as, by id.
    pub(crate) users: Mutex<BTreeMap<String, ObservedUser>>,
    /// Whether the node shuts down.
    pub(crate) shutting_down: Arc<watch::Sender<bool>>,
}

impl Common {
    /// The key of a pod's facts and items.
    pub(super) fn key(pod: &Pod) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("/v1/pods/{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
    }

    /// The key of the note that holds a pod's memory.
    pub(super) fn memory_key(uid: &str) -> String {
        format!("pod/{uid}")
    }

    /// The conditions that speak of pressure and hold now.
    pub(super) fn pressure(&self) -> Vec<&'static str> {
        self.pressure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says which conditions that speak of pressure hold from now on.
    pub(crate) fn set_pressure(&self, holding: Vec<&'static str>) {
        *self.pressure.lock().unwrap_or_else(PoisonError::into_inner) = holding;
    }

    /// The key of the note that holds what a pod was granted.
    pub(super) fn allocation_key(uid: &str) -> String {
        format!("allocated/{uid}")
    }

    /// Changes the node's account; whoever waits hears of it when the change says that others may have more now.
    pub(super) fn account(&self, change: impl FnOnce(&mut Ledger) -> bool) {
        if change(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.room.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Whether the hub is connected.
    pub(super) fn linked(&self) -> bool {
        self.link.get().is_some_and(|link| link.borrow().connected)
    }

    /// What volumes are made from.
    pub(super) fn pod_objects(&self) -> PodObjects {
        let allocatable = default_limits(&self.parts.config, &self.parts.host.read());
        PodObjects { objects: self.objects.clone(), tokens: self.tokens.clone(), allocatable }
    }

    /// Whom a running container runs as, where its runtime knows. Asked once.
    pub(super) async fn user(&self, runtime: &dyn Runtime, container_id: &str) -> Option<ObservedUser> {
        let known = self.users.lock().unwrap_or_else(PoisonError::into_inner).get(container_id).cloned();
        if known.is_some() {
            return known;
        }
        let LinuxUser { uid, gid, groups } = runtime.user_of(container_id).await.ok().flatten()?;
        let user = ObservedUser { uid, gid, groups };
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.insert(container_id.to_string(), user.clone());
        Some(user)
    }

    /// Notes where a container is.
    pub(super) fn settle(&self, container_id: &str, runtime: &dyn Runtime) {
        let wasm = runtime.name() == self.parts.wasm.name();
        self.homes.lock().unwrap_or_else(PoisonError::into_inner).insert(container_id.to_string(), wasm);
    }

    /// Forgets where containers with this prefix of their ids are.
    pub(super) fn unsettle(&self, prefix: &str) {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        homes.retain(|id, _| !id.starts_with(prefix));
        self.users.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| !id.starts_with(prefix));
    }

    /// The runtime that has the image; the pod's own when neither has it.
    pub(super) async fn runtime_of(&self, image: &str, dense: bool) -> Result<Arc<dyn Runtime>, RuntimeError> {
        let (first, second) =
            if dense { (&self.parts.wasm, &self.parts.oci) } else { (&self.parts.oci, &self.parts.wasm) };
        match first.image(image).await {
            Ok(Some(_)) => return Ok(first.clone()),
            Ok(None) => {}
            // The other may still have it; if not, this is the answer.
            Err(err) => {
                return match second.image(image).await {
                    Ok(Some(_)) => Ok(second.clone()),
                    _ => Err(err),
                };
            }
        }
        Ok(if second.image(image).await.ok().flatten().is_some() { second.clone() } else { first.clone() })
    }
}

/// What was found out on the way, for the tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) volumes: BTreeMap<String, MountedVolume>,
    pub(super) attachment: Option<Attachment>,
    pub(super) sandbox: Option<SandboxSpec>,
}

fn pod_ref(pod: &Pod) -> PodRef {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &pod.metadata;
    PodRef { uid: part(&meta.uid), name: part(&meta.name), namespace: part(&meta.namespace) }
}

/// The handler of the pod's RuntimeClass, empty for the default.
pub(super) fn handler(common: &Common, pod: &Pod) -> Result<String, String> {
    match pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref()) {
        None | Some("") => Ok(String::new()),
        Some(class) => common
            .objects
            .runtime_handler(class)
            .ok_or_else(|| format!("failed to get sandbox runtime: no runtime for {class:?} is configured")),
    }
}

/// Wasm pods share one network namespace; whatever else a pod holds, its class decides.
pub(super) fn is_dense(handler: &str) -> bool {
    handler == "wasmtime"
}

/// Where a running pod listens.
pub(super) fn place_in_network(common: &Common, pod: &Pod, ip: Option<&str>) -> PodPlace {
    if pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false) {
        return PodPlace::Host;
    }
    match (is_dense(&handler(common, pod).unwrap_or_default()), ip) {
        (true, Some(ip)) => PodPlace::Shared(ip.to_string()),
        _ => PodPlace::Own(pod_ref(pod)),
    }
}

pub(super) async fn make_sandbox(
    common: &Common,
    pod: &Pod,
    uid: &str,
    attempt: u32,
) -> Result<(Attachment, SandboxSpec), String> {
    let handler = handler(common, pod)?;
    let (attachment, spec) = place_of(common, pod, uid, attempt, &handler).await?;
    let runtime = if is_dense(&handler) { &common.parts.wasm } else { &common.parts.oci };
    let dir = containers::log_dir(&common.parts.config, pod);
    common.parts.env.blocking(move || std::fs::create_dir_all(dir)).await;
    runtime.run_sandbox(&spec).await.map_err(|err| err.to_string())?;
    Ok((attachment, spec))
}

async fn place_of(
    common: &Common,
    pod: &Pod,
    uid: &str,
    attempt: u32,
    handler: &str,
) -> Result<(Attachment, SandboxSpec), String> {
    let config = &common.parts.config;
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let attachment = if host_network {
        Attachment { netns_path: String::new(), ips: config.node_ips.clone() }
    } else {
        common.parts.network.attach(&pod_ref(pod), is_dense(handler)).await?
    };
    let spec = sandbox_spec(config, pod, &sandbox_id(uid, attempt), handler, &attachment)?;
    Ok((attachment, spec))
}

/// Stops and removes a sandbox. The network attachment stays: a pod whose sandbox is made anew keeps its address.
pub(super) async fn drop_sandbox(common: &Common, pod: &Pod, uid: &str, attempt: u32) -> Result<(), String> {
    let id = sandbox_id(uid, attempt);
    for runtime in [&common.parts.oci, &common.parts.wasm] {
        let dropped = async {
            runtime.stop_sandbox(&id).await?;
            runtime.remove_sandbox(&id).await
        };
        match dropped.await {
            // A runtime that this pod does not use may be missing altogether.
            Err(RuntimeError::Unavailable { .. }) if !uses(common, pod, &**runtime) => {}
            done => done.map_err(|err| err.to_string())?,
        }
    }
    Ok(())
}

/// Gives the pod's place in the network back.
pub(super) async fn detach(common: &Common, pod: &Pod) -> Result<(), String> {
    if pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false) {
        return Ok(());
    }
    let dense = is_dense(&handler(common, pod).unwrap_or_default());
    common.parts.network.detach(&pod_ref(pod), dense).await
}

/// As the runtimes name the image of a container: another name would change the pod's status when they are looked at next.
pub(super) fn digest_reference(image: ImageInfo) -> String {
    image.names.into_iter().find(|name| name.contains('@')).unwrap_or(image.id)
}

pub(super) async fn launch(
    common: &Common,
    pod: &Pod,
    place: &Place,
    uid: &str,
    name: &str,
    attempt: u32,
    target: Option<Target>,
) -> Result<(), (StartFailure, String)> {
    let config_error = |text: String| (StartFailure::Config, text);
    let container = container_named(pod, name).ok_or_else(|| config_error(format!("no container {name:?}")))?;
    let target_id = match target {
        Some(Target { name, attempt: None }) => {
            return Err(config_error(format!("unable to find target container {name}")));
        }
        Some(Target { name, attempt: Some(attempt) }) => container_id(uid, &name, attempt),
        None => String::new(),
    };
    let sandbox = place.sandbox.clone().ok_or_else(|| config_error("the pod has no sandbox".into()))?;
    let objects = &common.objects;
    let config = &common.parts.config;
    let services = service_env(pod, &objects.services());
    let runtime = fields::Runtime { pod_ips: &sandbox.ips, host_ips: &config.node_ips, node_name: &config.node_name };
    let sources = EnvSources { services: &services, volumes: &place.volumes, runtime };
    let env = resolve_env(pod, &container, &common.pod_objects(), sources).map_err(config_error)?;
    let id = container_id(uid, name, attempt);
    let volumes = with_images(common, pod, &container, &place.volumes).await?;
    check_image_paths(&container, &volumes, &env).map_err(|text| (StartFailure::Create, text))?;
    let files = pod_files(common, pod, &sandbox, name, attempt).await.map_err(config_error)?;
    let recursive_read_only = has_recursive_read_only(common, &sandbox.handler);
    let around = Surroundings { volumes: &volumes, env, files, target_id, recursive_read_only };
    let host = common.parts.host.read();
    let mut spec = container_spec((config, &host), pod, &container, &id, attempt, around).map_err(config_error)?;
    let dense = is_dense(&sandbox.handler);
    let runtime = common.runtime_of(&spec.image, dense).await.map_err(start_failure)?;
    if runtime.name() != common.parts.wasm.name() {
        let said = last_words(common, uid, &container, attempt).await.map_err(config_error)?;
        if spec.mounts.iter().all(|mount| mount.container_path != said.container_path) {
            spec.mounts.push(said);
        }
    }
    if dense && runtime.name() != common.parts.wasm.name() {
        return Err(config_error(format!(
            "image {:?} is not a Wasm module, and the pod's runtime class is for Wasm",
            spec.image
        )));
    }
    // A hybrid pod has a sandbox in both runtimes, over one network namespace.
    runtime.run_sandbox(&sandbox).await.map_err(start_failure)?;
    common.settle(&id, &*runtime);
    runtime.create_container(&sandbox, &spec).await.map_err(start_failure)?;
    common.user(&*runtime, &id).await;
    runtime.start_container(&id).await.map_err(|err| (StartFailure::Run, err.to_string()))?;
    if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone()) {
        let target = ProbeTarget {
            env: common.parts.env.clone(),
            runtime: runtime.clone(),
            prober: common.parts.prober.clone(),
            pod: Arc::new(pod.clone()),
            container: name.to_string(),
            container_id: id.clone(),
            pod_ip: sandbox.ips.first().cloned().unwrap_or_default(),
        };
        if let Err(err) = run_hook(common, &target, &hook, Duration::from_secs(60)).await {
            // Not in the event, as upstream: what the hook said may be a secret.
            tracing::warn!(container = id, err, "A postStart hook failed");
            common.events.pod(pod, Some(name), true, "FailedPostStartHook", "PostStartHook failed").await;
            // It has started, and how it ends is for its policy to judge.
            runtime
                .stop_container(&id, None, Duration::from_secs(2))
                .await
                .map_err(|err| (StartFailure::Run, format!("PostStartHook failed: {err}")))?;
        }
    }
    Ok(())
}

/// The volumes of a pod with those from images that this container mounts, which are shown from here on until the pod ends.
async fn with_images(
    common: &Common,
    pod: &Pod,
    container: &Container,
    volumes: &BTreeMap<String, MountedVolume>,
) -> Result<BTreeMap<String, MountedVolume>, (StartFailure, String)> {
    let mut all = volumes.clone();
    for volume in common.parts.volumes.image_volumes(pod, container) {
        let failed = |err: RuntimeError| (StartFailure::Create, format!("ImageVolumeMountFailed: {err}"));
        let reference = volume.source.reference.unwrap_or_default();
        let mount = ImageMount {
            pod_uid: pod.metadata.uid.clone().unwrap_or_default(),
            volume: volume.name.clone(),
            image: normalise_image_name(&reference).map_err(failed)?,
            target: volume.target.clone(),
        };
        common.parts.oci.mount_image(&mount).await.map_err(failed)?;
        all.insert(volume.name, MountedVolume { host_path: volume.target, read_only: true, is_image: true });
    }
    Ok(all)
}

/// Forgets a dead container: in its runtime, its log, what it said. What cannot be done is told in the log.
pub(crate) async fn forget_container(common: &Common, pod: &Pod, uid: &str, name: &str, attempt: u32) {
    let id = container_id(uid, name, attempt);
    if let Some(runtime) = runtime_with(common, &id).await
        && let Err(err) = runtime.remove_container(&id).await
    {
        tracing::warn!(container = id, %err, "Could not remove a container");
        return;
    }
    let log = containers::log_path(&common.parts.config, pod, name, attempt);
    let said = common.parts.volumes.pod_dir(uid).map(|dir| termination::file(&dir, name, attempt));
    let forget = move || {
        // Its folder may be gone already.
        let _ = said.map(std::fs::remove_file);
        log_files::remove(&log)
    };
    if let Some(Err(err)) = common.parts.env.blocking(forget).await {
        tracing::warn!(container = id, %err, "Could not remove a container's log");
    }
    common.homes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    common.users.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
}

/// The container whose processes another one sees.
pub(super) struct Target {
    pub(super) name: String,
    /// The attempt of it that runs.
    pub(super) attempt: Option<u32>,
}

/// Makes the file for a container's termination message; its place in the container.
async fn last_words(common: &Common, uid: &str, container: &Container, attempt: u32) -> Result<Mount, String> {
    let dir = common.parts.volumes.pod_dir(uid).ok_or_else(|| format!("{uid:?} is no UID of a pod"))?;
    let file = termination::file(&dir, &container.name, attempt);
    let host_path = file.to_string_lossy().into_owned();
    match common.parts.env.blocking(move || termination::prepare(&file)).await {
        Some(Ok(())) => {
            let container_path = termination::path_inside(container).to_string();
            Ok(Mount { host_path, container_path, ..Mount::default() })
        }
        Some(Err(err)) => Err(format!("the termination message's file could not be made: {err}")),
        None => Err("the node is stopping".into()),
    }
}

/// Adds to the ends of containers what they said.
async fn hear_last_words(common: &Common, uid: &str, pod: &Pod, found: &mut [ObservedContainer]) {
    let Some(dir) = common.parts.volumes.pod_dir(uid) else { return };
    let mut newest: BTreeMap<String, u32> = BTreeMap::new();
    for container in found.iter() {
        let known = newest.entry(container.name.clone()).or_default();
        *known = (*known).max(container.attempt);
    }
    for container in found.iter_mut().filter(|container| newest.get(&container.name) == Some(&container.attempt)) {
        let ObservedState::Exited { exit_code, message, .. } = &mut container.state else { continue };
        if !message.is_empty() {
            continue;
        }
        let file = termination::file(&dir, &container.name, container.attempt);
        let log = containers::log_path(&common.parts.config, pod, &container.name, container.attempt);
        let (of, code) = (container_named(pod, &container.name).map(|of| of.into_owned()), *exit_code);
        let said = common.parts.env.blocking(move || termination::message(&file, &log, of.as_ref(), code)).await;
        *message = said.unwrap_or_default();
    }
}

/// Writes the files that every container of a pod gets (`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`) and
/// makes the folder of the log: (host path, container path) of each file.
async fn pod_files(
    common: &Common,
    pod: &Pod,
    sandbox: &SandboxSpec,
    name: &str,
    attempt: u32,
) -> Result<Vec<(String, String)>, String> {
    let config = &common.parts.config;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let dir = common.parts.volumes.pod_dir(&uid).ok_or_else(|| format!("{uid:?} is no UID of a pod"))?.join("etc");
    let log = containers::log_path(config, pod, name, attempt);
    let (pod, sandbox, config) = (pod.clone(), sandbox.clone(), config.clone());
    let write = move || -> std::io::Result<Vec<(String, String)>> {
        let dns = HostDns {
            cluster_servers: vec![config.dns_ip.clone()],
            cluster_domain: config.cluster_domain.clone(),
            host_resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        };
        let host_hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        std::fs::create_dir_all(&dir)?;
        if let Some(dir) = log.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let contents = [
            ("hosts", hosts_file(&pod, &sandbox.ips, &config.node_name, &config.cluster_domain, &host_hosts)),
            ("hostname", hostname_file(&sandbox.hostname)),
            ("resolv.conf", resolv_conf(&pod, &dns)),
        ];
        let mut files = Vec::new();
        for (file, content) in contents {
            let path = dir.join(file);
            // A container may have it mounted: the file is changed in place, and only when it differs.
            if std::fs::read_to_string(&path).ok().as_deref() != Some(&content) {
                std::fs::write(&path, content)?;
            }
            files.push((path.to_string_lossy().into_owned(), format!("/etc/{file}")));
        }
        Ok(files)
    };
    match common.parts.env.blocking(write).await {
        Some(Ok(files)) => Ok(files),
        Some(Err(err)) => Err(format!("the pod's files could not be written: {err}")),
        None => Err("the node is stopping".into()),
    }
}

fn start_failure(err: RuntimeError) -> (StartFailure, String) {
    let reason = match err {
        RuntimeError::Config(_) | RuntimeError::NotImplemented(_) => StartFailure::Config,
        _ => StartFailure::Create,
    };
    (reason, err.to_string())
}

/// Whether mounts can be read-only with all that is mounted below them: the kernel must know how (`mount_setattr`, Linux 5.12),
/// and the runtime must pass it on, which those do that run processes of this kernel.
pub(super) fn has_recursive_read_only(common: &Common, handler: &str) -> bool {
    let of_this_kernel = matches!(handler, "" | "runc" | "crun");
    of_this_kernel && kernel_version(&common.parts.host.read().kernel).is_some_and(|version| version >= (5, 12))
}

/// The same for a pod, by its class.
pub(super) fn recursive_read_only_for(common: &Common, pod: &Pod) -> bool {
    handler(common, pod).is_ok_and(|handler| has_recursive_read_only(common, &handler))
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The runtime in which a container was started or last seen.
pub(super) fn known_home(common: &Common, container_id: &str) -> Option<Arc<dyn Runtime>> {
    let wasm = *common.homes.lock().unwrap_or_else(PoisonError::into_inner).get(container_id)?;
    Some(if wasm { common.parts.wasm.clone() } else { common.parts.oci.clone() })
}

/// The runtime that has this container; both are asked only when nobody has seen it yet.
pub(super) async fn runtime_with(common: &Common, container_id: &str) -> Option<Arc<dyn Runtime>> {
    if let Some(runtime) = known_home(common, container_id) {
        return Some(runtime);
    }
    for runtime in [&common.parts.oci, &common.parts.wasm] {
        if let Some(Ok(containers)) = common.parts.env.timeout(ANSWER, runtime.list_containers()).await
            && containers.iter().any(|container| container.id == container_id)
        {
            common.settle(container_id, &**runtime);
            return Some(runtime.clone());
        }
    }
    None
}

/// What the runtimes have of a pod, and its place again after a restart of the agent.
pub(super) async fn observe(
    common: &Common,
    uid: &str,
    place: &Mutex<Place>,
    pod: &Pod,
) -> Result<PodEvent, RuntimeError> {
    let mut sandbox: Option<ObservedSandbox> = None;
    let mut found = Vec::new();
    for runtime in [&common.parts.oci, &common.parts.wasm] {
        let ours = |id: &str| id.strip_prefix(uid).is_some_and(|rest| rest.starts_with('-'));
        let sandboxes = match runtime.list_sandboxes().await {
            Ok(sandboxes) => sandboxes,
            // A runtime that this pod does not use may be missing altogether.
            Err(RuntimeError::Unavailable { .. }) if !uses(common, pod, &**runtime) => continue,
            Err(err) => return Err(err),
        };
        for info in sandboxes.into_iter().filter(|info| info.pod_uid == uid) {
            let attempt = info.id.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            let ready = info.state == SandboxState::Ready;
            let newest =
                sandbox.as_ref().is_none_or(|known| attempt > known.attempt || (attempt == known.attempt && ready));
            if newest {
                sandbox = Some(ObservedSandbox { id: info.id, attempt, ready, ips: Vec::new() });
            }
        }
        for info in runtime.list_containers().await? {
            if ours(&info.sandbox_id) {
                common.settle(&info.id, &**runtime);
                let user = match info.state {
                    ContainerState::Running { .. } => common.user(&**runtime, &info.id).await,
                    _ => None,
                };
                found.push(ObservedContainer {
                    id: info.id,
                    name: info.name,
                    attempt: info.attempt,
                    image: info.image,
                    image_id: info.image_id,
                    runtime: runtime.name().to_string(),
                    user,
                    state: observed_state(info.state),
                });
            }
        }
    }
    hear_last_words(common, uid, pod, &mut found).await;
    if let Some(sandbox) = sandbox.as_mut().filter(|sandbox| sandbox.ready) {
        let known = place.lock().unwrap_or_else(PoisonError::into_inner).attachment.clone();
        let attachment = match known {
            Some(attachment) => Some(attachment),
            None => {
                let handler = handler(common, pod).unwrap_or_default();
                match place_of(common, pod, uid, sandbox.attempt, &handler).await {
                    Ok((attachment, spec)) => {
                        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                        place.attachment = Some(attachment.clone());
                        place.sandbox = Some(spec);
                        Some(attachment)
                    }
                    Err(err) => {
                        tracing::warn!(pod_uid = uid, err, "The network of a running pod is gone");
                        None
                    }
                }
            }
        };
        match attachment {
            Some(attachment) => sandbox.ips = attachment.ips,
            None => sandbox.ready = false,
        }
    }
    Ok(PodEvent::Observed { sandbox, containers: found })
}

fn uses(common: &Common, pod: &Pod, runtime: &dyn Runtime) -> bool {
    let dense = is_dense(&handler(common, pod).unwrap_or_default());
    (runtime.name() == common.parts.wasm.name()) == dense
}

fn observed_state(state: ContainerState) -> ObservedState {
    match state {
        ContainerState::Created => ObservedState::Created,
        ContainerState::Running { started_at } => ObservedState::Running { started_at },
        ContainerState::Exited { started_at, finished_at, exit_code, reason, message } => {
            ObservedState::Exited { started_at, finished_at, exit_code, reason, message }
        }
        ContainerState::Unknown => ObservedState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_have_versions() {
        let versions = [
            ("5.12.0", Some((5, 12))),
            ("6.1.0-18-amd64", Some((6, 1))),
            ("5.4", Some((5, 4))),
            ("x", None),
            ("", None),
        ];
        for (release, version) in versions {
            assert_eq!(kernel_version(release), version, "{release}");
        }
    }
}
