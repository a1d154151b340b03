//! Facts of the machine.

use holdfast_node::{HostFacts, HostInfo};
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

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}
