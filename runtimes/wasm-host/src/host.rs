//! The host: its parts, and what it knows of sandboxes and containers.

use crate::container::{self, Container};
use crate::images::ImageStore;
use crate::limits::{EVENT_QUEUE, IDLE_CONNECTION, REQUEST_TIME, SHUTDOWN_GRACE};
use crate::modules::Modules;
use crate::records::{ContainerRecord, Records, SandboxRecord};
use crate::sandboxes;
use holdfast_runtime::{ImageInfo, RuntimeError, RuntimeEvent, RuntimeVersion};
use holdfast_wasm_engine::{AotCache, Compiler, EngineConfig, EngineError, WasmEngine};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Settings of the host.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where agents connect.
    pub socket: PathBuf,
    /// Where images, compiled code and records are.
    pub data_dir: PathBuf,
    /// The engine.
    pub engine: EngineConfig,
    /// Where modules are compiled.
    pub compiler: Compiler,
    /// Time for one HTTP request.
    pub request_time: Duration,
    /// Time that a connection to a pod may be idle.
    pub idle_connection: Duration,
}

impl HostConfig {
    /// With defaults for the rest.
    pub fn new(socket: PathBuf, data_dir: PathBuf, compiler: Compiler) -> HostConfig {
        HostConfig {
            socket,
            data_dir,
            compiler,
            engine: EngineConfig::default(),
            request_time: REQUEST_TIME,
            idle_connection: IDLE_CONNECTION,
        }
    }
}

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another one uses the same folder.
    #[error("another holdfast-wasm uses {}", .0.display())]
    Busy(PathBuf),
    /// A folder or file cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_path_buf();
    move |source| StartError::File { path, source }
}

/// Everything that the host process knows.
#[derive(Debug)]
pub struct Host {
    pub(crate) engine: Arc<WasmEngine>,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) modules: Arc<Modules>,
    pub(crate) sandbox_records: Records,
    pub(crate) container_records: Records,
    pub(crate) scratch: PathBuf,
    /// Names this boot of the machine.
    pub(crate) boot: String,
    pub(crate) request_slots: Arc<Semaphore>,
    command_slots: Arc<Semaphore>,
    pub(crate) request_time: Duration,
    pub(crate) idle_connection: Duration,
    sandboxes: Mutex<BTreeMap<String, SandboxRecord>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    events: broadcast::Sender<RuntimeEvent>,
    /// Owns every task of the host.
    pub(crate) tracker: TaskTracker,
    /// Cancelled when the host is told to end.
    pub(crate) stopping: CancellationToken,
    /// Keeps a second host away from the folder.
    _lock: File,
}

impl Host {
    /// Opens what is on disk. Blocks.
    ///
    /// # Errors
    /// When a folder cannot be used, another host uses it, or the engine does not fit the machine.
    pub fn open(config: &HostConfig) -> Result<Arc<Host>, StartError> {
        let dir = &config.data_dir;
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let lock_path = dir.join("lock");
        let lock = File::options().write(true).create(true).truncate(false).open(&lock_path).map_err(at(&lock_path))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StartError::Busy(dir.clone())),
            Err(err) => return Err(at(&lock_path)(err.into())),
        }
        let engine = Arc::new(WasmEngine::new(config.engine.clone())?);
        let cache = AotCache::open(&dir.join("compiled"), config.compiler.clone())?;
        let modules = Arc::new(Modules::new(engine.clone(), cache)?);
        let images_dir = dir.join("images");
        let images = Arc::new(ImageStore::open(&images_dir).map_err(at(&images_dir))?);
        let boot = boot_marker(&config.socket, dir).map_err(at(&config.socket))?;
        let records = |name: &str| {
            let path = dir.join(name);
            Records::open(path.clone()).map_err(at(&path))
        };
        let (sandbox_records, container_records) = (records("sandboxes")?, records("containers")?);
        let sandboxes = sandbox_records.load::<SandboxRecord>().map_err(at(dir))?;
        let containers = container_records.load::<ContainerRecord>().map_err(at(dir))?;
        // Half of the pool at most for what may run for ever, so that requests always find an instance.
        let commands = engine.slots() as usize / 2;
        let requests = engine.slots() as usize - commands;
        Ok(Arc::new(Host {
            sandboxes: Mutex::new(
                sandboxes
                    .into_iter()
                    .map(|record| (record.spec.id.clone(), sandboxes::revive(record, &boot)))
                    .collect(),
            ),
            containers: Mutex::new(
                containers
                    .into_iter()
                    .map(|record| (record.spec.id.clone(), Arc::new(Container::new(container::revive(record), None))))
                    .collect(),
            ),
            engine,
            images,
            modules,
            sandbox_records,
            container_records,
            scratch: dir.join("scratch"),
            boot,
            request_slots: Arc::new(Semaphore::new(requests)),
            command_slots: Arc::new(Semaphore::new(commands)),
            request_time: config.request_time,
            idle_connection: config.idle_connection,
            events: broadcast::Sender::new(EVENT_QUEUE),
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            _lock: lock,
        }))
    }

    pub(crate) fn sandboxes(&self) -> MutexGuard<'_, BTreeMap<String, SandboxRecord>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn containers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn container(&self, id: &str) -> Option<Arc<Container>> {
        self.containers().get(id).cloned()
    }

    pub(crate) fn known(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        self.container(id).ok_or_else(|| RuntimeError::NotFound(format!("container {id:?}")))
    }

    pub(crate) fn containers_of(&self, sandbox_id: &str) -> Vec<Arc<Container>> {
        self.containers().values().filter(|container| container.sandbox.id == sandbox_id).cloned().collect()
    }

    /// A place for a command, which may run for ever.
    pub(crate) fn command_slot(&self) -> Result<OwnedSemaphorePermit, RuntimeError> {
        self.command_slots.clone().try_acquire_owned().map_err(|_| RuntimeError::Failed {
            operation: "start container",
            reason: format!("all {} instances for Wasm commands are in use", self.engine.slots() / 2),
        })
    }

    pub(crate) fn version(&self) -> RuntimeVersion {
        RuntimeVersion { name: "wasmtime".into(), version: WASMTIME.into() }
    }

    /// The host has no registries: its agent pulls and imports. An agent of an earlier release asks here.
    pub(crate) fn pull_image(&self, reference: &str) -> Result<ImageInfo, RuntimeError> {
        match self.images.find(reference)? {
            Some(image) => Ok(image.info()),
            None => Err(RuntimeError::ImagePull {
                image: reference.to_string(),
                reason: "not found on this node, and holdfast-wasm itself does not pull: its agent does".into(),
            }),
        }
    }

    /// Events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }

    pub(crate) fn tell(&self, event: RuntimeEvent) {
        // Without an agent nobody listens; it lists when it comes.
        let _ = self.events.send(event);
    }

    /// Ends everything: listeners close, requests in work get a grace, commands are ended.
    pub async fn shut_down(&self) {
        self.stopping.cancel();
        let all: Vec<Arc<Container>> = self.containers().values().cloned().collect();
        let stops = all.iter().map(|container| self.stop(container, None, SHUTDOWN_GRACE));
        for outcome in futures_util::future::join_all(stops).await {
            if let Err(err) = outcome {
                tracing::warn!(%err, "Could not stop a container");
            }
        }
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "Left tasks behind");
        }
    }
}

/// Major version of wasmtime, as in the workspace's manifest.
const WASMTIME: &str = "48";

/// The same text until the machine reboots: it lies beside the socket, on a tmpfs.
fn boot_marker(socket: &Path, data_dir: &Path) -> io::Result<String> {
    if let Some(parent) = socket.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut path = socket.as_os_str().to_owned();
    path.push(".boot");
    match std::fs::read_to_string(&path) {
        Ok(marker) if !marker.is_empty() => return Ok(marker),
        Ok(_) => {}
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err),
    }
    let mut random = [0_u8; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let marker: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    tracing::info!(data_dir = %data_dir.display(), "First start since boot");
    std::fs::write(&path, &marker)?;
    Ok(marker)
}

/// Runs blocking work on the disk or the network's set-up.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, RuntimeError> {
    let failed = |reason: String| RuntimeError::Failed { operation, reason };
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|err| failed(err.to_string())),
        Err(err) => Err(failed(err.to_string())),
    }
}

/// What is wrong with a module is the image's fault, all else this machine's.
pub(crate) fn engine_error(image: &str, err: &EngineError) -> RuntimeError {
    if err.is_permanent() {
        RuntimeError::BadImage { image: image.to_string(), reason: err.to_string() }
    } else {
        RuntimeError::Failed { operation: "create container", reason: err.to_string() }
    }
}
