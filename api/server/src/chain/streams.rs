//! Streams of pods: logs as text, exec and attach over WebSocket.

use super::service::{ApiService, Exchange};
use crate::api::{Operation, Reply, Request};
use crate::codec::body::Body;
use crate::codec::encode;
use crate::docs::metrics::Gauge;
use crate::limits;
use crate::registry::{Connected, RequestContext};
use crate::stream::websocket::{self, Handshake, Opened};
use holdfast_core::{Status, Target};
use http::header::UPGRADE;
use http::{Method, Response, StatusCode};
use std::sync::Arc;

type Outcome = Result<Response<Body>, Status>;

/// Whether a target is a stream of a pod.
pub(crate) fn is_stream(target: &Target) -> bool {
    let streams = ["log", "exec", "attach", "portforward", "proxy"];
    target.gvr.resource == "pods" && target.gvr.group.is_empty() && streams.contains(&target.subresource())
}

/// Opens and serves one.
pub(crate) async fn serve(
    service: &Arc<ApiService>,
    cx: RequestContext,
    exchange: Exchange,
    target: Target,
) -> Outcome {
    match target.subresource() {
        "log" if exchange.method == Method::GET => logs(service, cx, exchange, target).await,
        "exec" | "attach" if exchange.method == Method::GET || exchange.method == Method::POST => {
            session(service, cx, exchange, target).await
        }
        "portforward" => Err(Status::not_implemented("port-forward")),
        "proxy" => Err(Status::not_implemented("the proxy subresource of pods")),
        _ => Err(Status::method_not_allowed(&target.gvr, exchange.method.as_str())),
    }
}

async fn connect(
    service: &ApiService,
    cx: RequestContext,
    target: Target,
    query: Vec<(String, String)>,
    create: bool,
) -> Result<Connected, Status> {
    let operation = Operation::Connect { query, create };
    let call = service.config.api.call(Request { cx, target, operation });
    match tokio::time::timeout(limits::REQUEST, call).await {
        Ok(reply) => match reply? {
            Reply::Connected(connected) => Ok(connected),
            _ => Err(Status::internal("a stream answered with no stream")),
        },
        Err(_) => Err(Status::timeout("the node did not answer in time")),
    }
}

async fn logs(service: &ApiService, cx: RequestContext, exchange: Exchange, target: Target) -> Outcome {
    let Connected::Bytes(mut chunks) = connect(service, cx, target, exchange.query.0, false).await? else {
        return Err(Status::internal("logs answered with a session"));
    };
    // An error that comes at once is still answered as one; a silent log must not hold back the head.
    let first = match tokio::time::timeout(limits::LOG_HEAD, chunks.recv()).await {
        Ok(Some(Err(status))) => return Err(status),
        Ok(Some(Ok(bytes))) => Some(bytes),
        Ok(None) | Err(_) => None,
    };
    Ok(encode::plain(StatusCode::OK, "text/plain", Body::Stream(first, chunks)))
}

async fn session(service: &Arc<ApiService>, cx: RequestContext, exchange: Exchange, target: Target) -> Outcome {
    let upgrade_to = exchange.header(&UPGRADE).to_ascii_lowercase();
    if upgrade_to.starts_with("spdy/") {
        return Err(refuse_spdy(service, cx, &exchange, target).await);
    }
    let (handshake, upgrade) = match exchange.upgrade {
        Some(upgrade) if upgrade_to == "websocket" => (Handshake::read(&exchange.headers)?, upgrade),
        _ => return Err(Status::bad_request("Upgrade request required")),
    };
    let wanted = websocket::Wanted::of(&exchange.query);
    let opened = match connect(service, cx, target, exchange.query.0, true).await {
        Ok(Connected::Session(session)) => Opened::Session(session),
        Ok(Connected::Bytes(_)) => return Err(Status::internal("a session answered with bytes")),
        // kubectl answers a failed handshake by trying SPDY, and would show that refusal instead of the reason.
        Err(status) if status.code() >= 500 => Opened::Failed(status),
        Err(status) => return Err(status),
    };
    let response = handshake.response();
    let guard = service.metrics.count(Gauge::Sessions);
    let closing = service.closing.clone();
    service.tasks.spawn(async move {
        let _guard = guard;
        match upgrade.await {
            Ok(upgraded) => websocket::run(upgraded, handshake.protocol, opened, wanted, closing).await,
            Err(err) => tracing::debug!(%err, "Client left before the WebSocket began"),
        }
    });
    Ok(response)
}

/// SPDY is not spoken. What else is wrong with the request is told first: kubectl falls back to SPDY after any
/// refusal of its WebSocket and shows this answer.
async fn refuse_spdy(service: &ApiService, cx: RequestContext, exchange: &Exchange, target: Target) -> Status {
    if let Err(status) = service.config.api.authorize(&cx, &target, "create").await {
        return status;
    }
    let pod = Target { subresource: None, ..target };
    let name = pod.name().to_string();
    let reply = service.config.api.run(Request { cx, target: pod, operation: Operation::Get }).await;
    match reply {
        Err(status) => status,
        Ok(Reply::Object { object, .. }) => {
            let wanted = exchange.query.get("container").unwrap_or_default();
            let document = object.to_json();
            let known = ["containers", "initContainers", "ephemeralContainers"].iter().any(|list| {
                let containers = holdfast_core::json::items_at(&document, &["spec", list]);
                containers.iter().any(|container| container["name"] == wanted)
            });
            if !wanted.is_empty() && !known {
                return Status::bad_request(format!("container {wanted} is not valid for pod {name}"));
            }
            Status::not_implemented("SPDY; use a client that speaks WebSocket (kubectl 1.31 or later)")
        }
        Ok(_) => Status::internal("a get answered with no object"),
    }
}
