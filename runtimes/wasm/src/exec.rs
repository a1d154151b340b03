//! Exec sessions, each on a connection of its own.

use crate::connection::dial;
use crate::frame;
use crate::wire::{ExecIn, ExecOut, Purpose};
use holdfast_runtime::stream::STREAM_CHUNKS;
use holdfast_runtime::{ExecRequest, ExecSession, RuntimeError, StreamInput, StreamOutput};
use std::path::Path;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Starts a session whose pumps run in `tasks`.
pub(crate) async fn open(
    socket: &Path,
    container_id: &str,
    request: ExecRequest,
) -> Result<(ExecSession, impl FnOnce(&mut JoinSet<()>) + use<>), RuntimeError> {
    let purpose = Purpose::Exec {
        container_id: container_id.to_string(),
        command: request.command,
        tty: request.tty,
        stdin: request.stdin,
    };
    let (reader, writer) = dial(socket, purpose).await?.into_split();
    let (input, to_host) = mpsc::channel(STREAM_CHUNKS);
    let (from_host, output) = mpsc::channel(STREAM_CHUNKS);
    let spawn = move |tasks: &mut JoinSet<()>| {
        tasks.spawn(pump_out(reader, from_host));
        tasks.spawn(pump_in(to_host, writer));
    };
    Ok((ExecSession { input, output }, spawn))
}

async fn pump_in(mut input: mpsc::Receiver<StreamInput>, mut writer: OwnedWriteHalf) {
    while let Some(item) = input.recv().await {
        let record = match item {
            StreamInput::Stdin(bytes) => ExecIn::Stdin(bytes),
            StreamInput::StdinClosed => ExecIn::StdinClosed,
            StreamInput::Resize(size) => ExecIn::Resize { width: size.width, height: size.height },
        };
        // A broken connection is told by the other pump.
        if frame::write(&mut writer, &record).await.is_err() {
            return;
        }
    }
    let _ = frame::write(&mut writer, &ExecIn::StdinClosed).await;
    // Keep our half open: closing it would tell the host that nobody wants the session any more.
    writer.forget();
}

async fn pump_out(mut reader: OwnedReadHalf, output: mpsc::Sender<StreamOutput>) {
    loop {
        let (item, last) = match frame::read(&mut reader).await {
            Ok(Some(ExecOut::Stdout(bytes))) => (StreamOutput::Stdout(bytes), false),
            Ok(Some(ExecOut::Stderr(bytes))) => (StreamOutput::Stderr(bytes), false),
            Ok(Some(ExecOut::Exited(code))) => (StreamOutput::Exited(code), true),
            Ok(Some(ExecOut::Failed(reason))) => (StreamOutput::Failed(reason), true),
            Ok(None) => (StreamOutput::Failed("holdfast-wasm closed the session".into()), true),
            Err(err) => (StreamOutput::Failed(format!("holdfast-wasm: {err}")), true),
        };
        let sent = tokio::select! {
            sent = output.send(item) => sent.is_ok(),
            () = output.closed() => false,
        };
        if !sent || last {
            return;
        }
    }
}
