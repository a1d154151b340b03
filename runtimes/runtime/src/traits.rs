//! The [`Runtime`] trait.

use crate::*;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::broadcast;

/// Runs sandboxes and containers.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name for logs and `containerRuntimeVersion` (`containerd`, `wasm`).
    fn name(&self) -> &'static str;

    /// Whether it answers, and its version.
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError>;

    /// Makes a sandbox; one with the same id that is ready is left as it is.
    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxInfo, RuntimeError>;

    /// Ends every process of a sandbox and its namespaces. Fine when it is gone.
    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError>;

    /// Forgets a stopped sandbox and its containers. Fine when it is gone.
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError>;

    /// All sandboxes.
    async fn list_sandboxes(&self) -> Result<Vec<SandboxInfo>, RuntimeError>;

    /// The image under this reference, if it is here.
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError>;

    /// Takes an image in from a registry, under its name. What an earlier try left is used. Of several callers for the same
    /// content one fetches it, and the others find it.
    async fn pull_image(&self, image: &dyn RemoteImage) -> Result<ImageInfo, RuntimeError>;

    /// Images that were pulled, so that they may be removed and pulled again. What was imported is not among them.
    async fn pulled_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Removes an image with all its names, by its id. Fine when it is gone; what runs of it goes on.
    async fn remove_image(&self, _id: &str) -> Result<(), RuntimeError> {
        Err(RuntimeError::NotImplemented("removing images of this runtime"))
    }

    /// How full the file system of the images is; `None` when nothing can be gained by removing some.
    async fn image_fs(&self) -> Result<Option<FsUsage>, RuntimeError> {
        Ok(None)
    }

    /// What containers have written by their ids: writable layers, and the volumes that their images declare. This looks at
    /// every file, so it is asked seldom. A container of which it is not known is missing.
    async fn disk_usage(&self, _ids: &[String]) -> Result<BTreeMap<String, DiskUsage>, RuntimeError> {
        Ok(BTreeMap::new())
    }

    /// Shows the files of an image that is here, read only, in a folder of the host. Fine when they are shown already, also
    /// after a restart of the agent and after a reboot.
    async fn mount_image(&self, _mount: &ImageMount) -> Result<(), RuntimeError> {
        Err(RuntimeError::NotImplemented("volumes from images of this runtime"))
    }

    /// Ends what [`Runtime::mount_image`] keeps for a pod; its folders are not mounted any more then. Fine when there is nothing.
    async fn release_images(&self, _pod_uid: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// UIDs of the pods for which images are kept by [`Runtime::mount_image`].
    async fn image_mounts(&self) -> Result<Vec<String>, RuntimeError> {
        Ok(Vec::new())
    }

    /// All images.
    async fn list_images(&self) -> Result<Vec<ImageInfo>, RuntimeError>;

    /// Imports an OCI layout or docker archive (a tar file); returns the names that it brought.
    async fn import_image(&self, tar: &std::path::Path) -> Result<Vec<String>, RuntimeError>;

    /// Makes a container; one with the same id is left as it is.
    async fn create_container(&self, sandbox: &SandboxSpec, spec: &ContainerSpec) -> Result<(), RuntimeError>;

    /// Starts a created container. Fine when it runs.
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError>;

    /// Sends the stop signal (`signal` names one over the image's), waits up to `grace`, then kills.
    /// Fine when it has ended.
    async fn stop_container(&self, id: &str, signal: Option<&str>, grace: Duration) -> Result<(), RuntimeError>;

    /// Forgets an ended container. Fine when it is gone.
    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError>;

    /// All containers with their states.
    async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError>;

    /// Whom the first process of a container runs as; `None` where that is nobody, and when the container is gone.
    async fn user_of(&self, _id: &str) -> Result<Option<LinuxUser>, RuntimeError> {
        Ok(None)
    }

    /// What the running containers use now. A container that ends meanwhile may be missing.
    async fn usage(&self) -> Result<Vec<ContainerUsage>, RuntimeError> {
        Err(RuntimeError::NotImplemented("statistics of the containers of this runtime"))
    }

    /// Changes what a pod and containers of it that run may use. Nobody is held to less than others were already given: the pod
    /// grows first and shrinks last. May be repeated.
    async fn resize(&self, _resize: &Resize) -> Result<(), RuntimeError> {
        Err(RuntimeError::NotImplemented("resizing containers of this runtime"))
    }

    /// Makes the cgroups above those of pods. A runtime without processes on this machine has none.
    async fn shape_node(&self, _cgroups: &NodeCgroups) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Runs a command inside.
    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError>;

    /// Joins the running process's own streams: its output from now on, and with `stdin` what the caller sends, as far as
    /// the container has a standard input. The session ends with the process, as exited with 0; the process does not end
    /// with the session.
    async fn attach(&self, _id: &str, _stdin: bool) -> Result<ExecSession, RuntimeError> {
        Err(RuntimeError::NotImplemented("attach to a container of this runtime"))
    }

    /// What happens, from now on. A receiver that lags must list.
    fn events(&self) -> broadcast::Receiver<RuntimeEvent>;
}
