//! Pressure on the machine: what runs short, which condition says so, and which pod has to go. Sans-IO; thresholds, order and texts
//! are the kubelet's (<https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>).
//!
//! Memory and processes are freed by ending a pod. A full disk is told and keeps new pods away, but nobody has to go for it:
//! what each pod has there is not accounted for.

use crate::parts::HostUsage;
use holdfast_core::Quantity;
use holdfast_env::Mono;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a condition stays after what it speaks of is over (`evictionPressureTransitionPeriod`).
const TRANSITION: Duration = Duration::from_secs(300);
/// Pods of this priority and above are never ended for others (`system-cluster-critical`).
const CRITICAL: i32 = 2_000_000_000;

/// What may run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// `memory.available`
    Memory,
    /// `nodefs.available`
    Disk,
    /// `nodefs.inodesFree`
    Inodes,
    /// `pid.available`
    Processes,
}

impl Signal {
    const ALL: [Signal; 4] = [Signal::Memory, Signal::Disk, Signal::Inodes, Signal::Processes];

    /// The resource in messages.
    fn resource(self) -> &'static str {
        match self {
            Signal::Memory => "memory",
            Signal::Disk => "ephemeral-storage",
            Signal::Inodes => "inodes",
            Signal::Processes => "pids",
        }
    }

    /// The name in thresholds.
    fn name(self) -> &'static str {
        match self {
            Signal::Memory => "memory.available",
            Signal::Disk => "nodefs.available",
            Signal::Inodes => "nodefs.inodesFree",
            Signal::Processes => "pid.available",
        }
    }

    /// What there is, and how much of it there could be.
    fn measure(self, host: &HostUsage) -> Option<(u64, u64)> {
        match self {
            Signal::Memory => host.memory.map(|memory| (memory.available, memory.total)),
            Signal::Disk => host.disk.map(|disk| (disk.available, disk.capacity)),
            // File systems that make inodes as they need them have none to count.
            Signal::Inodes => host.disk.filter(|disk| disk.inodes > 0).map(|disk| (disk.inodes_free, disk.inodes)),
            Signal::Processes => host.pids.map(|(now, most)| (most.saturating_sub(now), most)),
        }
    }

    fn text(self, amount: u64) -> String {
        match self {
            Signal::Memory | Signal::Disk => Quantity::from_bytes(amount).to_string(),
            Signal::Inodes | Signal::Processes => amount.to_string(),
        }
    }
}

/// The least that there has to be of something.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Least {
    Amount(u64),
    Percent(f64),
}

impl Least {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a size"
    )]
    fn of(self, all: u64) -> u64 {
        match self {
            Least::Amount(amount) => amount,
            Least::Percent(percent) => (all as f64 * percent / 100.0) as u64,
        }
    }
}

/// When something is short (the kubelet's `--eviction-hard`).
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(BTreeMap<Signal, Least>);

impl Thresholds {
    /// The kubelet's.
    pub const DEFAULT: &'static str = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%";

    /// Reads `SIGNAL<QUANTITY` and `SIGNAL<PERCENT%`, separated by commas. Signals that are not named are not looked at.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Thresholds, String> {
        let mut all = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('<').ok_or_else(|| format!("{part:?} must have the form SIGNAL<QUANTITY"))?;
            let signal = Signal::ALL.into_iter().find(|signal| signal.name() == name).ok_or_else(|| {
                format!("{name:?} is no signal: there are {}", Signal::ALL.map(Signal::name).join(", "))
            })?;
            let least = match value.strip_suffix('%') {
                Some(percent) => {
                    percent.parse().ok().filter(|percent| (0.0..100.0).contains(percent)).map(Least::Percent)
                }
                None => value
                    .parse::<Quantity>()
                    .ok()
                    .and_then(|amount| u64::try_from(amount.units()).ok())
                    .map(Least::Amount),
            };
            let least = least.ok_or_else(|| format!("{value:?} is neither a quantity nor a percentage below 100"))?;
            if all.insert(signal, least).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
        Ok(Thresholds(all))
    }

    /// Bytes of memory that have to be left, of a machine with so many.
    pub(crate) fn memory(&self, all: u64) -> u64 {
        self.0.get(&Signal::Memory).map_or(0, |least| least.of(all))
    }
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds::parse(Thresholds::DEFAULT).unwrap_or(Thresholds(BTreeMap::new()))
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
        &[Signal::Disk, Signal::Inodes],
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

/// What a pod uses, and what it asked for. Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodUse {
    pub(crate) uid: String,
    pub(crate) priority: i32,
    pub(crate) containers: Vec<ContainerUse>,
}

/// The same of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerUse {
    pub(crate) name: String,
    pub(crate) memory: u64,
    pub(crate) memory_request: u64,
    pub(crate) pids: u64,
}

impl PodUse {
    fn sum(&self, of: fn(&ContainerUse) -> u64) -> u64 {
        self.containers.iter().map(of).sum()
    }
}

/// What runs short, and since when.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    thresholds: Thresholds,
    /// When each threshold was met last.
    met: BTreeMap<Signal, Mono>,
    /// What was short at the last look: what there was, and the threshold.
    short: BTreeMap<Signal, (u64, u64)>,
}

impl Pressure {
    /// Nothing was looked at yet.
    pub(crate) fn new(thresholds: Thresholds) -> Pressure {
        Pressure { thresholds, ..Pressure::default() }
    }

    /// Looks at the machine.
    pub(crate) fn look(&mut self, now: Mono, host: &HostUsage) {
        let measures = self.thresholds.0.iter().filter_map(|(signal, least)| {
            let (available, all) = signal.measure(host)?;
            Some((*signal, (available, least.of(all))))
        });
        self.short = measures.filter(|(_, (available, least))| available < least).collect();
        self.met.extend(self.short.keys().map(|signal| (*signal, now)));
        self.met.retain(|_, at| now.since(*at) < TRANSITION);
    }

    /// The conditions now: type, whether it holds, reason and message.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&'static str, bool, [&'static str; 2])> {
        CONDITIONS.iter().map(|(name, signals, fine, not)| {
            let holds = signals.iter().any(|signal| self.met.contains_key(signal));
            (*name, holds, if holds { *not } else { *fine })
        })
    }

    /// Whether ending a pod would help.
    pub(crate) fn wants_a_pod(&self) -> bool {
        self.short.contains_key(&Signal::Memory) || self.short.contains_key(&Signal::Processes)
    }

    /// Which of `pods` has to go, and what is said about it: those first that use more than they asked for, then those of the
    /// lowest priority, then those that use the most beyond what they asked for.
    pub(crate) fn choose<'p>(&self, pods: &'p [PodUse]) -> Option<(&'p str, String)> {
        let (signal, (available, least)) =
            self.short.iter().find(|(signal, _)| matches!(signal, Signal::Memory | Signal::Processes))?;
        let candidates = pods.iter().filter(|pod| pod.priority < CRITICAL && !pod.containers.is_empty());
        let chosen = match signal {
            Signal::Memory => candidates.min_by_key(|pod| {
                let (used, asked) = (pod.sum(|one| one.memory), pod.sum(|one| one.memory_request));
                (used <= asked, pod.priority, Reverse(i128::from(used) - i128::from(asked)), &pod.uid)
            }),
            _ => candidates.min_by_key(|pod| (pod.priority, Reverse(pod.sum(|one| one.pids)), &pod.uid)),
        }?;
        let resource = signal.resource();
        let mut message = format!(
            "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
            signal.text(*least),
            signal.text(*available)
        );
        if *signal == Signal::Memory {
            for one in chosen.containers.iter().filter(|one| one.memory > one.memory_request) {
                message += &format!(
                    "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
                    one.name,
                    signal.text(one.memory),
                    signal.text(one.memory_request)
                );
            }
        }
        Some((&chosen.uid, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::{FileSystemUsage, HostMemory};

    fn host(available: u64) -> HostUsage {
        let memory = HostMemory { available, total: 1 << 30, ..HostMemory::default() };
        HostUsage { memory: Some(memory), ..HostUsage::default() }
    }

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    fn holding(pressure: &Pressure) -> Vec<&'static str> {
        pressure.conditions().filter(|(_, holds, _)| *holds).map(|(name, ..)| name).collect()
    }

    fn pod(uid: &str, priority: i32, memory: u64, memory_request: u64) -> PodUse {
        let container = ContainerUse { name: "main".into(), memory, memory_request, pids: memory >> 20 };
        PodUse { uid: uid.into(), priority, containers: vec![container] }
    }

    #[test]
    fn thresholds_are_read_as_the_kubelet_does() {
        let read = Thresholds::parse("memory.available<1Gi, pid.available<2.5%").unwrap();
        let expected =
            BTreeMap::from([(Signal::Memory, Least::Amount(1 << 30)), (Signal::Processes, Least::Percent(2.5))]);
        assert_eq!(read, Thresholds(expected));
        assert_eq!(Thresholds::parse(""), Ok(Thresholds(BTreeMap::new())));
        assert_eq!(Thresholds::default().0.len(), 3);
        for (text, why) in [
            ("memory.available", "must have the form SIGNAL<QUANTITY"),
            ("memory<1Gi", "is no signal: there are memory.available, nodefs.available"),
            ("memory.available<x", "is neither a quantity nor a percentage"),
            ("memory.available<100%", "is neither a quantity nor a percentage below 100"),
            ("memory.available<-1", "is neither a quantity"),
            ("memory.available<1,memory.available<2", "memory.available is there twice"),
        ] {
            let said = Thresholds::parse(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_condition_stays_for_a_while() {
        let mut pressure = Pressure::default();
        pressure.look(at(0), &host(200 << 20));
        assert!(holding(&pressure).is_empty() && !pressure.wants_a_pod());
        pressure.look(at(10), &host(50 << 20));
        assert_eq!(holding(&pressure), ["MemoryPressure"]);
        assert!(pressure.wants_a_pod());
        pressure.look(at(309), &host(200 << 20));
        assert_eq!(holding(&pressure), ["MemoryPressure"]);
        assert!(!pressure.wants_a_pod(), "what is over costs no pod");
        pressure.look(at(310), &host(200 << 20));
        assert!(holding(&pressure).is_empty());
    }

    #[test]
    fn what_the_machine_does_not_tell_is_no_pressure() {
        let all = "nodefs.available<10%,nodefs.inodesFree<5%,pid.available<1%";
        let mut pressure = Pressure::new(Thresholds::parse(all).unwrap());
        pressure.look(at(0), &HostUsage::default());
        assert!(holding(&pressure).is_empty());
        let disk = FileSystemUsage { capacity: 100, available: 9, used: 91, inodes: 0, inodes_free: 0 };
        pressure.look(at(0), &HostUsage { disk: Some(disk), pids: Some((996, 1000)), ..HostUsage::default() });
        assert_eq!(holding(&pressure), ["DiskPressure", "PIDPressure"]);
        let disk = FileSystemUsage { capacity: 100, available: 90, used: 10, inodes: 100, inodes_free: 4 };
        pressure.look(at(400), &HostUsage { disk: Some(disk), ..HostUsage::default() });
        assert_eq!(holding(&pressure), ["DiskPressure"]);
        assert!(!pressure.wants_a_pod(), "nobody goes for a full disk");
    }

    #[test]
    fn who_uses_more_than_asked_goes_first() {
        let mut pressure = Pressure::default();
        pressure.look(at(0), &host(50 << 20));
        const MIB: u64 = 1 << 20;
        let chosen = |pods: &[PodUse]| pressure.choose(pods).map(|(uid, _)| uid.to_string());
        let modest = pod("modest", -5, 100 * MIB, 200 * MIB);
        let greedy = pod("greedy", 10, 300 * MIB, 200 * MIB);
        assert_eq!(chosen(&[modest.clone(), greedy.clone()]).unwrap(), "greedy");
        // Priority, then how much.
        let more = pod("more", 10, 400 * MIB, 0);
        assert_eq!(chosen(&[greedy.clone(), more.clone(), pod("low", 0, 10 * MIB, 0)]).unwrap(), "low");
        assert_eq!(chosen(&[greedy, more.clone()]).unwrap(), "more");
        assert_eq!(chosen(&[modest, pod("calm", 0, MIB, 2 * MIB)]).unwrap(), "modest");
        assert_eq!(chosen(&[pod("critical", CRITICAL, 900 * MIB, 0), PodUse::default()]), None);
        let (_, message) = pressure.choose(std::slice::from_ref(&more)).unwrap();
        assert_eq!(
            message,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container main was using \
             400Mi, request is 0, has larger consumption of memory. "
        );
    }
}
