//! One connection to the host: dialling, and reading what it pushes.

use crate::frame;
use crate::wire::{Hello, HostFrame, PROTOCOL, Purpose, RUNTIME, VERSION, Welcome};
use holdfast_runtime::RuntimeError;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Time for dialling and for the host's welcome.
const DIAL: Duration = Duration::from_secs(5);

pub(crate) fn unavailable(reason: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Unavailable { runtime: RUNTIME, reason: reason.to_string() }
}

/// Dials the host and says what for.
pub(crate) async fn dial(socket: &Path, purpose: Purpose) -> Result<UnixStream, RuntimeError> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket)
            .await
            .map_err(|err| unavailable(format!("holdfast-wasm does not answer at {}: {err}", socket.display())))?;
        let hello = Hello { protocol: PROTOCOL.to_string(), version: VERSION, purpose };
        frame::write(&mut stream, &hello).await.map_err(unavailable)?;
        match frame::read(&mut stream).await.map_err(unavailable)? {
            Some(Welcome::Ready { .. }) => Ok(stream),
            Some(Welcome::Refused(err)) => Err(err.into()),
            None => Err(unavailable("holdfast-wasm closed the connection")),
        }
    };
    match timeout(DIAL, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err(unavailable(format!("holdfast-wasm did not answer within {DIAL:?}"))),
    }
}

/// Reads frames until the stream ends; the receiver sees why as the last item, and then the end.
pub(crate) async fn read_frames(mut stream: OwnedReadHalf, frames: mpsc::Sender<io::Result<HostFrame>>) {
    loop {
        let item = match frame::read(&mut stream).await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => return,
            Err(err) => Err(err),
        };
        let last = item.is_err();
        if frames.send(item).await.is_err() || last {
            return;
        }
    }
}
