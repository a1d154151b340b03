//! DefaultIngressClass: a new Ingress that names no class gets the default one.

use super::{Admission, newest_default};
use holdfast_core::json::{at, set};
use holdfast_core::{Gvr, Json, Status};

const CLASS: &str = "kubernetes.io/ingress.class";
const DEFAULT: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];

pub(crate) async fn mutate(cx: &Admission<'_>, doc: &mut Json) -> Result<(), Status> {
    let named =
        at(doc, &["spec", "ingressClassName"]).is_some() || at(doc, &["metadata", "annotations", CLASS]).is_some();
    let classes = Gvr::new("networking.k8s.io", "v1", "ingressclasses");
    if !named && let Some(class) = newest_default(cx, &classes, &DEFAULT).await? {
        set(doc, &["spec", "ingressClassName"], class);
    }
    Ok(())
}
