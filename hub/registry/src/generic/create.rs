//! Create.

use super::commit::{Meaning, Outcome, Write, adopts};
use super::decode;
use super::managers::{Managed, take_sent, tracked};
use super::update::Part;
use super::view;
use crate::admission::dynamic::{Attempt, Operation, Options};
use crate::admission::timing::Half;
use crate::admission::{self, Admission, resource_quota};
use crate::custom;
use crate::engine::{Engine, Resource};
use crate::limits::{ALLOCATION_RETRIES, NAME_RETRIES};
use crate::meta;
use crate::strategy::drop_status;
use holdfast_core::json::{set, str_at};
use holdfast_core::{FieldErrors, Json, Object, Reason, Status, WriteOptions};
use holdfast_kinds::Kind;
use holdfast_mutation::broken;
use holdfast_server::RequestContext;
use holdfast_store::Condition;
use std::sync::Arc;

/// Longest generated name, and of that the random part, as upstream.
const NAME_MAX: usize = 63;
const SUFFIX: usize = 5;

/// Creates an object.
///
/// # Errors
/// 400 for what does not decode, 403 and 404 from admission, 409 when it exists, 422 when it is invalid.
pub(crate) async fn create(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    doc: Json,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    create_managed(engine, cx, resource, doc, None, options).await
}

/// [`create`] of a document that brings its managers along.
pub(crate) async fn create_managed(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    mut doc: Json,
    managed: Option<Managed>,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    let kind = resource.kind;
    if resource.strategy.custom().is_some_and(|custom| custom.terminating) {
        let text = "create not allowed while custom resource definition is terminating";
        return Err(Status::failure(405, Reason::MethodNotAllowed, text));
    }
    decode::decode(engine, cx, resource, &mut doc, options.field_validation)?;
    if str_at(&doc, &["metadata", "resourceVersion"]).is_some_and(|text| !text.is_empty()) {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    enter_namespace(resource, &mut doc)?;
    if !resource.name.is_empty() {
        set(&mut doc, &["metadata", "name"], resource.name);
    }
    let generate = str_at(&doc, &["metadata", "name"])
        .is_none_or(str::is_empty)
        .then(|| str_at(&doc, &["metadata", "generateName"]).filter(|text| !text.is_empty()).map(str::to_string))
        .flatten();
    if let Some(prefix) = &generate {
        set(&mut doc, &["metadata", "name"], generated(engine, prefix));
    }
    let sent = take_sent(&mut doc);
    meta::clear_for_create(&mut doc);
    meta::drop_doubled_owners(cx, &mut doc, false);
    resource.strategy.default(&mut doc);
    let managed = match managed {
        Some(managed) => managed,
        None => tracked(engine, resource, Part::Main, sent.as_ref(), None, &doc, options).await,
    }
    .text;
    prepare(engine, cx, resource, &mut doc, options).await?;

    let mut names_left = NAME_RETRIES;
    let mut allocations_left = ALLOCATION_RETRIES;
    loop {
        // A lost try leaves addresses in the document of a service, and one of a custom kind in another version.
        let before = (is_service(kind) || kind.custom.is_some()).then(|| doc.clone());
        let (meaning, object) = match store(engine, cx, resource, doc, &managed, options).await? {
            Stored::Done(object) => {
                if is_definition(kind) && !options.dry_run {
                    engine.customs.served_since(object.revision).await;
                }
                return view::written(engine, resource, object).await;
            }
            Stored::Lost(meaning, object) => (meaning, object),
        };
        doc = before.unwrap_or_else(|| object.to_json());
        match meaning {
            Meaning::Subject => {
                let name = str_at(&doc, &["metadata", "name"]).unwrap_or_default().to_string();
                match &generate {
                    Some(prefix) if names_left > 1 => {
                        names_left -= 1;
                        set(&mut doc, &["metadata", "name"], generated(engine, prefix));
                    }
                    _ => return Err(Status::already_exists(resource.gvr, &name)),
                }
            }
            Meaning::Namespace | Meaning::Allocation | Meaning::Quota => {
                allocations_left -= 1;
                if allocations_left == 0 {
                    return Err(Status::unavailable("the namespace, an allocation or a quota changed too often", 1));
                }
            }
        }
    }
}

/// Everything between defaulting and the commit that does not depend on the name being free.
async fn prepare(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    doc: &mut Json,
    options: &WriteOptions,
) -> Result<(), Status> {
    let (kind, strategy) = (resource.kind, &*resource.strategy);
    let admission = Admission { engine, cx, kind, gvr: resource.gvr, namespace: resource.namespace };
    let attempt = Attempt {
        engine,
        cx,
        resource,
        operation: Operation::Create,
        subresource: "",
        revision: None,
        options: Options::Write(options),
    };
    let step = engine.timing.step(&engine.env, Half::Admit, Operation::Create);
    admission::mutate_create(&admission, doc).await?;
    strategy.default(doc);
    if let Some(again) = attempt.mutate(doc, None).await? {
        admission::mutate_create(&admission, doc).await?;
        strategy.default(doc);
        again.run(doc, None).await?;
        meta::clear_for_create(doc);
        enter_namespace(resource, doc)?;
        if !resource.name.is_empty() {
            set(doc, &["metadata", "name"], resource.name);
        }
    }
    step.passed();
    meta::drop_doubled_owners(cx, doc, true);
    let status = doc.get("status").cloned().filter(|_| adopts(cx));
    if strategy.has_status() {
        drop_status(doc);
    }
    if strategy.counts_generation() {
        set(doc, &["metadata", "generation"], 1);
    }
    if !adopts(cx) || broken("adopt-under-new-uid") {
        meta::stamp(doc, engine.env.random_uuid(), engine.now());
    }
    strategy.prepare_for_create(doc);
    if let Some(status) = status {
        set(doc, &["status"], status);
    }
    if is_definition(kind) {
        custom::definition::judge(doc, &engine.customs.catalogue(), engine.now());
    }
    let mut errors = FieldErrors::new();
    meta::validate(kind, strategy, doc, &mut errors);
    strategy.validate(doc, &mut errors);
    strategy.validate_new(doc, &mut errors);
    if !errors.is_empty() {
        let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
        return Err(Status::invalid(&kind.gvk(), name, &errors));
    }
    admission::dynamic::observe(engine, kind, doc);
    strategy.warnings(doc).into_iter().for_each(|warning| cx.warn(warning));
    let step = engine.timing.step(&engine.env, Half::Validate, Operation::Create);
    admission::validate_create(&admission, doc).await?;
    attempt.validate(Some(doc), None).await?;
    step.passed();
    strategy.canonicalise(doc);
    Ok(())
}

enum Stored {
    Done(Arc<Object>),
    Lost(Meaning, Box<Object>),
}

async fn store(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    mut doc: Json,
    managed: &str,
    options: &WriteOptions,
) -> Result<Stored, Status> {
    let name = str_at(&doc, &["metadata", "name"]).unwrap_or_default().to_string();
    let key = crate::keys::object(resource.kind, resource.namespace, &name);
    let mut write = Write::default();
    write.check(key.clone(), Condition::Absent, Meaning::Subject);
    if resource.kind.namespaced {
        let namespace = admission::namespace_lifecycle::open(engine, resource.gvr, resource.namespace, &name).await?;
        write.check(namespace.0, Condition::ModifiedAt(namespace.1), Meaning::Namespace);
    }
    let mut allocations = Vec::new();
    if is_service(resource.kind) {
        allocations = engine.services.allocate(engine, None, &mut doc).await?;
    }
    let (kind, gvr, namespace) = (resource.kind, resource.gvr, resource.namespace);
    let admission = Admission { engine, cx, kind, gvr, namespace };
    let mut charge = resource_quota::charge(&admission, &doc, None, !adopts(cx)).await?;
    let doc = view::to_stored(engine, resource, doc).await?;
    let object = Object::with_managed_fields(doc, managed)?;
    if options.dry_run {
        let exists = engine.store.get(&key).await.map_err(crate::engine::store_error)?.is_some();
        return Ok(if exists {
            Stored::Lost(Meaning::Subject, Box::new(object))
        } else {
            Stored::Done(Arc::new(object))
        });
    }
    write.put(key, object.body().clone());
    for allocation in allocations {
        allocation.join(&mut write);
    }
    charge.join(&mut write);
    match write.commit(engine, cx, resource.gvr, &name).await? {
        Outcome::Committed(_, Some(object)) => Ok(Stored::Done(object)),
        Outcome::Committed(revision, None) => Ok(Stored::Done(Arc::new(object.at_revision(revision)))),
        Outcome::Lost(meaning) => Ok(Stored::Lost(meaning, Box::new(object))),
    }
}

/// Whether objects of this kind define kinds.
pub(crate) fn is_definition(kind: &Kind) -> bool {
    (kind.group, kind.version, kind.kind) == custom::CRD_KIND
}

fn is_service(kind: &Kind) -> bool {
    kind.kind == "Service" && kind.group.is_empty()
}

/// The namespace of the path is the namespace of the object.
pub(crate) fn enter_namespace(resource: &Resource<'_>, doc: &mut Json) -> Result<(), Status> {
    if !resource.kind.namespaced {
        holdfast_core::json::remove(doc, &["metadata", "namespace"]);
        return Ok(());
    }
    if resource.namespace.is_empty() {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    match str_at(doc, &["metadata", "namespace"]).unwrap_or_default() {
        "" => set(doc, &["metadata", "namespace"], resource.namespace),
        same if same == resource.namespace => {}
        _ => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

fn generated(engine: &Engine, prefix: &str) -> String {
    let mut end = prefix.len().min(NAME_MAX - SUFFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], engine.random_suffix(SUFFIX))
}
