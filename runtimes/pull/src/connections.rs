//! Requests over HTTP/1.1: connects, sends, reads pieces. It decides nothing.

use crate::exchange::Request;
use crate::hosts::HostTls;
use crate::proxy::{Proxy, ProxySettings};
use crate::url::Url;
use crate::{limits, tls};
use bytes::{Bytes, BytesMut};
use holdfast_env::{Task, World};
use holdfast_runtime::with_causes;
use http::HeaderMap;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What connections of one kind share.
#[derive(Clone, PartialEq, Eq)]
struct Kind {
    https: bool,
    host: String,
    port: u16,
    tls: Arc<HostTls>,
    own: bool,
}

impl Kind {
    fn of(request: &Request) -> Kind {
        let Url { https, host, port, .. } = request.url.clone();
        Kind { https, host, port, tls: request.tls.clone(), own: request.own }
    }
}

struct Connection {
    kind: Kind,
    sender: SendRequest<Full<Bytes>>,
    _task: Task,
}

/// TLS configurations by what they were made of.
type Configs = Vec<(Arc<HostTls>, bool, Arc<ClientConfig>)>;

/// Why there is no answer, for people.
pub(crate) struct Unanswered {
    pub(crate) why: String,
    /// It would be the same the next time: certificates do not fit.
    pub(crate) settled: bool,
}

impl From<String> for Unanswered {
    fn from(why: String) -> Unanswered {
        Unanswered { why, settled: false }
    }
}

/// The connections of one pull.
pub(crate) struct Connections {
    world: World,
    proxy: Arc<ProxySettings>,
    idle: Arc<Mutex<Vec<Connection>>>,
    configs: Mutex<Configs>,
}

/// An answer.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Content,
}

/// The body of an answer. When it was read to its end, the connection is used again.
pub(crate) struct Content {
    world: World,
    incoming: Incoming,
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Content {
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let frame = self.world.timeout(limits::STALL, self.incoming.frame()).await;
            match frame {
                None => return Err(format!("nothing came for {} s", limits::STALL.as_secs())),
                Some(Some(Err(err))) => return Err(format!("the answer broke off: {}", with_causes(&err))),
                Some(Some(Ok(frame))) => {
                    // Trailers say nothing.
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(None) => {
                    let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(connection) = self.connection.take().filter(|_| idle.len() < limits::IDLE_CONNECTIONS) {
                        idle.push(connection);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Reads what little there may be, so that the connection can be used again.
    pub(crate) async fn finish(&mut self) {
        let world = self.world.clone();
        // Otherwise the connection ends with this.
        let _ = world.timeout(limits::FINISH, self.collect(limits::ERROR_BYTES)).await;
    }

    /// All of it, if that is at most `limit` bytes. An error comes with what was read.
    pub(crate) async fn collect(&mut self, limit: usize) -> Result<Bytes, (Bytes, String)> {
        let mut all = BytesMut::new();
        loop {
            match self.next().await {
                Ok(None) => return Ok(all.freeze()),
                Ok(Some(bytes)) if all.len() + bytes.len() > limit => {
                    return Err((all.freeze(), format!("the answer is longer than {limit} bytes")));
                }
                Ok(Some(bytes)) => all.extend_from_slice(&bytes),
                Err(why) => return Err((all.freeze(), why)),
            }
        }
    }
}

/// Asks a proxy for a way to a server (RFC 9110, `CONNECT`).
async fn tunnel(mut stream: TcpStream, proxy: &Proxy, kind: &Kind) -> io::Result<TcpStream> {
    let place = format!("{}:{}", kind.host, kind.port);
    let shown = proxy.authorization.as_ref().map(|text| format!("Proxy-Authorization: {text}\r\n")).unwrap_or_default();
    let request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: {AGENT}\r\n{shown}\r\n");
    stream.write_all(request.as_bytes()).await?;
    // Byte by byte: what follows the head is the server's.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= limits::ERROR_BYTES {
            return Err(io::Error::other("its answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_string();
    match line.split_whitespace().nth(1) {
        Some("200") => Ok(stream),
        _ => Err(io::Error::other(format!("it answered {line:?}"))),
    }
}

impl Connections {
    pub(crate) fn new(world: World, proxy: Arc<ProxySettings>) -> Connections {
        Connections { world, proxy, idle: Arc::default(), configs: Mutex::default() }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response, Unanswered> {
        match self.world.timeout(limits::HEAD, self.try_send(request)).await {
            Some(answered) => answered,
            None => Err(format!("no answer within {} s", limits::HEAD.as_secs()).into()),
        }
    }

    async fn try_send(&self, request: &Request) -> Result<Response, Unanswered> {
        let kind = Kind::of(request);
        // The other end may have closed an idle connection just now: then a new one is made.
        if let Some(connection) = self.take_idle(&kind)
            && let Ok(response) = self.send_on(connection, request).await
        {
            return Ok(response);
        }
        let connection = self.connect(kind).await?;
        Ok(self.send_on(connection, request).await?)
    }

    fn take_idle(&self, kind: &Kind) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !connection.sender.is_closed());
        let at = idle.iter().position(|connection| connection.kind == *kind)?;
        Some(idle.swap_remove(at))
    }

    async fn send_on(&self, mut connection: Connection, request: &Request) -> Result<Response, String> {
        let Url { https, host, port, path } = &request.url;
        let mut message = http::Request::builder().method(request.method.clone());
        // A proxy is told the whole address, unless it is a tunnel.
        message = match self.proxy.of(*https, host, *port).filter(|_| !https) {
            None => message.uri(path),
            Some(proxy) => {
                if let Some(authorization) = &proxy.authorization {
                    message = message.header(PROXY_AUTHORIZATION, authorization);
                }
                message.uri(format!("http://{}{path}", request.url.authority()))
            }
        };
        for (name, value) in &request.headers {
            message = message.header(name, value);
        }
        message = message.header(HOST, request.url.authority()).header(USER_AGENT, AGENT);
        let message = message.body(Full::new(request.body.clone())).map_err(|err| err.to_string())?;
        connection.sender.ready().await.map_err(|err| with_causes(&err))?;
        let response = connection.sender.send_request(message).await.map_err(|err| with_causes(&err))?;
        let (head, incoming) = response.into_parts();
        let (world, idle) = (self.world.clone(), self.idle.clone());
        let body = Content { world, incoming, connection: Some(connection), idle };
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body })
    }

    async fn connect(&self, kind: Kind) -> Result<Connection, Unanswered> {
        let name = kind.host.trim_matches(['[', ']']).to_string();
        let proxy = self.proxy.of(kind.https, &kind.host, kind.port);
        let (host, port) = proxy.map_or((kind.host.as_str(), kind.port), |proxy| (proxy.host.as_str(), proxy.port));
        let of = if proxy.is_some() { "proxy " } else { "" };
        let told = |what: &str, err: &dyn std::fmt::Display| format!("{what} {of}{host}:{port}: {err}");
        let addresses = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
        let addresses = addresses.map_err(|err| told("lookup of", &err))?;
        let mut outcome = Err(told("lookup of", &"no address"));
        for address in addresses {
            outcome = match self.within(limits::CONNECT, TcpStream::connect(address)).await {
                Ok(stream) => Ok(stream),
                Err(err) => Err(told("dial tcp", &err)),
            };
            if outcome.is_ok() {
                break;
            }
        }
        let stream = outcome?;
        // Not to be delayed is a favour: nothing is lost without.
        let _ = stream.set_nodelay(true);
        let stream = match proxy.filter(|_| kind.https) {
            None => stream,
            Some(proxy) => self
                .within(limits::CONNECT, tunnel(stream, proxy, &kind))
                .await
                .map_err(|err| told(&format!("tunnel to {}:{} through", kind.host, kind.port), &err))?,
        };
        let told = |what: &str, err: &dyn std::fmt::Display| format!("{what} {}:{}: {err}", kind.host, kind.port);
        let stream: Box<dyn Stream> = if kind.https {
            let name = ServerName::try_from(name).map_err(|err| told("TLS with", &err))?;
            let settled = |why: String| Unanswered { why, settled: true };
            let connector = TlsConnector::from(self.config(&kind).await.map_err(settled)?);
            let secured = self.within(limits::CONNECT, connector.connect(name, stream)).await;
            // What rustls says of the other's certificate comes as invalid data.
            let secured = secured.map_err(|err| Unanswered {
                settled: err.kind() == io::ErrorKind::InvalidData,
                why: told("TLS with", &err),
            });
            Box::new(secured?)
        } else {
            Box::new(stream)
        };
        let mut builder = http1::Builder::new();
        builder.max_buf_size(limits::READ_BUFFER);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|err| with_causes(&err))?;
        let run = async move {
            // Whoever waits for an answer is told why there is none.
            let _ = connection.await;
        };
        let task = self.world.spawn("registry-connection", Box::pin(run));
        Ok(Connection { kind, sender, _task: task })
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "i/o timeout");
        self.world.timeout(limit, work).await.unwrap_or_else(|| Err(late()))
    }

    async fn config(&self, kind: &Kind) -> Result<Arc<ClientConfig>, String> {
        let known = {
            let configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
            configs
                .iter()
                .find(|(tls, own, _)| *tls == kind.tls && *own == kind.own)
                .map(|(_, _, config)| config.clone())
        };
        if let Some(config) = known {
            return Ok(config);
        }
        let (world, tls, own) = (self.world.clone(), kind.tls.clone(), kind.own);
        let made = self.world.blocking(move || tls::config(world, &tls, own)).await;
        let made = made.ok_or("the node is stopping")??;
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        configs.push((kind.tls.clone(), kind.own, made.clone()));
        Ok(made)
    }
}
