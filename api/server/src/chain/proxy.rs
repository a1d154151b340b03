//! The proxy: HTTP to what listens in pods, behind the API's authorization; and pages that nodes serve of themselves.
//!
//! A request is sent on as it came, all but what the connection itself is about and what the client proved itself with:
//! whatever listens in a pod must not get the means to act as its caller. Of pages, links are changed on their way back ([`super::links`]).

use super::backend;
use super::links::Links;
use super::service::{ApiService, Exchange};
use super::streams::connect;
use crate::audit::Trail;
use crate::codec::accept::{clauses, content_type};
use crate::codec::body::{Body, Changed};
use crate::registry::{Connected, NODE_QUERY, RequestContext};
use holdfast_core::calls::Page;
use holdfast_core::{Status, Target};
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;

type Outcome = Result<Response<Body>, Status>;

/// Headers of a connection (RFC 9110, 7.6.1), beside those that `Connection` names.
static HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// What would let a pod's page act in a browser that trusts the API's address.
static CORS: [HeaderName; 4] = [
    HeaderName::from_static("access-control-allow-origin"),
    HeaderName::from_static("access-control-allow-credentials"),
    HeaderName::from_static("access-control-allow-headers"),
    HeaderName::from_static("access-control-allow-methods"),
];

/// Whether a target is a proxy to something.
pub(crate) fn is_proxy(target: &Target) -> bool {
    target.gvr.group.is_empty()
        && target.subresource() == "proxy"
        && ["pods", "services", "nodes"].contains(&target.gvr.resource.as_str())
}

/// Authorizes and sends on.
pub(crate) async fn serve(
    service: &Arc<ApiService>,
    cx: RequestContext,
    mut exchange: Exchange,
    target: Target,
) -> Outcome {
    let verb = match exchange.method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        // No rule allows it but one that allows all.
        _ => "",
    };
    service.config.api.authorize(&cx, &target, verb).await?;
    let path = exchange.uri.path();
    let rest = rest_of(path, &target);
    if rest.is_empty() && verb == "get" && exchange.upgrade.is_none() {
        // Links that a page names relative to itself must lead below it.
        let query = exchange.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return redirect(&format!("{path}/{query}"));
    }
    let prefix = path.strip_suffix(rest).unwrap_or(path).to_string();
    let rest = if rest.is_empty() { "/" } else { rest }.to_string();
    let trail = cx.trail.clone();
    let mut asked = vec![("path".to_string(), rest.clone())];
    if target.gvr.resource == "nodes" {
        if verb != "get" {
            // What a node serves of itself is only to be read.
            return Err(Status::method_not_allowed(&target.gvr, exchange.method.as_str()));
        }
        asked.extend(exchange.uri.query().map(|query| (NODE_QUERY.to_string(), query.to_string())));
    }
    let mut sender = match connect(service, cx, target, asked, false).await? {
        Connected::Backend { ports, port, tls } => backend::connect(service, &ports, port, tls).await?,
        Connected::Page(page) => return whole(page),
        _ => return Err(Status::internal("a proxy answered with a stream")),
    };
    let upgrade = exchange.upgrade.take();
    let host = host(&exchange);
    let has_body = exchange.method != Method::HEAD;
    let request = outward(exchange, rest, &host, upgrade.is_some())?;
    let mut response = sender.send_request(request).await.map_err(backend::unreachable)?;
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade)) = (response.status(), upgrade) {
        let backend = hyper::upgrade::on(&mut response);
        join(service, trail, upgrade, backend);
        return Ok(response.map(|_| Body::empty()));
    }
    let (mut parts, body) = response.into_parts();
    strip(&mut parts.headers, false);
    for name in &CORS {
        parts.headers.remove(name);
    }
    rewrite_location(&mut parts.headers, &prefix, &host);
    // The connection is given up with the sender, so that one goes along until the body has come.
    if !is_page(&parts.headers) || !has_body {
        return Ok(Response::from_parts(parts, Body::Proxied(Box::new(body))));
    }
    parts.headers.remove(CONTENT_LENGTH);
    let changed = Changed::new(body, Links::new(&prefix, &host));
    Ok(Response::from_parts(parts, Body::Changed(Box::new(changed))))
}

/// Whether an answer is a page that can be read on its way.
fn is_page(headers: &HeaderMap) -> bool {
    content_type(headers) == "text/html" && !headers.contains_key(CONTENT_ENCODING)
}

fn whole(page: Page) -> Outcome {
    let mut response = Response::new(Body::full(page.body));
    let content_type = HeaderValue::from_str(&page.content_type).map_err(Status::internal)?;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// What follows `…/NAME/proxy` in a path, as the client wrote it.
fn rest_of<'a>(path: &'a str, target: &Target) -> &'a str {
    // `/api/v1/[namespaces/NAMESPACE/]RESOURCE/NAME/proxy`
    let parts = if target.namespace.is_some() { 7 } else { 5 };
    path.match_indices('/').nth(parts).map_or("", |(at, _)| &path[at..])
}

fn redirect(to: &str) -> Outcome {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(to).map_err(Status::internal)?);
    Ok(response)
}

/// How the client names this server.
fn host(exchange: &Exchange) -> String {
    match exchange.uri.authority() {
        Some(authority) => authority.to_string(),
        None => exchange.header(&HOST).to_string(),
    }
}

fn outward(
    exchange: Exchange,
    rest: String,
    host: &str,
    upgrades: bool,
) -> Result<Request<hyper::body::Incoming>, Status> {
    let query = exchange.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri: Uri = format!("{rest}{query}").parse().map_err(|err| Status::bad_request(format!("bad path: {err}")))?;
    let mut headers = exchange.headers;
    strip(&mut headers, upgrades);
    headers.remove(AUTHORIZATION);
    if clauses(&headers).iter().any(|clause| clause.media_type == "text/html") {
        // A page whose links are to be changed must be readable.
        headers.remove(ACCEPT_ENCODING);
    }
    let impersonation: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        headers.remove(name);
    }
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("host", host);
    set("x-forwarded-host", host);
    set("x-forwarded-proto", "https");
    set("x-forwarded-uri", &exchange.path);
    if let Some(peer) = exchange.peer {
        let before = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
        let all = before.map(|before| format!("{before}, ")).unwrap_or_default() + &peer.ip().to_string();
        if let Ok(value) = HeaderValue::from_str(&all) {
            headers.insert("x-forwarded-for", value);
        }
    }
    let mut request = Request::new(exchange.body);
    *request.method_mut() = exchange.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Takes away what is about the connection alone; an upgrade stays asked for when there is one.
fn strip(headers: &mut HeaderMap, upgrades: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !(upgrades && name == UPGRADE))
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    match upgrades {
        true => drop(headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"))),
        false => drop(headers.remove(UPGRADE)),
    }
}

/// A redirect within what is proxied leads back through the proxy.
fn rewrite_location(headers: &mut HeaderMap, prefix: &str, host: &str) {
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else { return };
    let Ok(uri) = location.parse::<Uri>() else { return };
    if uri.authority().is_some_and(|authority| authority.as_str() != host) {
        return;
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // One relative to the page needs no help.
    if !path.starts_with('/') || (uri.authority().is_none() && !location.starts_with('/')) || path.starts_with(prefix) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&format!("https://{host}{prefix}{path}")) {
        headers.insert(LOCATION, value);
    }
}

/// Joins two upgraded connections.
fn join(service: &Arc<ApiService>, trail: Option<Arc<Trail>>, client: OnUpgrade, backend: OnUpgrade) {
    let closing = service.closing.clone();
    let guard = (service.metrics.count(crate::docs::metrics::Gauge::Sessions), trail);
    service.tasks.spawn(async move {
        let _guard = guard;
        let (Ok(client), Ok(backend)) = (client.await, backend.await) else { return };
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        tokio::select! {
            // Either end's word is passed on; nobody is left to tell of an error.
            joined = tokio::io::copy_bidirectional(&mut client, &mut backend) => drop(joined),
            () = closing.cancelled() => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::Gvr;

    #[test]
    fn the_rest_of_a_path_is_kept_as_it_was_written() {
        let pod = Target::object(Gvr::new("", "v1", "pods"), "a", "x").with_subresource("proxy");
        let node = Target::object(Gvr::new("", "v1", "nodes"), "", "n").with_subresource("proxy");
        for (path, target, rest) in [
            ("/api/v1/namespaces/a/pods/x/proxy", &pod, ""),
            ("/api/v1/namespaces/a/pods/x/proxy/", &pod, "/"),
            ("/api/v1/namespaces/a/pods/x:80/proxy/a%2Fb//c/", &pod, "/a%2Fb//c/"),
            ("/api/v1/nodes/n/proxy/metrics", &node, "/metrics"),
        ] {
            assert_eq!(rest_of(path, target), rest, "{path}");
        }
    }

    #[test]
    fn redirects_within_lead_back_through_the_proxy() {
        let told = |location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().unwrap());
            rewrite_location(&mut headers, "/p/proxy", "hub:6443");
            headers[LOCATION].to_str().unwrap().to_string()
        };
        assert_eq!(told("/login?x=1"), "https://hub:6443/p/proxy/login?x=1");
        assert_eq!(told("http://hub:6443/login"), "https://hub:6443/p/proxy/login");
        for same in ["http://other/login", "/p/proxy/login", "login"] {
            assert_eq!(told(same), same);
        }
    }

    #[test]
    fn what_the_connection_is_about_goes_no_further() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, x-own"), ("x-own", "1"), ("te", "trailers"), ("x-kept", "1")] {
            headers.insert(name, value.parse().unwrap());
        }
        strip(&mut headers, false);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
