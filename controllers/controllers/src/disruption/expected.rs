//! How many pods a budget counts on: the scale of whatever controls those that it selects.

use super::Pod;
use holdfast_controller::{Cache, Client, Key, ResourceKind, decode};
use holdfast_core::gvk::parse_api_version;
use holdfast_core::{Json, Object, OwnerReference, Reason, json as path};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// What a budget asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// `expectedPods`.
    pub(super) expected: i64,
    /// `desiredHealthy`.
    pub(super) desired: i64,
    /// Names of pods that nothing controls, where the scale matters.
    pub(super) unmanaged: Vec<String>,
}

/// Finds scales. ReplicaSets and Deployments are at hand; everything else is asked for its `scale`.
pub(super) struct Expected {
    pub(super) client: Arc<dyn Client>,
    pub(super) replica_sets: Arc<Cache<Arc<Object>>>,
    pub(super) deployments: Arc<Cache<Arc<Object>>>,
    pub(super) kinds: watch::Receiver<Arc<[ResourceKind]>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Scaled {
    spec: ScaledSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ScaledSpec {
    replicas: Option<i64>,
}

fn replicas(object: &Object) -> i64 {
    decode::<Scaled>(object).spec.replicas.unwrap_or(1)
}

/// A number, or a percentage of `total`, rounded up.
fn scaled(value: &Json, total: i64) -> Result<i64, String> {
    if let Some(number) = value.as_i64() {
        return Ok(number);
    }
    let text = value.as_str().unwrap_or_default();
    let percent: i64 =
        text.strip_suffix('%').and_then(|digits| digits.parse().ok()).ok_or(format!("{text:?} is no percentage"))?;
    Ok(total.saturating_mul(percent).saturating_add(99).div_euclid(100))
}

impl Expected {
    /// What a budget of these pods asks for.
    pub(super) async fn count(&self, budget: &Json, pods: &[Pod]) -> Result<Counts, String> {
        let mut counts = Counts::default();
        if let Some(most) = path::at(budget, &["spec", "maxUnavailable"]) {
            self.scale(pods, &mut counts).await?;
            counts.desired = (counts.expected - scaled(most, counts.expected)?).max(0);
        } else if let Some(least) = path::at(budget, &["spec", "minAvailable"]) {
            if least.is_string() {
                self.scale(pods, &mut counts).await?;
            } else {
                counts.expected = i64::try_from(pods.len()).unwrap_or(i64::MAX);
            }
            counts.desired = scaled(least, counts.expected)?;
        }
        Ok(counts)
    }

    /// The scales of all controllers together.
    async fn scale(&self, pods: &[Pod], counts: &mut Counts) -> Result<(), String> {
        let (mut seen, mut scales) = (BTreeSet::new(), BTreeMap::new());
        for pod in pods {
            let Some(owner) = pod.meta.controller() else {
                counts.unmanaged.push(pod.meta.name.clone());
                continue;
            };
            if !seen.insert(owner.uid.clone()) {
                continue;
            }
            let found = self.controller(&pod.meta.namespace, owner).await?;
            let (uid, replicas) = found.ok_or_else(|| format!("found no controllers for pod {:?}", pod.meta.name))?;
            scales.insert(uid, replicas);
        }
        counts.expected = scales.values().sum();
        Ok(())
    }

    /// The UID and scale of what controls the pods of `owner`: the Deployment of a ReplicaSet that has one.
    async fn controller(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<(String, i64)>, String> {
        let (group, version) = parse_api_version(&owner.api_version);
        if (group, owner.kind.as_str()) != ("apps", "ReplicaSet") {
            return self.asked(namespace, owner, (group, version)).await;
        }
        let set = self.replica_sets.get(&Key::new(namespace, &owner.name)).filter(|set| set.meta.uid == owner.uid);
        let Some(set) = set else { return Ok(None) };
        let above = set.meta.controller().filter(|above| above.kind == "Deployment");
        let Some(above) = above else { return Ok(Some((set.meta.uid.clone(), replicas(&set.value)))) };
        let found = self.deployments.get(&Key::new(namespace, &above.name)).filter(|found| found.meta.uid == above.uid);
        Ok(found.map(|deployment| (deployment.meta.uid.clone(), replicas(&deployment.value))))
    }

    async fn asked(
        &self,
        namespace: &str,
        owner: &OwnerReference,
        (group, version): (&str, &str),
    ) -> Result<Option<(String, i64)>, String> {
        let kinds = self.kinds.borrow().clone();
        let of_kind = |kind: &&ResourceKind| kind.gvr.group == group && kind.kind == owner.kind;
        let same = kinds.iter().filter(of_kind).find(|kind| kind.gvr.version == version);
        let Some(kind) = same.or_else(|| kinds.iter().find(of_kind)) else { return Ok(None) };
        let at = Key::new(namespace, &owner.name).target(kind.gvr.clone()).with_subresource("scale");
        match self.client.get(&at).await {
            Ok(scale) if scale.meta.uid == owner.uid => {
                let replicas = path::i64_at(&scale.to_json(), &["spec", "replicas"]).unwrap_or(0);
                Ok(Some((owner.uid.clone(), replicas)))
            }
            Ok(_) => Ok(None),
            Err(status) if status.is(Reason::NotFound) => {
                // Without a name in it the answer is about the path.
                if status.details().is_none_or(|details| details.name.is_empty()) {
                    return Err(format!("{} does not implement the scale subresource", kind.gvr.qualified()));
                }
                Ok(None)
            }
            Err(status) => Err(status.message().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn percentages_round_up() {
        for (value, total, expected) in [
            (json!(3), 10, Ok(3)),
            (json!("50%"), 3, Ok(2)),
            (json!("1%"), 1, Ok(1)),
            (json!("0%"), 7, Ok(0)),
            (json!("100%"), 7, Ok(7)),
            (json!("many"), 7, Err("\"many\" is no percentage".to_string())),
        ] {
            assert_eq!(scaled(&value, total), expected, "{value} of {total}");
        }
    }
}
