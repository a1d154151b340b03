//! Images out of Docker Engine's own store, through its API (`GET /images/{name}/get`): what `docker build` made is nowhere else.
//!
//! The archive goes to a file and is then imported as any other: neither here nor there is it unpacked into memory.

use bytes::Bytes;
use holdfast_runtime::archive::MAX_ARCHIVE;
use holdfast_runtime::{normalise_image_name, with_causes};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Where Docker Engine listens.
pub(crate) const SOCKET: &str = "/var/run/docker.sock";
/// Longest silence. Docker writes an image to a disk of its own before it sends the first byte: on an SD card that takes minutes.
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// How long Docker may take to say what it knows of an image.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes of an error that are read.
const MAX_ERROR: usize = 16 << 10;

/// Brings an image as an archive, in a file in `spool` that goes with the value.
///
/// # Errors
/// For people: what was tried, and what to do about it.
pub(crate) async fn fetch(socket: &Path, name: &str, spool: &Path) -> Result<NamedTempFile, String> {
    let full = normalise_image_name(name).map_err(|err| err.to_string())?;
    // Docker takes a name without a tag for all the tags of a repository, so it is told the full one.
    let known = ask(socket, &format!("/images/{full}/json"), ANSWER).await?;
    match known.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            let ids = "images are taken by name; `docker tag ID NAME` gives one to an image that has none";
            return Err(format!("Docker Engine at {} has no image {full:?} ({ids})", socket.display()));
        }
        status => return Err(refused(socket, status, known).await),
    }
    drop(known);
    let answer = ask(socket, &format!("/images/{full}/get"), SILENCE).await?;
    if answer.status() != StatusCode::OK {
        return Err(refused(socket, answer.status(), answer).await);
    }
    let disk = |err: std::io::Error| format!("the image cannot be put into {}: {err}", spool.display());
    std::fs::create_dir_all(spool).map_err(disk)?;
    let file = NamedTempFile::new_in(spool).map_err(disk)?;
    let mut out = tokio::fs::File::from_std(file.reopen().map_err(disk)?);
    let mut body = answer.into_body();
    let mut length = 0;
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await;
        let frame = frame.map_err(|_| format!("Docker Engine sent nothing for {} s", SILENCE.as_secs()))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|err| format!("Docker Engine stopped within the image: {}", with_causes(&err)))?;
        let Ok(bytes) = frame.into_data() else { continue };
        length += bytes.len() as u64;
        if length > MAX_ARCHIVE {
            return Err(format!("image {full:?} is larger than {MAX_ARCHIVE} bytes, the most that is taken"));
        }
        out.write_all(&bytes).await.map_err(disk)?;
    }
    out.flush().await.map_err(disk)?;
    Ok(file)
}

/// An answer, and the task that keeps its connection going.
struct Answer {
    response: Response<Incoming>,
    _connection: JoinSet<()>,
}

impl Answer {
    fn status(&self) -> StatusCode {
        self.response.status()
    }

    fn into_body(self) -> Body {
        Body { incoming: self.response.into_body(), _connection: self._connection }
    }
}

/// What an answer consists of.
struct Body {
    incoming: Incoming,
    _connection: JoinSet<()>,
}

impl Body {
    async fn frame(&mut self) -> Option<Result<hyper::body::Frame<Bytes>, hyper::Error>> {
        self.incoming.frame().await
    }
}

async fn ask(socket: &Path, path: &str, limit: Duration) -> Result<Answer, String> {
    let stream = UnixStream::connect(socket).await.map_err(|err| unreachable(socket, &err))?;
    let talk = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Whoever waits for the answer is told why there is none.
            let _ = connection.await;
        });
        let request = Request::get(path).header(HOST, "docker").body(Empty::<Bytes>::new());
        // A name that was normalised is a path, so this cannot fail.
        let request = request.unwrap_or_default();
        let response = sender.send_request(request).await?;
        Ok::<_, hyper::Error>(Answer { response, _connection: tasks })
    };
    let said = |what: String| format!("Docker Engine at {} {what}", socket.display());
    match tokio::time::timeout(limit, talk).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(err)) => Err(said(format!("does not answer: {}", with_causes(&err)))),
        Err(_) => Err(said(format!("did not answer within {} s", limit.as_secs()))),
    }
}

fn unreachable(socket: &Path, err: &std::io::Error) -> String {
    let socket = socket.display();
    match err.kind() {
        ErrorKind::NotFound => {
            format!("there is no Docker Engine on this machine: no socket {socket} (--docker-socket names another)")
        }
        ErrorKind::ConnectionRefused => format!("Docker Engine does not run: nobody listens on {socket}"),
        ErrorKind::PermissionDenied => {
            format!("the agent may not talk to Docker Engine at {socket}: it must run as root or in the group docker")
        }
        _ => format!("cannot connect to Docker Engine at {socket}: {err}"),
    }
}

/// What Docker says itself of an error.
async fn refused(socket: &Path, status: StatusCode, answer: Answer) -> String {
    let mut body = answer.into_body();
    let mut text = Vec::new();
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(bytes) = frame.into_data() {
                text.extend_from_slice(&bytes);
            }
            if text.len() > MAX_ERROR {
                break;
            }
        }
    };
    // What came until then will do.
    let _ = tokio::time::timeout(ANSWER, read).await;
    let document: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let message = document.get("message").and_then(serde_json::Value::as_str).unwrap_or("no reason given");
    format!("Docker Engine at {} answered {}: {message}", socket.display(), status.as_u16())
}
