use super::*;
use crate::parts::HostMemory;

const MIB: u64 = 1 << 20;

fn memory(available: u64) -> Seen {
    let memory = HostMemory { available, total: 1 << 30, ..HostMemory::default() };
    Seen { host: HostUsage { memory: Some(memory), ..HostUsage::default() }, images: None }
}

fn disk(device: u64, available: u64) -> FileSystemUsage {
    FileSystemUsage { capacity: 100, available, used: 100 - available, inodes: 0, inodes_free: 0, device }
}

fn disks(node: u64, images: Option<FileSystemUsage>) -> Seen {
    Seen { host: HostUsage { disk: Some(disk(1, node)), ..HostUsage::default() }, images }
}

fn at(seconds: u64) -> Mono {
    Mono(Duration::from_secs(seconds))
}

fn holding(pressure: &Pressure) -> Vec<&'static str> {
    pressure.conditions().filter(|(_, holds, _)| *holds).map(|(name, ..)| name).collect()
}

fn short(pressure: &Pressure) -> Option<Signal> {
    pressure.starved().map(|starved| starved.signal)
}

fn flags(hard: &str) -> EvictionFlags {
    EvictionFlags { hard: Some(hard.into()), ..EvictionFlags::default() }
}

fn pressure(flags: &EvictionFlags) -> Pressure {
    Pressure::new(Eviction::read(flags).unwrap())
}

#[test]
fn a_condition_stays_for_a_while() {
    let mut pressure = Pressure::new(Eviction::default());
    pressure.look(at(0), memory(200 * MIB));
    assert!(holding(&pressure).is_empty() && short(&pressure).is_none());
    pressure.look(at(10), memory(50 * MIB));
    assert_eq!(holding(&pressure), ["MemoryPressure"]);
    assert_eq!(
        pressure.starved(),
        Some(Starved {
            signal: Signal::Memory,
            least: 100 * MIB,
            available: 50 * MIB,
            grace: None,
            own_image_disk: false
        })
    );
    pressure.look(at(309), memory(200 * MIB));
    assert_eq!(holding(&pressure), ["MemoryPressure"]);
    assert_eq!(short(&pressure), None, "what is over costs no pod");
    pressure.look(at(310), memory(200 * MIB));
    assert!(holding(&pressure).is_empty());
}

#[test]
fn what_the_machine_does_not_tell_is_no_pressure() {
    let all = "nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%,pid.available<1%";
    let mut pressure = pressure(&flags(all));
    pressure.look(at(0), Seen::default());
    assert!(holding(&pressure).is_empty());
    let host = HostUsage { disk: Some(disk(1, 9)), pids: Some((996, 1000)), ..HostUsage::default() };
    pressure.look(at(0), Seen { host, images: None });
    assert_eq!(holding(&pressure), ["DiskPressure", "PIDPressure"]);
    assert_eq!(short(&pressure), Some(Signal::Disk), "processes come last");
    let images = FileSystemUsage { inodes: 100, inodes_free: 4, ..disk(2, 90) };
    pressure.look(at(400), disks(90, Some(images)));
    assert_eq!((holding(&pressure), short(&pressure)), (vec!["DiskPressure"], Some(Signal::ImageInodes)));
}

#[test]
fn a_soft_threshold_waits_and_tells_at_once() {
    let mut pressure = pressure(&EvictionFlags {
        soft: Some("memory.available<200Mi".into()),
        soft_grace_period: Some("memory.available=1m".into()),
        max_pod_grace_period: Some(7),
        ..flags("memory.available<100Mi")
    });
    pressure.look(at(0), memory(150 * MIB));
    assert_eq!((holding(&pressure), short(&pressure)), (vec!["MemoryPressure"], None));
    pressure.look(at(50), memory(250 * MIB));
    // It was over for a moment, and begins anew.
    pressure.look(at(60), memory(150 * MIB));
    pressure.look(at(119), memory(150 * MIB));
    assert_eq!(short(&pressure), None);
    pressure.look(at(120), memory(150 * MIB));
    let starved = pressure.starved().unwrap();
    assert_eq!((starved.least, starved.grace), (200 * MIB, Some(Duration::from_secs(7))));
    // A hard one comes first, and leaves no time.
    pressure.look(at(121), memory(50 * MIB));
    assert_eq!(pressure.starved().unwrap().grace, None);
}

#[test]
fn the_minimum_reclaim_is_asked_for_only_once_something_was_done() {
    let mut pressure = pressure(&EvictionFlags {
        minimum_reclaim: Some("nodefs.available=10%".into()),
        ..flags("nodefs.available<10%")
    });
    pressure.look(at(0), disks(15, None));
    assert_eq!(short(&pressure), None);
    assert!(!pressure.is_relieved(&disks(15, None)) && pressure.is_relieved(&disks(20, None)));
    pressure.look(at(10), disks(9, None));
    for (second, available) in [(20, 15), (30, 19)] {
        pressure.look(at(second), disks(available, None));
        assert_eq!(short(&pressure), Some(Signal::Disk), "{available}");
    }
    pressure.look(at(40), disks(20, None));
    assert_eq!(short(&pressure), None);
    pressure.look(at(50), disks(15, None));
    assert_eq!(short(&pressure), None);
}

#[test]
fn images_are_freed_where_they_are_in_the_way() {
    let both = "nodefs.available<10%,imagefs.available<10%";
    // What is short, the images' disk, and whether dead containers and unused images help.
    for (node, images, signal, helps) in [
        (5, None, Signal::Disk, true),
        (5, Some(disk(1, 5)), Signal::Disk, true),
        (5, Some(disk(2, 50)), Signal::Disk, false),
        (50, Some(disk(2, 5)), Signal::ImageDisk, true),
    ] {
        let mut pressure = pressure(&flags(both));
        pressure.look(at(0), disks(node, images));
        let starved = pressure.starved().unwrap();
        assert_eq!((starved.signal, starved.is_freed_by_the_node()), (signal, helps), "{node} {images:?}");
    }
    let starved = Starved { signal: Signal::Memory, least: 1, available: 0, grace: None, own_image_disk: false };
    assert!(!starved.is_freed_by_the_node());
}
