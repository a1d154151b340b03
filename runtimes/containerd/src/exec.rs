//! Commands run inside a container, with their streams.
//!
//! One driver task a session. It ends the process when the caller drops the session.

use crate::client::{Client, QUICK, SLOW, call, optional, unique};
use crate::labels::containerd_id;
use crate::logs::{FifoEnds, Fifos, fifo_error, lock};
use crate::runtime::Inner;
use crate::signals;
use bytes::Bytes;
use containerd_client::services::v1 as api;
use containerd_client::types::v1::Status;
use holdfast_runtime::stream::STREAM_CHUNKS;
use holdfast_runtime::{ExecRequest, ExecSession, RuntimeError, StreamInput, StreamOutput, TerminalSize};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// Bytes of a chunk.
const CHUNK: usize = 32 << 10;
/// How long output may come after the process ended: a child that it left behind may hold the stream.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the shim may take to read the last of standard input before it is closed.
const STDIN_DRAIN: Duration = Duration::from_secs(10);

fn failed(reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Failed { operation: "exec", reason: reason.into() }
}

/// A process in a container: one that was run by `exec`, or with an empty id the container's own.
pub(crate) struct Driver {
    pub(crate) client: Client,
    pub(crate) container: String,
    pub(crate) exec: String,
    pub(crate) fifos: Fifos,
}

impl Inner {
    pub(crate) async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        let cid = containerd_id(id);
        let missing = || RuntimeError::NotFound(format!("container {id}"));
        let record = self.record(&cid).await?.ok_or_else(missing)?;
        let running = self.task(&cid).await?.is_some_and(|task| task.status() == Status::Running);
        if !running {
            return Err(failed(format!("container {id} is not running")));
        }
        if request.command.first().is_none_or(String::is_empty) {
            return Err(RuntimeError::Config("you must specify at least one command for the container".into()));
        }
        let spec: serde_json::Value = record
            .spec
            .as_ref()
            .and_then(|any| serde_json::from_slice(&any.value).ok())
            .ok_or_else(|| failed("the container's record is damaged"))?;
        let mut process = spec["process"].clone();
        process["args"] = serde_json::json!(request.command);
        process["terminal"] = serde_json::json!(request.tty);
        let exec = unique("exec");
        let fifos = Fifos::new(self.config.state_dir.join("io").join(&cid).join(&exec), request.stdin, request.tty);
        let ends = fifos.open().map_err(|err| fifo_error("exec", &err))?;
        let driver = Driver { client: self.client.clone(), container: cid, exec, fifos };
        if let Err(err) = driver.start(&process, request.tty).await {
            driver.clean().await;
            return Err(err);
        }
        let (input, input_rx) = mpsc::channel(STREAM_CHUNKS);
        let (output_tx, output) = mpsc::channel(STREAM_CHUNKS);
        let mut sessions = lock(&self.sessions);
        while sessions.try_join_next().is_some() {}
        sessions.spawn(async move { driver.run(ends, input_rx, output_tx).await });
        Ok(ExecSession { input, output })
    }
}

impl Driver {
    async fn start(&self, process: &serde_json::Value, tty: bool) -> Result<(), RuntimeError> {
        let request = api::ExecProcessRequest {
            container_id: self.container.clone(),
            exec_id: self.exec.clone(),
            stdin: self.fifos.stdin_path(),
            stdout: self.fifos.stdout_path(),
            stderr: self.fifos.stderr_path(),
            terminal: tty,
            spec: Some(prost_types::Any { type_url: PROCESS_TYPE.into(), value: process.to_string().into_bytes() }),
        };
        call("exec", SLOW, self.client.tasks().exec(self.client.request(request))).await?;
        let request = api::StartRequest { container_id: self.container.clone(), exec_id: self.exec.clone() };
        call("exec", SLOW, self.client.tasks().start(self.client.request(request))).await?;
        Ok(())
    }

    async fn run(self, ends: FifoEnds, input: mpsc::Receiver<StreamInput>, output: mpsc::Sender<StreamOutput>) {
        let exit = tokio::select! {
            exit = self.attend(ends, input, &output) => Some(exit),
            () = output.closed() => None,
        };
        if exit.is_none() {
            self.kill().await;
        }
        self.clean().await;
        if let Some(exit) = exit {
            let last = match exit {
                Ok(code) => StreamOutput::Exited(code),
                Err(err) => StreamOutput::Failed(err.to_string()),
            };
            let _ = output.send(last).await;
        }
    }

    /// Moves bytes until the process has ended and its output is out.
    async fn attend(
        &self,
        ends: FifoEnds,
        input: mpsc::Receiver<StreamInput>,
        output: &mpsc::Sender<StreamOutput>,
    ) -> Result<i32, RuntimeError> {
        let request = api::WaitRequest { container_id: self.container.clone(), exec_id: self.exec.clone() };
        let mut tasks = self.client.tasks();
        let wait = async {
            let status = tasks.wait(self.client.request(request)).await.map_err(|status| failed(status.message()))?;
            Ok::<i32, RuntimeError>(i32::try_from(status.into_inner().exit_status).unwrap_or(-1))
        };
        let copies = async {
            tokio::join!(
                copy(Some(ends.stdout), output, StreamOutput::Stdout),
                copy(ends.stderr, output, StreamOutput::Stderr)
            )
        };
        let feed = async {
            self.feed(ends.stdin, input).await;
            std::future::pending::<()>().await
        };
        tokio::pin!(wait, copies, feed);
        let mut copied = false;
        let code = loop {
            tokio::select! {
                code = &mut wait => break code?,
                _ = &mut copies, if !copied => copied = true,
                () = &mut feed => {}
            }
        };
        if !copied {
            let _ = tokio::time::timeout(DRAIN, copies).await;
        }
        Ok(code)
    }

    async fn feed(&self, mut stdin: Option<pipe::Sender>, mut input: mpsc::Receiver<StreamInput>) {
        loop {
            match input.recv().await {
                Some(StreamInput::Stdin(bytes)) => {
                    if let Some(pipe) = &mut stdin
                        && pipe.write_all(&bytes).await.is_err()
                    {
                        stdin = None;
                    }
                }
                Some(StreamInput::Resize(size)) => self.resize(size).await,
                Some(StreamInput::StdinClosed) => self.close_stdin(stdin.take()).await,
                None => return self.close_stdin(stdin.take()).await,
            }
        }
    }

    pub(crate) async fn resize(&self, size: TerminalSize) {
        let request = api::ResizePtyRequest {
            container_id: self.container.clone(),
            exec_id: self.exec.clone(),
            width: u32::from(size.width),
            height: u32::from(size.height),
        };
        if let Err(err) = call("resize", QUICK, self.client.tasks().resize_pty(self.client.request(request))).await {
            tracing::debug!(exec = self.exec, err = err.message, "Cannot resize a terminal");
        }
    }

    /// The shim holds a writing end too and closes it on `CloseIO`. What lies in the FIFO is lost if both ends
    /// close before the shim has begun to read, so that is waited for.
    pub(crate) async fn close_stdin(&self, stdin: Option<pipe::Sender>) {
        let Some(pipe) = stdin else { return };
        let drained = async {
            while rustix::io::ioctl_fionread(&pipe).is_ok_and(|unread| unread > 0) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(STDIN_DRAIN, drained).await;
        drop(pipe);
        let request =
            api::CloseIoRequest { container_id: self.container.clone(), exec_id: self.exec.clone(), stdin: true };
        if let Err(err) = call("close stdin", QUICK, self.client.tasks().close_io(self.client.request(request))).await {
            tracing::debug!(exec = self.exec, err = err.message, "Cannot close standard input");
        }
    }

    async fn kill(&self) {
        let kill = api::KillRequest {
            container_id: self.container.clone(),
            exec_id: self.exec.clone(),
            signal: signals::KILL,
            all: false,
        };
        if optional(call("kill exec", QUICK, self.client.tasks().kill(self.client.request(kill))).await).is_ok() {
            let wait = api::WaitRequest { container_id: self.container.clone(), exec_id: self.exec.clone() };
            let _ = call("wait", QUICK, self.client.tasks().wait(self.client.request(wait))).await;
        }
    }

    async fn clean(&self) {
        let request = api::DeleteProcessRequest { container_id: self.container.clone(), exec_id: self.exec.clone() };
        let deleted =
            call("delete exec", QUICK, self.client.tasks().delete_process(self.client.request(request))).await;
        if let Err(err) = optional(deleted) {
            tracing::debug!(exec = self.exec, err = err.message, "Cannot delete an exec process");
        }
        self.fifos.remove();
    }
}

async fn copy(from: Option<pipe::Receiver>, to: &mpsc::Sender<StreamOutput>, wrap: fn(Bytes) -> StreamOutput) {
    let Some(mut pipe) = from else { return };
    let mut buf = vec![0; CHUNK];
    while let Ok(count) = pipe.read(&mut buf).await {
        if count == 0 || to.send(wrap(Bytes::copy_from_slice(&buf[..count]))).await.is_err() {
            return;
        }
    }
}
