//! `metadata.managedFields` of what is written: who owns which fields afterwards.
//!
//! Documents are without them on their way; they travel beside as text, and join the object at the commit.

use super::decode::Typed;
use super::update::Part;
use crate::custom::CustomKind;
use crate::engine::{Engine, Resource};
use crate::limits::{CONVERSION_ROUNDS, MANAGED_FIELDS_BYTES};
use holdfast_core::json::{remove, str_at};
use holdfast_core::{Gvk, Json, Object, Reason, Status, WriteOptions};
use holdfast_kinds::{Kind, convert};
use holdfast_schema::Schema;
use holdfast_schema::apply::{self, ApplyError, Conflict, Element, FieldSet, Managers, Versions, Write};
use holdfast_schema::structural::AnyPlace;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The managers after a write.
pub(crate) struct Managed {
    /// `managedFields` as JSON; empty when there are none.
    pub(crate) text: String,
    /// Whether they own the same fields as before; the times may differ.
    pub(crate) same: bool,
}

impl Managed {
    /// `managers`, which were `before`.
    pub(crate) fn new(managers: &Managers<'_>, before: &Managers<'_>) -> Managed {
        let mut text = Vec::new();
        if !managers.is_empty() {
            managers.write(&mut text);
        }
        // It is JSON of our own making.
        let text = String::from_utf8(text).unwrap_or_default();
        Managed { text, same: managers.same_but_for_times(before) }
    }
}

/// A kind in all its versions.
struct KindVersions {
    schema: &'static Schema,
    kind: &'static Kind,
    /// The served versions of a custom kind.
    custom: Vec<Arc<CustomKind>>,
    made: Mutex<Made>,
}

/// What a webhook makes of documents.
#[derive(Default)]
struct Made {
    /// Documents, the `apiVersion` that was wanted of each, and what it is in that.
    known: Vec<(Json, String, Json)>,
    /// What has to be made before who owns what can be told.
    missing: Vec<(Json, String)>,
}

impl KindVersions {
    fn of(engine: &Engine, kind: &'static Kind) -> KindVersions {
        let custom = if kind.custom.is_some() { engine.customs.versions_of(kind) } else { Vec::new() };
        KindVersions { schema: engine.schema, kind, custom, made: Mutex::default() }
    }

    /// How versions of the kind are converted, where somebody has to be asked.
    fn asked(&self) -> Option<&Arc<CustomKind>> {
        self.custom.first().filter(|custom| custom.conversion.asks())
    }

    /// What `run` finds, once all that it looks at is there in the versions in which it wants to look at it.
    ///
    /// # Errors
    /// Those of the conversion.
    async fn settled<T: Send>(&self, engine: &Engine, run: impl Fn() -> T + Send + Sync) -> Result<T, Status> {
        for _ in 0..CONVERSION_ROUNDS {
            let found = run();
            let missing = std::mem::take(&mut self.made().missing);
            let Some(custom) = self.asked().filter(|_| !missing.is_empty()) else { return Ok(found) };
            for (doc, api_version) in missing {
                let version = Gvk::new(&api_version, self.kind.kind).version;
                let made = custom.conversion.convert_one(engine, doc.clone(), &version).await?;
                self.made().known.push((doc, api_version, made));
            }
        }
        Err(Status::internal("the managers of fields name too many versions"))
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kind(&self, api_version: &str) -> Option<&'static Kind> {
        let Gvk { group, version, .. } = Gvk::new(api_version, self.kind.kind);
        if (self.kind.group, self.kind.version) == (&*group, &*version) {
            return Some(self.kind);
        }
        if self.kind.custom.is_some() {
            let fits = |custom: &&Arc<CustomKind>| (custom.kind.group, custom.kind.version) == (&*group, &*version);
            return self.custom.iter().find(fits).map(|custom| custom.kind);
        }
        let stored = |kind: &Kind| convert::storage_version(kind).gvk();
        holdfast_kinds::by_gvk(&group, &version, self.kind.kind).filter(|kind| stored(kind) == stored(self.kind))
    }
}

impl Versions for KindVersions {
    type Place<'s> = AnyPlace<'s>;

    fn place(&self, api_version: &str) -> Option<AnyPlace<'_>> {
        let kind = self.kind(api_version)?;
        let Some(custom) = self.custom.iter().find(|custom| std::ptr::eq(custom.kind, kind)) else {
            return self.schema.place(kind.schema).map(AnyPlace::BuiltIn);
        };
        Some(AnyPlace::Object(&custom.schema))
    }

    fn convert(&self, doc: &Json, api_version: &str) -> Option<Json> {
        let kind = self.kind(api_version)?;
        if self.asked().is_some() {
            let mut made = self.made();
            let known = made.known.iter().find(|(of, version, _)| version == api_version && of == doc);
            if let Some((.., converted)) = known {
                return Some(converted.clone());
            }
            made.missing.push((doc.clone(), api_version.to_string()));
            return None;
        }
        let mut doc = doc.clone();
        convert::convert(&mut doc, kind);
        Some(doc)
    }
}

/// What a write to a part of an object is judged by.
struct Context {
    versions: KindVersions,
    api_version: String,
    reset: FieldSet<'static>,
}

impl Context {
    /// `doc` is what is written.
    fn new(engine: &Engine, resource: &Resource<'_>, part: Part, doc: &Json) -> Context {
        let versions = KindVersions::of(engine, resource.kind);
        Context { versions, api_version: resource.kind.gvk().api_version(), reset: reset(resource, part, doc) }
    }

    fn write<'c>(&'c self, engine: &Engine, part: Part, options: &'c WriteOptions) -> Write<'c, KindVersions> {
        Write {
            versions: &self.versions,
            api_version: &self.api_version,
            manager: &options.field_manager,
            subresource: part.subresource(),
            reset: &self.reset,
            now: engine.now(),
        }
    }
}

/// Takes `managedFields` out of a document that a client sent.
pub(crate) fn take_sent(doc: &mut Json) -> Option<Json> {
    remove(doc, &["metadata", "managedFields"]).filter(|sent| !sent.is_null())
}

/// The managers after an update from `old` to `new`, both as writes are judged and with what the kind restores restored.
/// `sent` is what the client sent as `managedFields`: it may replace them. Without `old` it is a create.
///
/// Nothing fails here: where documents cannot be compared the managers stay as they were, as upstream has it.
pub(crate) async fn tracked(
    engine: &Engine,
    resource: &Resource<'_>,
    part: Part,
    sent: Option<&Json>,
    old: Option<(&Object, &Json)>,
    new: &Json,
    options: &WriteOptions,
) -> Managed {
    let kept = old.map_or("", |(object, _)| object.managed_fields());
    let before = Managers::parse(kept).unwrap_or_default();
    let sent = sent.filter(|_| part == Part::Main);
    let text = sent.map(Json::to_string).unwrap_or_default();
    let managers = match sent {
        Some(sent) if Managers::is_reset(sent) => Managers::default(),
        Some(_) => Managers::parse(&text).ok().filter(|sent| !sent.is_empty()).unwrap_or_else(|| before.clone()),
        None => before.clone(),
    };
    let old_doc = old.map(|(_, doc)| convert::requested(resource.kind, doc));
    let new_doc = convert::requested(resource.kind, new);
    let context = Context::new(engine, resource, part, &new_doc);
    let write = context.write(engine, part, options);
    let update = || apply::update(&write, old_doc.as_deref(), &new_doc, managers.clone());
    let updated = context.versions.settled(engine, update).await.map_err(|status| status.to_string());
    let managed = match updated.flatten() {
        Ok(managers) => Managed::new(&managers, &before),
        Err(err) => {
            tracing::debug!(kind = resource.kind.kind, name = resource.name, err, "Could not tell who owns the fields");
            Managed { text: kept.to_string(), same: true }
        }
    };
    if managed.text.len() > MANAGED_FIELDS_BYTES {
        return Managed { text: String::new(), same: kept.is_empty() };
    }
    managed
}

/// Applies a checked configuration to the document of an object, in the version that was asked for; `None`: to nothing.
///
/// # Errors
/// 409 about fields of other managers, 400 for what does not fit the schema, 413 for too many managers.
pub(crate) async fn applied(
    engine: &Engine,
    resource: &Resource<'_>,
    part: Part,
    config: &Json,
    live: Option<(&Object, &Json)>,
    options: &WriteOptions,
) -> Result<(Json, Managed), Status> {
    let text = live.map_or("", |(object, _)| object.managed_fields());
    let before =
        Managers::parse(text).map_err(|err| Status::internal(format!("failed to decode managed fields: {err}")))?;
    let context = Context::new(engine, resource, part, config);
    let write = context.write(engine, part, options);
    let apply = || apply::apply(&write, live.map(|(_, doc)| doc), config, before.clone(), options.force);
    let applied = context.versions.settled(engine, apply).await?.map_err(refusal)?;
    let managed = Managed::new(&applied.managers, &before);
    if managed.text.len() > MANAGED_FIELDS_BYTES {
        let text = format!("metadata.managedFields would be longer than {MANAGED_FIELDS_BYTES} bytes");
        return Err(Status::failure(413, Reason::RequestEntityTooLarge, text));
    }
    Ok((applied.object, managed))
}

/// Why an apply came to nothing, for its client.
pub(crate) fn refusal(err: ApplyError) -> Status {
    match err {
        ApplyError::Conflicts(conflicts) => Conflict::status(&conflicts),
        ApplyError::Invalid(why) => Status::bad_request(why),
    }
}

/// What a write of this part cannot change.
fn reset(resource: &Resource<'_>, part: Part, doc: &Json) -> FieldSet<'static> {
    let mut reset = FieldSet::default();
    match part {
        Part::Main if resource.strategy.has_status() => reset.insert(&[Element::field("status")]),
        Part::Main | Part::Scale => {}
        Part::Status => {
            let others = doc.as_object().into_iter().flatten().map(|(name, _)| name);
            for name in others.filter(|name| !matches!(name.as_str(), "metadata" | "status")) {
                reset.insert(&[Element::field(name.clone())]);
            }
            match resource.strategy.kept_by_status() {
                None => reset.insert(&[Element::field("metadata")]),
                Some(fields) => {
                    fields.iter().for_each(|field| reset.insert(&[Element::field("metadata"), Element::field(*field)]));
                }
            }
        }
        Part::Finalize => reset.insert(&[Element::field("status")]),
        Part::Approval => {
            reset.insert(&[Element::field("spec")]);
            reset.insert(&[Element::field("status"), Element::field("certificate")]);
        }
        Part::EphemeralContainers | Part::Resize => {
            let own: &[&str] = match part {
                Part::Resize => &["containers", "initContainers"],
                _ => &["ephemeralContainers"],
            };
            reset.insert(&[Element::field("status")]);
            let fields = doc.get("spec").and_then(Json::as_object).into_iter().flatten().map(|(name, _)| name);
            for name in fields.filter(|name| !own.contains(&name.as_str())) {
                reset.insert(&[Element::field("spec"), Element::field(name.clone())]);
            }
        }
    }
    reset
}

/// A configuration that is to be applied, in the canonical form of its type; its nulls stay, as they are owned.
///
/// # Errors
/// 400 in upstream's words for another type, `managedFields`, unknown fields, and lists that cannot be told apart.
pub(crate) fn check_config(engine: &Engine, typed: &Typed<'_>, gvk: &Gvk, config: &Json) -> Result<Json, Status> {
    let text = |field: &str| str_at(config, &[field]).unwrap_or_default();
    let found = Gvk::new(text("apiVersion"), text("kind"));
    if !config.is_object() || found != *gvk {
        let Gvk { group, version, kind } = found;
        return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
    }
    if holdfast_core::json::at(config, &["metadata", "managedFields"]).is_some_and(|sent| !sent.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let refused = |why: String| {
        let text = |field: &str| str_at(config, &["metadata", field]).unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        let gvk = format!("{}, Kind={}", gvk.api_version(), gvk.kind);
        let why = format!("failed to create typed patch object ({namespace}/{name}; {gvk}): {why}");
        Status::bad_request(why)
    };
    let mut checked = config.clone();
    let unknown = typed.drop_unknown(engine, &mut checked)?;
    match &unknown[..] {
        [] => {}
        [field] => return Err(refused(format!(".{field}: field not declared in schema"))),
        fields => {
            let lines: Vec<String> =
                fields.iter().map(|field| format!("  .{field}: field not declared in schema")).collect();
            return Err(refused(format!("errors:\n{}", lines.join("\n"))));
        }
    }
    keep_nulls(config, &mut checked);
    let place = typed.place(engine).ok_or_else(|| Status::internal(format!("no schema of {}", gvk.kind)))?;
    apply::check(&place, &checked, false).map_err(refused)?;
    Ok(checked)
}

/// Puts the nulls of `from` back into `to`, from which the decoder dropped them.
fn keep_nulls(from: &Json, to: &mut Json) {
    match (from, to) {
        (Json::Object(from), Json::Object(to)) => {
            for (key, value) in from {
                match to.get_mut(key) {
                    Some(below) => keep_nulls(value, below),
                    None if value.is_null() => {
                        to.insert(key.clone(), Json::Null);
                    }
                    None => {}
                }
            }
        }
        (Json::Array(from), Json::Array(to)) => from.iter().zip(to).for_each(|(from, to)| keep_nulls(from, to)),
        _ => {}
    }
}

/// What a document says of managers is looked at by a JSON patch only when the patch speaks of them.
pub(crate) fn speaks_of_managers(patch: &Json) -> bool {
    let names = |operation: &Json| {
        ["path", "from"]
            .iter()
            .filter_map(|field| str_at(operation, &[field]))
            .any(|path| path.is_empty() || path == "/metadata" || path.starts_with("/metadata/managedFields"))
    };
    patch.as_array().is_some_and(|operations| operations.iter().any(names))
}

/// `doc` as a client sees it, with the managers of `object`.
pub(crate) fn with_managers(mut doc: Json, object: &Object) -> Json {
    if let Ok(managers) = serde_json::from_str::<Json>(object.managed_fields()) {
        holdfast_core::json::set(&mut doc, &["metadata", "managedFields"], managers);
    }
    doc
}
