//! DefaultStorageClass, StorageObjectInUseProtection and PersistentVolumeClaimResize.

use super::{Admission, newest_default};
use crate::kinds::pod::resources::quantity;
use holdfast_core::json::{at, bool_at, items_at, set, str_at};
use holdfast_core::{Gvr, Json, Status};

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// The finalizer of a claim that a pod may be using.
pub(crate) const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// The finalizer of a volume that a claim may be bound to.
pub(crate) const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// A new claim or volume stays until its controller knows that nobody uses it.
pub(crate) fn protect(doc: &mut Json, finalizer: &str) {
    let finalizers = items_at(doc, &["metadata", "finalizers"]);
    if !finalizers.iter().any(|one| one == finalizer) {
        let all = [finalizers, &[Json::from(finalizer)]].concat();
        set(doc, &["metadata", "finalizers"], all);
    }
}

fn classes() -> Gvr {
    Gvr::new("storage.k8s.io", "v1", "storageclasses")
}

/// A new claim that names no class gets the default one.
pub(crate) async fn default_class(cx: &Admission<'_>, doc: &mut Json) -> Result<(), Status> {
    let named =
        at(doc, &["spec", "storageClassName"]).is_some() || at(doc, &["metadata", "annotations", CLASS]).is_some();
    if !named && let Some(class) = newest_default(cx, &classes(), &DEFAULT).await? {
        set(doc, &["spec", "storageClassName"], class);
    }
    Ok(())
}

/// A claim may grow if it is bound and its class lets it.
pub(crate) async fn resize(cx: &Admission<'_>, doc: &Json, old: &Json) -> Result<(), Status> {
    let size = |doc: &Json| at(doc, &["spec", "resources", "requests", "storage"]).and_then(quantity);
    let grows = size(doc).zip(size(old)).is_some_and(|(new, old)| new.milli() > old.milli());
    if !grows {
        return Ok(());
    }
    if str_at(old, &["status", "phase"]) != Some("Bound") {
        return Err(cx.forbidden(doc, "Only bound persistent volume claims can be expanded"));
    }
    let class = str_at(old, &["metadata", "annotations", CLASS]).or_else(|| str_at(old, &["spec", "storageClassName"]));
    let class = cx.engine.find(&classes(), "", class.unwrap_or_default()).await?;
    if class.is_some_and(|class| bool_at(&class.to_json(), &["allowVolumeExpansion"]) == Some(true)) {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(cx.forbidden(doc, why))
}
