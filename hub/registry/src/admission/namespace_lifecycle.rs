//! NamespaceLifecycle: objects go only into namespaces that exist and stay.

use super::Admission;
use crate::engine::{Engine, decode, known, store_error};
use crate::keys;
use holdfast_core::{Gvr, Revision, Status};

/// Namespaces that may not be deleted.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

/// The key and revision of a namespace that takes new objects; the commit checks that it still does.
///
/// # Errors
/// 404 when it does not exist, 403 when it is going away.
pub(crate) async fn open(
    engine: &Engine,
    gvr: &Gvr,
    namespace: &str,
    name: &str,
) -> Result<(String, Revision), Status> {
    let namespaces = Gvr::new("", "v1", "namespaces");
    let key = keys::object(known(&namespaces)?, "", namespace);
    let Some(record) = engine.store.get(&key).await.map_err(store_error)? else {
        return Err(Status::not_found(&namespaces, namespace));
    };
    if decode(&record)?.meta.is_deleting() {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = format!("namespace {namespace} is being terminated");
        // By the cause controllers know that another try makes no sense.
        return Err(Status::forbidden(gvr, name, why).with_cause_at(
            "metadata.namespace",
            "NamespaceTerminating",
            cause,
        ));
    }
    Ok((key, record.modified))
}

/// # Errors
/// 403 for a namespace that the cluster needs.
pub(crate) fn validate_delete(cx: &Admission<'_>, name: &str) -> Result<(), Status> {
    if IMMORTAL.contains(&name) {
        return Err(Status::forbidden(cx.gvr, name, "this namespace may not be deleted"));
    }
    Ok(())
}
