//! Streams of pods: logs as text; exec, attach and port-forward over WebSocket or SPDY.

use super::service::{ApiService, Exchange};
use crate::api::{Operation, Reply, Request};
use crate::audit::Trail;
use crate::codec::accept::Encoding;
use crate::codec::body::Body;
use crate::codec::encode;
use crate::docs::metrics::Gauge;
use crate::limits;
use crate::registry::{Connected, RequestContext};
use crate::stream::websocket::{self, Handshake};
use crate::stream::{channel, command, feed, forward, wire};
use holdfast_core::{Reason, Status, Target};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use std::future::Future;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

type Outcome = Result<Response<Body>, Status>;

/// The protocols that a client of SPDY offers, and the one that was chosen.
static STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Those that there were to choose from, when none fits.
static ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accept-stream-protocol-versions");

/// Whether a target is a stream of a pod.
pub(crate) fn is_stream(target: &Target) -> bool {
    let streams = ["log", "exec", "attach", "portforward"];
    target.gvr.resource == "pods" && target.gvr.group.is_empty() && streams.contains(&target.subresource())
}

/// Opens and serves one.
pub(crate) async fn serve(
    service: &Arc<ApiService>,
    cx: RequestContext,
    exchange: Exchange,
    target: Target,
) -> Outcome {
    let verb = match exchange.method {
        Method::GET => "get",
        Method::POST if target.subresource() != "log" => "create",
        _ => return Err(Status::method_not_allowed(&target.gvr, exchange.method.as_str())),
    };
    let api = &service.config.api;
    api.authorize(&cx, &target, verb).await?;
    match target.subresource() {
        "log" => logs(service, cx, exchange, target).await,
        _ => {
            // A WebSocket begins with a GET; to reach into a pod wants the right to create all the same.
            if verb == "get" && upgrade_of(&exchange) == "websocket" {
                api.authorize(&cx, &target, "create").await?;
            }
            session(service, cx, exchange, target).await
        }
    }
}

pub(crate) async fn connect(
    service: &ApiService,
    cx: RequestContext,
    target: Target,
    query: Vec<(String, String)>,
    create: bool,
) -> Result<Connected, Status> {
    let operation = Operation::Connect { query, create };
    let call = service.config.api.run(Request { cx, target, operation });
    match tokio::time::timeout(limits::REQUEST, call).await {
        Ok(reply) => match reply? {
            Reply::Connected(connected) => Ok(connected),
            _ => Err(Status::internal("a stream answered with no stream")),
        },
        Err(_) => Err(Status::timeout("the node did not answer in time")),
    }
}

async fn logs(service: &Arc<ApiService>, cx: RequestContext, mut exchange: Exchange, target: Target) -> Outcome {
    let asked = upgrade_of(&exchange);
    let upgrade = exchange.upgrade.take().filter(|_| asked == "websocket");
    let handshake = upgrade.as_ref().map(|_| Handshake::read(&exchange.headers, feed::NAMES)).transpose()?;
    let trail = cx.trail.clone();
    let Connected::Bytes(mut chunks) = connect(service, cx, target, exchange.query.0, false).await? else {
        return Err(Status::internal("logs answered with a session"));
    };
    // An error that comes at once is still answered as one; a silent log must not hold back the head.
    let first = match tokio::time::timeout(limits::LOG_HEAD, chunks.recv()).await {
        Ok(Some(Err(status))) => return Err(status),
        Ok(Some(Ok(bytes))) => Some(bytes),
        Ok(None) | Err(_) => None,
    };
    if let (Some(upgrade), Some(handshake)) = (upgrade, handshake) {
        let response = handshake.response();
        run(service, trail, upgrade, async move |upgraded, closing| {
            let socket = websocket::accept(upgraded).await;
            feed::log(socket, handshake.protocol, first, chunks, closing).await;
        });
        return Ok(response);
    }
    Ok(encode::plain(StatusCode::OK, "text/plain", Body::Stream(first, chunks, trail)))
}

fn upgrade_of(exchange: &Exchange) -> String {
    match exchange.upgrade {
        Some(_) => exchange.header(&UPGRADE).to_ascii_lowercase(),
        None => String::new(),
    }
}

async fn session(service: &Arc<ApiService>, cx: RequestContext, mut exchange: Exchange, target: Target) -> Outcome {
    let asked = upgrade_of(&exchange);
    let Some(upgrade) = exchange.upgrade.take() else { return Err(Status::bad_request("Upgrade request required")) };
    let forwards = target.subresource() == "portforward";
    let create = exchange.method == Method::POST;
    let trail = cx.trail.clone();
    match asked.as_str() {
        "websocket" => {
            let protocols = if forwards { forward::NAMES } else { channel::NAMES };
            let handshake = Handshake::read(&exchange.headers, protocols)?;
            let with_ports = forwards && handshake.protocol != forward::TUNNEL;
            let ports = if with_ports { forward::ports_of(&exchange.query)? } else { Vec::new() };
            let connected = connect(service, cx, target, exchange.query.0.clone(), create).await?;
            let response = handshake.response();
            let protocol = handshake.protocol;
            let wanted = command::Wanted::of(&exchange.query);
            run(service, trail, upgrade, async move |upgraded, closing| {
                let socket = websocket::accept(upgraded).await;
                match connected {
                    Connected::Session(session) => {
                        command::over_websocket(socket, protocol, session, wanted, closing).await;
                    }
                    Connected::Ports(of) if with_ports => {
                        forward::over_channels(socket, protocol.contains("base64"), of, ports, closing).await;
                    }
                    Connected::Ports(of) => forward::over_spdy(wire::tunnel(socket), of, closing).await,
                    Connected::Bytes(_) | Connected::Backend { .. } | Connected::Page(_) => {}
                }
            });
            Ok(response)
        }
        "spdy/3.1" => {
            let protocols = if forwards { forward::SPDY_NAMES } else { command::SPDY_NAMES };
            let protocol = match spdy_protocol(&exchange.headers, protocols)? {
                Ok(protocol) => protocol,
                Err(refusal) => return Ok(refusal),
            };
            let connected = connect(service, cx, target, exchange.query.0.clone(), create).await?;
            let wanted = command::Wanted::of(&exchange.query);
            run(service, trail, upgrade, async move |upgraded, closing| {
                let wire = wire::plain(upgraded);
                match connected {
                    Connected::Session(session) => command::over_spdy(wire, protocol, session, wanted, closing).await,
                    Connected::Ports(of) => forward::over_spdy(wire, of, closing).await,
                    Connected::Bytes(_) | Connected::Backend { .. } | Connected::Page(_) => {}
                }
            });
            Ok(spdy_response(protocol))
        }
        other => Err(Status::bad_request(format!(
            "unable to upgrade: {other:?} is not spoken here; websocket and SPDY/3.1 are"
        ))),
    }
}

/// Runs a session once its connection is upgraded; `trail` ends with it.
pub(crate) fn run<Session>(
    service: &Arc<ApiService>,
    trail: Option<Arc<Trail>>,
    upgrade: OnUpgrade,
    session: impl FnOnce(Upgraded, CancellationToken) -> Session + Send + 'static,
) where
    Session: Future<Output = ()> + Send,
{
    let guard = (service.metrics.count(Gauge::Sessions), trail);
    let closing = service.closing.clone();
    service.tasks.spawn(async move {
        let _guard = guard;
        match upgrade.await {
            Ok(upgraded) => session(upgraded, closing).await,
            Err(err) => tracing::debug!(%err, "Client left before its session began"),
        }
    });
}

/// The first protocol of the client's that is spoken, or the answer that refuses the request.
fn spdy_protocol(
    headers: &HeaderMap,
    supported: &'static [&'static str],
) -> Result<Result<&'static str, Response<Body>>, Status> {
    let values = headers.get_all(&STREAM_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> =
        values.flat_map(|value| value.split(',').map(str::trim)).filter(|name| !name.is_empty()).collect();
    if offered.is_empty() {
        return Err(Status::bad_request("unable to upgrade: X-Stream-Protocol-Version is required"));
    }
    if let Some(name) = offered.iter().find_map(|name| supported.iter().find(|known| known == &name)) {
        return Ok(Ok(name));
    }
    let text = format!(
        "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {supported:?}"
    );
    let mut refusal = encode::status(&Status::failure(403, Reason::Forbidden, text), Encoding::Json);
    for name in supported {
        refusal.headers_mut().append(&ACCEPTED_PROTOCOLS, HeaderValue::from_static(name));
    }
    Ok(Err(refusal))
}

fn spdy_response(protocol: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(&STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    response
}
