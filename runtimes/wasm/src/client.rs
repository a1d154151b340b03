//! [`WasmRuntime`]: the `Runtime` over the control connection, which is dialled anew whenever it is lost.

use crate::connection::{dial, read_frames, unavailable};
use crate::wire::{Call, GuestUsage, HostFrame, Purpose, Reply, Request};
use crate::{exec, frame, pull};
use async_trait::async_trait;
use holdfast_runtime::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Calls that wait to be sent; more make the caller wait.
const CALL_QUEUE: usize = 64;
/// Frames from the host that wait to be handled; more make the host wait.
const FRAME_QUEUE: usize = 64;
/// Events that a slow receiver may miss before it must list again.
const EVENT_QUEUE: usize = 1024;
/// Time for an ordinary call.
const CALL: Duration = Duration::from_secs(15);
/// Time for a call that may compile a module.
const START: Duration = Duration::from_secs(300);
/// Time to import an archive.
const IMPORT: Duration = Duration::from_secs(600);
/// Time to write one frame.
const WRITE: Duration = Duration::from_secs(5);
/// Pauses between dialling a host that is gone.
const REDIAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Where the host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmConfig {
    /// Its socket.
    pub socket: PathBuf,
    /// Folder for images that are being pulled; made when it is missing. The host reads them there.
    pub spool: PathBuf,
}

/// The Wasm runtime of a node, in another process.
#[derive(Debug)]
pub struct WasmRuntime {
    socket: PathBuf,
    spool: PathBuf,
    /// Pulls gather files under names of their content: one at a time.
    pulling: tokio::sync::Mutex<()>,
    calls: mpsc::Sender<Pending>,
    events: broadcast::Sender<RuntimeEvent>,
    /// Owns the connection's task and the pumps of exec sessions.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Pending {
    request: Request,
    answer: oneshot::Sender<Result<Reply, RuntimeError>>,
}

impl WasmRuntime {
    /// Starts to look for the host; never waits for it. Calls answer [`RuntimeError::Unavailable`] while it is
    /// gone; [`RuntimeEvent::Resync`] tells each time that it was (re)found. Needs a tokio runtime.
    pub fn connect(config: WasmConfig) -> Arc<WasmRuntime> {
        let (calls, queue) = mpsc::channel(CALL_QUEUE);
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_connected(config.socket.clone(), queue, events.clone()));
        let WasmConfig { socket, spool } = config;
        Arc::new(WasmRuntime { socket, spool, pulling: Default::default(), calls, events, tasks: Mutex::new(tasks) })
    }

    async fn call(&self, request: Request, limit: Duration) -> Result<Reply, RuntimeError> {
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            self.calls.send(Pending { request, answer }).await.map_err(|_| unavailable("the client has stopped"))?;
            answered.await.map_err(|_| unavailable("the connection to holdfast-wasm was lost"))?
        };
        match timeout(limit, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unavailable(format!("holdfast-wasm did not answer within {limit:?}"))),
        }
    }

    /// Has the host take the images of an archive; returns their names.
    async fn bring(&self, tar: &Path, request: fn(String) -> Request) -> Result<Vec<String>, RuntimeError> {
        let path = std::path::absolute(tar)
            .ok()
            .and_then(|path| path.to_str().map(str::to_string))
            .ok_or_else(|| RuntimeError::Config(format!("{} is no path in UTF-8", tar.display())))?;
        match self.call(request(path), IMPORT).await? {
            Reply::Names(names) => Ok(names),
            other => Err(unexpected(&other)),
        }
    }

    async fn done(&self, request: Request, limit: Duration) -> Result<(), RuntimeError> {
        match self.call(request, limit).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(reply: &Reply) -> RuntimeError {
    unavailable(format!("holdfast-wasm answered something else: {reply:?}"))
}

/// The task that owns the control connection. Ends when the runtime is dropped.
async fn keep_connected(socket: PathBuf, mut calls: mpsc::Receiver<Pending>, events: broadcast::Sender<RuntimeEvent>) {
    let mut pause = REDIAL.0;
    // The call that made us dial before the pause was over.
    let mut first: Option<Pending> = None;
    loop {
        let failure = match dial(&socket, Purpose::Control).await {
            Ok(stream) => {
                pause = REDIAL.0;
                tracing::info!(socket = %socket.display(), "Connected to the Wasm host");
                // Nobody listens yet, or everybody lists again: both are fine.
                let _ = events.send(RuntimeEvent::Resync);
                let (reader, writer) = stream.into_split();
                let mut reading = JoinSet::new();
                let (frames, incoming) = mpsc::channel(FRAME_QUEUE);
                reading.spawn(read_frames(reader, frames));
                let Some(reason) = serve(writer, incoming, first.take(), &mut calls, &events).await else { return };
                tracing::warn!(reason, "Lost the Wasm host");
                unavailable(reason)
            }
            Err(err) => err,
        };
        if let Some(pending) = first.take() {
            let _ = pending.answer.send(Err(failure.clone()));
        }
        while let Ok(pending) = calls.try_recv() {
            let _ = pending.answer.send(Err(failure.clone()));
        }
        // A call ends the pause, so that a host that is back is used without delay.
        if let Ok(call) = timeout(pause, calls.recv()).await {
            match call {
                Some(pending) => first = Some(pending),
                None => return,
            }
        }
        pause = (pause * 2).min(REDIAL.1);
    }
}

/// Serves calls on a connection until it breaks: `Some(reason)`, or `None` when the runtime was dropped.
async fn serve(
    mut writer: OwnedWriteHalf,
    mut incoming: mpsc::Receiver<std::io::Result<HostFrame>>,
    mut first: Option<Pending>,
    calls: &mut mpsc::Receiver<Pending>,
    events: &broadcast::Sender<RuntimeEvent>,
) -> Option<String> {
    let mut next_id = 0_u64;
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Reply, RuntimeError>>> = HashMap::new();
    loop {
        let next_call = async {
            match first.take() {
                Some(pending) => Some(pending),
                None => calls.recv().await,
            }
        };
        tokio::select! {
            frame = incoming.recv() => match frame {
                Some(Ok(HostFrame::Reply { id, result })) => {
                    if let Some(answer) = waiting.remove(&id) {
                        let _ = answer.send(result.map_err(RuntimeError::from));
                    }
                    // Callers that gave up leave entries whose answers may never come.
                    waiting.retain(|_, answer| !answer.is_closed());
                }
                Some(Ok(HostFrame::Exited { container_id })) => {
                    let _ = events.send(RuntimeEvent::Exited { container_id });
                }
                Some(Ok(HostFrame::Resync)) => {
                    let _ = events.send(RuntimeEvent::Resync);
                }
                Some(Err(err)) => return Some(err.to_string()),
                None => return Some("holdfast-wasm closed the connection".to_string()),
            },
            call = next_call => {
                let pending = call?;
                next_id += 1;
                let frame = match frame::encode(&Call { id: next_id, request: pending.request }) {
                    Ok(frame) => frame,
                    Err(err) => {
                        let _ = pending.answer.send(Err(RuntimeError::Config(err.to_string())));
                        continue;
                    }
                };
                waiting.insert(next_id, pending.answer);
                match timeout(WRITE, tokio::io::AsyncWriteExt::write_all(&mut writer, &frame)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(err)) => return Some(err.to_string()),
                    Err(_) => return Some(format!("holdfast-wasm took no data for {WRITE:?}")),
                }
            }
        }
    }
}

#[async_trait]
impl Runtime for WasmRuntime {
    fn name(&self) -> &'static str {
        crate::wire::RUNTIME
    }

    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        match self.call(Request::Version, CALL).await? {
            Reply::Version(version) => Ok(version),
            other => Err(unexpected(&other)),
        }
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        match self.call(Request::RunSandbox(Box::new(spec.clone())), CALL).await? {
            Reply::Sandbox(info) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.done(Request::StopSandbox { id: id.to_string() }, CALL).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.done(Request::RemoveSandbox { id: id.to_string() }, CALL).await
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxInfo>, RuntimeError> {
        match self.call(Request::ListSandboxes, CALL).await? {
            Reply::Sandboxes(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        match self.call(Request::Image { reference: reference.to_string() }, CALL).await? {
            Reply::Image(image) => Ok(image),
            other => Err(unexpected(&other)),
        }
    }

    async fn pull_image(&self, image: &dyn RemoteImage) -> Result<ImageInfo, RuntimeError> {
        let _turn = self.pulling.lock().await;
        let tar = pull::fetch(&self.spool, image).await?;
        let imported = self.bring(&tar, |path| Request::TakeImage { path }).await;
        // Kept for the next try if only the host was away.
        if !matches!(imported, Err(RuntimeError::Unavailable { .. })) {
            pull::forget(&self.spool, image).await;
        }
        imported?;
        let name = &image.manifest().name;
        self.image(name).await?.ok_or_else(|| RuntimeError::NotFound(format!("image {name:?}")))
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        match self.call(Request::ListImages, CALL).await? {
            Reply::Images(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    async fn import_image(&self, tar: &Path) -> Result<Vec<String>, RuntimeError> {
        self.bring(tar, |path| Request::ImportImage { path }).await
    }

    async fn pulled_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        match self.call(Request::PulledImages, CALL).await? {
            Reply::Images(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    async fn remove_image(&self, id: &str) -> Result<(), RuntimeError> {
        self.done(Request::RemoveImage { id: id.to_string() }, CALL).await
    }

    async fn image_fs(&self) -> Result<Option<FsUsage>, RuntimeError> {
        match self.call(Request::ImageFs, CALL).await? {
            Reply::FileSystem(found) => Ok(Some(FsUsage {
                capacity_bytes: found.capacity_bytes,
                available_bytes: found.available_bytes,
                used_bytes: found.used_bytes,
                inodes: found.inodes,
                inodes_free: found.inodes_free,
                device: found.device,
            })),
            other => Err(unexpected(&other)),
        }
    }

    async fn create_container(&self, sandbox: &SandboxSpec, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let request =
            Request::CreateContainer { sandbox: Box::new(sandbox.clone()), container: Box::new(spec.clone()) };
        self.done(request, START).await
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.done(Request::StartContainer { id: id.to_string() }, START).await
    }

    async fn stop_container(&self, id: &str, signal: Option<&str>, grace: Duration) -> Result<(), RuntimeError> {
        let grace_millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let request = Request::StopContainer { id: id.to_string(), signal: signal.map(str::to_string), grace_millis };
        self.done(request, grace.saturating_add(CALL)).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.done(Request::RemoveContainer { id: id.to_string() }, CALL).await
    }

    async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        match self.call(Request::ListContainers, CALL).await? {
            Reply::Containers(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    async fn usage(&self) -> Result<Vec<ContainerUsage>, RuntimeError> {
        let usage = |used: GuestUsage| ContainerUsage {
            id: used.id,
            cpu_nanos: Some(used.cpu_nanos),
            // All that a guest has is what it asked for: nothing of it can be taken back.
            memory: Some(MemoryUsage {
                usage: used.memory_bytes,
                working_set: used.memory_bytes,
                ..MemoryUsage::default()
            }),
            pids: None,
        };
        match self.call(Request::Usage, CALL).await? {
            Reply::Usages(list) => Ok(list.into_iter().map(usage).collect()),
            other => Err(unexpected(&other)),
        }
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        let (session, spawn) = exec::open(&self.socket, id, request).await?;
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Ended sessions leave their tasks behind.
        while tasks.try_join_next().is_some() {}
        spawn(&mut tasks);
        Ok(session)
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }
}
