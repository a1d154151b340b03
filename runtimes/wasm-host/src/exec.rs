//! Exec: there is no process to join and no other program, so the container's own module runs again, in a fresh
//! instance with the given arguments, the container's environment and its folders.

use crate::command;
use crate::host::Host;
use crate::limits::EXEC_BUFFER;
use crate::modules::Linked;
use bytes::Bytes;
use holdfast_runtime::{ContainerState, RuntimeError};
use holdfast_wasm_client::frame;
use holdfast_wasm_client::wire::{ExecIn, ExecOut, NOT_EXEC};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{AsyncStdinStream, AsyncStdoutStream};

/// Records on their way to the client.
const OUT_QUEUE: usize = 4;

/// A session that is about to run.
pub(crate) struct Session {
    host: Arc<Host>,
    linked: Arc<Linked>,
    spec: crate::guest::GuestSpec,
    context: WasiCtxBuilder,
    slot: tokio::sync::OwnedSemaphorePermit,
    killed: CancellationToken,
    stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: DuplexStream,
}

/// Checks all that can be checked before the first byte.
pub(crate) async fn prepare(
    host: &Arc<Host>,
    container_id: &str,
    command: Vec<String>,
) -> Result<Session, RuntimeError> {
    let container = host.known(container_id)?;
    let not_running =
        || RuntimeError::Failed { operation: "exec", reason: format!("container {container_id:?} is not running") };
    if !matches!(container.state(), ContainerState::Running { .. }) {
        return Err(not_running());
    }
    let linked = container.linked().ok_or_else(not_running)?;
    if matches!(&*linked, Linked::Http(_)) {
        return Err(RuntimeError::NotImplemented(NOT_EXEC));
    }
    let mut spec = host.guest_spec(&container).await?;
    spec.args = command;
    let (stdin_reader, stdin) = duplex(EXEC_BUFFER);
    let (stdout, stdout_writer) = duplex(EXEC_BUFFER);
    let (stderr, stderr_writer) = duplex(EXEC_BUFFER);
    let context = spec.context_with(
        AsyncStdinStream::new(stdin_reader),
        AsyncStdoutStream::new(EXEC_BUFFER, stdout_writer),
        AsyncStdoutStream::new(EXEC_BUFFER, stderr_writer),
    )?;
    let slot = host.command_slot()?;
    Ok(Session { host: host.clone(), linked, spec, context, slot, killed: container.killed(), stdin, stdout, stderr })
}

/// Runs the session on its connection. Ends when the guest does, the client goes, or the container ends.
pub(crate) async fn run(session: Session, stream: UnixStream, has_stdin: bool) {
    let Session { host, linked, spec, context, slot, killed, stdin, stdout, stderr } = session;
    let (reader, mut writer) = stream.into_split();
    let (records, mut outgoing) = mpsc::channel(OUT_QUEUE);
    let engine = host.engine.clone();
    let guest = async {
        let outcome = tokio::select! {
            outcome = command::run(&engine, &linked, context, &spec) => outcome,
            () = killed.cancelled() => command::Outcome::exited(command::EXIT_KILLED),
        };
        drop(slot);
        outcome
    };
    // The guest's ends of the pipes go with its context, so both copies end after it.
    let output = {
        let (stdout_records, stderr_records) = (records.clone(), records.clone());
        async move {
            tokio::join!(copy(stdout, stdout_records, ExecOut::Stdout), copy(stderr, stderr_records, ExecOut::Stderr),);
        }
    };
    let work = async {
        let (outcome, ()) = tokio::join!(guest, output);
        if !outcome.message.is_empty() {
            let text = Bytes::from(format!("{}\n", outcome.message));
            let _ = records.send(ExecOut::Stderr(text)).await;
        }
        let _ = records.send(ExecOut::Exited(outcome.code)).await;
        drop(records);
    };
    let send = async {
        while let Some(record) = outgoing.recv().await {
            if frame::write(&mut writer, &record).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(work, send) } => {}
        () = input(reader, stdin, has_stdin) => {}
    }
}

async fn copy(mut from: DuplexStream, to: mpsc::Sender<ExecOut>, wrap: fn(Bytes) -> ExecOut) {
    loop {
        let mut chunk = bytes::BytesMut::with_capacity(EXEC_BUFFER);
        match from.read_buf(&mut chunk).await {
            Ok(read) if read > 0 => {
                if to.send(wrap(chunk.freeze())).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Feeds standard input; returns when the client is gone.
async fn input(mut reader: OwnedReadHalf, stdin: DuplexStream, has_stdin: bool) {
    let mut stdin = Some(stdin).filter(|_| has_stdin);
    loop {
        match frame::read(&mut reader).await {
            Ok(Some(ExecIn::Stdin(bytes))) => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Ok(Some(ExecIn::StdinClosed)) => stdin = None,
            // Guests have no terminal.
            Ok(Some(ExecIn::Resize { .. })) => {}
            Ok(None) | Err(_) => return,
        }
    }
}
