//! The command's side.

use super::{Request, kind, read_frame, tables, write_frame};
use crate::cli::{ImagesCommand, LocalCommand};
use anyhow::{Context, bail};
use holdfast_core::Span;
use holdfast_core::calls::{ContainerRef, ExecCall, LogCall};
use holdfast_node::ShutdownReport;
use holdfast_node::commands::NodeSummary;
use holdfast_node::drill::DrillReport;
use holdfast_node::pods::PodSummary;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

/// Runs a local command.
pub(crate) fn run(socket: &Path, command: LocalCommand) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(dispatch(socket, command));
    // Standard input may be held by a read that nothing ends.
    runtime.shutdown_background();
    code
}

struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// Sends a request; the answer and the connection, for what follows.
async fn ask(socket: &Path, request: &Request) -> anyhow::Result<(Value, Connection)> {
    let mut connection = send(socket, request).await?;
    let answer = read_answer(&mut connection.reader).await?;
    Ok((answer, connection))
}

async fn send(socket: &Path, request: &Request) -> anyhow::Result<Connection> {
    let stream = UnixStream::connect(socket).await.with_context(|| no_answer(socket))?;
    let (reader, mut writer) = stream.into_split();
    writer.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes()).await?;
    Ok(Connection { reader: BufReader::new(reader), writer })
}

/// Why no agent answers, if one has said so.
fn no_answer(socket: &Path) -> String {
    match std::fs::read_to_string(socket.with_file_name(super::WAITS)) {
        Ok(why) => format!("the agent waits: {}", why.trim()),
        Err(_) => format!("no agent answers on {}; is `holdfast-edge agent` running?", socket.display()),
    }
}

async fn read_answer(reader: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<Value> {
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    if line.is_empty() {
        bail!("the agent closed the connection");
    }
    let mut answer: Value = serde_json::from_str(&line).context("the agent's answer does not decode")?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        bail!("{error}");
    }
    Ok(answer["ok"].take())
}

async fn dispatch(socket: &Path, command: LocalCommand) -> anyhow::Result<ExitCode> {
    match command {
        LocalCommand::Pods { output } => {
            let (answer, _) = ask(socket, &Request::Pods).await?;
            if output.is_some() {
                println!("{}", serde_json::to_string_pretty(&answer)?);
            } else {
                print!("{}", tables::pods(&serde_json::from_value::<Vec<PodSummary>>(answer)?));
            }
        }
        LocalCommand::Status { output } => {
            let (answer, _) = ask(socket, &Request::Status).await?;
            if output.is_some() {
                println!("{}", serde_json::to_string_pretty(&answer)?);
            } else {
                let status: NodeSummary = serde_json::from_value(answer)?;
                print!("{}", tables::status(&status));
            }
        }
        LocalCommand::Events { pod, namespace, output } => {
            let (answer, _) = ask(socket, &Request::Events { namespace, pod }).await?;
            if output.is_some() {
                println!("{}", serde_json::to_string_pretty(&answer)?);
            } else {
                print!("{}", tables::events(answer.as_array().map(Vec::as_slice).unwrap_or_default()));
            }
        }
        LocalCommand::Drill { offline, output } => return drill(socket, offline, output.is_some()).await,
        LocalCommand::Shutdown { cancel } => {
            let (answer, _) = ask(socket, &Request::Shutdown { cancel }).await?;
            let report: ShutdownReport = serde_json::from_value(answer)?;
            if cancel {
                println!("The node's pods may run again.");
                return Ok(ExitCode::SUCCESS);
            }
            if report.unconfigured {
                println!("No --shutdown-grace-period is set: pods end with the machine.");
                return Ok(ExitCode::SUCCESS);
            }
            println!("{} pods stopped.", report.stopped);
            if !report.left.is_empty() {
                bail!("not stopped in their time: {}", report.left.join(", "));
            }
        }
        LocalCommand::Images { command: ImagesCommand::Import { from_docker: Some(name), docker_socket, .. } } => {
            let request = Request::ImportFromDocker { name, socket: std::path::absolute(docker_socket)? };
            print_names(&ask(socket, &request).await?.0);
        }
        LocalCommand::Images { command: ImagesCommand::Import { files, .. } } => {
            for file in files {
                let file = file.canonicalize().with_context(|| format!("cannot read {}", file.display()))?;
                let (answer, _) = ask(socket, &Request::Import { file }).await?;
                print_names(&answer);
            }
        }
        LocalCommand::Logs { pod, namespace, container, follow, previous, tail, timestamps } => {
            let container = container_ref(socket, namespace, pod, container).await?;
            let call = LogCall { container, follow, previous, timestamps, tail_lines: tail, ..LogCall::default() };
            let (_, connection) = ask(socket, &Request::Logs(call)).await?;
            return stream(connection, false).await;
        }
        LocalCommand::Exec { pod, namespace, container, stdin, command } => {
            let container = container_ref(socket, namespace, pod, container).await?;
            let call = ExecCall { container, command, stdin, stdout: true, stderr: true, tty: false };
            let (_, connection) = ask(socket, &Request::Exec(call)).await?;
            return stream(connection, stdin).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The names that an import brought, a line each.
fn print_names(answer: &Value) {
    for name in answer.as_array().into_iter().flatten().filter_map(Value::as_str) {
        println!("{name}");
    }
}

/// Runs a drill to its end, or to Ctrl-C, and prints what it found.
async fn drill(socket: &Path, offline: Span, as_json: bool) -> anyhow::Result<ExitCode> {
    if offline.0 < Duration::from_secs(1) {
        bail!("--offline {offline} is too short: a drill takes a second or more");
    }
    let Connection { mut reader, mut writer } = send(socket, &Request::Drill { seconds: offline.0.as_secs() }).await?;
    eprintln!("The link is cut for {offline}; Ctrl-C ends the drill early.");
    {
        let mut ended = std::pin::pin!(read_answer(&mut reader));
        tokio::select! {
            biased;
            answer = ended.as_mut() => answer?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                write_frame(&mut writer, kind::STDIN_CLOSED, &[]).await?;
                ended.await?
            }
        };
    }
    let Some((kind::REPORT, body)) = read_frame(&mut reader).await? else {
        bail!("the agent closed the connection");
    };
    let report: DrillReport = serde_json::from_slice(&body).context("the agent's report does not decode")?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", tables::drill(&report));
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The container that is meant; an empty name is the pod's first.
async fn container_ref(
    socket: &Path,
    namespace: String,
    pod: String,
    container: Option<String>,
) -> anyhow::Result<ContainerRef> {
    let (answer, _) = ask(socket, &Request::Pods).await?;
    let pods: Vec<PodSummary> = serde_json::from_value(answer)?;
    let found = pods.into_iter().find(|known| known.namespace == namespace && known.name == pod);
    let Some(found) = found else { bail!("pods {pod:?} not found in namespace {namespace:?} on this node") };
    let container = container.or_else(|| found.containers.first().cloned()).unwrap_or_default();
    Ok(ContainerRef { pod_uid: found.uid, namespace, pod, container })
}

async fn stream(connection: Connection, stdin: bool) -> anyhow::Result<ExitCode> {
    let Connection { mut reader, mut writer } = connection;
    let mut inputs = JoinSet::new();
    inputs.spawn(async move {
        if !stdin {
            // The connection stays open for writing: closing it would end the session.
            std::future::pending::<()>().await;
        }
        let mut input = tokio::io::stdin();
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count) = input.read(&mut buffer).await {
            let sent = if count == 0 {
                write_frame(&mut writer, kind::STDIN_CLOSED, &[]).await
            } else {
                write_frame(&mut writer, kind::STDIN, &buffer[..count]).await
            };
            if count == 0 || sent.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    });
    while let Some((frame, data)) = read_frame(&mut reader).await? {
        match frame {
            kind::STDOUT => {
                std::io::stdout().write_all(&data)?;
                std::io::stdout().flush()?;
            }
            kind::STDERR => std::io::stderr().write_all(&data)?,
            kind::EXIT => {
                let code = <[u8; 4]>::try_from(&data[..]).map(i32::from_le_bytes).unwrap_or(1);
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            kind::FAILED => bail!("{}", String::from_utf8_lossy(&data)),
            _ => {}
        }
    }
    bail!("the agent closed the connection")
}
