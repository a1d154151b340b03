//! The whole way of one request, and what every answer carries.

use super::gate::{Entered, Gate, Place, Seeking, Sort};
use super::impersonate::{Acting, impersonate};
use super::request_info::{Route, path_verb, route};
use super::{authenticate, paths, resources};
use crate::audit::{Asked, Trail};
use crate::codec::accept::{Encoding, Offer, negotiate, wants_pretty};
use crate::codec::body::Body;
use crate::codec::encode;
use crate::codec::query::Query;
use crate::docs::access::{Attempt, Attempts};
use crate::docs::health::Health;
use crate::docs::metrics::{About, Gauge, Metrics};
use crate::limits;
use crate::{Anonymous, Api, Attributes, Authenticator, Credentials, LiveKinds, RequestContext};
use holdfast_core::{Json, Status, Target, UserInfo};
use holdfast_env::World;
use http::header::{CACHE_CONTROL, CONNECTION, UPGRADE, USER_AGENT, WARNING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A small public document at a path of its own (for example the issuer's keys).
pub struct Document {
    content_type: &'static str,
    make: Box<dyn Fn() -> Json + Send + Sync>,
}

impl Document {
    /// What `make` makes, as bytes of this type.
    pub fn new(content_type: &'static str, make: impl Fn() -> Json + Send + Sync + 'static) -> Document {
        Document { content_type, make: Box::new(make) }
    }

    /// The answer. Whoever gets it may keep it for an hour, as upstream says.
    pub(crate) fn answer(&self) -> Response<Body> {
        let bytes = encode::document_bytes(&(self.make)(), Encoding::Json);
        let mut response = encode::plain(StatusCode::OK, self.content_type, Body::full(bytes));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
        response
    }
}

/// What a service is made of.
pub struct ServiceConfig {
    /// Authorization and the registry.
    pub api: Arc<Api>,
    /// Asked in this order.
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    /// Who without credentials may ask.
    pub anonymous: Anonymous,
    /// When requests are served.
    pub gate: Arc<dyn Gate>,
    /// What is served.
    pub kinds: Arc<LiveKinds>,
    /// Checks behind `/readyz` and the like.
    pub health: Arc<Health>,
    /// Clock and randomness.
    pub world: World,
    /// `host:port` that discovery names.
    pub advertise: String,
    /// Further documents by path.
    pub documents: Vec<(&'static str, Document)>,
}

/// Answers requests. Tasks: a task for each write (so that a client's leaving does not cut it in two) and one
/// for each WebSocket session; all owned by [`ApiService::tasks`].
pub struct ApiService {
    pub(crate) config: ServiceConfig,
    attempts: Arc<Attempts>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Owner of the service's tasks.
    pub tasks: TaskTracker,
    /// Ends watches and sessions.
    pub closing: CancellationToken,
}

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Its address.
    pub address: Option<SocketAddr>,
    /// Its verified certificates as DER, leaf first.
    pub certificates: Arc<Vec<Vec<u8>>>,
}

/// A request, taken apart.
pub(crate) struct Exchange {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) uri: Uri,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    /// Where it came from.
    pub(crate) peer: Option<SocketAddr>,
    /// There when the client asked to switch protocols.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// How long it waited until it was let in.
    pub(crate) waited: Duration,
    /// What the gate keeps for as long as the watch lives.
    pub(crate) watching: Option<Place>,
}

impl Exchange {
    /// The value of a header, or the empty string.
    pub(crate) fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Verbs (as metrics name them) whose answers go on until one of both ends leaves.
const LONG_RUNNING: &[&str] = &["watch", "connect"];
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Warnings beyond so many bytes of one answer are dropped, as upstream drops them.
const WARNING_BYTES: usize = 4096;
/// Longest id that a client may choose.
const REQUEST_ID_BYTES: usize = 64;

impl ApiService {
    /// A service.
    pub fn new(config: ServiceConfig) -> Arc<ApiService> {
        let (metrics, attempts) = (Arc::<Metrics>::default(), Arc::new(Attempts::new()));
        let (identities, rights) = (attempts.clone(), config.api.decisions().clone());
        metrics.append(move |out| {
            identities.write(out);
            rights.write(out);
        });
        Arc::new(ApiService { attempts, config, metrics, tasks: TaskTracker::new(), closing: CancellationToken::new() })
    }

    /// Answers one request.
    pub async fn handle(self: Arc<Self>, peer: Peer, mut request: Request<Incoming>) -> Response<Body> {
        let started = Instant::now();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let _inflight = self.metrics.count(if reads { Gauge::Reads } else { Gauge::Writes });
        let upgrade = wants_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let credentials = authenticate::credentials(&mut parts.headers, &peer.certificates);
        let mut exchange = Exchange {
            method: parts.method,
            path: parts.uri.path().to_string(),
            query: Query::parse(parts.uri.query()),
            uri: parts.uri,
            peer: peer.address,
            headers: parts.headers,
            body,
            upgrade,
            waited: Duration::ZERO,
            watching: None,
        };
        let request_id = self.request_id(&exchange.headers);
        let encoding = error_encoding(&exchange);
        let (method, path) = (exchange.method.clone(), exchange.path.clone());
        let route = route(&path);
        let about = self.about(&route, exchange.query.get("dryRun") == Some("All"));
        let mut cx = RequestContext::new(Default::default(), request_id);
        let (warnings, id) = (cx.warnings.clone(), cx.request_id.clone());
        let verb;
        let trail;
        let _place;
        let mut gate_headers = Vec::new();
        let result = match self.authenticated(credentials, &path).await {
            Err(status) => {
                verb = "unauthenticated";
                trail = self.audit(&id, &UserInfo::default(), None, &exchange, &route);
                Err(status)
            }
            Ok(user) => match self.acting(&user, &exchange, &route).await {
                Err(status) => {
                    verb = "impersonate";
                    trail = self.audit(&id, &user, None, &exchange, &route);
                    Err(status)
                }
                Ok(acting) => {
                    trail = self.audit(&id, &user, acting.as_ref(), &exchange, &route);
                    cx.trail = trail.clone();
                    cx.user = acting.map_or(user, |acting| acting.user);
                    let Entered { place, watching, headers } = self.enter(&cx.user, &exchange, &route).await;
                    gate_headers = headers;
                    match place {
                        Err(status) => {
                            verb = "other";
                            Err(status)
                        }
                        Ok(place) => {
                            // A write keeps it until it is done, anything else until its answer begins.
                            _place = place.clone();
                            cx.place = place;
                            exchange.waited = started.elapsed();
                            exchange.watching = watching;
                            let (name, result) = self.clone().route(cx, exchange, route).await;
                            verb = name;
                            result
                        }
                    }
                }
            },
        };
        if let (Some(trail), Err(status)) = (&trail, &result) {
            trail.failed(status);
        }
        let mut response = result.unwrap_or_else(|status| {
            if status.code() >= 500 && status.code() != 503 && status.code() != 501 {
                tracing::error!(request = %id, %method, path, err = %status, "Request failed");
            }
            encode::status(&status, encoding)
        });
        if let Some(trail) = &trail {
            trail.code(response.status().as_u16());
            if LONG_RUNNING.contains(&verb) && response.status().as_u16() < 400 {
                trail.started();
            }
        }
        let took = started.elapsed();
        self.metrics.answered(about.by(verb), response.status().as_u16(), took);
        self.metrics.measure(about.by(verb), response.body_mut());
        tracing::debug!(request = %id, %method, path, verb, code = response.status().as_u16(), took_us = took.as_micros() as u64, peer = ?peer.address, "Answered");
        response.headers_mut().extend(gate_headers);
        finish(&mut response, &id, &warnings.lock().map(|texts| texts.clone()).unwrap_or_default());
        response
    }

    async fn authenticated(&self, credentials: Result<Credentials, Status>, path: &str) -> Result<UserInfo, Status> {
        let ServiceConfig { authenticators, anonymous, .. } = &self.config;
        let began = Instant::now();
        let (result, said) = match credentials {
            Ok(credentials) => {
                let said = credentials.bearer.is_some() || !credentials.client_certificates.is_empty();
                (authenticate::authenticate(authenticators, &credentials, anonymous, path).await, said)
            }
            Err(status) => (Err(status), true),
        };
        let attempt = match (&result, said) {
            (Ok(_), _) => Attempt::Success,
            (Err(_), false) => Attempt::Failure,
            (Err(_), true) => Attempt::Error,
        };
        self.attempts.made(attempt, result.as_ref().ok(), began.elapsed());
        result
    }

    /// Whom a request acts as.
    async fn acting(&self, user: &UserInfo, exchange: &Exchange, route: &Route) -> Result<Option<Acting>, Status> {
        let (verb, target) = asked(exchange, route);
        let attributes = Attributes { user, verb: &verb, target, path: &exchange.path };
        impersonate(&**self.config.api.authorizer(), &attributes, &exchange.headers).await
    }

    /// Waits until a request is to be served.
    async fn enter(&self, user: &UserInfo, exchange: &Exchange, route: &Route) -> Entered {
        let (verb, target) = asked(exchange, route);
        let watch = exchange.query.flag("watch").unwrap_or(false);
        let seeking = Seeking {
            user,
            verb: &verb,
            target,
            path: &exchange.path,
            query: &exchange.query,
            sort: Sort::of(&exchange.method, route, watch),
            // One that makes no sense is refused later, to those who may ask.
            time: resources::time_of(&exchange.query).unwrap_or(limits::REQUEST),
        };
        self.config.gate.enter(&seeking).await
    }

    async fn route(
        self: Arc<Self>,
        cx: RequestContext,
        exchange: Exchange,
        route: Route,
    ) -> (&'static str, Result<Response<Body>, Status>) {
        match route {
            Route::Nowhere => ("get", Err(Status::no_such_path())),
            Route::Path => {
                let verb = path_verb(&exchange.method);
                let result = paths::serve(&self, &cx, &exchange, &verb).await;
                (if exchange.method == Method::GET { "get" } else { "other" }, result)
            }
            Route::Resource { target, watch_prefix } => {
                resources::serve(self, cx, exchange, target, watch_prefix).await
            }
        }
    }

    /// What metrics say of a request, but for its verb.
    fn about(&self, route: &Route, dry_run: bool) -> About {
        let Route::Resource { target, .. } = route else { return About::default() };
        let kind = self.config.kinds.now().kinds.by_gvr(&target.gvr);
        kind.map_or_else(About::default, |kind| About::of(target, kind, dry_run))
    }

    /// The trail of a request in the audit log, if the log wants it.
    fn audit(
        &self,
        id: &str,
        user: &UserInfo,
        acting: Option<&Acting>,
        exchange: &Exchange,
        route: &Route,
    ) -> Option<Arc<Trail>> {
        let auditor = self.config.api.auditor()?;
        let (verb, target) = asked(exchange, route);
        let forwarded = exchange.header(&FORWARDED_FOR).split(',').map(str::trim).filter(|text| !text.is_empty());
        let sources = forwarded.map(String::from).chain(exchange.peer.map(|peer| peer.ip().to_string()));
        auditor.begin(&Asked {
            id,
            user,
            impersonated: acting.map(|acting| &acting.user),
            constraint: acting.and_then(|acting| acting.constraint),
            verb: &verb,
            target,
            path: &exchange.path,
            uri: exchange.uri.path_and_query().map_or(exchange.path.as_str(), |uri| uri.as_str()),
            sources: sources.collect(),
            agent: exchange.header(&USER_AGENT),
        })
    }

    /// The client's own id when it sent a sensible one, else a new one.
    fn request_id(&self, headers: &HeaderMap) -> String {
        let sent = headers.get(&AUDIT_ID).and_then(|value| value.to_str().ok()).filter(|id| {
            !id.is_empty() && id.len() <= REQUEST_ID_BYTES && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
        sent.map_or_else(|| self.config.world.random_uuid(), String::from)
    }
}

/// What a request asks for, as rights and the audit log see it.
fn asked<'r>(exchange: &Exchange, route: &'r Route) -> (String, Option<&'r Target>) {
    let (verb, target) = match route {
        Route::Resource { target, watch_prefix } => {
            let watch = exchange.query.flag("watch").unwrap_or(false);
            (resources::verb_of(&exchange.method, target, *watch_prefix, watch), Some(target))
        }
        Route::Path | Route::Nowhere => (None, None),
    };
    (verb.map_or_else(|| path_verb(&exchange.method), String::from), target)
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    let asks = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    headers.contains_key(UPGRADE)
        && asks.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case("upgrade"))
}

fn error_encoding(exchange: &Exchange) -> Encoding {
    let pretty = wants_pretty(&exchange.headers, exchange.query.flag("pretty"));
    negotiate(&exchange.headers, pretty, Offer::PLAIN).map_or(Encoding::Json, |negotiated| negotiated.encoding)
}

fn finish(response: &mut Response<Body>, id: &str, warnings: &[String]) {
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(AUDIT_ID.clone(), value);
    }
    if switching {
        return;
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
    let mut room = WARNING_BYTES;
    for text in warnings {
        let text: String = text.chars().filter(|c| !c.is_control()).flat_map(quoted).collect();
        if text.len() > room {
            break;
        }
        room -= text.len();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            headers.append(WARNING, value);
        }
    }
}

fn quoted(c: char) -> impl Iterator<Item = char> {
    let escape = (c == '"' || c == '\\').then_some('\\');
    escape.into_iter().chain(std::iter::once(c))
}
