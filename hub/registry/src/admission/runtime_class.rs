//! RuntimeClass: overhead and scheduling of a pod's runtime class join its spec.

use super::Admission;
use crate::kinds::pod::resources::quantity;
use holdfast_core::json::{at, items_at, set, str_at};
use holdfast_core::{Gvr, Json, Status};

pub(crate) async fn mutate(cx: &Admission<'_>, doc: &mut Json) -> Result<(), Status> {
    let name = str_at(doc, &["spec", "runtimeClassName"]).unwrap_or_default().to_string();
    let asked = at(doc, &["spec", "overhead"]).cloned();
    if name.is_empty() {
        if asked.is_some() {
            return Err(
                cx.forbidden(doc, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
            );
        }
        return Ok(());
    }
    let classes = Gvr::new("node.k8s.io", "v1", "runtimeclasses");
    let Some(class) = cx.engine.find(&classes, "", &name).await? else {
        return Err(cx.forbidden(doc, format!("pod rejected: RuntimeClass {name:?} not found")));
    };
    let class = class.to_json();
    let overhead = at(&class, &["overhead", "podFixed"]).cloned();
    if let Some(asked) = &asked
        && !overhead.as_ref().is_some_and(|overhead| same_amounts(asked, overhead))
    {
        return Err(cx.forbidden(doc, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
    }
    if let Some(overhead) = overhead {
        set(doc, &["spec", "overhead"], overhead);
    }
    for (key, value) in at(&class, &["scheduling", "nodeSelector"]).and_then(Json::as_object).into_iter().flatten() {
        let other = at(doc, &["spec", "nodeSelector", key]).filter(|other| *other != value);
        if other.is_some() {
            return Err(cx.forbidden(
                doc,
                format!("pod rejected: conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    value.as_str().unwrap_or_default(),
                    other.and_then(Json::as_str).unwrap_or_default()),
            ));
        }
        set(doc, &["spec", "nodeSelector", key], value.clone());
    }
    let mut tolerations = items_at(doc, &["spec", "tolerations"]).to_vec();
    for toleration in items_at(&class, &["scheduling", "tolerations"]) {
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    if !tolerations.is_empty() {
        set(doc, &["spec", "tolerations"], tolerations);
    }
    Ok(())
}

fn same_amounts(a: &Json, b: &Json) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
    a.len() == b.len()
        && a.iter().all(|(name, amount)| {
            let other = b.get(name).and_then(quantity);
            quantity(amount).zip(other).is_some_and(|(a, b)| a.milli() == b.milli())
        })
}
