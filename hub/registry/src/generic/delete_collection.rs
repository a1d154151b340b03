//! Delete of a collection: each selected object as if by itself.

use super::{delete, list};
use crate::engine::{Engine, Resource};
use holdfast_core::{DeleteOptions, ListOptions, ObjectList, Reason, Status};
use holdfast_server::RequestContext;

/// Deletes what `selection` selects and returns what it was.
///
/// # Errors
/// The first error of a deletion; what was deleted before stays deleted. Objects that went meanwhile are none.
pub(crate) async fn delete_collection(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    options: &DeleteOptions,
    selection: &ListOptions,
) -> Result<ObjectList, Status> {
    let found = list::list(engine, resource, selection).await?;
    for object in &found.items {
        let one = Resource {
            kind: resource.kind,
            strategy: resource.strategy.clone(),
            gvr: resource.gvr,
            namespace: &object.meta.namespace,
            name: &object.meta.name,
        };
        match delete::delete(engine, cx, &one, options).await {
            Err(status) if status.is(Reason::NotFound) => {}
            Err(status) => return Err(status),
            Ok(_) => {}
        }
    }
    Ok(found)
}
