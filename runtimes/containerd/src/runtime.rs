//! [`ContainerdRuntime`]: the [`Runtime`] trait over the modules of this crate.

use crate::client::{Client, QUICK, call};
use crate::config::ContainerdConfig;
use crate::events;
use crate::logs::Pumps;
use async_trait::async_trait;
use holdfast_runtime::{
    ContainerInfo, ContainerSpec, ContainerUsage, DiskUsage, ExecRequest, ExecSession, FsUsage, ImageInfo, ImageMount,
    LinuxUser, NodeCgroups, RemoteImage, Resize, Runtime, RuntimeError, RuntimeEvent, RuntimeVersion, SandboxInfo,
    SandboxSpec,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

/// Events kept for a slow listener; one that lags is told so and lists.
const EVENTS: usize = 256;

/// What the modules of this crate share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) config: ContainerdConfig,
    pub(crate) pumps: Pumps,
    pub(crate) sessions: Mutex<JoinSet<()>>,
    /// Where containerd unpacks images, once it has said so.
    pub(crate) image_root: OnceLock<PathBuf>,
    events: broadcast::Sender<RuntimeEvent>,
}

impl Inner {
    /// Tells whoever listens.
    pub(crate) fn publish(&self, event: RuntimeEvent) {
        let _ = self.events.send(event);
    }
}

/// Runs blocking work on its own thread.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(err) => Err(RuntimeError::Failed { operation, reason: err.to_string() }),
    }
}

/// Pods as OCI containers. Dropping it leaves the containers running and ends only what watches them.
#[derive(Debug)]
pub struct ContainerdRuntime {
    inner: Arc<Inner>,
    _events: JoinSet<()>,
}

impl ContainerdRuntime {
    /// A runtime on a containerd that may come later. Call within a tokio runtime.
    pub fn new(config: ContainerdConfig) -> Arc<ContainerdRuntime> {
        let (events, _) = broadcast::channel(EVENTS);
        let inner = Arc::new(Inner {
            client: Client::new(&config.socket, &config.namespace),
            config,
            pumps: Pumps::default(),
            sessions: Mutex::default(),
            image_root: OnceLock::new(),
            events,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(events::run(inner.clone()));
        Arc::new(ContainerdRuntime { inner, _events: tasks })
    }
}

#[async_trait]
impl Runtime for ContainerdRuntime {
    fn name(&self) -> &'static str {
        "containerd"
    }

    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        let client = &self.inner.client;
        let answer = call("get version", QUICK, client.version().version(client.request(()))).await;
        let answer = answer.map_err(|err| match RuntimeError::from(err) {
            RuntimeError::Unavailable { runtime, reason } => {
                let socket = self.inner.config.socket.display();
                let reason = format!("no answer at {socket} ({reason}): is it installed and running?");
                RuntimeError::Unavailable { runtime, reason }
            }
            other => other,
        })?;
        Ok(RuntimeVersion { name: "containerd".into(), version: answer.version })
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        self.inner.run_sandbox(spec).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.inner.stop_sandbox(id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.inner.remove_sandbox(id).await
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxInfo>, RuntimeError> {
        self.inner.list_sandboxes().await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        self.inner.client.image_info(reference).await
    }

    async fn pull_image(&self, image: &dyn RemoteImage) -> Result<ImageInfo, RuntimeError> {
        self.inner.client.pull(image, &self.inner.config.snapshotter).await
    }

    async fn pulled_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        self.inner.client.pulled_images().await
    }

    async fn remove_image(&self, id: &str) -> Result<(), RuntimeError> {
        self.inner.client.remove_image(id).await
    }

    async fn image_fs(&self) -> Result<Option<FsUsage>, RuntimeError> {
        self.inner.image_fs().await
    }

    async fn disk_usage(&self, ids: &[String]) -> Result<BTreeMap<String, DiskUsage>, RuntimeError> {
        self.inner.disk_usage(ids).await
    }

    async fn mount_image(&self, mount: &ImageMount) -> Result<(), RuntimeError> {
        self.inner.mount_image(mount).await
    }

    async fn release_images(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        self.inner.release_images(pod_uid).await
    }

    async fn image_mounts(&self) -> Result<Vec<String>, RuntimeError> {
        self.inner.image_mounts().await
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        self.inner.client.list_images().await
    }

    async fn import_image(&self, tar: &Path) -> Result<Vec<String>, RuntimeError> {
        self.inner.client.import(tar, &self.inner.config.snapshotter).await
    }

    async fn create_container(&self, sandbox: &SandboxSpec, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.inner.create_container(sandbox, spec).await
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.inner.start_container(id).await
    }

    async fn stop_container(&self, id: &str, signal: Option<&str>, grace: Duration) -> Result<(), RuntimeError> {
        self.inner.stop_container(id, signal, grace).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.inner.remove_container(id).await
    }

    async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        self.inner.list_containers().await
    }

    async fn user_of(&self, id: &str) -> Result<Option<LinuxUser>, RuntimeError> {
        self.inner.user_of(id).await
    }

    async fn usage(&self) -> Result<Vec<ContainerUsage>, RuntimeError> {
        self.inner.usage().await
    }

    async fn resize(&self, resize: &Resize) -> Result<(), RuntimeError> {
        self.inner.resize(resize).await
    }

    async fn shape_node(&self, cgroups: &NodeCgroups) -> Result<(), RuntimeError> {
        self.inner.shape_node(cgroups).await
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        self.inner.exec(id, request).await
    }

    async fn attach(&self, id: &str, stdin: bool) -> Result<ExecSession, RuntimeError> {
        self.inner.attach(id, stdin).await
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events.subscribe()
    }
}
