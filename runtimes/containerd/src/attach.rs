//! The running process's own streams: its output beside the log, and its standard input.

use crate::exec::Driver;
use crate::labels::{self, containerd_id};
use crate::logs::{Tap, fifo_error, lock};
use crate::runtime::Inner;
use containerd_client::types::v1::Status;
use holdfast_runtime::stream::STREAM_CHUNKS;
use holdfast_runtime::{ExecSession, RuntimeError, StreamInput, StreamOutput};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{broadcast, mpsc};

/// What a client is told that takes output more slowly than the container makes it: the container is not held up.
const TOO_SLOW: &str = "the container's output was taken too slowly";

fn failed(reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Failed { operation: "attach", reason: reason.into() }
}

impl Inner {
    pub(crate) async fn attach(&self, id: &str, stdin: bool) -> Result<ExecSession, RuntimeError> {
        let cid = containerd_id(id);
        let record = self.record(&cid).await?.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?;
        if self.task(&cid).await?.is_none_or(|task| task.status() != Status::Running) {
            return Err(failed(format!("container {id} is not running")));
        }
        self.adopt(&record);
        let tap = self.pumps.tap(&cid).ok_or_else(|| failed("the container's output is not being read"))?;
        let fifos = self.fifos(&record);
        let pipe = if stdin { fifos.open_stdin().map_err(|err| fifo_error("attach", &err))? } else { None };
        let closes = record.labels.get(labels::STDIN_ONCE).is_some_and(|once| once == "true");
        let driver = Driver { client: self.client.clone(), container: cid, exec: String::new(), fifos };
        let (input, input_rx) = mpsc::channel(STREAM_CHUNKS);
        let (output_tx, output) = mpsc::channel(STREAM_CHUNKS);
        let told = tap.output.subscribe();
        // A sender of its own would keep the end from being heard.
        let Tap { stdin: held, .. } = tap;
        let mut sessions = lock(&self.sessions);
        while sessions.try_join_next().is_some() {}
        sessions.spawn(async move {
            let feed = async {
                feed(&driver, pipe, input_rx, || closes.then(|| lock(&held).take())).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = feed => {}
                () = tell(told, &output_tx) => {}
                () = output_tx.closed() => {}
            }
        });
        Ok(ExecSession { input, output })
    }
}

async fn tell(mut told: broadcast::Receiver<StreamOutput>, output: &mpsc::Sender<StreamOutput>) {
    loop {
        let (next, last) = match told.recv().await {
            Ok(next) => (next, false),
            Err(broadcast::error::RecvError::Closed) => (StreamOutput::Exited(0), true),
            Err(broadcast::error::RecvError::Lagged(_)) => (StreamOutput::Failed(TOO_SLOW.into()), true),
        };
        if output.send(next).await.is_err() || last {
            return;
        }
    }
}

/// Caller to process. The end of the input is the process's only where `release` says so, by letting go of the pipe that
/// keeps it open: others may attach later.
async fn feed(
    driver: &Driver,
    mut stdin: Option<pipe::Sender>,
    mut input: mpsc::Receiver<StreamInput>,
    release: impl Fn() -> Option<Option<pipe::Sender>>,
) {
    while let Some(event) = input.recv().await {
        match event {
            StreamInput::Stdin(bytes) => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            StreamInput::Resize(size) => driver.resize(size).await,
            StreamInput::StdinClosed => match release() {
                Some(held) => {
                    drop(held);
                    driver.close_stdin(stdin.take()).await;
                }
                None => stdin = None,
            },
        }
    }
}
