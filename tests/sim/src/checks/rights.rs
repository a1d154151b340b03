//! Invariant 7: a node gets its own objects only: its pods, what they name, and what every node gets.

use super::{Check, text};
use crate::ledger::{Report, Seen, Way};
use crate::wire::batch;
use holdfast_sim_world::TapSide;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Prefixes of items that every node gets, and of RuntimeClasses, which hold no secret.
const FOR_ALL: &[&str] =
    &["/v1/services/", "discovery.k8s.io/v1/endpointslices/", "/v1/nodes/", "node.k8s.io/v1/runtimeclasses/"];

/// What each node's pods ever named.
#[derive(Default)]
pub struct OwnObjects {
    allowed: BTreeMap<String, BTreeSet<String>>,
}

/// Every name that stands under a key that names an object of this kind, wherever in the document.
fn names(doc: &Value, out: &mut BTreeSet<(&'static str, String)>) {
    match doc {
        Value::Object(fields) => {
            for (field, value) in fields {
                let found = match field.as_str() {
                    "secret" => Some(("secrets", value.get("secretName").or_else(|| value.get("name")))),
                    "secretRef" | "secretKeyRef" => Some(("secrets", value.get("name"))),
                    "configMap" | "configMapRef" | "configMapKeyRef" => Some(("configmaps", value.get("name"))),
                    "serviceAccountName" => Some(("serviceaccounts", Some(value))),
                    "imagePullSecrets" => {
                        for secret in value.as_array().into_iter().flatten() {
                            out.insert(("secrets", text(secret, &["name"]).to_string()));
                        }
                        None
                    }
                    _ => None,
                };
                if let Some((plural, Some(name))) = found {
                    out.insert((plural, name.as_str().unwrap_or_default().to_string()));
                }
                names(value, out);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, out)),
        _ => {}
    }
}

impl Check for OwnObjects {
    fn name(&self) -> &'static str {
        "own-objects"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Commit(commit) => {
                for pod in commit.pods().filter_map(|(_, pod)| pod) {
                    let node = text(pod, &["spec", "nodeName"]);
                    if node.is_empty() {
                        continue;
                    }
                    let namespace = text(pod, &["metadata", "namespace"]);
                    let allowed = self.allowed.entry(node.to_string()).or_default();
                    allowed.insert(format!("/v1/pods/{namespace}/{}", text(pod, &["metadata", "name"])));
                    allowed.insert(format!("/v1/namespaces//{namespace}"));
                    let uid = text(pod, &["metadata", "uid"]);
                    allowed.insert(format!("edge.holdfast.io/v1/tokens/{namespace}/{uid}"));
                    let mut found = BTreeSet::new();
                    names(&pod["spec"], &mut found);
                    for (plural, name) in found {
                        allowed.insert(format!("/v1/{plural}/{namespace}/{name}"));
                    }
                }
            }
            Seen::Frame { node, way: Way::Down, side: TapSide::Sent, frame, .. } => {
                let Some(batch) = batch(frame) else { return };
                let nothing = BTreeSet::new();
                let allowed = self.allowed.get(&format!("edge-{node}")).unwrap_or(&nothing);
                for (key, _) in &batch.puts {
                    // A token's key goes on with seconds and audience.
                    let token = key.starts_with("edge.holdfast.io/v1/tokens/")
                        && key.split('.').count() > 3
                        && allowed.contains(key.splitn(4, '.').take(3).collect::<Vec<_>>().join(".").as_str());
                    if !token && !allowed.contains(key) && !FOR_ALL.iter().any(|all| key.starts_with(all)) {
                        report.violation(format!("edge-{node} is sent {key}, which none of its pods names"));
                    }
                }
            }
            _ => {}
        }
    }
}
