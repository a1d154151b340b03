//! The holder of a sandbox whose containers share one PID namespace, or with gVisor a kernel: its first process, and nothing else.
//!
//! A bind mount keeps other namespaces, not that one: it ends with its first process. So that is a container of its own,
//! beside those of the pod and under their shim, with a root of its own that holds [`program`] alone.

mod program;

use crate::capabilities;
use crate::client::{QUICK, SLOW, call, optional};
use crate::containers::{RUNTIME, SPEC_TYPE, shim_options};
use crate::gvisor;
use crate::labels::{self, containerd_id};
use crate::runtime::Inner;
use crate::sandbox::failed;
use containerd_client::services::v1 as api;
use containerd_client::types::Mount;
use containerd_client::types::v1::Status;
use holdfast_runtime::{RuntimeError, SandboxSpec};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// User and group of the program: nobody's.
const NOBODY: u32 = 65_535;

/// Whether containers of this sandbox share a PID namespace of its own.
pub(crate) fn is_shared(sandbox: &SandboxSpec) -> bool {
    sandbox.share_process_namespace && !sandbox.host_pid
}

/// Whether a sandbox has a holder.
pub(crate) fn has_holder(sandbox: &SandboxSpec) -> bool {
    is_shared(sandbox) || gvisor::has_kernel(sandbox)
}

/// containerd's identifier of a sandbox's holder.
pub(crate) fn holder_id(sandbox: &str) -> String {
    containerd_id(&format!("{sandbox}-holder"))
}

/// The root of the holder, on a file system of its own: the state folder's may forbid that anything of it is run.
pub(crate) fn prepare_root(dir: &Path) -> Result<(), RuntimeError> {
    let step = |what: &str, err: &dyn std::fmt::Display| failed(format!("{what}: {err}"));
    let arch = std::env::consts::ARCH;
    let program = program::program().ok_or_else(|| {
        RuntimeError::Config(format!("not implemented: shareProcessNamespace on machines of type {arch:?}"))
    })?;
    let root = dir.join("holder");
    std::fs::create_dir_all(&root).map_err(|err| step("making the holder's folder", &err))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("holder"), &root, Some("tmpfs"), flags, Some("mode=755,size=64k"))
        .map_err(|err| step("mounting the holder's root", &err))?;
    for folder in ["proc", "dev"] {
        let made = std::fs::DirBuilder::new().mode(0o755).create(root.join(folder));
        made.map_err(|err| step("making the holder's root", &err))?;
    }
    let file = root.join("holder");
    std::fs::write(&file, program).map_err(|err| step("writing the holder", &err))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o555))
        .map_err(|err| step("writing the holder", &err))
}

/// The specification of the holder. It has nothing but its place: no capability, no writable file, the pod's namespaces.
fn specification(sandbox: &SandboxSpec, ipc: Option<&PathBuf>, uts: Option<&PathBuf>) -> Value {
    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "pid"})];
    let net = Some(&sandbox.netns_path).filter(|path| !path.is_empty()).map(PathBuf::from);
    for (kind, path) in [("network", net.as_ref()), ("ipc", ipc), ("uts", uts)] {
        if let Some(path) = path {
            namespaces.push(json!({"type": kind, "path": path.display().to_string()}));
        }
    }
    let mut process = json!({
        "terminal": false,
        "user": {"uid": NOBODY, "gid": NOBODY},
        "args": ["/holder"],
        "env": [],
        "cwd": "/",
        "capabilities": {},
        "noNewPrivileges": true,
    });
    let kernel = gvisor::has_kernel(sandbox);
    if capabilities::available() >> capabilities::SYS_RESOURCE & 1 == 1 && !kernel {
        // The last to go: with it goes the pod.
        process["oomScoreAdj"] = json!(-998);
    }
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": "rootfs", "readonly": true},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        ],
        "annotations": {
            "io.containerd.runc.v2.group": containerd_id(&sandbox.id),
            "io.kubernetes.cri.container-type": "sandbox",
        },
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": format!("{}/{}", sandbox.cgroup_parent.trim_end_matches('/'), holder_id(&sandbox.id)),
            "resources": {"devices": [{"allow": false, "access": "rwm"}], "cpu": {"shares": 2}},
        },
    });
    if kernel {
        // All that the pod does is done in its cgroup.
        spec["linux"]["resources"] = json!({});
        spec["hostname"] = json!(sandbox.hostname);
    }
    spec
}

impl Inner {
    /// The process of a sandbox's holder; `None` when it does not run.
    pub(crate) async fn holder_pid(&self, sandbox: &str) -> Result<Option<u32>, RuntimeError> {
        let task = self.task(&holder_id(sandbox)).await?;
        Ok(task.filter(|task| task.status() == Status::Running).map(|task| task.pid))
    }

    /// Starts the holder of a sandbox whose other namespaces are there.
    pub(crate) async fn start_holder(&self, sandbox: &SandboxSpec, dir: &Path) -> Result<(), RuntimeError> {
        self.remove_holder(&sandbox.id).await?;
        let started = self.try_start_holder(sandbox, dir).await;
        if started.is_err()
            && let Err(err) = self.remove_holder(&sandbox.id).await
        {
            tracing::warn!(sandbox = sandbox.id, %err, "Cannot remove a holder that did not start");
        }
        started
    }

    async fn try_start_holder(&self, sandbox: &SandboxSpec, dir: &Path) -> Result<(), RuntimeError> {
        let id = holder_id(&sandbox.id);
        let paths = self.sandbox_paths(sandbox);
        let spec = specification(sandbox, paths.ipc.as_ref(), paths.uts.as_ref());
        let options = shim_options(&self.binary(&sandbox.handler)?);
        let labels = HashMap::from([
            (labels::KIND.to_string(), labels::KIND_HOLDER.to_string()),
            // Its end is told as something that happened to the sandbox.
            (labels::ID.to_string(), sandbox.id.clone()),
        ]);
        let container = api::Container {
            id: id.clone(),
            labels,
            runtime: Some(api::container::Runtime { name: RUNTIME.into(), options: Some(options) }),
            spec: Some(prost_types::Any { type_url: SPEC_TYPE.into(), value: spec.to_string().into_bytes() }),
            ..Default::default()
        };
        let request = self.client.request(api::CreateContainerRequest { container: Some(container) });
        call("create holder", QUICK, self.client.containers().create(request)).await?;
        let root = Mount {
            r#type: "bind".into(),
            source: dir.join("holder").display().to_string(),
            options: vec!["rbind".into(), "rw".into()],
            ..Default::default()
        };
        let create = api::CreateTaskRequest { container_id: id.clone(), rootfs: vec![root], ..Default::default() };
        call("create holder", SLOW, self.client.tasks().create(self.client.request(create))).await?;
        let start = api::StartRequest { container_id: id, ..Default::default() };
        call("start holder", SLOW, self.client.tasks().start(self.client.request(start))).await?;
        Ok(())
    }

    /// Ends a sandbox's holder, and with it whatever is left in its PID namespace. Fine when there is none.
    pub(crate) async fn remove_holder(&self, sandbox: &str) -> Result<(), RuntimeError> {
        let id = holder_id(sandbox);
        if self.record(&id).await?.is_none() {
            return Ok(());
        }
        if self.task(&id).await?.is_some() {
            self.kill_task(&id).await?;
            self.delete_task(&id).await?;
        }
        let request = self.client.request(api::DeleteContainerRequest { id });
        optional(call("remove holder", QUICK, self.client.containers().delete(request)).await)?;
        Ok(())
    }

    /// Where the PID namespace is that a container of this sandbox joins; `None` for one of its own, or the node's.
    pub(crate) async fn pid_namespace(
        &self,
        sandbox: &SandboxSpec,
        target: &str,
    ) -> Result<Option<PathBuf>, RuntimeError> {
        let of = |pid: u32| Some(PathBuf::from(format!("/proc/{pid}/ns/pid")));
        if sandbox.host_pid {
            return Ok(None);
        }
        if gvisor::has_kernel(sandbox) {
            let words = "with gVisor, a container cannot join the processes of another one";
            return if target.is_empty() { Ok(None) } else { Err(RuntimeError::Config(words.into())) };
        }
        if is_shared(sandbox) {
            let pid = self.holder_pid(&sandbox.id).await?;
            let pid = pid.ok_or_else(|| failed(format!("the holder of sandbox {} does not run", sandbox.id)))?;
            return Ok(of(pid));
        }
        if target.is_empty() {
            return Ok(None);
        }
        let task = self.task(&containerd_id(target)).await?.filter(|task| task.status() == Status::Running);
        let task = task.ok_or_else(|| RuntimeError::Config(format!("target container {target} is not running")))?;
        Ok(of(task.pid))
    }
}
