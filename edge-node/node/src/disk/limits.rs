//! Limits of ephemeral storage: of volumes, of pods, of containers. Pure; rules and texts are the kubelet's.

use super::PodDisk;
use holdfast_core::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use std::collections::BTreeMap;

const STORAGE: &str = "ephemeral-storage";

/// What a pod has used more of than it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// As metrics call it.
    pub(crate) signal: &'static str,
    /// For people.
    pub(crate) message: String,
}

/// Whether anything of the pod's storage is limited.
pub(crate) fn has_limits(pod: &Pod) -> bool {
    let sized = |pod: &Pod| empty_dirs(pod).next().is_some();
    sized(pod) || total(pod, |wanted| wanted.limits.as_ref()).is_some()
}

/// The first limit that the pod exceeds.
pub(crate) fn exceeded(pod: &Pod, disk: &PodDisk, own_image_disk: bool) -> Option<Exceeded> {
    for (name, limit) in empty_dirs(pod) {
        let used = disk.files.volumes.iter().find(|volume| volume.name == name).map(|volume| volume.used.bytes);
        if used.is_some_and(|used| is_beyond(used, limit)) {
            let message = format!("Usage of EmptyDir volume {name:?} exceeds the limit \"{limit}\". ");
            return Some(Exceeded { signal: "emptydirfs.limit", message });
        }
    }
    if let Some(limit) = total(pod, |wanted| wanted.limits.as_ref())
        && is_beyond(disk.ephemeral().bytes, limit)
    {
        let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. ");
        return Some(Exceeded { signal: "ephemeralpodfs.limit", message });
    }
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        let limit = amount(container, |wanted| wanted.limits.as_ref()).filter(|limit| limit.units() > 0);
        let (Some(limit), Some(found)) = (limit, disk.containers.get(&container.name)) else { continue };
        // Where images have a disk of their own, layers are there.
        let layer = found.layer.filter(|_| !own_image_disk).unwrap_or_default();
        if is_beyond((layer + found.logs).bytes, limit) {
            let name = &container.name;
            let message = format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". ");
            return Some(Exceeded { signal: "ephemeralcontainerfs.limit", message });
        }
    }
    None
}

/// The ephemeral storage that the pod asks for.
pub(crate) fn pod_request(pod: &Pod) -> u64 {
    bytes(total(pod, |wanted| wanted.requests.as_ref()))
}

/// The ephemeral storage that a container asks for.
pub(crate) fn request(container: &Container) -> u64 {
    bytes(amount(container, |wanted| wanted.requests.as_ref()))
}

fn bytes(amount: Option<Quantity>) -> u64 {
    amount.map_or(0, |amount| u64::try_from(amount.units()).unwrap_or(0))
}

fn is_beyond(used: u64, limit: Quantity) -> bool {
    i64::try_from(used).unwrap_or(i64::MAX) > limit.units()
}

/// The `emptyDir`s that have a limit.
fn empty_dirs(pod: &Pod) -> impl Iterator<Item = (&str, Quantity)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let limit: Quantity = volume.empty_dir.as_ref()?.size_limit.as_ref()?.0.parse().ok()?;
        (limit.units() > 0).then_some((volume.name.as_str(), limit))
    })
}

type List = BTreeMap<String, Amount>;

fn amount(container: &Container, list: impl Fn(&ResourceRequirements) -> Option<&List>) -> Option<Quantity> {
    list(container.resources.as_ref()?)?.get(STORAGE)?.0.parse().ok()
}

/// What a pod's containers ask for or may use together: those that run at one time, or an init container if that is more. `None`
/// when none of them says anything.
fn total(pod: &Pod, list: impl Fn(&ResourceRequirements) -> Option<&List> + Copy) -> Option<Quantity> {
    let spec = pod.spec.as_ref()?;
    let add = |sum: Option<Quantity>, more: Option<Quantity>| match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.plus(more)),
        (sum, more) => sum.or(more),
    };
    let larger = |one: Option<Quantity>, other: Option<Quantity>| match (one, other) {
        (Some(one), Some(other)) => Some(if other.units() > one.units() { other } else { one }),
        (one, other) => one.or(other),
    };
    let (mut sidecars, mut most) = (None, None);
    for container in spec.init_containers.iter().flatten() {
        let own = amount(container, list);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = add(sidecars, own);
            most = larger(most, sidecars);
        } else if own.is_some() {
            most = larger(most, add(sidecars, own));
        }
    }
    let apps = spec.containers.iter().fold(sidecars, |sum, container| add(sum, amount(container, list)));
    let all = larger(apps, most)?;
    let overhead = spec.overhead.as_ref().and_then(|overhead| overhead.get(STORAGE)?.0.parse::<Quantity>().ok());
    add(Some(all), overhead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ContainerDisk;
    use holdfast_runtime::DiskUsage;
    use holdfast_volumes::{PodFiles, VolumeUsage};
    use serde_json::{Value, json};

    const MIB: u64 = 1 << 20;

    fn usage(mib: u64) -> DiskUsage {
        DiskUsage { bytes: mib * MIB, inodes: 1 }
    }

    fn pod(spec: Value) -> Pod {
        holdfast_pods::typed::pod(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap()
    }

    fn container(name: &str, limit: &str) -> Value {
        match limit {
            "" => json!({ "name": name }),
            limit => json!({"name": name, "resources": {"limits": {STORAGE: limit}, "requests": {STORAGE: limit}}}),
        }
    }

    /// One container `c` with a layer and logs, one volume `v`, in MiB.
    fn disk(layer: u64, logs: u64, volume: u64) -> PodDisk {
        let container = ContainerDisk { layer: Some(usage(layer)), logs: usage(logs) };
        let volumes = vec![VolumeUsage { name: "v".into(), used: usage(volume), own: None }];
        PodDisk {
            containers: BTreeMap::from([("c".to_string(), container)]),
            files: PodFiles { volumes, other: DiskUsage::default() },
        }
    }

    #[test]
    fn the_first_limit_that_is_exceeded_is_told() {
        let sized = |limit: &str| json!([{"name": "v", "emptyDir": {"sizeLimit": limit}}]);
        let of_volume = Some("Usage of EmptyDir volume \"v\" exceeds the limit \"5Mi\". ");
        let of_pod = Some("Pod ephemeral local storage usage exceeds the total limit of containers 20Mi. ");
        let of_container = Some("Container c exceeded its local ephemeral storage limit \"10Mi\". ");
        let two = || json!([container("c", "10Mi"), container("d", "10Mi")]);
        for (containers, limit, disk, own, expected) in [
            (json!([container("c", "")]), "5Mi", disk(90, 90, 5), false, None),
            (json!([container("c", "")]), "5Mi", disk(0, 0, 6), false, of_volume),
            (json!([container("c", "")]), "0", disk(0, 0, 6), false, None),
            (two(), "5Mi", disk(9, 9, 6), false, of_volume),
            (two(), "50Mi", disk(8, 8, 5), false, of_pod),
            (two(), "50Mi", disk(6, 5, 5), false, of_container),
            (two(), "50Mi", disk(5, 5, 5), false, None),
            // The layer is on another disk: it counts for the pod, and not for its container.
            (two(), "50Mi", disk(6, 5, 5), true, None),
            (two(), "50Mi", disk(16, 5, 5), true, of_pod),
        ] {
            let pod = pod(json!({"containers": containers, "volumes": sized(limit)}));
            let said = exceeded(&pod, &disk, own);
            assert_eq!(said.as_ref().map(|said| said.message.as_str()), expected, "{containers} {limit} {disk:?}");
        }
    }

    #[test]
    fn what_runs_at_one_time_is_added_up() {
        let sidecar = |name: &str, limit: &str| {
            let mut container = container(name, limit);
            container["restartPolicy"] = json!("Always");
            container
        };
        for (spec, expected) in [
            (json!({"containers": [container("a", "")]}), None),
            (json!({"containers": [container("a", "10Mi"), container("b", "")]}), Some("10Mi")),
            (json!({"containers": [container("a", "10Mi"), container("b", "20Mi")]}), Some("30Mi")),
            (json!({"initContainers": [container("i", "40Mi")], "containers": [container("a", "10Mi")]}), Some("40Mi")),
            (
                json!({
                    "initContainers": [sidecar("s", "5Mi"), container("i", "10Mi")],
                    "containers": [container("a", "20Mi")],
                }),
                Some("25Mi"),
            ),
            (json!({"initContainers": [sidecar("s", "5Mi"), container("i", "30Mi")], "containers": []}), Some("35Mi")),
            (json!({"containers": [container("a", "10Mi")], "overhead": {STORAGE: "2Mi"}}), Some("12Mi")),
        ] {
            let pod = pod(spec.clone());
            let found = total(&pod, |wanted| wanted.limits.as_ref()).map(|total| total.to_string());
            assert_eq!(found.as_deref(), expected, "{spec}");
            assert_eq!(has_limits(&pod), expected.is_some());
            let asked = expected.map_or(0, |text| bytes(text.parse().ok()));
            assert_eq!(pod_request(&pod), asked);
        }
        let volume = json!({"containers": [], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]});
        assert!(has_limits(&pod(volume)));
        assert!(!has_limits(&pod(json!({"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]}))));
    }
}
