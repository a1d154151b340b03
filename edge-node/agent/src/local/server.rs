//! The agent's side.

use super::{MAX_BYTES, Request, kind, read_frame, write_frame};
use crate::docker::engine;
use anyhow::Context;
use holdfast_core::Status;
use holdfast_env::session::{ExecSession, StreamInput, StreamOutput};
use holdfast_node::commands::Commands;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Commands that are served at a time; further ones wait in the kernel's queue.
const MAX_COMMANDS: usize = 32;

/// What listens, and the node of which commands ask. Dropping it ends it.
pub(crate) struct LocalServer<N = Commands> {
    node: watch::Sender<Option<N>>,
    _accepts: JoinSet<()>,
}

impl<N: Clone + Send + Sync + 'static> LocalServer<N> {
    fn new<F>(
        listener: UnixListener,
        node: N,
        serve: impl Fn(UnixStream, N) -> F + Send + Sync + 'static,
    ) -> LocalServer<N>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (node, asked) = watch::channel(Some(node));
        let mut accepts = JoinSet::new();
        accepts.spawn(accept(listener, asked, serve));
        LocalServer { node, _accepts: accepts }
    }

    /// Commands ask this node from now on. What another is answering goes on to its end.
    pub(crate) fn ask(&self, node: N) {
        self.node.send_replace(Some(node));
    }

    /// Commands wait from now on until [`LocalServer::ask`] names a node.
    pub(crate) fn wait(&self) {
        self.node.send_replace(None);
    }
}

/// Listens for commands to `node`. In the folder `spool` lies what is on its way into a runtime.
pub(crate) fn start(socket: &Path, spool: PathBuf, node: Commands) -> anyhow::Result<LocalServer> {
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    // A socket of an agent that is gone; a running one would hold the journal.
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    // What an earlier agent did not bring to its end.
    match std::fs::remove_dir_all(&spool) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %spool.display(), %err, "Could not remove what earlier imports left");
        }
        _ => {}
    }
    let spool: Arc<Path> = Arc::from(spool);
    Ok(LocalServer::new(listener, node, move |stream, node| {
        let spool = spool.clone();
        async move {
            if let Err(err) = serve(stream, &spool, &node).await {
                tracing::debug!(%err, "A local command ended early");
            }
        }
    }))
}

async fn accept<N, F>(
    listener: UnixListener,
    node: watch::Receiver<Option<N>>,
    serve: impl Fn(UnixStream, N) -> F + Send + Sync + 'static,
) where
    N: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(MAX_COMMANDS));
    let serve = Arc::new(serve);
    let mut tasks = JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (mut node, serve) = (node.clone(), serve.clone());
                tasks.spawn(async move {
                    let named = node.wait_for(Option::is_some).await.ok().and_then(|node| node.clone());
                    let Some(named) = named else { return };
                    serve(stream, named).await;
                    drop(permit);
                });
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn serve(stream: UnixStream, spool: &Path, commands: &Commands) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    (&mut reader).take(MAX_BYTES as u64).read_line(&mut line).await?;
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(err) => return answer(&mut writer, Err(Status::bad_request(err.to_string()))).await,
    };
    match request {
        Request::Pods => answer(&mut writer, Ok(json!(commands.pods()))).await,
        Request::Status => answer(&mut writer, Ok(json!(commands.status()))).await,
        Request::Events { namespace, pod } => {
            let events = commands.events(namespace, pod).await;
            answer(&mut writer, events.map(|events| json!(events))).await
        }
        Request::Import { file } => {
            let names = commands.import_images(&file).await;
            answer(&mut writer, names.map(|names| json!(names))).await
        }
        Request::ImportFromDocker { name, socket } => {
            let names = import_from_docker(&name, &socket, spool, commands).await;
            answer(&mut writer, names.map(|names| json!(names))).await
        }
        Request::Drill { seconds } => drill(reader, writer, commands, Duration::from_secs(seconds)).await,
        Request::Shutdown { cancel } => answer(&mut writer, Ok(json!(commands.shutdown(cancel).await))).await,
        Request::Logs(call) => match commands.calls().logs(&call) {
            Ok(mut bytes) => {
                answer(&mut writer, Ok(Value::Null)).await?;
                while let Some(piece) = bytes.recv().await {
                    match piece {
                        Ok(data) => write_frame(&mut writer, kind::STDOUT, &data).await?,
                        Err(status) => {
                            return write_frame(&mut writer, kind::FAILED, status.message().as_bytes()).await;
                        }
                    }
                }
                write_frame(&mut writer, kind::EXIT, &0i32.to_le_bytes()).await
            }
            Err(status) => answer(&mut writer, Err(status)).await,
        },
        Request::Exec(call) => match commands.calls().exec(&call).await {
            Ok(session) => {
                answer(&mut writer, Ok(Value::Null)).await?;
                pump(reader, writer, session).await
            }
            Err(status) => answer(&mut writer, Err(status)).await,
        },
    }
}

async fn import_from_docker(
    name: &str,
    socket: &Path,
    spool: &Path,
    commands: &Commands,
) -> Result<Vec<String>, Status> {
    let file = engine::fetch(socket, name, spool).await.map_err(Status::bad_request)?;
    commands.import_images(file.path()).await
}

/// Whatever the asker sends, and its leaving, ends the drill.
async fn drill(
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    commands: &Commands,
    offline: Duration,
) -> std::io::Result<()> {
    let stop = async {
        let _ = read_frame(&mut reader).await;
    };
    match commands.drill(offline, stop).await {
        Ok(report) => {
            answer(&mut writer, Ok(Value::Null)).await?;
            write_frame(&mut writer, kind::REPORT, json!(report).to_string().as_bytes()).await
        }
        Err(status) => answer(&mut writer, Err(status)).await,
    }
}

async fn answer(writer: &mut OwnedWriteHalf, outcome: Result<Value, Status>) -> std::io::Result<()> {
    let body = match outcome {
        Ok(value) => json!({"ok": value}),
        Err(status) => json!({"error": status.message()}),
    };
    writer.write_all(format!("{body}\n").as_bytes()).await
}

async fn pump(
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    mut session: ExecSession,
) -> std::io::Result<()> {
    let input = session.input.clone();
    let mut inputs = JoinSet::new();
    inputs.spawn(async move {
        while let Ok(Some((frame, data))) = read_frame(&mut reader).await {
            let given = match frame {
                kind::STDIN => StreamInput::Stdin(data.into()),
                kind::STDIN_CLOSED => StreamInput::StdinClosed,
                _ => continue,
            };
            if input.send(given).await.is_err() {
                return;
            }
        }
    });
    while let Some(output) = session.output.recv().await {
        match output {
            StreamOutput::Stdout(data) => write_frame(&mut writer, kind::STDOUT, &data).await?,
            StreamOutput::Stderr(data) => write_frame(&mut writer, kind::STDERR, &data).await?,
            StreamOutput::Exited(code) => return write_frame(&mut writer, kind::EXIT, &code.to_le_bytes()).await,
            StreamOutput::Failed(text) => return write_frame(&mut writer, kind::FAILED, text.as_bytes()).await,
        }
    }
    write_frame(&mut writer, kind::FAILED, b"the session ended early").await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(stream: &mut UnixStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// A node that joins begins anew as another: whoever asks at that moment must not be cut off.
    #[tokio::test]
    async fn commands_outlive_the_node_that_they_ask() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = LocalServer::new(listener, "before", |mut stream: UnixStream, node| async move {
            let mut word = [0; 1];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(node.as_bytes()).await.unwrap();
        });
        let mut early = UnixStream::connect(&socket).await.unwrap();
        let mut first = UnixStream::connect(&socket).await.unwrap();
        first.write_all(b"?").await.unwrap();
        // Accepted in turn, so that the earlier one is being served now.
        assert_eq!(heard(&mut first).await, "before");
        server.wait();
        let mut meanwhile = UnixStream::connect(&socket).await.unwrap();
        meanwhile.write_all(b"?").await.unwrap();
        early.write_all(b"?").await.unwrap();
        assert_eq!(heard(&mut early).await, "before");
        server.ask("after");
        assert_eq!(heard(&mut meanwhile).await, "after");
    }
}
