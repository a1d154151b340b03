//! The life of a container: record and snapshot, then a task, then its exit, then nothing.
//!
//! Labels of the record carry what containerd does not keep: when it was started, and how it ended. They are
//! written when the exit is first seen, so the exit code outlives shim and containerd.

use crate::client::{CallError, QUICK, SLOW, call, now, optional, timestamp};
use crate::gvisor;
use crate::holder::holder_id;
use crate::labels::{self, containerd_id};
use crate::logs::{Bounds, Fifos, fifo_error};
use crate::runtime::{Inner, blocking};
use crate::seccomp::local;
use crate::spec::{Confinement, SpecInput, runtime_spec};
use crate::{apparmor, capabilities, cgroup, declared_volumes, devices, disk, signals, snapshots, users};
use containerd_client::services::v1 as api;
use containerd_client::types::v1::{Process, Status};
use holdfast_core::Timestamp;
use holdfast_runtime::{ContainerInfo, ContainerSpec, ContainerState, LinuxUser, RuntimeError, SandboxSpec};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

pub(crate) const RUNTIME: &str = "io.containerd.runc.v2";
pub(crate) const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// How long the kernel may take to end a process that got SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(30);
/// How long the end of a container is held back for the last of its output.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Longest message of a failed start that is kept.
const MAX_MESSAGE: usize = 2048;
/// What a container that could not be started ends with, as with the CRI.
const START_ERROR_CODE: i32 = 128;

type Labels = HashMap<String, String>;

/// Options of the runc v2 shim, encoded by hand: the client library does not carry the message.
pub(crate) fn shim_options(binary: &str) -> prost_types::Any {
    // Field 6, `binary_name`, a string.
    let mut value = vec![6 << 3 | 2, u8::try_from(binary.len()).unwrap_or(0)];
    value.extend_from_slice(binary.as_bytes());
    prost_types::Any { type_url: "containerd.runc.v1.Options".into(), value }
}

fn failed(operation: &'static str, reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Failed { operation, reason: reason.into() }
}

impl Inner {
    /// Our containers, of one sandbox or of all.
    pub(crate) async fn container_records(&self, sandbox: Option<&str>) -> Result<Vec<api::Container>, RuntimeError> {
        let mut filter = labels::filter(labels::KIND, labels::KIND_CONTAINER);
        if let Some(sandbox) = sandbox {
            filter = format!("{filter},{}", labels::filter(labels::SANDBOX, sandbox));
        }
        let request = self.client.request(api::ListContainersRequest { filters: vec![filter] });
        Ok(call("list containers", QUICK, self.client.containers().list(request)).await?.containers)
    }

    pub(crate) async fn record(&self, cid: &str) -> Result<Option<api::Container>, CallError> {
        let request = self.client.request(api::GetContainerRequest { id: cid.to_string() });
        let found = optional(call("get container", QUICK, self.client.containers().get(request)).await)?;
        Ok(found.and_then(|response| response.container))
    }

    pub(crate) async fn task(&self, cid: &str) -> Result<Option<Process>, CallError> {
        let request = self.client.request(api::GetRequest { container_id: cid.to_string(), ..Default::default() });
        let found = optional(call("get task", QUICK, self.client.tasks().get(request)).await)?;
        Ok(found.and_then(|response| response.process))
    }

    pub(crate) fn fifos(&self, container: &api::Container) -> Fifos {
        let is = |label: &str| container.labels.get(label).is_some_and(|value| value == "true");
        Fifos::new(self.config.state_dir.join("io").join(&container.id), is(labels::STDIN), is(labels::TTY))
    }

    pub(crate) async fn create_container(&self, pod: &SandboxSpec, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let cid = containerd_id(&spec.id);
        if self.record(&cid).await?.is_some() {
            return Ok(());
        }
        if !self.sandbox_ready(pod).await? {
            return Err(failed("create container", format!("sandbox {} is not ready", pod.id)));
        }
        let lease = self.client.begin_lease().await?;
        let result = self.create_leased(&lease, &cid, pod, spec).await;
        if result.is_err() {
            let _ = self.client.remove_rootfs(&self.config.snapshotter, &cid).await;
            let _ = self.remove_volumes(&cid).await;
        }
        self.client.end_lease(&lease).await;
        result
    }

    async fn create_leased(
        &self,
        lease: &str,
        cid: &str,
        pod: &SandboxSpec,
        spec: &ContainerSpec,
    ) -> Result<(), RuntimeError> {
        let image = self
            .client
            .image(&spec.image)
            .await?
            .ok_or_else(|| RuntimeError::ImagePull { image: spec.image.clone(), reason: "not found".into() })?;
        if image.is_wasm {
            let reason = "it is a Wasm image, which needs the RuntimeClass of a Wasm runtime".to_string();
            return Err(RuntimeError::BadImage { image: spec.image.clone(), reason });
        }
        let binary = self.binary(&pod.handler)?;
        let snapshotter = &self.config.snapshotter;
        self.client.unpack(lease, &image, snapshotter).await?;
        let parent = image.chain_id().unwrap_or_default();
        let mounts = self.client.prepare_rootfs(lease, snapshotter, cid, &parent).await?;
        let pid = self.pid_namespace(pod, &spec.linux.target_id).await?;
        let (security, wanted, linux) = (spec.security.clone(), spec.devices.clone(), spec.linux.clone());
        let (image_user, profiles) = (image.config.user.clone(), self.config.seccomp_root.clone());
        let (home, name, asked_mounts) = (self.volumes_of(cid), image.name.clone(), spec.mounts.clone());
        let declared: Vec<String> = image.config.volumes.keys().cloned().collect();
        let (user, devices, available_capabilities, confinement, volumes) = blocking("create container", move || {
            disk::propagates(&asked_mounts)?;
            let volumes = declared_volumes::prepare(&home, &name, &declared, &asked_mounts, &mounts)?;
            let (passwd, group) =
                (snapshots::read_file(&mounts, "/etc/passwd"), snapshots::read_file(&mounts, "/etc/group"));
            let user = users::resolve(&image_user, &security, !linux.strict_groups, &passwd, &group)?;
            let mut found = if security.privileged { devices::all() } else { Vec::new() };
            for device in &wanted {
                found.push(devices::resolve(device)?);
            }
            let available = capabilities::available();
            let named = security.seccomp.strip_prefix("Localhost/").filter(|_| !security.privileged);
            let seccomp = match named {
                Some(name) => {
                    let held = capabilities::capabilities(&security, available)?;
                    Some(local::load(&profiles, name, &local::machine(&held))?)
                }
                None => None,
            };
            let asked = if security.privileged { "Unconfined" } else { linux.apparmor.as_str() };
            let confinement = Confinement { pid, seccomp, apparmor: apparmor::profile(asked)? };
            Ok((user, found, available, confinement, volumes))
        })
        .await?;
        let lowest = capabilities::lowest_oom_score_adj(available_capabilities);
        if spec.resources.oom_score_adj < lowest {
            let wanted = spec.resources.oom_score_adj;
            tracing::warn!(
                container = spec.id,
                wanted,
                lowest,
                "The OOM score that a container should have is not ours to set"
            );
        }
        if spec.linux.limits.huge_pages.values().any(|limit| *limit > 0)
            && !cgroup::limits::machine().counts_huge_pages()
        {
            let words = "huge pages need the cgroup controller hugetlb, which this node does not have (on v1 it may have to be \
                         mounted: mount -t cgroup -o hugetlb hugetlb /sys/fs/cgroup/hugetlb)";
            return Err(RuntimeError::Config(words.into()));
        }
        let mut with_volumes = spec.clone();
        with_volumes.mounts.extend(volumes);
        let cgroup = format!("{}/{cid}", pod.cgroup_parent.trim_end_matches('/'));
        let oci = runtime_spec(&SpecInput {
            sandbox: pod,
            container: &with_volumes,
            image: &image.config,
            user,
            paths: self.sandbox_paths(pod),
            confinement,
            devices,
            cgroup: cgroup.clone(),
            cgroup_v2: cgroup::is_v2(),
            counts_swap: cgroup::limits::machine().counts_swap(&pod.cgroup_parent),
            sandbox_root: gvisor::has_kernel(pod).then(|| holder_id(&pod.id)),
            lowest_oom_score_adj: lowest,
            shim_group: containerd_id(&pod.id),
            available_capabilities,
        })?;
        let asked = Some(&spec.linux.stop_signal).filter(|signal| !signal.is_empty());
        let mut labels = record_labels(pod, spec, &image.reference(), asked.unwrap_or(&image.config.stop_signal));
        labels.insert(labels::CGROUP.into(), cgroup);
        let container = api::Container {
            id: cid.to_string(),
            labels,
            image: image.name.clone(),
            runtime: Some(api::container::Runtime { name: RUNTIME.into(), options: Some(shim_options(&binary)) }),
            spec: Some(prost_types::Any { type_url: SPEC_TYPE.into(), value: oci.to_string().into_bytes() }),
            snapshotter: snapshotter.clone(),
            snapshot_key: cid.to_string(),
            ..Default::default()
        };
        let request = self.client.leased(lease, api::CreateContainerRequest { container: Some(container) });
        match call("create container", QUICK, self.client.containers().create(request)).await {
            Err(err) if !err.exists() => Err(err.into()),
            _ => Ok(()),
        }
    }

    async fn set_labels(&self, cid: &str, labels: Labels) -> Result<(), CallError> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let container = api::Container { id: cid.to_string(), labels, ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = self.client.request(api::UpdateContainerRequest { container: Some(container), update_mask });
        call("update container", QUICK, self.client.containers().update(request)).await.map(|_| ())
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let cid = containerd_id(id);
        let missing = || RuntimeError::NotFound(format!("container {id}"));
        let record = self.record(&cid).await?.ok_or_else(missing)?;
        let task = self.task(&cid).await?;
        let status = task.as_ref().map(|task| task.status());
        match status {
            Some(Status::Running | Status::Paused | Status::Pausing) => {
                self.adopt(&record);
                return Ok(());
            }
            Some(Status::Stopped) => return Err(failed("start container", "it has ended")),
            _ if record.labels.contains_key(labels::EXIT_CODE) => {
                return Err(failed("start container", "it has ended"));
            }
            None if record.labels.contains_key(labels::STARTED_AT) => {
                return Err(failed("start container", "it was started before and is lost"));
            }
            _ => {}
        }
        self.set_labels(&cid, Labels::from([(labels::STARTED_AT.into(), now().to_micro_string())])).await?;
        let started = self.start_task(&record, status.is_none()).await;
        match &started {
            Err(RuntimeError::Failed { reason, .. }) => {
                let _ = self.delete_task(&cid).await;
                let message: String = reason.chars().take(MAX_MESSAGE).collect();
                let labels = Labels::from([
                    (labels::EXIT_CODE.into(), START_ERROR_CODE.to_string()),
                    (labels::FINISHED_AT.into(), now().to_micro_string()),
                    (labels::REASON.into(), "StartError".into()),
                    (labels::MESSAGE.into(), message),
                ]);
                self.set_labels(&cid, labels).await?;
            }
            Err(err) => tracing::debug!(container = id, %err, "Start of a container is in doubt"),
            Ok(()) => {}
        }
        started
    }

    async fn start_task(&self, record: &api::Container, create: bool) -> Result<(), RuntimeError> {
        let cid = &record.id;
        if create {
            let rootfs = self.client.rootfs_mounts(&record.snapshotter, &record.snapshot_key).await?;
            let fifos = self.fifos(record);
            let ends = fifos.open().map_err(|err| fifo_error("start container", &err))?;
            let create = api::CreateTaskRequest {
                container_id: cid.clone(),
                rootfs,
                stdin: fifos.stdin_path(),
                stdout: fifos.stdout_path(),
                stderr: fifos.stderr_path(),
                terminal: record.labels.get(labels::TTY).is_some_and(|tty| tty == "true"),
                ..Default::default()
            };
            call("create task", SLOW, self.client.tasks().create(self.client.request(create))).await?;
            // Not earlier: until the shim has its end open, a read would look like the end.
            let path = record.labels.get(labels::LOG_PATH).map_or("", String::as_str);
            self.pumps.start(cid, ends, path, self.log_bounds());
        } else {
            self.adopt(record);
        }
        let start = self.client.request(api::StartRequest { container_id: cid.clone(), ..Default::default() });
        call("start task", SLOW, self.client.tasks().start(start)).await?;
        Ok(())
    }

    fn log_bounds(&self) -> Bounds {
        Bounds { bytes: self.config.log_max_bytes.max(1), files: self.config.log_max_files }
    }

    /// Goes on reading the output of a container that an earlier agent started.
    pub(crate) fn adopt(&self, record: &api::Container) {
        if self.pumps.active(&record.id) {
            return;
        }
        match self.fifos(record).open() {
            Ok(ends) => {
                let path = record.labels.get(labels::LOG_PATH).map_or("", String::as_str);
                self.pumps.start(&record.id, ends, path, self.log_bounds());
            }
            Err(err) => tracing::warn!(container = record.id, %err, "Cannot read a container's output"),
        }
    }

    /// Adopts every container that has a task.
    pub(crate) async fn adopt_all(&self) -> Result<(), RuntimeError> {
        let tasks = self.tasks().await?;
        for record in self.container_records(None).await? {
            if tasks.contains_key(&record.id) {
                self.adopt(&record);
            }
        }
        Ok(())
    }

    async fn tasks(&self) -> Result<HashMap<String, Process>, RuntimeError> {
        let request = self.client.request(api::ListTasksRequest::default());
        let found = call("list tasks", SLOW, self.client.tasks().list(request)).await?.tasks;
        // containerd fills `id` with the container's in lists.
        let key =
            |task: &Process| if task.container_id.is_empty() { task.id.clone() } else { task.container_id.clone() };
        Ok(found.into_iter().map(|task| (key(&task), task)).collect())
    }

    async fn signal(&self, cid: &str, signal: u32, all: bool) -> Result<(), CallError> {
        let kill = api::KillRequest { container_id: cid.to_string(), signal, all, ..Default::default() };
        optional(call("signal container", QUICK, self.client.tasks().kill(self.client.request(kill))).await).map(|_| ())
    }

    /// Waits for the end of a task; false when it did not come in time.
    async fn wait(&self, cid: &str, limit: Duration) -> Result<bool, CallError> {
        let request = self.client.request(api::WaitRequest { container_id: cid.to_string(), ..Default::default() });
        match tokio::time::timeout(limit, call("wait", limit + QUICK, self.client.tasks().wait(request))).await {
            Err(_) => Ok(false),
            Ok(result) => optional(result).map(|_| true),
        }
    }

    pub(crate) async fn stop_container(
        &self,
        id: &str,
        signal: Option<&str>,
        grace: Duration,
    ) -> Result<(), RuntimeError> {
        let cid = containerd_id(id);
        let Some(record) = self.record(&cid).await? else { return Ok(()) };
        let name =
            signal.or(record.labels.get(labels::STOP_SIGNAL).map(String::as_str)).filter(|name| !name.is_empty());
        let number = match name.map(signals::parse) {
            None => signals::TERM,
            Some(Some(number)) => number,
            Some(None) if signal.is_none() => signals::TERM,
            Some(None) => return Err(RuntimeError::Config(format!("unknown signal {:?}", name.unwrap_or_default()))),
        };
        let ended = |task: &Process| task.status() == Status::Stopped;
        if self.task(&cid).await?.as_ref().is_none_or(ended) {
            return Ok(());
        }
        if grace > Duration::ZERO {
            self.signal(&cid, number, false).await?;
            if self.wait(&cid, grace).await? {
                return self.note_exit(&cid).await;
            }
        }
        self.kill_task(&cid).await
    }

    /// Ends a task at once and waits for its end. Fine when there is none.
    pub(crate) async fn kill_task(&self, cid: &str) -> Result<(), RuntimeError> {
        if self.task(cid).await?.is_none_or(|task| task.status() == Status::Stopped) {
            return Ok(());
        }
        // The process may end between look and signal; the wait below decides.
        if let Err(err) = self.signal(cid, signals::KILL, true).await {
            tracing::debug!(container = cid, err = err.message, "SIGKILL was refused");
        }
        if !self.wait(cid, KILL_WAIT).await? {
            return Err(failed("stop container", format!("still alive {} s after SIGKILL", KILL_WAIT.as_secs())));
        }
        self.note_exit(cid).await
    }

    /// Keeps the exit of a container in its record.
    pub(crate) async fn note_exit(&self, cid: &str) -> Result<(), RuntimeError> {
        if let (Some(mut record), Some(task)) = (self.record(cid).await?, self.task(cid).await?) {
            self.keep_exit(&mut record, &task).await?;
        }
        Ok(())
    }

    async fn keep_exit(&self, record: &mut api::Container, task: &Process) -> Result<(), RuntimeError> {
        if task.status() != Status::Stopped || record.labels.contains_key(labels::EXIT_CODE) {
            return Ok(());
        }
        // Whoever hears of the end reads the log at once.
        self.pumps.drained(&record.id, LAST_WORDS).await;
        let cgroup = record.labels.get(labels::CGROUP).map_or("", String::as_str);
        let reason = match task.exit_status {
            0 => "Completed",
            _ if cgroup::oom_killed(cgroup) => "OOMKilled",
            _ => "Error",
        };
        let labels = Labels::from([
            (labels::EXIT_CODE.into(), task.exit_status.to_string()),
            (labels::FINISHED_AT.into(), timestamp(task.exited_at.as_ref()).to_micro_string()),
            (labels::REASON.into(), reason.into()),
        ]);
        record.labels.extend(labels.clone());
        Ok(self.set_labels(&record.id, labels).await?)
    }

    pub(crate) async fn delete_task(&self, cid: &str) -> Result<(), CallError> {
        let request = self.client.request(api::DeleteTaskRequest { container_id: cid.to_string() });
        optional(call("delete task", SLOW, self.client.tasks().delete(request)).await).map(|_| ())
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        match self.record(&containerd_id(id)).await? {
            Some(record) => self.remove_record(&record).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn remove_record(&self, record: &api::Container) -> Result<(), RuntimeError> {
        if self.task(&record.id).await?.is_some() {
            // The shim ends only when its output has been read.
            self.adopt(record);
            self.kill_task(&record.id).await?;
            self.delete_task(&record.id).await?;
        }
        let request = self.client.request(api::DeleteContainerRequest { id: record.id.clone() });
        optional(call("remove container", QUICK, self.client.containers().delete(request)).await)?;
        self.client.remove_rootfs(&record.snapshotter, &record.snapshot_key).await?;
        self.remove_volumes(&record.id).await?;
        self.fifos(record).remove();
        Ok(())
    }

    /// Whom a container was told to run as.
    pub(crate) async fn user_of(&self, id: &str) -> Result<Option<LinuxUser>, RuntimeError> {
        let spec = self.record(&containerd_id(id)).await?.and_then(|record| record.spec);
        let spec: Option<Value> = spec.and_then(|spec| serde_json::from_slice(&spec.value).ok());
        Ok(spec.map(|spec| {
            let user = &spec["process"]["user"];
            let number = |value: &Value| value.as_i64().unwrap_or(0);
            let groups = user["additionalGids"].as_array().into_iter().flatten().map(number).collect();
            LinuxUser { uid: number(&user["uid"]), gid: number(&user["gid"]), groups }
        }))
    }

    pub(crate) async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        // Tasks first: a container that starts in between shows as created, never as lost.
        let tasks = self.tasks().await?;
        let mut infos = Vec::new();
        for mut record in self.container_records(None).await? {
            let mut task = tasks.get(&record.id).cloned();
            if task.is_none() && record.labels.contains_key(labels::STARTED_AT) {
                task = self.task(&record.id).await?;
            }
            if let Some(task) = &task {
                self.keep_exit(&mut record, task).await?;
            }
            infos.push(info(&record, task.as_ref()));
        }
        Ok(infos)
    }
}

fn record_labels(pod: &SandboxSpec, spec: &ContainerSpec, image_id: &str, stop_signal: &str) -> Labels {
    [
        (labels::KIND, labels::KIND_CONTAINER.to_string()),
        (labels::ID, spec.id.clone()),
        (labels::SANDBOX, pod.id.clone()),
        (labels::NAME, spec.name.clone()),
        (labels::ATTEMPT, spec.attempt.to_string()),
        (labels::IMAGE, spec.image.clone()),
        (labels::IMAGE_ID, image_id.to_string()),
        (labels::LOG_PATH, spec.log_path.clone()),
        (labels::TTY, spec.tty.to_string()),
        (labels::STDIN, spec.stdin.to_string()),
        (labels::STDIN_ONCE, spec.stdin_once.to_string()),
        (labels::STOP_SIGNAL, stop_signal.to_string()),
        ("io.kubernetes.pod.name", pod.pod_name.clone()),
        ("io.kubernetes.pod.namespace", pod.pod_namespace.clone()),
        ("io.kubernetes.pod.uid", pod.pod_uid.clone()),
        ("io.kubernetes.container.name", spec.name.clone()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_string(), value))
    .collect()
}

/// What the agent is told of a container.
fn info(record: &api::Container, task: Option<&Process>) -> ContainerInfo {
    let label = |key: &str| record.labels.get(key).cloned().unwrap_or_default();
    let time = |key: &str| Timestamp::parse(&label(key)).unwrap_or_default();
    let started = record.labels.contains_key(labels::STARTED_AT);
    let state = match task.map(Process::status) {
        Some(Status::Running | Status::Paused | Status::Pausing) => {
            ContainerState::Running { started_at: time(labels::STARTED_AT) }
        }
        _ if record.labels.contains_key(labels::EXIT_CODE) => ContainerState::Exited {
            started_at: time(labels::STARTED_AT),
            finished_at: time(labels::FINISHED_AT),
            exit_code: label(labels::EXIT_CODE).parse().unwrap_or(-1),
            reason: label(labels::REASON),
            message: label(labels::MESSAGE),
        },
        Some(Status::Created) => ContainerState::Created,
        None if !started => ContainerState::Created,
        _ => ContainerState::Unknown,
    };
    ContainerInfo {
        id: label(labels::ID),
        sandbox_id: label(labels::SANDBOX),
        name: label(labels::NAME),
        attempt: label(labels::ATTEMPT).parse().unwrap_or(0),
        image: label(labels::IMAGE),
        image_id: label(labels::IMAGE_ID),
        state,
    }
}
