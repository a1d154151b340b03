//! `scale`: an `autoscaling/v1 Scale` as a view of `spec.replicas`.

use crate::admission::dynamic::Attempt;
use crate::custom::ScalePaths;
use crate::engine::{Engine, Resource};
use crate::generic::decode::{Typed, check_fields, check_type};
use crate::generic::managers::{Managed, check_config, refusal};
use crate::generic::patch::{check_patch_type, patched};
use crate::generic::update::{Part, Wanted, change};
use holdfast_core::json::{at, i64_at, items_at, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Gvk, Json, Object, Patch, PatchType, Status, WriteOptions};
use holdfast_schema::Schema;
use holdfast_schema::apply::scale::{Replicas, to_object, to_scale};
use holdfast_schema::apply::{self, Element, FieldSet, Managers, Place, Versions, Write};
use holdfast_server::RequestContext;
use serde_json::json;
use std::sync::Arc;

const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

const VERSION: &str = "autoscaling/v1";

fn gvk() -> Gvk {
    Gvk::new(VERSION, "Scale")
}

fn check_kind(resource: &Resource<'_>) -> Result<(), Status> {
    if resource.kind.subresource("scale").is_none() {
        return Err(Status::no_such_path());
    }
    Ok(())
}

/// Where the numbers are: as built-in kinds have them, or as the definition of a custom kind says.
fn paths(resource: &Resource<'_>) -> Result<ScalePaths, Status> {
    if let Some(custom) = resource.strategy.custom() {
        return custom.scale.clone().ok_or_else(Status::no_such_path);
    }
    let path = |text: &str| text.split('.').map(str::to_string).collect();
    let (spec_replicas, status_replicas) = (path("spec.replicas"), path("status.replicas"));
    Ok(ScalePaths { spec_replicas, status_replicas, selector: Some(path("spec.selector")) })
}

fn steps(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// The scale of a workload.
fn view(paths: &ScalePaths, doc: &Json) -> Json {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        holdfast_core::json::copy(&doc["metadata"], &mut metadata, &[field]);
    }
    let mut scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata,
        "spec": {}, "status": { "replicas": i64_at(doc, &steps(&paths.status_replicas)).unwrap_or(0) },
    });
    let replicas = i64_at(doc, &steps(&paths.spec_replicas)).unwrap_or(0);
    if replicas != 0 {
        set(&mut scale, &["spec", "replicas"], replicas);
    }
    match paths.selector.as_ref().and_then(|path| at(doc, &steps(path))) {
        Some(Json::String(text)) => set(&mut scale, &["status", "selector"], text.as_str()),
        Some(selector) => set(&mut scale, &["status", "selector"], selector_text(selector)),
        None => {}
    }
    scale
}

/// A selector as the text of a query.
fn selector_text(selector: &Json) -> String {
    let mut parts: Vec<String> = Vec::new();
    // A ReplicationController has the labels themselves.
    let labels = selector.as_object().filter(|map| map.values().all(Json::is_string));
    let labels = labels.or_else(|| at(selector, &["matchLabels"]).and_then(Json::as_object));
    for (key, value) in labels.into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for expression in items_at(selector, &["matchExpressions"]) {
        let key = str_at(expression, &["key"]).unwrap_or_default();
        let values: Vec<&str> = items_at(expression, &["values"]).iter().filter_map(Json::as_str).collect();
        parts.push(match str_at(expression, &["operator"]) {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("Exists") => key.to_string(),
            _ => format!("!{key}"),
        });
    }
    parts.sort();
    parts.join(",")
}

fn view_of(paths: &ScalePaths, object: &Object) -> Result<Arc<Object>, Status> {
    Object::from_json(view(paths, &object.to_json())).map(Arc::new)
}

/// Reads the scale.
pub(crate) async fn get(engine: &Engine, resource: &Resource<'_>) -> Result<Arc<Object>, Status> {
    check_kind(resource)?;
    let object = crate::generic::view::shown(engine, resource, engine.read(resource).await?).await?;
    view_of(&paths(resource)?, &object)
}

/// How the new scale comes to be.
enum How<'h> {
    /// From the current one.
    Change(&'h (dyn Fn(Json) -> Result<Json, Status> + Send + Sync)),
    /// By applying this configuration.
    Apply(Json),
}

/// Replaces the scale.
pub(crate) async fn update(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    body: Json,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    write(engine, cx, resource, &How::Change(&|_| Ok(body.clone())), options).await
}

/// Patches the scale.
pub(crate) async fn patch(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    patch: &Patch,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    check_patch_type(resource, patch.patch_type)?;
    if patch.patch_type == PatchType::Apply {
        let config = check_config(engine, &Typed::BuiltIn(SCHEMA), &gvk(), &patch.body)?;
        return write(engine, cx, resource, &How::Apply(config), options).await;
    }
    write(engine, cx, resource, &How::Change(&|scale| patched(engine, SCHEMA, scale, patch)), options).await
}

async fn write(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    how: &How<'_>,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    check_kind(resource)?;
    let paths = paths(resource)?;
    let versions = if resource.kind.custom.is_some() { engine.customs.versions_of(resource.kind) } else { Vec::new() };
    let apply = |object: &Object, mut doc: Json| -> Result<Wanted, Status> {
        let current = view(&paths, &doc);
        let before = Managers::parse(object.managed_fields()).unwrap_or_default();
        let version = resource.kind.gvk().api_version();
        // Each version of a custom kind has its replicas elsewhere.
        let path = |asked: &str| {
            let other = || versions.iter().find(|custom| custom.kind.gvk().api_version() == asked)?.scale.as_ref();
            let paths = if asked == version { Some(&paths) } else { other() };
            paths.map(|paths| paths.spec_replicas.iter().map(|name| Element::field(name.clone())).collect())
        };
        let replicas = Replicas { api_version: &version, path: &path };
        let of_scale = to_scale(&before, replicas);
        let write = Write {
            versions: &ScaleVersion(engine.schema),
            api_version: VERSION,
            manager: &options.field_manager,
            subresource: "scale",
            reset: &FieldSet::default(),
            now: engine.now(),
        };
        let scale;
        let of_scale = match how {
            How::Change(make) => {
                scale = checked(engine, cx, resource, make(current.clone())?, options)?;
                // As for whole objects: who owns what is no reason to refuse a write.
                apply::update(&write, Some(&current), &scale, of_scale.clone()).unwrap_or(of_scale)
            }
            How::Apply(config) => {
                let applied = apply::apply(&write, Some(&current), config, of_scale, options.force).map_err(refusal)?;
                scale = checked(engine, cx, resource, applied.object, options)?;
                applied.managers
            }
        };
        let managed = Managed::new(&to_object(before.clone(), of_scale, replicas), &before);
        for field in ["resourceVersion", "uid"] {
            match str_at(&scale, &["metadata", field]).filter(|text| !text.is_empty()) {
                Some(value) => set(&mut doc, &["metadata", field], value),
                None => {
                    remove(&mut doc, &["metadata", field]);
                }
            }
        }
        set(&mut doc, &steps(&paths.spec_replicas), i64_at(&scale, &["spec", "replicas"]).unwrap_or(0));
        Ok(Wanted { doc, managed: Some(managed) })
    };
    let object = change(engine, cx, resource, Part::Scale, &apply, options).await?;
    view_of(&paths, &object)
}

/// Asks mutating webhooks about the scale that `doc` is given; they may change that and nothing else.
pub(crate) async fn mutate(attempt: &Attempt<'_>, doc: &mut Json, old: &Json) -> Result<(), Status> {
    if !attempt.is_judged().await? {
        return Ok(());
    }
    let paths = paths(attempt.resource)?;
    let (mut scale, old) = (view(&paths, doc), view(&paths, old));
    if let Some(again) = attempt.mutate(&mut scale, Some(&old)).await? {
        again.run(&mut scale, Some(&old)).await?;
        check_replicas(&scale, attempt.resource.name)?;
        set(doc, &steps(&paths.spec_replicas), i64_at(&scale, &["spec", "replicas"]).unwrap_or(0));
    }
    Ok(())
}

/// Asks policies and validating webhooks about a change of scale.
pub(crate) async fn validate(attempt: &Attempt<'_>, doc: &Json, old: &Json) -> Result<(), Status> {
    if !attempt.is_judged().await? {
        return Ok(());
    }
    let paths = paths(attempt.resource)?;
    attempt.validate(Some(&view(&paths, doc)), Some(&view(&paths, old))).await
}

/// A scale that somebody wants, once it is one.
fn checked(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    mut scale: Json,
    options: &WriteOptions,
) -> Result<Json, Status> {
    check_type(&gvk(), &mut scale)?;
    check_fields(engine, cx, SCHEMA, &gvk(), &mut scale, options.field_validation)?;
    let name = str_at(&scale, &["metadata", "name"]).unwrap_or_default();
    if name != resource.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            resource.name
        )));
    }
    check_replicas(&scale, resource.name)?;
    Ok(scale)
}

fn check_replicas(scale: &Json, name: &str) -> Result<(), Status> {
    let replicas = i64_at(scale, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let mut errors = FieldErrors::new();
        let path = FieldPath::new("spec.replicas");
        errors.invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid(&gvk(), name, &errors));
    }
    Ok(())
}

/// `Scale` has one version.
struct ScaleVersion(&'static Schema);

impl Versions for ScaleVersion {
    type Place<'s> = Place<'static>;

    fn place(&self, api_version: &str) -> Option<Place<'static>> {
        if api_version == VERSION { self.0.place(SCHEMA) } else { None }
    }

    fn convert(&self, _doc: &Json, _api_version: &str) -> Option<Json> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_becomes_text() {
        let selector = json!({"matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [{"key": "c", "operator": "In", "values": ["x", "y"]}]});
        assert_eq!(selector_text(&selector), "a=1,b=2,c in (x,y)");
        assert_eq!(selector_text(&json!({"b": "2", "a": "1"})), "a=1,b=2");
    }
}
