//! Pressure on the machine: what runs short, which condition says so, and which pod has to go. Sans-IO; thresholds, order and texts
//! are the kubelet's (<https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>).
//!
//! A threshold is met as long as there is too little, and once it was acted upon, until there is the minimum reclaim more. It is
//! acted upon when its grace is over: [`crate::eviction`] does that.

mod rank;
mod settings;

use crate::parts::{FileSystemUsage, HostUsage};
use holdfast_core::Quantity;
use holdfast_env::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) use rank::{CRITICAL, ContainerUse, PodUse, choose};
use settings::Threshold;
pub use settings::{Eviction, EvictionFlags};

/// What may run short, in the order in which it is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// `memory.available`
    Memory,
    /// `nodefs.available`
    Disk,
    /// `nodefs.inodesFree`
    Inodes,
    /// `imagefs.available`
    ImageDisk,
    /// `imagefs.inodesFree`
    ImageInodes,
    /// `pid.available`
    Processes,
}

impl Signal {
    const ALL: [Signal; 6] =
        [Signal::Memory, Signal::Disk, Signal::Inodes, Signal::ImageDisk, Signal::ImageInodes, Signal::Processes];

    /// The resource in messages.
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Signal::Memory => "memory",
            Signal::Disk | Signal::ImageDisk => "ephemeral-storage",
            Signal::Inodes | Signal::ImageInodes => "inodes",
            Signal::Processes => "pids",
        }
    }

    /// The name in thresholds.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Signal::Memory => "memory.available",
            Signal::Disk => "nodefs.available",
            Signal::Inodes => "nodefs.inodesFree",
            Signal::ImageDisk => "imagefs.available",
            Signal::ImageInodes => "imagefs.inodesFree",
            Signal::Processes => "pid.available",
        }
    }

    /// Whether it speaks of a disk.
    pub(crate) fn is_of_disk(self) -> bool {
        !matches!(self, Signal::Memory | Signal::Processes)
    }

    /// Whether it speaks of the images' disk.
    pub(crate) fn is_of_images(self) -> bool {
        matches!(self, Signal::ImageDisk | Signal::ImageInodes)
    }

    /// What there is, and how much of it there could be.
    fn measure(self, seen: &Seen) -> Option<(u64, u64)> {
        // File systems that make inodes as they need them have none to count.
        let inodes = |disk: Option<FileSystemUsage>| {
            disk.filter(|disk| disk.inodes > 0).map(|disk| (disk.inodes_free, disk.inodes))
        };
        let bytes = |disk: Option<FileSystemUsage>| disk.map(|disk| (disk.available, disk.capacity));
        match self {
            Signal::Memory => seen.host.memory.map(|memory| (memory.available, memory.total)),
            Signal::Disk => bytes(seen.host.disk),
            Signal::Inodes => inodes(seen.host.disk),
            Signal::ImageDisk => bytes(seen.images),
            Signal::ImageInodes => inodes(seen.images),
            Signal::Processes => seen.host.pids.map(|(now, most)| (most.saturating_sub(now), most)),
        }
    }

    fn text(self, amount: u64) -> String {
        match self {
            Signal::Memory | Signal::Disk | Signal::ImageDisk => Quantity::from_bytes(amount).to_string(),
            Signal::Inodes | Signal::ImageInodes | Signal::Processes => amount.to_string(),
        }
    }
}

/// What a look at the machine found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) host: HostUsage,
    /// The file system of the images, if it can be seen.
    pub(crate) images: Option<FileSystemUsage>,
}

impl Seen {
    /// Whether images have a disk of their own.
    pub(crate) fn own_image_disk(&self) -> bool {
        match (self.host.disk, self.images) {
            (Some(disk), Some(images)) => disk.device != images.device,
            _ => false,
        }
    }
}

/// Conditions that speak of pressure: type, signals, reason and message when there is none, and when there is.
type Told = (&'static str, &'static [Signal], [&'static str; 2], [&'static str; 2]);
const CONDITIONS: [Told; 3] = [
    (
        "MemoryPressure",
        &[Signal::Memory],
        ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
        ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
    ),
    (
        "DiskPressure",
        &[Signal::Disk, Signal::Inodes, Signal::ImageDisk, Signal::ImageInodes],
        ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
        ["KubeletHasDiskPressure", "kubelet has disk pressure"],
    ),
    (
        "PIDPressure",
        &[Signal::Processes],
        ["KubeletHasSufficientPID", "kubelet has sufficient PID available"],
        ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
    ),
];

/// What is to be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Starved {
    pub(crate) signal: Signal,
    pub(crate) least: u64,
    pub(crate) available: u64,
    /// How long a pod may take to end, at most; `None`: as short as can be.
    pub(crate) grace: Option<Duration>,
    /// Images have a disk of their own.
    pub(crate) own_image_disk: bool,
}

impl Starved {
    /// Whether dead containers and unused images are in the way.
    pub(crate) fn is_freed_by_the_node(&self) -> bool {
        self.signal.is_of_disk() && (self.signal.is_of_images() || !self.own_image_disk)
    }
}

/// What runs short, and since when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pressure {
    eviction: Eviction,
    /// Since when thresholds are met, by their places.
    since: BTreeMap<usize, Mono>,
    /// Thresholds whose grace is over.
    acting: BTreeSet<usize>,
    /// When each signal was short last.
    observed: BTreeMap<Signal, Mono>,
    seen: Seen,
}

impl Pressure {
    /// Nothing was looked at yet.
    pub(crate) fn new(eviction: Eviction) -> Pressure {
        Pressure { eviction, ..Pressure::default() }
    }

    /// Looks at the machine.
    pub(crate) fn look(&mut self, now: Mono, seen: Seen) {
        let thresholds = self.eviction.thresholds.iter().enumerate();
        let met: Vec<usize> = thresholds
            .filter(|(place, threshold)| is_met(threshold, &seen, self.acting.contains(place)))
            .map(|(place, _)| place)
            .collect();
        self.since.retain(|place, _| met.contains(place));
        for place in met {
            self.since.entry(place).or_insert(now);
            self.observed.insert(self.eviction.thresholds[place].signal, now);
        }
        self.observed.retain(|_, at| now.since(*at) < self.eviction.transition);
        let over = |(place, since): (&usize, &Mono)| {
            (now.since(*since) >= self.eviction.thresholds[*place].grace).then_some(*place)
        };
        self.acting = self.since.iter().filter_map(over).collect();
        self.seen = seen;
    }

    /// The conditions now: type, whether it holds, reason and message.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&'static str, bool, [&'static str; 2])> {
        CONDITIONS.iter().map(|(name, signals, fine, not)| {
            let holds = signals.iter().any(|signal| self.observed.contains_key(signal));
            (*name, holds, if holds { *not } else { *fine })
        })
    }

    /// What is to be freed first.
    pub(crate) fn starved(&self) -> Option<Starved> {
        let threshold = self.acting.first().map(|place| &self.eviction.thresholds[*place])?;
        let (available, all) = threshold.signal.measure(&self.seen)?;
        let grace = match self.eviction.max_pod_grace {
            _ if threshold.grace.is_zero() => None,
            Some(most) => Some(most),
            None => Some(Duration::MAX),
        };
        Some(Starved {
            signal: threshold.signal,
            least: threshold.least.of(all),
            available,
            grace,
            own_image_disk: self.seen.own_image_disk(),
        })
    }

    /// Whether nothing is short any more, minimum reclaims included, whatever graces say.
    pub(crate) fn is_relieved(&self, seen: &Seen) -> bool {
        !self.eviction.thresholds.iter().any(|threshold| is_met(threshold, seen, true))
    }
}

/// Whether there is too little; `acting`: the minimum reclaim has to be there as well.
fn is_met(threshold: &Threshold, seen: &Seen, acting: bool) -> bool {
    let Some((available, all)) = threshold.signal.measure(seen) else { return false };
    let more = if acting { threshold.reclaim.of(all) } else { 0 };
    available < threshold.least.of(all).saturating_add(more)
}

#[cfg(test)]
mod tests;
