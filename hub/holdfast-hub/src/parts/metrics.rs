//! What `/metrics` says of the links and of the process, beside what the server counts of itself.

use holdfast_link::Traffic;
use holdfast_server::docs::version::GIT_VERSION;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Ticks a second in `/proc`, on every architecture that this runs on.
const USER_HZ: f64 = 100.0;

/// Bytes of all links by purpose. Which node they are for is no label: a fleet would make too many series.
pub(crate) fn link(traffic: &Traffic, out: &mut String) {
    let name = "holdfast_link_bytes_total";
    out.push_str("# TYPE holdfast_link_bytes_total counter\n");
    for (purpose, bytes) in traffic.totals() {
        for (direction, count) in [("sent", bytes.sent), ("received", bytes.received)] {
            let _ = writeln!(out, "{name}{{direction=\"{direction}\",purpose=\"{purpose}\"}} {count}");
        }
    }
}

/// The process, in the names that Prometheus' own clients use, and what it serves. What `/proc` does not tell is left out.
pub(crate) fn process(out: &mut String) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    // After the name, which may hold anything, proc(5) numbers the fields from 3.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    let booted = read("/proc/stat").lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let mut tell = |name: &str, kind: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
        }
    };
    let used = clock_gettime(ClockId::ProcessCPUTime);
    tell("process_cpu_seconds_total", "counter", Some(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9));
    let started = field(22).zip(booted).map(|(after, booted)| booted + after as f64 / USER_HZ);
    tell("process_start_time_seconds", "gauge", started);
    tell("process_virtual_memory_bytes", "gauge", field(23).map(|bytes| bytes as f64));
    let status = read("/proc/self/status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")?.trim().parse().ok());
    tell("process_resident_memory_bytes", "gauge", resident.map(|kib: f64| kib * 1024.0));
    tell("process_open_fds", "gauge", std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64));
    tell("process_max_fds", "gauge", getrlimit(Resource::Nofile).current.map(|most| most as f64));
    let name = "kubernetes_build_info";
    let _ = writeln!(out, "# TYPE {name} gauge\n{name}{{git_version=\"{GIT_VERSION}\",major=\"1\",minor=\"36\"}} 1");
}

/// What the embedded store takes on the disk, in upstream's name.
pub(crate) fn storage(folder: &Path, out: &mut String) {
    if let Ok(bytes) = bytes_below(folder) {
        let name = "apiserver_storage_size_bytes";
        let _ = writeln!(out, "# TYPE {name} gauge\n{name}{{storage_cluster_id=\"embedded\"}} {bytes}");
    }
}

/// Bytes of all files below a folder. What goes while it is looked at counts nothing.
fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()).unwrap_or(0),
            // A journal is a file with holes: what counts is what it takes.
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_store_takes_what_its_files_take() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("below")).unwrap();
        std::fs::write(folder.path().join("below/file"), vec![7; 100_000]).unwrap();
        let sparse = std::fs::File::create(folder.path().join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        let mut text = String::new();
        super::storage(folder.path(), &mut text);
        let line = text.lines().find(|line| line.starts_with("apiserver_storage_size_bytes{")).unwrap();
        let bytes: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((100_000..10_000_000).contains(&bytes), "{text}");
    }

    #[test]
    fn the_process_knows_itself() {
        let mut text = String::new();
        super::process(&mut text);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
        };
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let started = value("process_start_time_seconds");
        assert!(started > now - 24.0 * 3600.0 && started < now + 60.0, "{started} is not today: {now}");
        assert!(value("process_resident_memory_bytes") < value("process_virtual_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
        value("process_cpu_seconds_total");
        assert!(text.contains("kubernetes_build_info{git_version=\"v1.36"));
    }
}
