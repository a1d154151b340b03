//! Who has to go: those first that use more than they asked for, then those of the lowest priority, then those that use the most
//! beyond what they asked for.

use super::{Signal, Starved};
use holdfast_pods::NODE_LOW;
use holdfast_runtime::DiskUsage;
use std::cmp::Reverse;

/// Pods of this priority and above are never ended for others (`system-cluster-critical`).
pub(crate) const CRITICAL: i32 = 2_000_000_000;

/// What a pod uses, and what it asked for. Memory and storage in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodUse {
    pub(crate) uid: String,
    pub(crate) priority: i32,
    pub(crate) containers: Vec<ContainerUse>,
    /// Volumes on the node's disk.
    pub(crate) volumes: DiskUsage,
    /// Ephemeral storage that the pod asked for.
    pub(crate) storage_request: u64,
}

/// The same of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerUse {
    pub(crate) name: String,
    pub(crate) memory: u64,
    pub(crate) memory_request: u64,
    pub(crate) pids: u64,
    /// Its writable layer.
    pub(crate) layer: DiskUsage,
    pub(crate) logs: DiskUsage,
    pub(crate) storage_request: u64,
}

impl PodUse {
    fn sum(&self, of: impl Fn(&ContainerUse) -> u64) -> u64 {
        self.containers.iter().map(of).sum()
    }

    /// What it takes of what is short, and what it asked for.
    fn of(&self, starved: &Starved) -> (u64, u64) {
        // Where images have a disk of their own, layers are there, and logs and volumes are not.
        let layers = starved.signal.is_of_images() || !starved.own_image_disk;
        let rest = !starved.signal.is_of_images() || !starved.own_image_disk;
        let disk = |of: fn(DiskUsage) -> u64| {
            let layers = if layers { self.sum(|one| of(one.layer)) } else { 0 };
            let rest = if rest { self.sum(|one| of(one.logs)) + of(self.volumes) } else { 0 };
            layers + rest
        };
        match starved.signal {
            Signal::Memory => (self.sum(|one| one.memory), self.sum(|one| one.memory_request)),
            Signal::Disk | Signal::ImageDisk => (disk(|usage| usage.bytes), self.storage_request),
            // Nobody can ask for these.
            Signal::Inodes | Signal::ImageInodes => (disk(|usage| usage.inodes), 0),
            Signal::Processes => (self.sum(|one| one.pids), 0),
        }
    }
}

/// Which of `pods` has to go, and what is said about it.
pub(crate) fn choose<'p>(starved: &Starved, pods: &'p [PodUse]) -> Option<(&'p str, String)> {
    let candidates = pods.iter().filter(|pod| pod.priority < CRITICAL && !pod.containers.is_empty());
    let chosen = candidates.min_by_key(|pod| {
        let (used, asked) = pod.of(starved);
        let beyond = Reverse(i128::from(used) - i128::from(asked));
        // Processes are nothing that a pod could have asked for more of.
        (starved.signal != Signal::Processes && used <= asked, pod.priority, beyond, &pod.uid)
    })?;
    Some((&chosen.uid, message(starved, chosen)))
}

fn message(starved: &Starved, pod: &PodUse) -> String {
    let (signal, resource) = (starved.signal, starved.signal.resource());
    let mut message = format!(
        "{NODE_LOW}{resource}. Threshold quantity: {}, available: {}. ",
        signal.text(starved.least),
        signal.text(starved.available)
    );
    for one in &pod.containers {
        let (used, asked) = match signal {
            Signal::Memory => (one.memory, one.memory_request),
            Signal::Disk | Signal::ImageDisk => ((one.layer + one.logs).bytes, one.storage_request),
            Signal::Inodes | Signal::ImageInodes | Signal::Processes => continue,
        };
        if used > asked {
            message += &format!(
                "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
                one.name,
                signal.text(used),
                signal.text(asked)
            );
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn starved(signal: Signal, own_image_disk: bool) -> Starved {
        Starved { signal, least: 100 * MIB, available: 50 * MIB, grace: None, own_image_disk }
    }

    fn chosen(signal: Signal, pods: &[PodUse]) -> Option<&str> {
        choose(&starved(signal, false), pods).map(|(uid, _)| uid)
    }

    fn pod(uid: &str, priority: i32, memory: u64, memory_request: u64) -> PodUse {
        let (name, pids) = ("main".into(), memory >> 20);
        let container = ContainerUse { name, memory, memory_request, pids, ..ContainerUse::default() };
        PodUse { uid: uid.into(), priority, containers: vec![container], ..PodUse::default() }
    }

    #[test]
    fn who_uses_more_than_asked_goes_first() {
        let modest = pod("modest", -5, 100 * MIB, 200 * MIB);
        let greedy = pod("greedy", 10, 300 * MIB, 200 * MIB);
        assert_eq!(chosen(Signal::Memory, &[modest.clone(), greedy.clone()]).unwrap(), "greedy");
        // Priority, then how much.
        let more = pod("more", 10, 400 * MIB, 0);
        let all = [greedy.clone(), more.clone(), pod("low", 0, 10 * MIB, 0)];
        assert_eq!(chosen(Signal::Memory, &all).unwrap(), "low");
        assert_eq!(chosen(Signal::Memory, &[greedy, more.clone()]).unwrap(), "more");
        assert_eq!(chosen(Signal::Memory, &[modest.clone(), pod("calm", 0, MIB, 2 * MIB)]).unwrap(), "modest");
        let critical = pod("critical", CRITICAL, 900 * MIB, 0);
        assert_eq!(chosen(Signal::Memory, &[critical, PodUse::default()]), None);
        // Of processes nobody can ask for more: priority, then how many.
        assert_eq!(chosen(Signal::Processes, &[modest, more.clone()]).unwrap(), "modest");
        let (_, message) = choose(&starved(Signal::Memory, false), std::slice::from_ref(&more)).unwrap();
        assert_eq!(
            message,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container main was using \
             400Mi, request is 0, has larger consumption of memory. "
        );
    }

    /// A pod of (priority, MiB of its layer, of its logs, of its volumes, MiB that it asked for).
    fn storing(uid: &str, (priority, layer, logs, volumes, request): (i32, u64, u64, u64, u64)) -> PodUse {
        let usage = |mib: u64| DiskUsage { bytes: mib * MIB, inodes: mib };
        let container = ContainerUse {
            name: "main".into(),
            layer: usage(layer),
            logs: usage(logs),
            storage_request: request * MIB,
            ..ContainerUse::default()
        };
        let containers = vec![container];
        PodUse { uid: uid.into(), priority, containers, volumes: usage(volumes), storage_request: request * MIB }
    }

    #[test]
    fn what_counts_on_a_disk_depends_on_what_is_there() {
        // Beyond what each asked for: a layer of 90, logs and volumes of 60, nothing.
        let pods = [
            storing("layer", (0, 100, 0, 0, 10)),
            storing("rest", (0, 0, 30, 40, 10)),
            storing("kept", (-9, 20, 20, 20, 100)),
        ];
        for (signal, own_image_disk, expected) in [
            (Signal::Disk, false, "layer"),
            (Signal::ImageDisk, false, "layer"),
            (Signal::Disk, true, "rest"),
            (Signal::ImageDisk, true, "layer"),
            // Inodes are asked for by nobody, so priority comes first.
            (Signal::Inodes, false, "kept"),
            (Signal::ImageInodes, true, "kept"),
        ] {
            let (uid, _) = choose(&starved(signal, own_image_disk), &pods).unwrap();
            assert_eq!(uid, expected, "{signal:?} {own_image_disk}");
        }
        let same = [storing("less", (5, 50, 0, 0, 10)), storing("more", (5, 20, 20, 20, 10))];
        assert_eq!(chosen(Signal::Disk, &same), Some("more"), "beyond what was asked for");
        assert_eq!(chosen(Signal::Inodes, &same), Some("more"));
        let (_, message) = choose(&starved(Signal::ImageDisk, false), &pods[..1]).unwrap();
        assert_eq!(
            message,
            "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: 50Mi. Container main was \
             using 100Mi, request is 10Mi, has larger consumption of ephemeral-storage. "
        );
        let (_, message) = choose(&starved(Signal::Inodes, false), &pods).unwrap();
        assert_eq!(
            message,
            "The node was low on resource: inodes. Threshold quantity: 104857600, available: 52428800. "
        );
    }
}
