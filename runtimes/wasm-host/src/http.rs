//! `wasi:http` containers: a listener in the pod's namespace, and an instance for each request.

mod connection;
mod request;

use crate::guest::GuestSpec;
use crate::limits::CONNECTIONS_PER_POD;
use crate::modules::Linked;
use holdfast_wasm_engine::WasmEngine;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pause after a failure to accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the requests of one container share.
#[derive(Debug)]
pub struct Service {
    /// The engine.
    pub engine: Arc<WasmEngine>,
    /// The code, which is `Linked::Http`.
    pub linked: Arc<Linked>,
    /// What each instance is given.
    pub spec: GuestSpec,
    /// Instances that requests of all pods may have.
    pub slots: Arc<Semaphore>,
    /// Time for one request.
    pub request_time: Duration,
    /// Time that a connection may be idle.
    pub idle: Duration,
}

/// Serves until `soft` is cancelled and the requests in work are done. Dropping the future ends them at once.
pub async fn serve(service: Arc<Service>, listener: TcpListener, soft: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_PER_POD));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = soft.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        let (stream, permit) = accepted;
        let (service, soft) = (service.clone(), soft.clone());
        connections.spawn(async move {
            connection::serve(service, stream, soft).await;
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Cancel safe: a permit without a connection goes back.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (tokio::net::TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit.
    let permit = room.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(err) => {
                tracing::warn!(%err, "Could not accept a connection to a pod");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
