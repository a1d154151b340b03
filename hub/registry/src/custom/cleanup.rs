//! The objects of a definition that is going.

use super::CustomStrategy;
use super::definition::Definition;
use super::follow::context;
use crate::engine::{Engine, Resource, decode, store_error};
use crate::keys;
use crate::strategy::Rules;
use holdfast_core::{DeleteOptions, Reason, Status};
use holdfast_store::RangeRequest;

/// So many objects are deleted in one go.
const BATCH: usize = 500;

/// Deletes the objects of all versions. Returns whether none is left.
pub(super) async fn clear(engine: &Engine, definition: &Definition) -> Result<bool, Status> {
    // All versions share one place.
    let Some(custom) = definition.versions.first() else { return Ok(true) };
    let request = RangeRequest { prefix: keys::prefix(custom.kind), limit: BATCH, ..Default::default() };
    let range = engine.store.range(request).await.map_err(store_error)?;
    let gvr = custom.kind.gvr();
    for record in &range.records {
        let object = decode(record)?;
        // By the version that an object is in: nobody has to be asked to convert what goes.
        let own = definition.versions.iter().find(|custom| custom.kind.version == object.gvk.version).unwrap_or(custom);
        let resource = Resource {
            kind: own.kind,
            strategy: Rules::Custom(CustomStrategy(own.clone())),
            gvr: &gvr,
            namespace: &object.meta.namespace,
            name: &object.meta.name,
        };
        match crate::generic::delete::delete(engine, &context(), &resource, &DeleteOptions::default()).await {
            Err(status) if !status.is(Reason::NotFound) && !status.is(Reason::Conflict) => return Err(status),
            _ => {}
        }
    }
    let request = RangeRequest { prefix: keys::prefix(custom.kind), limit: 1, ..Default::default() };
    Ok(engine.store.range(request).await.map_err(store_error)?.records.is_empty())
}
