//! Facts of the machine.

use holdfast_node::{FileSystemUsage, HostFacts, HostInfo, HostMemory, HostUsage};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where values live that outlive the agent and not the boot.
const RUN: &str = "/run/holdfast";

/// Reads `/proc` and friends. What cannot change is read once.
pub(crate) struct LinuxHost {
    fixed: HostInfo,
    data_dir: PathBuf,
}

impl LinuxHost {
    /// Facts of this machine; `boot_id` tells one boot of the node from another.
    pub(crate) fn new(data_dir: PathBuf, boot_id: String) -> LinuxHost {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_string();
        let fixed = HostInfo {
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
            .to_string(),
            os_image: os_image(&read("/etc/os-release")),
            kernel: read("/proc/sys/kernel/osrelease"),
            machine_id: read("/etc/machine-id"),
            system_uuid: read("/sys/class/dmi/id/product_uuid"),
            boot_id,
            cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            swap_bytes: meminfo_bytes(&read("/proc/meminfo"), "SwapTotal").unwrap_or(0),
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
            disk_bytes: 0,
            agent_version: env!("CARGO_PKG_VERSION").to_string(),
        };
        LinuxHost { fixed, data_dir }
    }
}

impl HostFacts for LinuxHost {
    fn read(&self) -> HostInfo {
        let disk = rustix::fs::statvfs(&self.data_dir).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize));
        HostInfo { disk_bytes: disk, ..self.fixed.clone() }
    }

    fn usage(&self) -> HostUsage {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        HostUsage {
            cpu_nanos: busy_nanos(&read("/proc/stat")),
            memory: host_memory(&read("/proc/meminfo")),
            disk: rustix::fs::statvfs(&self.data_dir).ok().zip(std::fs::metadata(&self.data_dir).ok()).map(
                |(stat, meta)| FileSystemUsage {
                    capacity: stat.f_blocks.saturating_mul(stat.f_frsize),
                    available: stat.f_bavail.saturating_mul(stat.f_frsize),
                    used: stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize),
                    inodes: stat.f_files,
                    inodes_free: stat.f_favail,
                    device: meta.dev(),
                },
            ),
            interfaces: interfaces(&read("/proc/net/dev")),
            pids: threads(&read("/proc/loadavg"))
                .and_then(|now| Some((now, read("/proc/sys/kernel/pid_max").trim().parse().ok()?))),
        }
    }

    fn remember(&self, name: &str, value: &[u8]) {
        let (path, temporary) = (Path::new(RUN).join(name), Path::new(RUN).join(format!("{name}.new")));
        if let Err(err) = std::fs::write(&temporary, value).and_then(|()| std::fs::rename(&temporary, &path)) {
            tracing::warn!(path = %path.display(), %err, "Could not keep a value of this boot");
        }
    }

    fn recall(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(Path::new(RUN).join(name)).ok()
    }

    fn apparmor(&self) -> Option<Vec<String>> {
        if !std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").ok()?.starts_with('Y') {
            return None;
        }
        let loaded = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
        Some(loaded.lines().filter_map(|line| Some(line.rsplit_once(" (")?.0.to_string())).collect())
    }
}

fn os_image(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_string()
}

/// The huge pages that there are, by their size in bytes.
fn huge_pages(folder: &Path) -> BTreeMap<u64, u64> {
    let of = |entry: std::fs::DirEntry| {
        let kib: u64 = entry.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = std::fs::read_to_string(entry.path().join("nr_hugepages")).ok()?;
        Some((kib.checked_mul(1024)?, count.trim().parse().ok()?))
    };
    std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(of).collect()
}

fn memory_bytes(meminfo: &str) -> u64 {
    meminfo_bytes(meminfo, "MemTotal").unwrap_or(0)
}

fn host_memory(meminfo: &str) -> Option<HostMemory> {
    let of = |name: &str| meminfo_bytes(meminfo, name);
    Some(HostMemory {
        total: of("MemTotal")?,
        available: of("MemAvailable")?,
        usage: of("MemTotal")?.saturating_sub(of("MemFree")?),
        rss: of("AnonPages").unwrap_or(0),
    })
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The busy time in the first line of `/proc/stat`, which counts in hundredths of a second: user, nice, system, (idle, iowait,)
/// irq, softirq, steal. Guests are within user.
fn busy_nanos(stat: &str) -> Option<u64> {
    let all = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = all.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [user, nice, system, _, _, irq, softirq, steal] = *ticks.first_chunk::<8>()?;
    (user + nice + system + irq + softirq + steal).checked_mul(10_000_000)
}

/// Interfaces of `/proc/net/dev` but the loopback.
pub(crate) fn interfaces(dev: &str) -> Vec<(String, [u64; 4])> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied();
        let name = name.trim();
        (name != "lo").then_some(())?;
        Some((name.to_string(), [at(0)?, at(2)?, at(8)?, at(10)?]))
    };
    dev.lines().filter_map(line).collect()
}

/// The number of threads in `/proc/loadavg`.
fn threads(loadavg: &str) -> Option<u64> {
    loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let meminfo = "MemTotal:  1000 kB\nMemFree: 300 kB\nMemAvailable: 600 kB\nAnonPages: 100 kB\n";
        assert_eq!(memory_bytes(meminfo), 1000 << 10);
        let expected = HostMemory { total: 1000 << 10, available: 600 << 10, usage: 700 << 10, rss: 100 << 10 };
        assert_eq!(host_memory(meminfo), Some(expected));
        assert_eq!(host_memory("MemTotal: x kB"), None);
        assert_eq!(busy_nanos("cpu  1 2 3 100 50 4 5 6 0 0\ncpu0 1\n"), Some(210_000_000));
        assert_eq!(busy_nanos("cpu 1 2"), None);
        let dev = "Inter-| Receive | Transmit\n face |bytes\n    lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n  \
                   eth0: 10 1 2 0 0 0 0 0 20 1 3 0 0 0 0 0\n";
        assert_eq!(interfaces(dev), [("eth0".to_string(), [10, 2, 20, 3])]);
        assert_eq!(threads("0.00 0.01 0.05 2/345 6789"), Some(345));
        assert!(busy_nanos(&std::fs::read_to_string("/proc/stat").unwrap()).is_some());
        let dir = tempfile::tempdir().unwrap();
        assert!(huge_pages(&dir.path().join("none")).is_empty());
        for (size, count) in [("hugepages-2048kB", "7\n"), ("hugepages-1048576kB", "0\n"), ("other", "1\n")] {
            std::fs::create_dir(dir.path().join(size)).unwrap();
            std::fs::write(dir.path().join(size).join("nr_hugepages"), count).unwrap();
        }
        assert_eq!(huge_pages(dir.path()), [(2 << 20, 7), (1 << 30, 0)].into());
    }
}
