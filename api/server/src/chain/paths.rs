//! Paths that are no resource's: health, discovery, documents.

use super::service::{ApiService, Exchange};
use crate::codec::accept::{Encoding, Offer, negotiate, wants_pretty};
use crate::codec::body::Body;
use crate::codec::encode;
use crate::docs::{openapi, version};
use crate::{Attributes, RequestContext, Selected};
use holdfast_core::{Reason, Status};
use http::{Method, Response, StatusCode};
use serde_json::json;

/// Answered to anyone, as upstream's `--authorization-always-allow-paths`.
pub(super) const ALWAYS_ALLOWED: &[&str] = &["/healthz", "/livez", "/readyz"];

/// Authorizes and answers.
pub(crate) async fn serve(
    service: &ApiService,
    cx: &RequestContext,
    exchange: &Exchange,
    verb: &str,
) -> Result<Response<Body>, Status> {
    let path = exchange.path.as_str();
    if !ALWAYS_ALLOWED.contains(&path) {
        authorize(service, cx, path, verb).await?;
    }
    if exchange.method != Method::GET && exchange.method != Method::HEAD {
        let text = "the server does not allow this method on the requested resource";
        return Err(Status::failure(405, Reason::MethodNotAllowed, text));
    }
    let mut response = answer(service, exchange, path).await?;
    if exchange.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

async fn authorize(service: &ApiService, cx: &RequestContext, path: &str, verb: &str) -> Result<(), Status> {
    let attributes = Attributes { user: &cx.user, verb, target: None, path };
    service.config.api.decide(cx, &attributes, &Selected::default()).await
}

async fn answer(service: &ApiService, exchange: &Exchange, path: &str) -> Result<Response<Body>, Status> {
    let config = &service.config;
    let (query, headers) = (&exchange.query, &exchange.headers);
    if let Some(response) = config.health.answer(path, query) {
        return Ok(response);
    }
    let served = config.kinds.now();
    if let Some(result) = served.discovery.answer(path, headers, &config.advertise) {
        return result;
    }
    if let Some(result) = openapi::answer(&served, path, query, headers).await {
        return result;
    }
    if let Some(page) = config.gate.page(path) {
        return Ok(encode::text(StatusCode::OK, page));
    }
    let document = match path {
        "/metrics" => return Ok(encode::text(StatusCode::OK, service.metrics.text())),
        "/version" | "/version/" => version::document(),
        "/" => {
            let mut paths = vec!["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3"];
            paths.extend(["/readyz", "/version"]);
            paths.extend(config.documents.iter().map(|(path, _)| *path));
            json!({"paths": paths})
        }
        _ => match config.documents.iter().find(|(name, _)| *name == path) {
            Some((_, document)) => return Ok(document.answer()),
            None => return Err(Status::no_such_path()),
        },
    };
    let pretty = wants_pretty(headers, query.flag("pretty"));
    // As upstream, which asks nobody: whoever reads neither JSON nor YAML gets JSON.
    let encoding = negotiate(headers, pretty, Offer::TEXT).map_or(Encoding::Json, |negotiated| negotiated.encoding);
    Ok(encode::document(StatusCode::OK, &document, encoding))
}
