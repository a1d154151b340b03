//! Requests for objects: decoding, the call, and the answer in the shape that was agreed.

use super::service::{ApiService, Exchange};
use super::{proxy, streams};
use crate::api::{Operation, Reply, Request, judged};
use crate::codec::accept::{Encoding, Offer, WATCHES_OFFERED, negotiate, reads_gzip, wants_pretty};
use crate::codec::body::Body;
use crate::codec::decode::{self, Doubled, ReadPatch};
use crate::codec::encode::{self, Encoder};
use crate::codec::options::{delete_options, list_options, write_options};
use crate::codec::protobuf;
use crate::codec::query::{self, Query};
use crate::codec::table::{IncludeObject, TableMaker};
use crate::codec::watch::{EventWriter, WatchBody};
use crate::docs::metrics::Gauge;
use crate::stream::feed;
use crate::stream::websocket::{self, Handshake};
use crate::{Deleted, RequestContext, Selected, limits};
use holdfast_core::verbs::FieldValidation;
use holdfast_core::{FieldErrors, FieldPath, Gvk, Json, PatchType, Status, Target, Timestamp, WriteOptions};
use holdfast_kinds::Kind;
use holdfast_schema::strict_error;
use http::header::UPGRADE;
use http::{Method, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;

type Outcome = Result<Response<Body>, Status>;

/// Decodes, runs and answers. Also tells the verb, for metrics.
pub(crate) async fn serve(
    service: Arc<ApiService>,
    cx: RequestContext,
    exchange: Exchange,
    target: Target,
    watch_prefix: bool,
) -> (&'static str, Outcome) {
    if proxy::is_proxy(&target) && find_kind(&service, &target).is_ok() {
        return ("connect", proxy::serve(&service, cx, exchange, target).await);
    }
    let watch = exchange.query.flag("watch").unwrap_or(false);
    let Some(verb) = verb_of(&exchange.method, &target, watch_prefix, watch) else {
        return ("other", Err(Status::method_not_allowed(&target.gvr, &exchange.method.as_str().to_lowercase())));
    };
    let found = find_kind(&service, &target);
    if found.is_ok() && streams::is_stream(&target) {
        return ("connect", streams::serve(&service, cx, exchange, target).await);
    }
    // The old form of a path names its object itself.
    let selected = match !watch_prefix && ["list", "watch", "deletecollection"].contains(&verb) {
        true => ["fieldSelector", "labelSelector"].map(|name| exchange.query.get(name).unwrap_or_default()),
        false => [""; 2],
    };
    let selected = Selected::read(selected[0], selected[1]);
    // Whoever may not ask learns nothing about what is there, and has no body read.
    let about = judged(&target, verb, &selected.fields);
    if let Err(status) = service.config.api.authorize_selected(&cx, &about, verb, &selected).await {
        return (verb, Err(status));
    }
    let kind = match found {
        Ok(kind) => kind,
        Err(status) => return (verb, Err(status)),
    };
    if !allowed_verbs(kind, &target).contains(&verb) || (verb == "create" && !may_create(kind, &target)) {
        return (verb, Err(service.config.kinds.now().kinds.refusal(&target.gvr, verb)));
    }
    if verb == "watch" {
        return (verb, serve_watch(&service, cx, exchange, target, kind).await);
    }
    let bound = match time_of(&exchange.query) {
        Ok(bound) => bound.saturating_sub(exchange.waited),
        Err(status) => return (verb, Err(status)),
    };
    let call = serve_call(&service, cx, exchange, target, kind, verb);
    let outcome = match tokio::time::timeout(bound, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::timeout("request did not complete within the allotted timeout")),
    };
    (verb, outcome)
}

/// How long a request may take: as long as its `timeout` says, and never longer than [`limits::REQUEST`].
pub(super) fn time_of(query: &Query) -> Result<Duration, Status> {
    let Some(text) = query.get("timeout") else { return Ok(limits::REQUEST) };
    let asked = query::go_duration(text)
        .map_err(|why| Status::bad_request(format!("invalid timeout specified in the request URL - {why}")))?;
    Ok(if asked.is_zero() { limits::REQUEST } else { asked.min(limits::REQUEST) })
}

/// The verb of a request; `None` for a method that has none. `watch_prefix`: the path has the old form of a watch, which may
/// be one of a single object.
pub(super) fn verb_of(method: &Method, target: &Target, watch_prefix: bool, watch: bool) -> Option<&'static str> {
    let named = target.name.is_some();
    Some(match *method {
        Method::GET if watch_prefix => "watch",
        Method::GET if named => "get",
        Method::GET if watch => "watch",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT if named => "update",
        Method::PATCH if named => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => return None,
    })
}

fn find_kind(service: &ApiService, target: &Target) -> Result<&'static Kind, Status> {
    let kind = service.config.kinds.now().kinds.by_gvr(&target.gvr).ok_or_else(Status::no_such_path)?;
    let known = target.subresource.as_deref().is_none_or(|sub| kind.subresource(sub).is_some());
    let scoped = match (kind.namespaced, target.namespace.is_some()) {
        (false, true) => false,
        (true, false) => target.name.is_none(),
        _ => true,
    };
    if known && scoped { Ok(kind) } else { Err(Status::no_such_path()) }
}

fn allowed_verbs(kind: &'static Kind, target: &Target) -> &'static [&'static str] {
    match target.subresource.as_deref().and_then(|sub| kind.subresource(sub)) {
        Some(sub) => sub.verbs,
        None => kind.verbs,
    }
}

/// Objects are created in a collection, and a namespaced kind's in a namespace; subresources on an object.
fn may_create(kind: &Kind, target: &Target) -> bool {
    let in_namespace = !kind.namespaced || target.namespace.is_some();
    in_namespace && target.name.is_some() == target.subresource.is_some()
}

fn encoder(service: &ApiService, exchange: &Exchange, kind: &'static Kind) -> Result<Encoder, Status> {
    let pretty = wants_pretty(&exchange.headers, exchange.query.flag("pretty"));
    let include = IncludeObject::parse(&exchange.query)?;
    let offer = Offer {
        // As upstream: reviews and the like are answered once and have no rows.
        tables: kind.verbs.contains(&"get"),
        metadata: true,
        protobuf: kind.custom.is_none() && protobuf::describes(&kind.gvk()),
    };
    Ok(Encoder {
        negotiated: negotiate(&exchange.headers, pretty, offer)?,
        gzip: exchange.method == Method::GET && reads_gzip(&exchange.headers),
        table: TableMaker::new(Some(kind), include),
        now: Timestamp::from_wall(service.config.world.wall().0),
    })
}

async fn serve_call(
    service: &Arc<ApiService>,
    cx: RequestContext,
    exchange: Exchange,
    target: Target,
    kind: &'static Kind,
    verb: &'static str,
) -> Outcome {
    let encoder = encoder(service, &exchange, kind)?;
    let operation = operation(&cx, exchange, &target, kind, verb).await?;
    let gvr = target.gvr.clone();
    let name = target.name().to_string();
    let subresource = target.subresource.is_some();
    let request = Request { cx, target, operation };
    let reply = match request.operation {
        Operation::Get | Operation::List(_) => service.config.api.run(request).await?,
        // A write runs to its end even when the client leaves.
        _ => {
            let api = service.config.api.clone();
            service.tasks.spawn(async move { api.run(request).await }).await.map_err(Status::internal)??
        }
    };
    Ok(match reply {
        Reply::Object { object, created } => {
            let code = if created { StatusCode::CREATED } else { StatusCode::OK };
            let own = subresource.then(|| service.config.kinds.now().kinds.by_gvk(&object.gvk));
            let encoder = match own {
                // A view such as Scale has other columns than its object.
                Some(kind) => Encoder { table: TableMaker::new(kind, IncludeObject::default()), ..encoder },
                None => encoder,
            };
            encoder.object(code, &object)?
        }
        Reply::List(list) => encoder.list(list, &gvr.api_version(), &kind.list_kind()).await?,
        Reply::Deleted(Deleted::Gone(object)) if kind.returns_deleted => encoder.object(StatusCode::OK, &object)?,
        Reply::Deleted(Deleted::Gone(object)) => {
            let name = if name.is_empty() { &object.meta.name } else { &name };
            encode::status(&Status::success(&gvr, name, &object.meta.uid), encoder.negotiated.encoding)
        }
        Reply::Deleted(Deleted::Marked(object)) => encoder.object(StatusCode::OK, &object)?,
        Reply::Watch(_) | Reply::Connected(_) => return Err(Status::internal("a call answered with a stream")),
    })
}

async fn operation(
    cx: &RequestContext,
    exchange: Exchange,
    target: &Target,
    kind: &'static Kind,
    verb: &'static str,
) -> Result<Operation, Status> {
    let Exchange { query, headers, body, .. } = exchange;
    let agent = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let document_kind =
        target.subresource.as_deref().and_then(|sub| kind.subresource(sub)).map_or(kind.kind, |s| s.kind);
    Ok(match verb {
        "get" => Operation::Get,
        "list" => Operation::List(list_options(&query, false)?),
        "create" => {
            let options = write_options(&query, "CreateOptions", None, agent)?;
            let decoded = decode::object(&headers, &decode::read_body(body).await?, document_kind)?;
            judge_doubled(cx, &decoded.doubled, &options, kind, || unknown(kind, target, &decoded.document))?;
            Operation::Create { body: decoded.document, options }
        }
        "update" => {
            let options = write_options(&query, "UpdateOptions", None, agent)?;
            let decoded = decode::object(&headers, &decode::read_body(body).await?, document_kind)?;
            judge_doubled(cx, &decoded.doubled, &options, kind, || unknown(kind, target, &decoded.document))?;
            Operation::Update { body: decoded.document, options }
        }
        "patch" => {
            let patch_type = decode::patch_type(&headers)?;
            let options = write_options(&query, "PatchOptions", Some(patch_type), agent)?;
            let read = decode::patch(patch_type, &decode::read_body(body).await?)?;
            judge_patch(cx, &read, &options)?;
            Operation::Patch { patch: read.patch, options }
        }
        _ => {
            let document = decode::optional_object(&headers, &decode::read_body(body).await?, "DeleteOptions")?;
            let options = delete_options(&query, document)?;
            match verb {
                "delete" => Operation::Delete(options),
                _ => Operation::DeleteCollection { options, selection: list_options(&query, false)? },
            }
        }
    })
}

/// What a strict reader finds in a patch.
fn judge_patch(cx: &RequestContext, read: &ReadPatch, options: &WriteOptions) -> Result<(), Status> {
    match (options.field_validation, &read.refusal) {
        (FieldValidation::Strict, Some(why)) if read.patch.patch_type == PatchType::Apply => {
            Err(Status::bad_request(format!("error strict decoding patch: {why}")))
        }
        (FieldValidation::Strict, Some(why)) => {
            let mut errors = FieldErrors::new();
            errors.invalid_part(&FieldPath::new("patch"), why);
            Err(Status::invalid(&Gvk::new("", ""), "", &errors))
        }
        (FieldValidation::Warn, _) => {
            read.warnings.iter().for_each(|text| cx.warn(text));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Fields twice in a document. A refusal tells of `unknown` ones with them, as upstream, which reads both in one go.
fn judge_doubled(
    cx: &RequestContext,
    doubled: &Doubled,
    options: &WriteOptions,
    kind: &Kind,
    unknown: impl FnOnce() -> Vec<String>,
) -> Result<(), Status> {
    match options.field_validation {
        FieldValidation::Strict if !doubled.is_empty() => Err(strict_error(&kind.gvk(), &doubled.strict(&unknown()))),
        FieldValidation::Warn => {
            doubled.warnings().into_iter().for_each(|text| cx.warn(text));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Fields of a document of a built-in kind that its schema does not know; none where that is for others to say.
fn unknown(kind: &Kind, target: &Target, document: &Json) -> Vec<String> {
    if kind.custom.is_some() || target.subresource.is_some() {
        return Vec::new();
    }
    holdfast_schema::builtin().check(kind.schema, &mut document.clone()).unwrap_or_default()
}

async fn serve_watch(
    service: &Arc<ApiService>,
    cx: RequestContext,
    mut exchange: Exchange,
    target: Target,
    kind: &'static Kind,
) -> Outcome {
    let encoder = encoder(service, &exchange, kind)?;
    if encoder.negotiated.encoding == Encoding::Yaml {
        return Err(Status::not_acceptable(WATCHES_OFFERED));
    }
    let upgrade = exchange.upgrade.take().filter(|_| exchange.header(&UPGRADE).eq_ignore_ascii_case("websocket"));
    let handshake = upgrade.as_ref().map(|_| Handshake::read(&exchange.headers, feed::NAMES)).transpose()?;
    let options = list_options(&exchange.query, true)?;
    let limit = options.timeout_seconds.map_or_else(|| default_watch(service), Duration::from_secs);
    let trail = cx.trail.clone();
    let reply = service.config.api.run(Request { cx, target, operation: Operation::Watch(options) }).await?;
    let Reply::Watch(watch) = reply else { return Err(Status::internal("a watch answered with no stream")) };
    let writer = EventWriter::new(
        encoder.negotiated,
        encoder.table,
        service.config.world.clone(),
        service.metrics.watch_events(kind),
    );
    let guard = Box::new((service.metrics.count(Gauge::Watches), trail, exchange.watching.take()));
    let body = WatchBody::new(watch, writer, limit, service.closing.clone(), guard);
    if let (Some(upgrade), Some(handshake)) = (upgrade, handshake) {
        streams::run(service, None, upgrade, async move |upgraded, _| {
            feed::watch(websocket::accept(upgraded).await, body).await
        });
        return Ok(handshake.response());
    }
    Ok(encode::plain(StatusCode::OK, encoder.negotiated.encoding.watch_type(), Body::Watch(Box::new(body))))
}

fn default_watch(service: &ApiService) -> Duration {
    let spread = service.config.world.random_u64() % limits::WATCH_DEFAULT.as_secs();
    limits::WATCH_DEFAULT + Duration::from_secs(spread)
}
