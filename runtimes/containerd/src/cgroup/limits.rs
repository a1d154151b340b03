//! Limits of cgroups that hold no process themselves: those of pods, and those above them. v1 and v2.
//!
//! runc makes the cgroups of containers and whatever is missing above them, and sets limits at the bottom alone.

use super::{ROOT, is_v2};
use holdfast_runtime::{NodeCgroups, PodCgroup};
use std::io;
use std::path::{Path, PathBuf};

/// Controllers whose limits are set here.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The period of a CPU quota when none is given, in microseconds.
const PERIOD_US: u64 = 100_000;

/// A cgroup tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a> {
    root: &'a Path,
    v2: bool,
}

/// Whether limits are only raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// What is there already and higher stays.
    Grow,
    /// They become what is asked for.
    Set,
}

/// The machine's tree.
pub(crate) fn machine() -> Tree<'static> {
    Tree { root: Path::new(ROOT), v2: is_v2() }
}

/// `cpu.weight` of so many `cpu.shares`, as runc counts.
pub(crate) fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// A limit as the kernel writes it: nothing for none.
fn limit(text: &str) -> Option<u64> {
    // v1 says that there is none with -1, or with the largest number of whole pages.
    text.trim().parse::<u64>().ok().filter(|limit| *limit < 1 << 62)
}

/// Whether a limit of `now` leaves less than `wanted`; 0 is none.
fn lower(now: Option<u64>, wanted: u64) -> bool {
    now.is_some_and(|now| wanted == 0 || now < wanted)
}

impl Tree<'_> {
    /// The folder of a cgroup; `None` when its controller is not there.
    fn folder(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let root = if self.v2 { self.root.to_path_buf() } else { self.root.join(controller) };
        root.is_dir().then(|| root.join(path.trim_start_matches('/')))
    }

    /// Makes a cgroup with all that is above it.
    pub(crate) fn make(&self, path: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || path.split('/').any(|part| part == "..") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} names no cgroup of ours")));
        }
        if !self.v2 {
            for folder in CONTROLLERS.iter().filter_map(|controller| self.folder(controller, path)) {
                std::fs::create_dir_all(folder)?;
            }
            return Ok(());
        }
        let mut folder = self.root.to_path_buf();
        for part in path.split('/') {
            for controller in CONTROLLERS.iter().chain(&["cpuset", "io", "hugetlb"]) {
                // One that this kernel does not have is missed where it is needed.
                let _ = std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
            }
            folder.push(part);
            std::fs::create_dir_all(&folder)?;
        }
        Ok(())
    }

    fn read(&self, controller: &str, path: &str, file: &str) -> Option<String> {
        std::fs::read_to_string(self.folder(controller, path)?.join(file)).ok()
    }

    /// Writes a file. A controller that is not there limits nothing.
    fn write(&self, controller: &str, path: &str, file: &str, value: &str) -> io::Result<()> {
        let Some(file) = self.folder(controller, path).map(|folder| folder.join(file)) else { return Ok(()) };
        if !file.exists() {
            return Ok(());
        }
        let failed = |err: io::Error| io::Error::new(err.kind(), format!("{} = {value}: {err}", file.display()));
        std::fs::write(&file, value).map_err(failed)
    }

    /// Sets what the processes of a cgroup may use together.
    pub(crate) fn apply(&self, path: &str, wanted: &PodCgroup, change: Change) -> io::Result<()> {
        self.memory(path, u64::try_from(wanted.memory_limit_bytes).unwrap_or(0), change)?;
        self.cpu(path, wanted, change)?;
        let pids = u64::try_from(wanted.pids_limit).unwrap_or(0);
        let value = if pids == 0 { "max".into() } else { pids.to_string() };
        self.write("pids", path, "pids.max", &value)
    }

    fn memory(&self, path: &str, wanted: u64, change: Change) -> io::Result<()> {
        let (file, none) = if self.v2 { ("memory.max", "max") } else { ("memory.limit_in_bytes", "-1") };
        let now = self.memory_limit(path);
        if change == Change::Grow && !lower(now, wanted) {
            return Ok(());
        }
        let value = if wanted == 0 { none.into() } else { wanted.to_string() };
        self.write("memory", path, file, &value)
    }

    fn cpu(&self, path: &str, wanted: &PodCgroup, change: Change) -> io::Result<()> {
        self.shares(path, wanted.cpu_shares, change)?;
        let period = if wanted.cpu_period_us == 0 { PERIOD_US } else { wanted.cpu_period_us };
        let quota = u64::try_from(wanted.cpu_quota_us).unwrap_or(0);
        // Periods are all the same here: the quotas alone are compared.
        let now = match self.v2 {
            true => self.read("cpu", path, "cpu.max").and_then(|text| limit(text.split(' ').next()?)),
            false => self.read("cpu", path, "cpu.cfs_quota_us").and_then(|text| limit(&text)),
        };
        if change == Change::Grow && !lower(now, quota) {
            return Ok(());
        }
        if self.v2 {
            let quota = if quota == 0 { "max".into() } else { quota.to_string() };
            return self.write("cpu", path, "cpu.max", &format!("{quota} {period}"));
        }
        if quota > 0 {
            self.write("cpu", path, "cpu.cfs_period_us", &period.to_string())?;
        }
        self.write("cpu", path, "cpu.cfs_quota_us", &if quota == 0 { "-1".into() } else { quota.to_string() })
    }

    fn shares(&self, path: &str, wanted: u64, change: Change) -> io::Result<()> {
        let (file, wanted) = match (wanted, self.v2) {
            (0, _) => return Ok(()),
            (shares, true) => ("cpu.weight", weight(shares)),
            (shares, false) => ("cpu.shares", shares.clamp(2, 262_144)),
        };
        let now = self.read("cpu", path, file).and_then(|text| limit(&text));
        if change == Change::Grow && now.is_some_and(|now| now >= wanted) {
            return Ok(());
        }
        self.write("cpu", path, file, &wanted.to_string())
    }

    /// Makes the cgroups above those of pods.
    pub(crate) fn shape(&self, cgroups: &NodeCgroups) -> io::Result<()> {
        self.make(&cgroups.root)?;
        for (class, shares) in &cgroups.classes {
            let path = format!("{}/{class}", cgroups.root.trim_end_matches('/'));
            self.make(&path)?;
            self.shares(&path, *shares, Change::Set)?;
        }
        // A limit that is already exceeded is refused on v1, and would end processes on v2: eviction comes first.
        if self.memory_usage(&cgroups.root).is_some_and(|usage| {
            let limit = u64::try_from(cgroups.all.memory_limit_bytes).unwrap_or(0);
            limit > 0 && usage > limit
        }) {
            let all = PodCgroup { memory_limit_bytes: 0, ..cgroups.all.clone() };
            return self.apply(&cgroups.root, &all, Change::Grow);
        }
        self.apply(&cgroups.root, &cgroups.all, Change::Set)
    }

    /// The memory limit of a cgroup in bytes, if it has one.
    pub(crate) fn memory_limit(&self, path: &str) -> Option<u64> {
        let file = if self.v2 { "memory.max" } else { "memory.limit_in_bytes" };
        limit(&self.read("memory", path, file)?)
    }

    /// What a cgroup uses of memory, in bytes.
    pub(crate) fn memory_usage(&self, path: &str) -> Option<u64> {
        let file = if self.v2 { "memory.current" } else { "memory.usage_in_bytes" };
        limit(&self.read("memory", path, file)?)
    }

    /// Whether the kernel counts what a cgroup swaps.
    pub(crate) fn counts_swap(&self, path: &str) -> bool {
        let file = if self.v2 { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
        self.folder("memory", path).is_some_and(|folder| folder.join(file).exists())
    }

    /// Whether huge pages can be limited.
    pub(crate) fn counts_huge_pages(&self) -> bool {
        match self.v2 {
            true => self
                .read("", "", "cgroup.controllers")
                .is_some_and(|all| all.split_whitespace().any(|one| one == "hugetlb")),
            false => self.root.join("hugetlb").is_dir(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as the kernel has it, but for its own mind: of `path`, with everything unlimited.
    fn recorded(v2: bool, path: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let files: &[(&str, &str, &str)] = match v2 {
            true => &[
                ("", "cpu.weight", "100\n"),
                ("", "cpu.max", "max 100000\n"),
                ("", "memory.max", "max\n"),
                ("", "memory.current", "4096\n"),
                ("", "memory.swap.max", "max\n"),
                ("", "pids.max", "max\n"),
            ],
            false => &[
                ("cpu", "cpu.shares", "1024\n"),
                ("cpu", "cpu.cfs_quota_us", "-1\n"),
                ("cpu", "cpu.cfs_period_us", "100000\n"),
                ("memory", "memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory", "memory.usage_in_bytes", "4096\n"),
                ("pids", "pids.max", "max\n"),
            ],
        };
        for (controller, file, text) in files {
            let folder = dir.path().join(controller).join(path);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), text).unwrap();
        }
        dir
    }

    fn read(dir: &tempfile::TempDir, file: &str) -> String {
        std::fs::read_to_string(dir.path().join(file)).unwrap().trim().to_string()
    }

    const SOME: PodCgroup = PodCgroup {
        cpu_shares: 512,
        cpu_quota_us: 50_000,
        cpu_period_us: 100_000,
        memory_limit_bytes: 64 << 20,
        pids_limit: 100,
    };

    #[test]
    fn limits_are_written_in_the_words_of_either_version() {
        let dir = recorded(true, "a/pod1");
        let tree = Tree { root: dir.path(), v2: true };
        tree.make("/a/pod1").unwrap();
        assert_eq!(read(&dir, "a/cgroup.subtree_control"), "+hugetlb", "each controller is asked for by itself");
        tree.apply("/a/pod1", &SOME, Change::Set).unwrap();
        for (file, value) in
            [("cpu.weight", "20"), ("cpu.max", "50000 100000"), ("memory.max", "67108864"), ("pids.max", "100")]
        {
            assert_eq!(read(&dir, &format!("a/pod1/{file}")), value, "{file}");
        }
        tree.apply("/a/pod1", &PodCgroup::default(), Change::Set).unwrap();
        for (file, value) in
            [("cpu.weight", "20"), ("cpu.max", "max 100000"), ("memory.max", "max"), ("pids.max", "max")]
        {
            assert_eq!(read(&dir, &format!("a/pod1/{file}")), value, "{file}");
        }
        assert!(tree.counts_swap("a/pod1") && !tree.counts_huge_pages());

        let dir = recorded(false, "a/pod1");
        let tree = Tree { root: dir.path(), v2: false };
        tree.make("/a/pod1").unwrap();
        tree.apply("/a/pod1", &SOME, Change::Set).unwrap();
        let all = ["cpu/a/pod1/cpu.shares", "cpu/a/pod1/cpu.cfs_quota_us", "memory/a/pod1/memory.limit_in_bytes"];
        assert_eq!(all.map(|file| read(&dir, file)), ["512", "50000", "67108864"]);
        assert_eq!(read(&dir, "pids/a/pod1/pids.max"), "100");
        tree.apply("/a/pod1", &PodCgroup::default(), Change::Set).unwrap();
        assert_eq!(all.map(|file| read(&dir, file)), ["512", "-1", "-1"]);
        assert!(!tree.counts_swap("a/pod1") && !tree.counts_huge_pages());
    }

    #[test]
    fn growing_lowers_nothing() {
        for v2 in [true, false] {
            let dir = recorded(v2, "p");
            let tree = Tree { root: dir.path(), v2 };
            let (quota, memory) = match v2 {
                true => ("p/cpu.max", "p/memory.max"),
                false => ("cpu/p/cpu.cfs_quota_us", "memory/p/memory.limit_in_bytes"),
            };
            // What has no limit keeps none.
            let before = [quota, memory].map(|file| read(&dir, file));
            tree.apply("p", &SOME, Change::Grow).unwrap();
            assert_eq!([quota, memory].map(|file| read(&dir, file)), before);
            tree.apply("p", &SOME, Change::Set).unwrap();
            let smaller = PodCgroup { cpu_quota_us: 20_000, memory_limit_bytes: 1 << 20, cpu_shares: 2, ..SOME };
            tree.apply("p", &smaller, Change::Grow).unwrap();
            assert_eq!(tree.memory_limit("p"), Some(64 << 20));
            assert!(read(&dir, quota).starts_with("50000"));
            let mixed = PodCgroup { cpu_quota_us: 80_000, memory_limit_bytes: 1 << 20, ..SOME };
            tree.apply("p", &mixed, Change::Grow).unwrap();
            assert_eq!(tree.memory_limit("p"), Some(64 << 20));
            assert!(read(&dir, quota).starts_with("80000"));
            tree.apply("p", &PodCgroup::default(), Change::Grow).unwrap();
            assert_eq!(tree.memory_limit("p"), None);
        }
    }

    #[test]
    fn the_classes_of_pods_have_shares_of_their_own() {
        let dir = recorded(true, "n/kubepods");
        for class in ["burstable", "besteffort"] {
            std::fs::create_dir_all(dir.path().join("n/kubepods").join(class)).unwrap();
            std::fs::write(dir.path().join("n/kubepods").join(class).join("cpu.weight"), "100").unwrap();
        }
        let tree = Tree { root: dir.path(), v2: true };
        let classes = [("burstable".to_string(), 1024), ("besteffort".to_string(), 2)].into();
        let all = PodCgroup { memory_limit_bytes: 8192, cpu_shares: 2048, ..PodCgroup::default() };
        let cgroups = NodeCgroups { root: "/n/kubepods".into(), all, classes };
        tree.shape(&cgroups).unwrap();
        assert_eq!(read(&dir, "n/kubepods/burstable/cpu.weight"), weight(1024).to_string());
        assert_eq!(read(&dir, "n/kubepods/besteffort/cpu.weight"), "1");
        assert_eq!(
            (read(&dir, "n/kubepods/memory.max"), read(&dir, "n/kubepods/cpu.weight")),
            ("8192".into(), "79".into())
        );
        // More is used than may be: nobody is killed for a setting.
        std::fs::write(dir.path().join("n/kubepods/memory.current"), "16384\n").unwrap();
        tree.shape(&cgroups).unwrap();
        assert_eq!(read(&dir, "n/kubepods/memory.max"), "max");
    }

    #[test]
    fn only_cgroups_of_ours_are_made() {
        let dir = recorded(true, "a");
        let tree = Tree { root: dir.path(), v2: true };
        for path in ["", "/", "/../etc", "a/../../b"] {
            assert!(tree.make(path).is_err(), "{path:?}");
        }
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }
}
