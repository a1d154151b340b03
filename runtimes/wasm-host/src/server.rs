//! The socket that agents connect to.

use crate::exec;
use crate::host::{Host, HostConfig, StartError, at, blocking};
use crate::limits::{AGENT_CONNECTIONS, AGENT_PATIENCE, CALLS_PER_CONNECTION, FRAME_QUEUE};
use holdfast_runtime::{RuntimeError, RuntimeEvent};
use holdfast_wasm_client::frame;
use holdfast_wasm_client::wire::{
    Call, Hello, HostFrame, PROTOCOL, Purpose, Reply, Request, VERSION, Welcome, WireError,
};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Serves agents until `stop` is cancelled; then ends all containers in order.
///
/// # Errors
/// When the host cannot start.
pub async fn serve(config: HostConfig, stop: CancellationToken) -> Result<(), StartError> {
    let socket = config.socket.clone();
    let opened = tokio::task::spawn_blocking(move || Host::open(&config)).await;
    let host = opened.map_err(|err| at(&socket)(io::Error::other(err)))??;
    let listener = bind(&socket).map_err(at(&socket))?;
    let containers = host.containers().len();
    tracing::info!(socket = %socket.display(), slots = host.engine.slots(), containers, "Serving");
    let room = Arc::new(Semaphore::new(AGENT_CONNECTIONS));
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = room.clone().acquire_owned() => permit.ok(),
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let serving = connection(host.clone(), stream);
                host.tracker.spawn(async move {
                    if let Err(err) = serving.await {
                        tracing::warn!(%err, "Closed a connection");
                    }
                    drop(permit);
                });
            }
            Err(err) => {
                tracing::warn!(%err, "Could not accept an agent");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tracing::info!("Stopping");
    drop(listener);
    let _ = std::fs::remove_file(&socket);
    host.shut_down().await;
    Ok(())
}

/// The data folder's lock is held, so a socket file that is there belongs to a host that is gone.
fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn connection(host: Arc<Host>, mut stream: UnixStream) -> io::Result<()> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the agent said nothing");
    let hello: Option<Hello> = timeout(AGENT_PATIENCE, frame::read(&mut stream)).await.map_err(|_| late())??;
    let Some(hello) = hello else { return Ok(()) };
    if hello.protocol != PROTOCOL || hello.version != VERSION {
        let reason = format!(
            "{} version {} asked, this holdfast-wasm speaks {PROTOCOL} version {VERSION}",
            hello.protocol, hello.version
        );
        return frame::write(&mut stream, &Welcome::Refused(WireError::Unavailable { reason })).await;
    }
    match hello.purpose {
        Purpose::Control => control(host, stream).await,
        Purpose::Exec { container_id, command, tty: _, stdin } => {
            match exec::prepare(&host, &container_id, command).await {
                Ok(session) => {
                    frame::write(&mut stream, &Welcome::Ready { version: VERSION }).await?;
                    exec::run(session, stream, stdin).await;
                    Ok(())
                }
                Err(err) => frame::write(&mut stream, &Welcome::Refused(err.into())).await,
            }
        }
    }
}

async fn control(host: Arc<Host>, mut stream: UnixStream) -> io::Result<()> {
    // Before the welcome, so that no event falls between it and the agent's first list.
    let events = host.events();
    frame::write(&mut stream, &Welcome::Ready { version: VERSION }).await?;
    let (mut reader, writer) = stream.into_split();
    let (frames, queue) = mpsc::channel(FRAME_QUEUE);
    let calls = Arc::new(Semaphore::new(CALLS_PER_CONNECTION));
    let stopping = host.stopping.clone();
    let read = async {
        while let Some(Call { id, request }) = frame::read(&mut reader).await? {
            // Never closed, so there always is a permit.
            let permit = calls.clone().acquire_owned().await.ok();
            let (host, frames) = (host.clone(), frames.clone());
            // A call that has begun is finished even when its agent dies: half a container helps nobody.
            host.clone().tracker.spawn(async move {
                let result = answer(&host, request).await.map_err(WireError::from);
                let _ = frames.send(HostFrame::Reply { id, result }).await;
                drop(permit);
            });
        }
        Ok(())
    };
    tokio::select! {
        outcome = read => outcome,
        outcome = write_frames(writer, queue) => outcome,
        () = push_events(events, frames.clone()) => Ok(()),
        () = stopping.cancelled() => Ok(()),
    }
}

async fn write_frames(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<HostFrame>) -> io::Result<()> {
    while let Some(record) = queue.recv().await {
        let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "the agent does not read");
        timeout(AGENT_PATIENCE, frame::write(&mut writer, &record)).await.map_err(slow)??;
    }
    Ok(())
}

async fn push_events(mut events: broadcast::Receiver<RuntimeEvent>, frames: mpsc::Sender<HostFrame>) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => RuntimeEvent::Resync,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if frames.send(event.into()).await.is_err() {
            return;
        }
    }
}

async fn answer(host: &Arc<Host>, request: Request) -> Result<Reply, RuntimeError> {
    match request {
        Request::Version => Ok(Reply::Version(host.version())),
        Request::RunSandbox(spec) => host.run_sandbox(*spec).await.map(Reply::Sandbox),
        Request::StopSandbox { id } => host.stop_sandbox(&id).await.map(|()| Reply::Done),
        Request::RemoveSandbox { id } => host.remove_sandbox(&id).await.map(|()| Reply::Done),
        Request::ListSandboxes => Ok(Reply::Sandboxes(host.list_sandboxes())),
        Request::Image { reference } => Ok(Reply::Image(host.images.find(&reference)?.map(|image| image.info()))),
        Request::PullImage { reference } => host.pull_image(&reference).map(|image| Reply::Image(Some(image))),
        Request::ListImages => Ok(Reply::Images(host.images.list().iter().map(|image| image.info()).collect())),
        Request::ImportImage { path } => {
            let images = host.images.clone();
            let import = tokio::task::spawn_blocking(move || images.import(Path::new(&path))).await;
            import
                .map_err(|err| RuntimeError::Failed { operation: "import image", reason: err.to_string() })?
                .map(Reply::Names)
        }
        Request::Usage => Ok(Reply::Usages(host.usage())),
        Request::PulledImages => {
            let pulled = host.images.list().into_iter().filter(|image| image.pulled);
            Ok(Reply::Images(pulled.map(|image| image.info()).collect()))
        }
        Request::TakeImage { path } => {
            let images = host.images.clone();
            blocking("import image", move || Ok(images.take(Path::new(&path)))).await?.map(Reply::Names)
        }
        Request::RemoveImage { id } => {
            let (images, modules) = (host.images.clone(), host.modules.clone());
            let remove = move || {
                if let Some(module) = images.remove(&id)? {
                    modules.forget(&module);
                }
                Ok(())
            };
            blocking("remove image", remove).await.map(|()| Reply::Done)
        }
        Request::ImageFs => {
            let images = host.images.clone();
            blocking("look at the images' disk", move || images.file_system()).await.map(Reply::FileSystem)
        }
        Request::CreateContainer { sandbox, container } => {
            host.create_container(*sandbox, *container).await.map(|()| Reply::Done)
        }
        Request::StartContainer { id } => host.start_container(&id).await.map(|()| Reply::Done),
        Request::StopContainer { id, signal, grace_millis } => {
            if let Some(container) = host.container(&id) {
                host.stop(&container, signal.as_deref(), Duration::from_millis(grace_millis)).await?;
            }
            Ok(Reply::Done)
        }
        Request::RemoveContainer { id } => host.remove_container(&id).await.map(|()| Reply::Done),
        Request::ListContainers => {
            let containers: Vec<_> = host.containers().values().cloned().collect();
            Ok(Reply::Containers(containers.iter().map(|container| container.info()).collect()))
        }
    }
}
