//! What containerd does not do for us in the cgroup tree: a few looks, and the limits of pods. v1 and v2.

pub(crate) mod limits;

use std::path::{Path, PathBuf};

pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// Whether the unified hierarchy is the only one.
pub(crate) fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Whether the kernel killed something in this cgroup for want of memory.
pub(crate) fn oom_killed(path: &str) -> bool {
    oom_killed_in(Path::new(ROOT), path)
}

fn oom_killed_in(root: &Path, path: &str) -> bool {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return false;
    }
    [root.join(path).join("memory.events"), root.join("memory").join(path).join("memory.oom_control")]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .any(|text| text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0"))
}

/// Removes the folders of an emptied cgroup in every hierarchy. What is still in use stays.
pub(crate) fn remove(path: &str) {
    let relative = path.trim_start_matches('/');
    if relative.is_empty() || relative.split('/').any(|part| part == "..") {
        return;
    }
    let mut roots = vec![PathBuf::from(ROOT)];
    if let Ok(entries) = std::fs::read_dir(ROOT) {
        roots.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    for root in roots {
        let _ = std::fs::remove_dir(root.join(relative));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_tell_of_a_kill() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("pod/a/memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n");
        write("pod/b/memory.events", "oom_kill 0\n");
        write("memory/pod/c/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        let killed = |path: &str| oom_killed_in(root.path(), path);
        assert!(killed("/pod/a") && killed("/pod/c"));
        assert!(!killed("/pod/b") && !killed("/pod/d") && !killed(""));
    }
}
