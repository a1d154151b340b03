//! What the kernel has charged to a cgroup. v1 and v2; formulas as in upstream's cAdvisor.

use crate::cgroup;
use crate::labels;
use crate::runtime::{Inner, blocking};
use holdfast_runtime::{ContainerUsage, MemoryUsage, RuntimeError};
use std::path::{Path, PathBuf};

impl Inner {
    /// What all containers with processes use.
    pub(crate) async fn usage(&self) -> Result<Vec<ContainerUsage>, RuntimeError> {
        let records = self.container_records(None).await?;
        let of = |label: &str, record: &containerd_client::services::v1::Container| record.labels.get(label).cloned();
        let places: Vec<(String, String)> =
            records.iter().filter_map(|record| Some((of(labels::ID, record)?, of(labels::CGROUP, record)?))).collect();
        blocking("read cgroups", move || {
            let all = places.iter().map(|(id, path)| read(Path::new(cgroup::ROOT), id, path));
            Ok(all.filter(|usage| usage.cpu_nanos.is_some() || usage.memory.is_some()).collect())
        })
        .await
    }
}

/// What the container in this cgroup uses; `path` is absolute from the hierarchy's root.
fn read(root: &Path, id: &str, path: &str) -> ContainerUsage {
    let path = path.trim_start_matches('/');
    let files = Files { root, path };
    ContainerUsage { id: id.to_string(), cpu_nanos: files.cpu(), memory: files.memory(), pids: files.pids() }
}

struct Files<'a> {
    root: &'a Path,
    path: &'a str,
}

impl Files<'_> {
    /// A file of the unified hierarchy, or of a controller's own. An empty path names no cgroup of ours.
    fn text(&self, controller: &str, file: &str) -> Option<String> {
        let folder: PathBuf = if controller.is_empty() { self.root.into() } else { self.root.join(controller) };
        (!self.path.is_empty()).then(|| std::fs::read_to_string(folder.join(self.path).join(file)).ok())?
    }

    fn number(&self, controller: &str, file: &str) -> Option<u64> {
        self.text(controller, file)?.trim().parse().ok()
    }

    fn cpu(&self) -> Option<u64> {
        if let Some(stat) = self.text("", "cpu.stat") {
            return field(&stat, "usage_usec")?.checked_mul(1000);
        }
        ["cpuacct", "cpu,cpuacct"].iter().find_map(|controller| self.number(controller, "cpuacct.usage"))
    }

    fn memory(&self) -> Option<MemoryUsage> {
        let (usage, stat, names, limit) = match self.number("", "memory.current") {
            Some(usage) => {
                let names = ["inactive_file", "anon", "pgfault", "pgmajfault"];
                (usage, self.text("", "memory.stat")?, names, self.number("", "memory.max"))
            }
            None => {
                let usage = self.number("memory", "memory.usage_in_bytes")?;
                let names = ["total_inactive_file", "total_rss", "total_pgfault", "total_pgmajfault"];
                // Without a limit it is the largest number of whole pages.
                let limit = self.number("memory", "memory.limit_in_bytes").filter(|limit| *limit < 1 << 62);
                (usage, self.text("memory", "memory.stat")?, names, limit)
            }
        };
        let [inactive_file, rss, page_faults, major_page_faults] = names.map(|name| field(&stat, name));
        let working_set = usage.saturating_sub(inactive_file.unwrap_or(0));
        Some(MemoryUsage { usage, working_set, rss, page_faults, major_page_faults, limit })
    }

    fn pids(&self) -> Option<u64> {
        self.number("", "pids.current").or_else(|| self.number("pids", "pids.current"))
    }
}

/// The number behind `name` in a file of one pair a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_say_the_same() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("two/cpu.stat", "usage_usec 1500\nuser_usec 1000\n");
        write("two/memory.current", "1000\n");
        write("two/memory.stat", "anon 300\nfile 700\ninactive_file 400\npgfault 9\npgmajfault 1\n");
        write("two/memory.max", "max\n");
        write("two/pids.current", "3\n");
        write("cpuacct/one/cpuacct.usage", "1500000\n");
        write("memory/one/memory.usage_in_bytes", "1000\n");
        let stat = "inactive_file 1\ntotal_inactive_file 400\ntotal_rss 300\ntotal_pgfault 9\ntotal_pgmajfault 1\n";
        write("memory/one/memory.stat", stat);
        write("memory/one/memory.limit_in_bytes", "9223372036854771712\n");
        write("pids/one/pids.current", "3\n");
        let memory = MemoryUsage {
            usage: 1000,
            working_set: 600,
            rss: Some(300),
            page_faults: Some(9),
            major_page_faults: Some(1),
            limit: None,
        };
        for path in ["/one", "two"] {
            let expected =
                ContainerUsage { id: "c".into(), cpu_nanos: Some(1_500_000), memory: Some(memory), pids: Some(3) };
            assert_eq!(read(root.path(), "c", path), expected, "{path}");
        }
        write("memory/one/memory.limit_in_bytes", "4096\n");
        assert_eq!(read(root.path(), "c", "one").memory.unwrap().limit, Some(4096));
        for none in ["", "/", "three"] {
            assert_eq!(read(root.path(), "c", none), ContainerUsage { id: "c".into(), ..ContainerUsage::default() });
        }
    }
}
