//! Update and the loop that patch shares: read, change, check, commit, and again when another was faster.

use super::commit::{Meaning, Outcome, Write, extension};
use super::create::is_definition;
use super::decode;
use super::managers::{self, Managed, take_sent};
use super::view::{self, Before};
use crate::admission::dynamic::{Attempt, Operation, Options};
use crate::admission::timing::Half;
use crate::admission::{self, Admission, resource_quota};
use crate::custom;
use crate::engine::{Engine, Resource, decode as decode_record, store_error};
use crate::limits::CONFLICT_RETRIES;
use crate::meta;
use crate::node_records;
use crate::strategy::{Strategy, desired_state_differs};
use crate::subresources::scale;
use async_trait::async_trait;
use holdfast_core::json::{at, i64_at, items_at, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, Object, Status, Target, WriteOptions};
use holdfast_kinds::convert;
use holdfast_server::{Attributes, Decision, RequestContext};
use holdfast_store::Condition;
use std::sync::Arc;

/// Which part of an object a write may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status.
    Main,
    /// The status.
    Status,
    /// `spec.finalizers` of a Namespace.
    Finalize,
    /// The conditions of a CertificateSigningRequest that say whether it may be signed.
    Approval,
    /// `spec.ephemeralContainers` of a Pod.
    EphemeralContainers,
    /// Requests and limits of the containers of a Pod.
    Resize,
    /// The number of replicas, as a `Scale`; everything else stays as it was read.
    Scale,
}

impl Part {
    /// The part behind a subresource.
    ///
    /// # Errors
    /// 404 for a subresource that is no part of the object.
    pub(crate) fn of(resource: &Resource<'_>, subresource: &str) -> Result<Part, Status> {
        if !subresource.is_empty() && resource.kind.subresource(subresource).is_none() {
            return Err(Status::no_such_path());
        }
        match subresource {
            "" => Ok(Part::Main),
            "status" => Ok(Part::Status),
            "finalize" => Ok(Part::Finalize),
            "approval" => Ok(Part::Approval),
            "ephemeralcontainers" => Ok(Part::EphemeralContainers),
            "resize" => Ok(Part::Resize),
            _ => Err(Status::method_not_allowed(resource.gvr, "update")),
        }
    }

    /// The subresource behind which the part is; empty for the object itself.
    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Part::Main => "",
            Part::Status => "status",
            Part::Finalize => "finalize",
            Part::Approval => "approval",
            Part::EphemeralContainers => "ephemeralcontainers",
            Part::Resize => "resize",
            Part::Scale => "scale",
        }
    }
}

/// What a write wants of an object.
pub(crate) struct Wanted {
    /// The new document, in the version that was asked for.
    pub(crate) doc: Json,
    /// Its managers, when the write itself says who they are. Otherwise they follow from what it changes.
    pub(crate) managed: Option<Managed>,
}

impl From<Json> for Wanted {
    fn from(doc: Json) -> Wanted {
        Wanted { doc, managed: None }
    }
}

/// Makes of an object, and its document in the version that was asked for, what is wanted.
#[async_trait]
pub(crate) trait Change: Send + Sync {
    /// What is wanted.
    async fn make(&self, object: &Object, doc: Json) -> Result<Wanted, Status>;

    /// The refusal of a wanted document that is none of its kind.
    fn undecodable(&self, _doc: &Json, why: Status) -> Status {
        why
    }
}

#[async_trait]
impl<F: Fn(&Object, Json) -> Result<Wanted, Status> + Send + Sync> Change for F {
    async fn make(&self, object: &Object, doc: Json) -> Result<Wanted, Status> {
        self(object, doc)
    }
}

/// Replaces an object.
///
/// # Errors
/// As [`crate::generic::create::create`]; 404 when it is missing, 409 when it changed meanwhile.
pub(crate) async fn update(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    part: Part,
    mut body: Json,
    options: &WriteOptions,
) -> Result<(Arc<Object>, bool), Status> {
    decode::check_type(&resource.kind.gvk(), &mut body)?;
    check_name(resource, &body)?;
    if part == Part::Main && resource.strategy.creates_on_update() {
        let missing = engine.store.get(&resource.key()).await.map_err(store_error)?.is_none();
        if missing && str_at(&body, &["metadata", "uid"]).is_none_or(str::is_empty) {
            may_create(engine, cx, resource).await?;
            remove(&mut body, &["metadata", "resourceVersion"]);
            let object = super::create::create(engine, cx, resource, body, options).await?;
            return Ok((object, true));
        }
    }
    if !resource.strategy.unconditional_update()
        && str_at(&body, &["metadata", "resourceVersion"]).is_none_or(str::is_empty)
    {
        let mut errors = FieldErrors::new();
        errors.invalid(&FieldPath::new("metadata.resourceVersion"), 0, "must be specified for an update");
        return Err(Status::invalid(&resource.kind.gvk(), resource.name, &errors));
    }
    meta::drop_doubled_owners(cx, &mut body, false);
    let replace = |_: &Object, _: Json| -> Result<Wanted, Status> { Ok(body.clone().into()) };
    let object = change(engine, cx, resource, part, &replace, options).await?;
    Ok((object, false))
}

/// The right to update does not include the right to create. The in-process server itself needs no authorizer.
pub(crate) async fn may_create(engine: &Engine, cx: &RequestContext, resource: &Resource<'_>) -> Result<(), Status> {
    let Some(authorizer) = engine.authorizer.get() else { return Ok(()) };
    let target = Target::object(resource.gvr.clone(), resource.namespace, resource.name);
    let attributes = Attributes { user: &cx.user, verb: "create", target: Some(&target), path: "" };
    match authorizer.authorize(&attributes).await {
        Decision::Allow => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => {
            let text = format!("User {:?} cannot create resource {:?}: {why}", cx.user.name, resource.gvr.resource);
            Err(Status::forbidden(resource.gvr, resource.name, text))
        }
    }
}

/// Runs `change` until its result commits.
pub(crate) async fn change(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    part: Part,
    change: &dyn Change,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    let key = resource.key();
    for _ in 0..CONFLICT_RETRIES {
        let Some(record) = engine.store.get(&key).await.map_err(store_error)? else {
            return Err(resource.not_found());
        };
        let old = decode_record(&record)?;
        let Before { shown, judged: old_doc } = view::before(engine, resource, &old).await?;
        let Wanted { mut doc, managed } = change.make(&old, shown).await?;
        let sent = take_sent(&mut doc);
        decode::decode(engine, cx, resource, &mut doc, options.field_validation)
            .map_err(|why| change.undecodable(&doc, why))?;
        let asked = str_at(&doc, &["metadata", "resourceVersion"]).unwrap_or_default().to_string();
        if !asked.is_empty() && asked != "0" && asked != old.revision.to_string() {
            if asked.parse::<u64>().is_err() {
                let mut errors = FieldErrors::new();
                let path = FieldPath::new("metadata.resourceVersion");
                errors.invalid(&path, asked, "must be convertible to an integer");
                return Err(Status::invalid(&resource.kind.gvk(), resource.name, &errors));
            }
            return Err(Status::stale(resource.gvr, resource.name));
        }
        if let Some(uid) = str_at(&doc, &["metadata", "uid"]).filter(|uid| !uid.is_empty() && *uid != old.meta.uid) {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.meta.uid);
            return Err(Status::conflict(resource.gvr, resource.name, why));
        }
        let managed = managed.map_or(Owners::Follow(sent), Owners::Are);
        let managed = prepare(engine, cx, resource, part, &mut doc, managed, (&old, &old_doc), options).await?;
        // `None`: another write came first. A client that named the version that we read gets its 409 above.
        if let Some(object) = store(engine, cx, resource, part, doc, managed, &old_doc, &old, options).await? {
            if is_definition(resource.kind) && !options.dry_run {
                engine.customs.served_since(object.revision).await;
            }
            return view::written(engine, resource, object).await;
        }
    }
    Err(Status::stale(resource.gvr, resource.name))
}

/// Who owns the fields of what is written.
enum Owners {
    /// The write itself says.
    Are(Managed),
    /// It follows from what is changed, and from what the client sent as `managedFields`.
    Follow(Option<Json>),
}

/// Everything between decoding and the commit; tells the managers.
#[allow(clippy::too_many_arguments, reason = "the parts of one step, used once")]
async fn prepare(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    part: Part,
    doc: &mut Json,
    managed: Owners,
    (old_object, old): (&Object, &Json),
    options: &WriteOptions,
) -> Result<Managed, Status> {
    let (kind, strategy) = (resource.kind, &*resource.strategy);
    remove(doc, &["metadata", "resourceVersion"]);
    check_identity(resource, doc)?;
    meta::restore_for_update(doc, old);
    strategy.default(doc);
    let admission = Admission { engine, cx, kind, gvr: resource.gvr, namespace: resource.namespace };
    let attempt = Attempt {
        engine,
        cx,
        resource,
        operation: Operation::Update,
        subresource: part.subresource(),
        revision: Some(old_object.revision),
        options: Options::Write(options),
    };
    let is_whole = matches!(part, Part::Main | Part::Scale);
    let keep_status = |doc: &mut Json| {
        if strategy.has_status() {
            holdfast_core::json::copy(old, doc, &["status"]);
        }
    };
    if is_whole {
        keep_status(doc);
    } else {
        confine(engine, resource, part, doc, old);
    }
    // What the writer asked for is its own; what admission and the kind make of it is nobody's.
    let managed = match managed {
        Owners::Are(managed) => managed,
        Owners::Follow(sent) => {
            let old = Some((old_object, old));
            managers::tracked(engine, resource, part, sent.as_ref(), old, doc, options).await
        }
    };
    let step = engine.timing.step(&engine.env, Half::Admit, Operation::Update);
    if is_whole {
        confine(engine, resource, part, doc, old);
        admission::mutate_update(&admission, doc, old).await?;
        strategy.default(doc);
    }
    if part == Part::Scale {
        scale::mutate(&attempt, doc, old).await?;
    } else if let Some(again) = attempt.mutate(doc, Some(old)).await? {
        if is_whole {
            admission::mutate_update(&admission, doc, old).await?;
            strategy.default(doc);
        }
        again.run(doc, Some(old)).await?;
        // What a client may not change, a webhook may not either. Of a finalization only the finalizers are looked at.
        if part != Part::Finalize {
            check_identity(resource, doc)?;
            meta::restore_for_update(doc, old);
        }
        if is_whole {
            keep_status(doc);
        }
        confine(engine, resource, part, doc, old);
    }
    step.passed();
    meta::drop_doubled_owners(cx, doc, true);
    if means_the_same(engine, resource, doc, old) {
        doc.clone_from(old);
    }
    if !matches!(part, Part::Status | Part::Finalize) {
        count_generation(strategy, doc, old);
    }
    let mut errors = FieldErrors::new();
    meta::validate_update(doc, old, &mut errors);
    match part {
        Part::Main | Part::Scale => {
            if !strategy.judges_changes_whole() {
                strategy.validate(doc, &mut errors);
            }
            strategy.validate_update(doc, old, &mut errors);
        }
        Part::Status => strategy.validate_status(doc, old, &mut errors),
        Part::Approval | Part::EphemeralContainers | Part::Resize => {
            strategy.validate_part(part, doc, old, &mut errors);
        }
        Part::Finalize => {}
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.gvk(), resource.name, &errors));
    }
    if is_whole {
        admission::dynamic::observe(engine, kind, doc);
        strategy.warnings(doc).into_iter().for_each(|warning| cx.warn(warning));
    }
    let step = engine.timing.step(&engine.env, Half::Validate, Operation::Update);
    admission::validate_update(&admission, part, doc, old).await?;
    match part {
        Part::Scale => scale::validate(&attempt, doc, old).await?,
        _ => attempt.validate(Some(doc), Some(old)).await?,
    }
    step.passed();
    strategy.canonicalise(doc);
    Ok(managed)
}

/// Puts back what a write to this part may not change, but for the status beside a whole object.
fn confine(engine: &Engine, resource: &Resource<'_>, part: Part, doc: &mut Json, old: &Json) {
    let strategy = &*resource.strategy;
    match part {
        Part::Main | Part::Scale => {
            strategy.prepare_for_update(doc, old);
            if is_definition(resource.kind) {
                custom::definition::judge(doc, &engine.customs.catalogue(), engine.now());
            }
        }
        Part::Status => {
            strategy.prepare_for_status_update(doc, old);
            strategy.stamp(doc, old, engine.now());
        }
        Part::Approval | Part::EphemeralContainers | Part::Resize => {
            strategy.prepare_part(part, doc, old);
            strategy.stamp(doc, old, engine.now());
        }
        Part::Finalize => keep_all_but_finalizers(doc, old),
    }
}

/// A change of the desired state is a new generation.
fn count_generation(strategy: &dyn Strategy, doc: &mut Json, old: &Json) {
    if strategy.counts_generation() && desired_state_differs(strategy, doc, old) {
        let generation = i64_at(old, &["metadata", "generation"]).unwrap_or(0) + 1;
        set(doc, &["metadata", "generation"], generation);
    }
}

fn keep_all_but_finalizers(doc: &mut Json, old: &Json) {
    let finalizers = at(doc, &["spec", "finalizers"]).cloned();
    *doc = old.clone();
    match finalizers {
        Some(finalizers) => set(doc, &["spec", "finalizers"], finalizers),
        None => {
            remove(doc, &["spec", "finalizers"]);
        }
    }
}

fn check_name(resource: &Resource<'_>, doc: &Json) -> Result<(), Status> {
    let wanted = resource.name;
    match str_at(doc, &["metadata", "name"]).unwrap_or_default() {
        name if name == wanted => Ok(()),
        "" => Err(Status::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        ))),
        name => Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        ))),
    }
}

fn check_identity(resource: &Resource<'_>, doc: &mut Json) -> Result<(), Status> {
    check_name(resource, doc)?;
    if resource.kind.namespaced {
        let namespace = str_at(doc, &["metadata", "namespace"]).unwrap_or_default();
        if !namespace.is_empty() && namespace != resource.namespace {
            return Err(Status::bad_request(format!(
                "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
                resource.namespace
            )));
        }
        set(doc, &["metadata", "namespace"], resource.namespace);
    }
    Ok(())
}

/// Commits a prepared document; `None` when another write came first.
#[allow(clippy::too_many_arguments, reason = "the parts of one step, used once")]
async fn store(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    part: Part,
    mut doc: Json,
    managed: Managed,
    old_doc: &Json,
    old: &Arc<Object>,
    options: &WriteOptions,
) -> Result<Option<Arc<Object>>, Status> {
    let (mut write, key) = (Write::default(), resource.key());
    write.check(key.clone(), Condition::ModifiedAt(old.revision), Meaning::Subject);
    let gone = ends_now(resource, &doc, old_doc);
    let is_service = resource.kind.kind == "Service" && resource.kind.group.is_empty();
    let mut allocations = Vec::new();
    if is_service && !gone {
        allocations = engine.services.allocate(engine, Some(old_doc), &mut doc).await?;
    } else if is_service {
        allocations = engine.services.release(old_doc)?;
    }
    if !gone {
        doc = view::to_stored(engine, resource, doc).await?;
    }
    // Times of managers alone are no reason to write. A custom kind's object that is stored in an older version, or without
    // a later default, is written anew even so.
    let unchanged = match resource.kind.custom {
        Some(_) => {
            let mut stored = old.to_json();
            remove(&mut stored, &["metadata", "resourceVersion"]);
            doc == stored
        }
        None => doc == *old_doc,
    };
    let same = !gone && managed.same && unchanged;
    let mut charge = resource_quota::Charge::default();
    if !gone && !same {
        let (kind, gvr, namespace) = (resource.kind, resource.gvr, resource.namespace);
        let admission = Admission { engine, cx, kind, gvr, namespace };
        charge = resource_quota::charge(&admission, &doc, Some(old_doc), part != Part::Status).await?;
    }
    let object_of = |doc: Json| Object::with_managed_fields(doc, &managed.text);
    if options.dry_run || (same && extension(cx).is_none()) {
        let object = if same { old.clone() } else { Arc::new(object_of(doc)?.at_revision(old.revision)) };
        return Ok(Some(object));
    }
    let mut object = None;
    if gone {
        write.delete(key);
        if is_namespace(resource) {
            write.delete(resource_quota::mark(resource.name));
        }
        if resource.kind.kind == "Node" && resource.kind.group.is_empty() {
            node_records::all(&old.meta.uid).into_iter().for_each(|key| write.delete(key));
        }
        object = Some(object_of(doc)?);
    } else if !same {
        write.put(key, object_of(doc)?.body().clone());
    }
    for allocation in allocations {
        allocation.join(&mut write);
    }
    charge.join(&mut write);
    match write.commit(engine, cx, resource.gvr, resource.name).await? {
        Outcome::Committed(_, Some(object)) if !same && !gone => Ok(Some(object)),
        Outcome::Committed(revision, _) => Ok(Some(match object {
            Some(object) => Arc::new(object.at_revision(revision)),
            None => old.clone(),
        })),
        Outcome::Lost(_) => Ok(None),
    }
}

/// Whether documents differ only in fields that Go always writes, and that a client written in Go sends back although nobody
/// said them.
fn means_the_same(engine: &Engine, resource: &Resource<'_>, doc: &Json, old: &Json) -> bool {
    let place = engine.schema.place(convert::storage_version(resource.kind).schema);
    place.is_some_and(|place| holdfast_schema::apply::same(&place, doc, old))
}

fn is_namespace(resource: &Resource<'_>) -> bool {
    resource.kind.kind == "Namespace" && resource.kind.group.is_empty()
}

/// Whether this update took away the last reason to keep an object that is being deleted.
fn ends_now(resource: &Resource<'_>, doc: &Json, old: &Json) -> bool {
    if at(old, &["metadata", "deletionTimestamp"]).is_none() || !items_at(doc, &["metadata", "finalizers"]).is_empty() {
        return false;
    }
    if is_namespace(resource) {
        return items_at(doc, &["spec", "finalizers"]).is_empty();
    }
    i64_at(old, &["metadata", "deletionGracePeriodSeconds"]) == Some(0)
}
