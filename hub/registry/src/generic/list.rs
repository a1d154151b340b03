//! Lists: pages, revisions, selectors. A list with a selector and a limit reads on until the page is full.

use super::continue_token::{self, ContinueToken};
use super::view;
use crate::engine::{Engine, Resource, decode, store_error};
use crate::keys;
use crate::limits::{FILTER_PAGE, MEASURED_OBJECTS};
use holdfast_core::verbs::VersionMatch;
use holdfast_core::{Gvr, ListOptions, ObjectList, Revision, Status};
use holdfast_kinds::Selection;
use holdfast_server::Stored;
use holdfast_store::{RangeRequest, StoreError};

/// How much there is of a resource, judged by its first objects.
pub(crate) async fn stored(engine: &Engine, gvr: &Gvr) -> Option<Stored> {
    let (kind, _) = engine.find_kind(gvr)?;
    let request = RangeRequest { prefix: keys::prefix(kind), limit: MEASURED_OBJECTS, ..Default::default() };
    let range = engine.store.range(request).await.ok()?;
    let measured = range.records.len() as u64;
    let bytes: u64 = range.records.iter().map(|record| record.value.len() as u64).sum();
    Some(Stored { objects: measured + range.remaining, bytes_each: bytes.checked_div(measured).unwrap_or_default() })
}

/// Lists a collection.
///
/// # Errors
/// 400 for a bad selector or token, 410 for a revision that is gone, 504 for one that is yet to come.
pub(crate) async fn list(
    engine: &Engine,
    resource: &Resource<'_>,
    options: &ListOptions,
) -> Result<ObjectList, Status> {
    options.validate(false)?;
    let name = (!resource.name.is_empty()).then_some(resource.name);
    let selection = Selection::new(resource.kind, options, name)?;
    if options.continue_token.is_some() && options.resource_version.is_some_and(|revision| revision.0 != 0) {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let namespace = match (resource.namespace, selection.namespace()) {
        ("", Some(namespace)) if resource.kind.namespaced => namespace,
        (namespace, _) => namespace,
    };
    let prefix = keys::scope(resource.kind, namespace);
    let (mut at, mut after) = match &options.continue_token {
        Some(token) => {
            let (revision, after) = ContinueToken::decode(token, engine.lineage)?;
            match revision {
                Some(revision) => engine.not_older_than(revision).await?,
                None => {
                    engine.sync().await?;
                }
            }
            (revision, Some(format!("{prefix}{after}")))
        }
        None => (start(engine, options).await?, None),
    };
    if let Some(name) = selection.name().filter(|_| options.continue_token.is_none() && at.is_none()) {
        return list_one(engine, resource, &selection, namespace, name, &prefix).await;
    }

    let began_after = after.clone();
    let everything = selection.is_everything();
    let mut items = Vec::new();
    loop {
        let missing = options.limit.saturating_sub(items.len());
        let limit = match (options.limit, everything) {
            (0, _) => 0,
            (_, true) => missing,
            (_, false) => missing.max(FILTER_PAGE),
        };
        let request = RangeRequest { prefix: prefix.clone(), after: after.clone(), limit, at };
        let range = engine.store.range(request).await.map_err(|err| match (err, &began_after) {
            (StoreError::Compacted { .. }, Some(after)) => {
                continue_token::expired(after.strip_prefix(&prefix).unwrap_or(after), engine.lineage)
            }
            (err, _) => store_error(err),
        })?;
        // All pages show the same state.
        at = Some(range.revision);
        let last_read = range.records.last().map(|record| record.key.clone());
        let read = range.records.len() as u64;
        let objects = range.records.iter().map(|record| decode(record)).collect::<Result<Vec<_>, _>>()?;
        let shown = view::shown_all(engine, resource, objects).await?;
        for (index, (record, object)) in range.records.iter().zip(shown).enumerate() {
            if !everything && !selection.matches(&object) {
                continue;
            }
            items.push(object);
            if options.limit != 0 && items.len() == options.limit {
                let left = read - index as u64 - 1 + range.remaining;
                return Ok(page(engine, items, range.revision, &prefix, &record.key, left, everything));
            }
        }
        if range.remaining == 0 || last_read.is_none() {
            return Ok(ObjectList { items, revision: range.revision, continue_token: None, remaining: None });
        }
        after = last_read.map(|key| key.to_string());
    }
}

fn page(
    engine: &Engine,
    items: Vec<std::sync::Arc<holdfast_core::Object>>,
    revision: Revision,
    prefix: &str,
    last: &str,
    left: u64,
    everything: bool,
) -> ObjectList {
    let more = left > 0;
    let after = last.strip_prefix(prefix).unwrap_or(last);
    ObjectList {
        items,
        revision,
        continue_token: more.then(|| ContinueToken::new(revision, after, engine.lineage).encode()),
        remaining: (more && everything).then_some(left),
    }
}

/// The revision to read at; `None` for the newest. Reads are as recent then as the request wants them: without a revision
/// the most recent, with 0 whatever is at hand.
async fn start(engine: &Engine, options: &ListOptions) -> Result<Option<Revision>, Status> {
    let wanted = match options.resource_version {
        None => {
            engine.sync().await?;
            return Ok(None);
        }
        Some(Revision(0)) => return Ok(None),
        Some(wanted) => wanted,
    };
    engine.not_older_than(wanted).await?;
    let exact = match options.version_match {
        Some(VersionMatch::Exact) => true,
        Some(VersionMatch::NotOlderThan) => false,
        // Upstream's older rule: with a limit, the revision is exact.
        None => options.limit != 0,
    };
    Ok(exact.then_some(wanted))
}

/// A list that can hold one object at most.
async fn list_one(
    engine: &Engine,
    resource: &Resource<'_>,
    selection: &Selection,
    namespace: &str,
    name: &str,
    prefix: &str,
) -> Result<ObjectList, Status> {
    let revision;
    let records = if resource.kind.namespaced && namespace.is_empty() {
        let request = RangeRequest { prefix: prefix.to_string(), ..Default::default() };
        let range = engine.store.range(request).await.map_err(store_error)?;
        revision = range.revision;
        let suffix = format!("/{name}");
        range.records.into_iter().filter(|record| record.key.ends_with(&suffix)).collect()
    } else {
        // The revision is read first: the object is then at least as new as it says.
        revision = engine.store.revision();
        let key = keys::object(resource.kind, namespace, name);
        Vec::from_iter(engine.store.get(&key).await.map_err(store_error)?)
    };
    let objects = records.iter().map(|record| decode(record)).collect::<Result<Vec<_>, _>>()?;
    let mut items = view::shown_all(engine, resource, objects).await?;
    items.retain(|object| selection.matches(object));
    let newest = items.iter().map(|object| object.revision).max().unwrap_or_default();
    Ok(ObjectList { items, revision: revision.max(newest), continue_token: None, remaining: None })
}
