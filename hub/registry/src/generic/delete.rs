//! Delete: preconditions, grace, finalizers, propagation.
//!
//! [`plan`] decides, without I/O, what a deletion does to an object; the rest commits it.

use super::commit::{Meaning, Outcome, Write, extension};
use super::view;
use crate::admission::dynamic::{Attempt, Operation, Options};
use crate::admission::timing::Half;
use crate::admission::{self, Admission, resource_quota};
use crate::engine::{Engine, Resource, decode as decode_record, store_error};
use crate::limits::CONFLICT_RETRIES;
use crate::node_records;
use crate::strategy::Strategy;
use holdfast_core::json::{at, i64_at, items_at, remove, set, str_at};
use holdfast_core::verbs::{Preconditions, Propagation};
use holdfast_core::{DeleteOptions, FieldErrors, FieldPath, Gvk, Json, Object, Status, Timestamp};
use holdfast_server::{Deleted, RequestContext};
use holdfast_store::Condition;
use std::sync::Arc;
use std::time::Duration;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a deletion does.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// It was asked for before and nothing changes.
    Pending,
    /// The object stays, marked, as this document.
    Mark(Json),
    /// The object goes.
    Remove,
}

/// Decides about a document without `resourceVersion`.
pub(crate) fn plan(
    strategy: &dyn Strategy,
    is_namespace: bool,
    old: &Json,
    options: &DeleteOptions,
    now: Timestamp,
) -> Plan {
    let mut doc = old.clone();
    let deleting = at(old, &["metadata", "deletionTimestamp"]).is_some();
    if is_namespace {
        // The namespace controller empties it and takes `spec.finalizers` away.
        if !deleting {
            set_finalizers(&mut doc, options, false);
            set(&mut doc, &["metadata", "deletionTimestamp"], now.to_string());
            set(&mut doc, &["status", "phase"], "Terminating");
            if items_at(&doc, &["spec", "finalizers"]).is_empty()
                && items_at(&doc, &["metadata", "finalizers"]).is_empty()
            {
                return Plan::Remove;
            }
            return Plan::Mark(doc);
        }
        if !items_at(old, &["spec", "finalizers"]).is_empty() || !items_at(old, &["metadata", "finalizers"]).is_empty()
        {
            return Plan::Pending;
        }
        return Plan::Remove;
    }

    let mut graceful = None;
    let granted = i64_at(old, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
    if deleting && granted > 0 {
        match options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds }) {
            Some(shorter) if shorter < granted => {
                let until = str_at(old, &["metadata", "deletionTimestamp"]).and_then(Timestamp::parse).unwrap_or(now);
                let until = Timestamp::from_secs(until.secs() - granted + shorter);
                set(&mut doc, &["metadata", "deletionTimestamp"], until.to_string());
                set(&mut doc, &["metadata", "deletionGracePeriodSeconds"], shorter);
                graceful = Some(shorter);
            }
            _ => return Plan::Pending,
        }
    } else if !deleting && let Some(seconds) = strategy.grace_seconds(old, options.grace_period_seconds) {
        let until = now.after(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        mark(&mut doc, until, seconds);
        graceful = Some(seconds);
    }
    set_finalizers(&mut doc, options, strategy.orphans_by_default());
    let held = !items_at(&doc, &["metadata", "finalizers"]).is_empty();
    match graceful {
        Some(seconds) if held || seconds > 0 => {}
        None if held => {
            if !deleting {
                mark(&mut doc, now, 0);
            }
        }
        _ => return Plan::Remove,
    }
    if doc == *old { Plan::Pending } else { Plan::Mark(doc) }
}

fn mark(doc: &mut Json, until: Timestamp, seconds: i64) {
    set(doc, &["metadata", "deletionTimestamp"], until.to_string());
    set(doc, &["metadata", "deletionGracePeriodSeconds"], seconds);
    if let Some(generation) = i64_at(doc, &["metadata", "generation"]).filter(|generation| *generation > 0) {
        set(doc, &["metadata", "generation"], generation + 1);
    }
}

/// Adds and removes the garbage collector's finalizers as the propagation asks. Without a wish they stay, and where there are
/// none, `orphans` says what the kind wants.
fn set_finalizers(doc: &mut Json, options: &DeleteOptions, orphans: bool) {
    let is_collectors = |finalizer: &Json| matches!(finalizer.as_str(), Some(ORPHAN | FOREGROUND));
    let wanted = match (options.propagation_policy, options.orphan_dependents) {
        (Some(Propagation::Orphan), _) | (None, Some(true)) => Some(ORPHAN),
        (Some(Propagation::Foreground), _) => Some(FOREGROUND),
        (Some(Propagation::Background), _) | (None, Some(false)) => None,
        (None, None) if orphans && !items_at(doc, &["metadata", "finalizers"]).iter().any(is_collectors) => {
            Some(ORPHAN)
        }
        (None, None) => return,
    };
    let mut finalizers: Vec<Json> = items_at(doc, &["metadata", "finalizers"])
        .iter()
        .filter(|finalizer| !is_collectors(finalizer))
        .cloned()
        .collect();
    finalizers.extend(wanted.map(Json::from));
    if finalizers.is_empty() {
        remove(doc, &["metadata", "finalizers"]);
    } else {
        set(doc, &["metadata", "finalizers"], finalizers);
    }
}

/// Deletes one object.
///
/// # Errors
/// 404 when it is missing, 409 when a precondition does not hold, 403 from admission.
pub(crate) async fn delete(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    validate_options(options)?;
    let is_core = |kind: &str| resource.kind.kind == kind && resource.kind.group.is_empty();
    let key = resource.key();
    let dry_run = !options.dry_run.is_empty();
    for _ in 0..CONFLICT_RETRIES {
        let Some(record) = engine.store.get(&key).await.map_err(store_error)? else {
            return Err(resource.not_found());
        };
        let old = decode_record(&record)?;
        check_preconditions(resource, options.preconditions.as_ref(), &old)?;
        let old_doc = without_version(old.to_json());
        let admission = Admission { engine, cx, kind: resource.kind, gvr: resource.gvr, namespace: resource.namespace };
        // As the client sees it: what cannot be shown cannot be deleted, as upstream has it.
        let shown = match resource.strategy.custom() {
            Some(custom) => Some(without_version(custom.show_one(engine, old.clone()).await?.to_json())),
            None => None,
        };
        let judged = shown.as_ref().unwrap_or(&old_doc);
        let step = engine.timing.step(&engine.env, Half::Validate, Operation::Delete);
        admission::validate_delete(&admission, resource.name, judged).await?;
        let attempt = Attempt {
            engine,
            cx,
            resource,
            operation: Operation::Delete,
            subresource: "",
            revision: Some(old.revision),
            options: Options::Delete(options),
        };
        attempt.delete(judged).await?;
        step.passed();

        let plan = plan(&*resource.strategy, is_core("Namespace"), &old_doc, options, engine.now());
        let mut write = Write::default();
        write.check(key.clone(), Condition::ModifiedAt(old.revision), Meaning::Subject);
        let removed = match plan {
            Plan::Pending if extension(cx).is_none() || dry_run => {
                return Ok(Deleted::Marked(view::shown(engine, resource, old).await?));
            }
            Plan::Pending => false,
            Plan::Mark(doc) => {
                let object = Object::with_managed_fields(doc, old.managed_fields())?;
                if dry_run {
                    let object = Arc::new(object.at_revision(old.revision));
                    return Ok(Deleted::Marked(view::written(engine, resource, object).await?));
                }
                write.put(key.clone(), object.body().clone());
                false
            }
            Plan::Remove => {
                if dry_run {
                    return Ok(Deleted::Gone(view::shown(engine, resource, old).await?));
                }
                write.delete(key.clone());
                if is_core("Namespace") {
                    write.delete(resource_quota::mark(resource.name));
                }
                if is_core("Node") {
                    node_records::all(&old.meta.uid).into_iter().for_each(|key| write.delete(key));
                }
                if is_core("Service") {
                    engine.services.release(&old_doc)?.into_iter().for_each(|allocation| allocation.join(&mut write));
                }
                true
            }
        };
        match write.commit(engine, cx, resource.gvr, resource.name).await? {
            Outcome::Committed(revision, _) if removed => {
                let object = Arc::new(old.at_revision(revision));
                return Ok(Deleted::Gone(view::written(engine, resource, object).await?));
            }
            Outcome::Committed(_, object) => {
                return Ok(Deleted::Marked(view::written(engine, resource, object.unwrap_or(old)).await?));
            }
            Outcome::Lost(_) => {}
        }
    }
    Err(Status::stale(resource.gvr, resource.name))
}

fn without_version(mut doc: Json) -> Json {
    remove(&mut doc, &["metadata", "resourceVersion"]);
    doc
}

/// What contradicts itself in options.
///
/// # Errors
/// 422 about them.
pub(crate) fn validate_options(options: &DeleteOptions) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    if options.propagation_policy.is_some() && options.orphan_dependents.is_some() {
        errors.invalid(
            &FieldPath::new("propagationPolicy"),
            serde_json::to_value(options.propagation_policy).unwrap_or_default(),
            "orphanDependents and deletionPropagation cannot be both set",
        );
    }
    for (index, value) in options.dry_run.iter().enumerate() {
        if value != "All" {
            errors.not_supported(&FieldPath::new("dryRun").index(index), value.as_str(), &["All"]);
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&Gvk::new("meta.k8s.io/v1", "DeleteOptions"), "", &errors))
}

/// Whether an object is the one that is meant.
///
/// # Errors
/// 409 when it is another, or changed.
pub(crate) fn check_preconditions(
    resource: &Resource<'_>,
    preconditions: Option<&Preconditions>,
    old: &Object,
) -> Result<(), Status> {
    let Some(preconditions) = preconditions else { return Ok(()) };
    if let Some(uid) = preconditions.uid.as_ref().filter(|uid| **uid != old.meta.uid) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            old.meta.uid
        );
        return Err(Status::conflict(resource.gvr, resource.name, why));
    }
    let revision = old.revision.to_string();
    if let Some(version) = preconditions.resource_version.as_ref().filter(|version| **version != revision) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record \
             ({revision}). The object might have been modified"
        );
        return Err(Status::conflict(resource.gvr, resource.name, why));
    }
    Ok(())
}
