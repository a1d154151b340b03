//! OfflinePolicy: the first policy, by name, that selects a new pod writes its fencing mode into the pod's annotation.
//! A pod that brings the annotation keeps it, and so does one that a restored hub takes back. A later change of the
//! policy leaves pods that exist as they are: a mode that changed under a running pod would not be agreed on with its node.

use super::Admission;
use super::service_account::MIRROR;
use crate::generic::commit::adopts;
use crate::kinds::offline_policy::annotation;
use holdfast_core::json::{at, set};
use holdfast_core::selector::LabelSelector;
use holdfast_core::{Gvr, Json, Status};
use holdfast_kinds::fencing::ANNOTATION;
use std::collections::BTreeMap;

pub(crate) async fn mutate(cx: &Admission<'_>, doc: &mut Json) -> Result<(), Status> {
    let says = |key: &str| at(doc, &["metadata", "annotations", key]).is_some();
    if adopts(cx.cx) || says(ANNOTATION) || says(MIRROR) {
        return Ok(());
    }
    let policies =
        cx.engine.find_all(&Gvr::new("edge.holdfast.io", "v1alpha1", "offlinepolicies"), cx.namespace).await?;
    if policies.is_empty() {
        return Ok(());
    }
    let labels = at(doc, &["metadata", "labels"]).and_then(Json::as_object).into_iter().flatten();
    let labels: BTreeMap<String, String> =
        labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_string())).collect();
    // By name: the store's order.
    let mut chosen: Option<(String, String)> = None;
    for policy in policies {
        let body = policy.to_json();
        let selector = at(&body, &["spec", "podSelector"]).map(LabelSelector::from_spec);
        if !selector.is_some_and(|selector| selector.is_ok_and(|selector| selector.matches(&labels))) {
            continue;
        }
        let mode = annotation(&body);
        match &chosen {
            None => chosen = Some((policy.meta.name.clone(), mode)),
            Some((first, chosen)) if *chosen != mode => cx.cx.warn(format!(
                "offlinepolicies {first:?} ({chosen}) and {:?} ({mode}) both select this pod; the first by name decides",
                policy.meta.name
            )),
            Some(_) => {}
        }
    }
    if let Some((_, mode)) = chosen {
        set(doc, &["metadata", "annotations", ANNOTATION], mode);
    }
    Ok(())
}
