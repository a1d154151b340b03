//! What a pod was granted of its node's CPU and memory, and what its containers run with. A disk record: change it only with
//! [`VERSION`].
//!
//! Three things are told apart: what the spec wants; what was **granted**, which counts on the node from then on; and what is
//! **actual**, which may lag behind, as between a grant and its doing when the agent is killed.

use crate::spec::{self, Role};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First byte of an encoded record.
pub const VERSION: u8 = 1;
/// The name under which a pod's own resources stand among those of its containers.
pub(crate) const POD: &str = "";
/// What may change while a pod runs.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Resources of a container or a pod, as the API writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// `requests`
    pub requests: BTreeMap<String, String>,
    /// `limits`
    pub limits: BTreeMap<String, String>,
}

/// By name of the container; [`POD`] for those of the pod.
pub(crate) type ByName = BTreeMap<String, Amounts>;

/// The record of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// What was granted.
    pub granted: ByName,
    /// What each container's attempt was last held to, and whether that is sure: not while it is being changed, nor when it was
    /// asked for twice with different amounts.
    pub actual: BTreeMap<String, (u32, Amounts, bool)>,
    /// What the cgroup of the pod was made from, in which sandbox attempt, and whether that is sure.
    pub pod: Option<(u32, ByName, bool)>,
    /// Generation of the pod whose resources were granted and are not all actual yet.
    pub progress: Option<i64>,
}

/// An amount in thousandths.
pub(crate) fn milli(text: &str) -> i64 {
    text.parse::<holdfast_core::Quantity>().map_or(0, holdfast_core::Quantity::milli)
}

impl Amounts {
    /// From the API.
    pub(crate) fn of(resources: Option<&ResourceRequirements>) -> Amounts {
        let texts = |list: Option<&BTreeMap<String, ApiQuantity>>| {
            list.into_iter().flatten().map(|(name, amount)| (name.clone(), amount.0.clone())).collect()
        };
        resources.map_or_else(Amounts::default, |of| Amounts {
            requests: texts(of.requests.as_ref()),
            limits: texts(of.limits.as_ref()),
        })
    }

    /// For the API; lists without an amount are left out.
    pub(crate) fn requirements(&self) -> ResourceRequirements {
        let list = |texts: &BTreeMap<String, String>| {
            let amounts = texts.iter().map(|(name, amount)| (name.clone(), ApiQuantity(amount.clone())));
            (!texts.is_empty()).then(|| amounts.collect())
        };
        ResourceRequirements { claims: None, requests: list(&self.requests), limits: list(&self.limits) }
    }

    /// The resources that differ and may change. The same amount in other words is no difference.
    pub(crate) fn differing(&self, other: &Amounts) -> Vec<&'static str> {
        let amounts = |of: &Amounts, name: &str| {
            let amount = |list: &BTreeMap<String, String>| list.get(name).map(|text| milli(text));
            (amount(&of.requests), amount(&of.limits))
        };
        RESIZABLE.into_iter().filter(|name| amounts(self, name) != amounts(other, name)).collect()
    }

    /// These, with what they do not limit limited as the pod is.
    fn within(&self, pod: Option<&Amounts>) -> Amounts {
        let mut all = self.clone();
        for (name, limit) in pod.into_iter().flat_map(|pod| &pod.limits) {
            all.limits.entry(name.clone()).or_insert_with(|| limit.clone());
        }
        all
    }
}

/// What a container is held to: its own resources, and where it has no limit the pod's.
pub(crate) fn effective(all: &ByName, name: &str) -> Amounts {
    all.get(name).map_or_else(Amounts::default, |own| own.within(all.get(POD)))
}

/// Whether any of the resources differ.
pub(crate) fn differ(one: &ByName, other: &ByName) -> bool {
    let none = Amounts::default();
    let names = one.keys().chain(other.keys());
    names.into_iter().any(|name| {
        let of = |all: &ByName| all.get(name).unwrap_or(&none).clone();
        !of(one).differing(&of(other)).is_empty()
    })
}

/// What the spec wants for whatever of the pod may change.
pub(crate) fn wanted(pod: &Pod) -> ByName {
    let containers = spec::containers(pod).filter(|(role, _)| *role != Role::Init);
    let mut all: ByName =
        containers.map(|(_, container)| (container.name.clone(), Amounts::of(container.resources.as_ref()))).collect();
    if let Some(own) = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref()) {
        all.insert(POD.to_string(), Amounts::of(Some(own)));
    }
    all
}

/// The pod with other resources where there are some.
pub(crate) fn with(pod: &Pod, of: impl Fn(&str) -> Option<Amounts>) -> Pod {
    let mut pod = pod.clone();
    let Some(spec) = &mut pod.spec else { return pod };
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if let Some(amounts) = of(&container.name) {
            let claims = container.resources.take().and_then(|before| before.claims);
            container.resources = Some(ResourceRequirements { claims, ..amounts.requirements() });
        }
    }
    if let Some(amounts) = of(POD) {
        spec.resources = Some(amounts.requirements());
    }
    pod
}

impl Allocation {
    /// As bytes for the disk.
    pub fn encode(&self) -> Vec<u8> {
        // Numbers, strings and maps with known lengths: postcard cannot refuse it.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    /// From bytes of the disk; `None` when they are damaged or of an unknown version.
    pub fn decode(bytes: &[u8]) -> Option<Allocation> {
        let (version, rest) = bytes.split_first()?;
        (*version == VERSION).then_some(())?;
        postcard::from_bytes(rest).ok()
    }

    /// Of a pod of which nothing was written down: what the hub was told, else what the spec wants.
    pub(crate) fn recalled(pod: &Pod) -> Allocation {
        let mut granted = wanted(pod);
        let mut actual = BTreeMap::new();
        let status = pod.status.as_ref();
        let lists = status.map(|status| [&status.init_container_statuses, &status.container_statuses]);
        for told in lists.into_iter().flatten().flatten().flatten() {
            let Some(entry) = granted.get_mut(&told.name) else { continue };
            let Some(resources) = told.resources.as_ref() else { continue };
            let has = Amounts::of(Some(resources));
            if let Some(allocated) = &told.allocated_resources {
                let requests = ResourceRequirements { requests: Some(allocated.clone()), ..Default::default() };
                entry.requests = Amounts::of(Some(&requests)).requests;
            } else {
                entry.requests = has.requests.clone();
            }
            entry.limits = has.limits.clone();
            if let Ok(attempt) = u32::try_from(told.restart_count) {
                actual.insert(told.name.clone(), (attempt, has, true));
            }
        }
        Allocation { granted, actual, pod: None, progress: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Amounts {
        let list = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        Amounts { requests: list(requests), limits: list(limits) }
    }

    #[test]
    fn records_are_read_back_and_old_ones_for_ever() {
        let granted = ByName::from([("web".to_string(), amounts(&[("cpu", "1")], &[("memory", "1Gi")]))]);
        let all = Allocation {
            actual: [("web".to_string(), (3, amounts(&[("cpu", "500m")], &[]), true))].into(),
            pod: Some((0, granted.clone(), true)),
            granted,
            progress: Some(2),
        };
        assert_eq!(Allocation::decode(&all.encode()), Some(all.clone()));
        let hex: String = all.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let granted = "01037765620103637075013101066d656d6f727903314769";
        let golden = format!("01{granted}0103776562030103637075043530306d00010100{granted}010104");
        assert_eq!(hex, golden);
        assert_eq!(Allocation::decode(&[2]), None);
        assert_eq!(Allocation::decode(&[VERSION, 1]), None);
    }

    #[test]
    fn amounts_are_compared_and_not_how_they_are_written() {
        let one = amounts(&[("cpu", "1"), ("ephemeral-storage", "1Gi")], &[("memory", "1Gi")]);
        assert!(one.differing(&amounts(&[("cpu", "1000m")], &[("memory", "1024Mi")])).is_empty());
        assert_eq!(one.differing(&amounts(&[("cpu", "2")], &[("memory", "2Gi")])), ["cpu", "memory"]);
        assert_eq!(one.differing(&amounts(&[("cpu", "1")], &[])), ["memory"]);
    }

    #[test]
    fn what_has_no_limit_has_the_pods() {
        let all = ByName::from([
            (POD.to_string(), amounts(&[], &[("cpu", "2"), ("memory", "1Gi")])),
            ("web".to_string(), amounts(&[], &[("cpu", "1")])),
        ]);
        assert_eq!(effective(&all, "web"), amounts(&[], &[("cpu", "1"), ("memory", "1Gi")]));
        assert_eq!(effective(&all, "other"), Amounts::default());
    }
}
