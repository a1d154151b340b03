//! Sandboxes: a record in containerd, and on a tmpfs the pod's pinned IPC and UTS namespaces and shared memory.
//!
//! No process holds a sandbox, unless its containers share a PID namespace or a kernel ([`crate::holder`]). After a reboot the record is
//! there and the pins are not: that is `NotReady`.

use crate::cgroup::{
    self,
    limits::{Change, machine},
};
use crate::client::{QUICK, call, optional, timestamp};
use crate::gvisor;
use crate::holder::{has_holder, prepare_root};
use crate::labels::{self, containerd_id};
use crate::runtime::{Inner, blocking};
use crate::spec::SandboxPaths;
use containerd_client::services::v1 as api;
use holdfast_runtime::{PodCgroup, RuntimeError, SandboxInfo, SandboxSpec, SandboxState};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Type of the specification kept in a sandbox's record.
const SANDBOX_TYPE: &str = "types.holdfast.io/sandbox/v1";
/// Magic number of the file system of namespaces (linux/magic.h).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;
/// Bytes of a pod's `/dev/shm`, as other runtimes give.
const SHM_OPTIONS: &str = "mode=1777,size=65536k";

pub(crate) fn failed(reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Failed { operation: "create pod sandbox", reason: reason.into() }
}

impl Inner {
    fn sandbox_dir(&self, id: &str) -> PathBuf {
        self.config.state_dir.join("sandboxes").join(containerd_id(id))
    }

    /// Where the shared things of a ready sandbox are.
    pub(crate) fn sandbox_paths(&self, sandbox: &SandboxSpec) -> SandboxPaths {
        let dir = self.sandbox_dir(&sandbox.id);
        let own_net = !sandbox.netns_path.is_empty();
        SandboxPaths {
            ipc: (!sandbox.host_ipc).then(|| dir.join("ipc")),
            shm: (!sandbox.host_ipc).then(|| dir.join("shm")),
            uts: own_net.then(|| dir.join("uts")),
            hostname: own_net.then(|| dir.join("hostname")),
        }
    }

    pub(crate) async fn sandbox_ready(&self, sandbox: &SandboxSpec) -> Result<bool, RuntimeError> {
        Ok(self.pinned(sandbox) && (!has_holder(sandbox) || self.holder_pid(&sandbox.id).await?.is_some()))
    }

    /// Whether all that a sandbox has on the host is there.
    fn pinned(&self, sandbox: &SandboxSpec) -> bool {
        let paths = self.sandbox_paths(sandbox);
        let pinned = |path: &Option<PathBuf>| path.as_deref().is_none_or(is_namespace);
        let net = &sandbox.netns_path;
        self.sandbox_dir(&sandbox.id).is_dir()
            && pinned(&paths.ipc)
            && pinned(&paths.uts)
            && (net.is_empty() || is_namespace(Path::new(net)))
    }

    /// The runtime's binary for a RuntimeClass handler.
    pub(crate) fn binary(&self, handler: &str) -> Result<String, RuntimeError> {
        match if handler.is_empty() { &self.config.default_handler } else { handler } {
            known @ ("runc" | "crun") => Ok(known.to_string()),
            "gvisor" => Ok(gvisor::program(&self.config.programs)?.display().to_string()),
            other => Err(failed(format!("failed to get sandbox runtime: no runtime for {other:?} is configured"))),
        }
    }

    pub(crate) async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        self.binary(&spec.handler)?;
        if gvisor::has_kernel(spec) {
            gvisor::check(spec)?;
        }
        if !spec.netns_path.is_empty() && !is_namespace(Path::new(&spec.netns_path)) {
            return Err(failed(format!("{} is no network namespace", spec.netns_path)));
        }
        let cid = containerd_id(&spec.id);
        let get = self.client.request(api::GetContainerRequest { id: cid.clone() });
        let found = optional(call("get sandbox", QUICK, self.client.containers().get(get)).await)?;
        let (dir, held) = (self.sandbox_dir(&spec.id), has_holder(spec));
        if !self.pinned(spec) {
            let (dir, paths, hostname) = (dir.clone(), self.sandbox_paths(spec), spec.hostname.clone());
            let (parent, limits) = (spec.cgroup_parent.clone(), spec.cgroup.clone());
            blocking("create pod sandbox", move || {
                unpin(&dir);
                // Not later: a pod that runs may have been given other limits since.
                let made = limit(&parent, &limits).and_then(|()| pin(&dir, &paths, &hostname));
                let made = made.and_then(|()| if held { prepare_root(&dir) } else { Ok(()) });
                made.inspect_err(|_| unpin(&dir))
            })
            .await?;
        }
        if held && self.holder_pid(&spec.id).await?.is_none() {
            self.start_holder(spec, &dir).await?;
        }
        let record = match found.and_then(|response| response.container) {
            Some(record) => record,
            None => self.create_sandbox_record(cid, spec).await?,
        };
        Ok(SandboxInfo {
            id: spec.id.clone(),
            pod_uid: spec.pod_uid.clone(),
            state: SandboxState::Ready,
            created_at: timestamp(record.created_at.as_ref()),
        })
    }

    async fn create_sandbox_record(&self, cid: String, spec: &SandboxSpec) -> Result<api::Container, RuntimeError> {
        let value = serde_json::to_vec(spec).map_err(|err| failed(err.to_string()))?;
        let labels = HashMap::from([
            (labels::KIND.to_string(), labels::KIND_SANDBOX.to_string()),
            (labels::ID.to_string(), spec.id.clone()),
            ("io.kubernetes.pod.name".to_string(), spec.pod_name.clone()),
            ("io.kubernetes.pod.namespace".to_string(), spec.pod_namespace.clone()),
            ("io.kubernetes.pod.uid".to_string(), spec.pod_uid.clone()),
        ]);
        let container = api::Container {
            id: cid,
            labels,
            runtime: Some(api::container::Runtime { name: "io.containerd.runc.v2".into(), options: None }),
            spec: Some(prost_types::Any { type_url: SANDBOX_TYPE.into(), value }),
            ..Default::default()
        };
        let request = self.client.request(api::CreateContainerRequest { container: Some(container) });
        let created = call("create pod sandbox", QUICK, self.client.containers().create(request)).await?;
        created.container.ok_or_else(|| failed("containerd answered without a record"))
    }

    async fn sandbox_records(&self) -> Result<Vec<(api::Container, SandboxSpec)>, RuntimeError> {
        let filters = vec![labels::filter(labels::KIND, labels::KIND_SANDBOX)];
        let request = self.client.request(api::ListContainersRequest { filters });
        let found = call("list sandboxes", QUICK, self.client.containers().list(request)).await?.containers;
        let read = |record: api::Container| {
            let spec = record.spec.as_ref().and_then(|any| serde_json::from_slice(&any.value).ok())?;
            Some((record, spec))
        };
        Ok(found.into_iter().filter_map(read).collect())
    }

    pub(crate) async fn list_sandboxes(&self) -> Result<Vec<SandboxInfo>, RuntimeError> {
        let mut infos = Vec::new();
        for (record, spec) in self.sandbox_records().await? {
            infos.push(SandboxInfo {
                state: if self.sandbox_ready(&spec).await? { SandboxState::Ready } else { SandboxState::NotReady },
                created_at: timestamp(record.created_at.as_ref()),
                id: spec.id,
                pod_uid: spec.pod_uid,
            });
        }
        Ok(infos)
    }

    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        for container in self.container_records(Some(id)).await? {
            self.kill_task(&container.id).await?;
        }
        self.remove_holder(id).await?;
        let dir = self.sandbox_dir(id);
        blocking("stop pod sandbox", move || {
            unpin(&dir);
            Ok(())
        })
        .await
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.stop_sandbox(id).await?;
        // Where an earlier release put the pod.
        let mut parents = BTreeSet::new();
        for container in self.container_records(Some(id)).await? {
            let cgroup = container.labels.get(labels::CGROUP).and_then(|path| path.rsplit_once('/'));
            parents.extend(cgroup.map(|(parent, _)| parent.to_string()));
            self.remove_record(&container).await?;
        }
        let cid = containerd_id(id);
        let get = self.client.request(api::GetContainerRequest { id: cid.clone() });
        let found = optional(call("get sandbox", QUICK, self.client.containers().get(get)).await)?;
        let Some(record) = found.and_then(|response| response.container) else { return Ok(()) };
        let request = self.client.request(api::DeleteContainerRequest { id: cid });
        optional(call("remove pod sandbox", QUICK, self.client.containers().delete(request)).await)?;
        let spec = record.spec.and_then(|any| serde_json::from_slice::<SandboxSpec>(&any.value).ok());
        parents.extend(spec.map(|spec| spec.cgroup_parent));
        blocking("remove pod sandbox", move || {
            parents.iter().for_each(|parent| cgroup::remove(parent));
            Ok(())
        })
        .await
    }
}

/// Makes the pod's cgroup with its limits; a pod without one is limited by nothing.
fn limit(parent: &str, limits: &PodCgroup) -> Result<(), RuntimeError> {
    if parent.is_empty() {
        return Ok(());
    }
    let tree = machine();
    let made = tree.make(parent).and_then(|()| tree.apply(parent, limits, Change::Set));
    made.map_err(|err| failed(format!("making the pod's cgroup: {err}")))
}

fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == NSFS_MAGIC)
}

/// Makes fresh namespaces on a thread that ends, and keeps them by bind mounts.
fn pin(dir: &Path, paths: &SandboxPaths, hostname: &str) -> Result<(), RuntimeError> {
    let step = |what: &str, err: &dyn std::fmt::Display| failed(format!("{what}: {err}"));
    std::fs::create_dir_all(dir).map_err(|err| step("making the sandbox's folder", &err))?;
    if let Some(shm) = &paths.shm {
        std::fs::create_dir_all(shm).map_err(|err| step("making /dev/shm", &err))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("shm"), shm, Some("tmpfs"), flags, Some(SHM_OPTIONS))
            .map_err(|err| step("mounting /dev/shm", &err))?;
    }
    if let Some(path) = &paths.hostname {
        std::fs::write(path, format!("{hostname}\n")).map_err(|err| step("writing the host name", &err))?;
    }
    let mut flags = CloneFlags::empty();
    let mut pins: Vec<(&str, PathBuf)> = Vec::new();
    if let Some(ipc) = &paths.ipc {
        flags |= CloneFlags::CLONE_NEWIPC;
        pins.push(("ipc", ipc.clone()));
    }
    if let Some(uts) = &paths.uts {
        flags |= CloneFlags::CLONE_NEWUTS;
        pins.push(("uts", uts.clone()));
    }
    if pins.is_empty() {
        return Ok(());
    }
    let hostname = paths.uts.is_some().then(|| hostname.to_string()).filter(|name| !name.is_empty());
    let thread = std::thread::Builder::new().name("pin-namespaces".into()).spawn(move || {
        unshare(flags).map_err(|err| format!("unshare: {err}"))?;
        if let Some(name) = hostname {
            nix::unistd::sethostname(&name).map_err(|err| format!("setting host name {name:?}: {err}"))?;
        }
        for (kind, path) in pins {
            std::fs::write(&path, b"").map_err(|err| format!("{}: {err}", path.display()))?;
            let source = format!("/proc/thread-self/ns/{kind}");
            mount(Some(source.as_str()), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .map_err(|err| format!("pinning the {kind} namespace: {err}"))?;
        }
        Ok::<(), String>(())
    });
    let thread = thread.map_err(|err| step("starting a thread", &err))?;
    thread.join().map_err(|_| failed("pinning namespaces panicked"))?.map_err(failed)
}

/// Takes everything away that [`pin`] made. Fine when there is nothing.
fn unpin(dir: &Path) {
    for name in ["ipc", "uts", "shm", "holder"] {
        let path = dir.join(name);
        // Several pins may lie over each other after an interrupted start.
        while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
    }
    if let Err(err) = std::fs::remove_dir_all(dir)
        && err.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %dir.display(), %err, "Cannot remove a sandbox's folder");
    }
}
