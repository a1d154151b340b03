//! `emptyDir`: a folder on the disk, a tmpfs, or huge pages.

use crate::manager::text;
use holdfast_core::Quantity;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};
use rustix::mount::{MountFlags, mount};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const HUGE_PAGES: &str = "HugePages";

/// Makes a volume of its folder; what is there stays.
pub(crate) fn set_up(dir: &Path, source: &EmptyDirVolumeSource, pod: &Pod, gid: Option<u32>) -> Result<(), String> {
    let medium = source.medium.as_deref().unwrap_or_default();
    let (kind, options) = match medium {
        "" => ("", String::new()),
        "Memory" => ("tmpfs", size(source)?),
        medium if is_huge(medium) => ("hugetlbfs", page_size(medium, pod)?),
        medium => return Err(format!("unknown storage medium {medium:?}")),
    };
    if !kind.is_empty() && !is_mount(dir).map_err(text("looking at the volume's folder"))? {
        let data = CString::new(options).map_err(|problem| problem.to_string())?;
        mount(kind, dir, kind, MountFlags::NOSUID | MountFlags::NODEV, Some(data.as_c_str())).map_err(|problem| {
            let text = data.to_string_lossy();
            let options = if text.is_empty() { String::new() } else { format!(" with {text}") };
            format!("mounting a {kind}{options}: {problem}")
        })?;
    }
    open(dir, gid).map_err(text("setting the owner of the volume's folder"))
}

/// Whether something is mounted on a folder that we have made.
pub(crate) fn is_mount(path: &Path) -> io::Result<bool> {
    let here = fs::symlink_metadata(path)?;
    let above = path.parent().map(fs::symlink_metadata).transpose()?;
    Ok(here.is_dir() && above.is_some_and(|above| above.dev() != here.dev()))
}

fn size(source: &EmptyDirVolumeSource) -> Result<String, String> {
    let Some(limit) = &source.size_limit else { return Ok(String::new()) };
    let limit: Quantity = limit.0.parse().map_err(|_| format!("sizeLimit {:?} is no quantity", limit.0))?;
    // For a tmpfs none means no limit.
    Ok(if limit.units() > 0 { format!("size={}", limit.units()) } else { String::new() })
}

fn is_huge(medium: &str) -> bool {
    medium == HUGE_PAGES || medium.strip_prefix(HUGE_PAGES).is_some_and(|rest| rest.starts_with('-'))
}

/// The page size of huge pages: that of the medium, or the only one that the pod asks for. Texts are the kubelet's.
fn page_size(medium: &str, pod: &Pod) -> Result<String, String> {
    let wanted = match medium.strip_prefix(HUGE_PAGES).and_then(|rest| rest.strip_prefix('-')) {
        Some(size) => Some(size.parse::<Quantity>().map_err(|_| format!("{size:?} is no size of huge pages"))?),
        None => None,
    };
    let mut found: Option<Quantity> = None;
    let containers =
        pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let asked =
        containers.flat_map(|container| container.resources.iter().flat_map(|all| all.requests.iter().flatten()));
    for size in asked.filter_map(|(name, _)| name.strip_prefix("hugepages-")) {
        let size: Quantity = size.parse().map_err(|_| format!("{size:?} is no size of huge pages"))?;
        match (wanted, found) {
            (Some(wanted), _) if wanted.units() != size.units() => {}
            (None, Some(other)) if other.units() != size.units() => {
                return Err(format!("medium: {medium} can't be used if container requests multiple huge page sizes"));
            }
            _ => found = Some(size),
        }
    }
    let size = found.ok_or_else(|| {
        format!("medium {medium}: hugePages storage requested, but there is no resource request for huge pages")
    })?;
    Ok(format!("pagesize={size}"))
}

/// Lets the pod's users in.
fn open(dir: &Path, gid: Option<u32>) -> io::Result<()> {
    let meta = fs::metadata(dir)?;
    let mode = if gid.is_some() { 0o2777 } else { 0o777 };
    if gid.is_some_and(|gid| gid != meta.gid()) {
        std::os::unix::fs::chown(dir, None, gid)?;
    }
    // A container may have tightened the folder: only a fresh one is opened.
    if meta.mode() & 0o7777 == 0o755 || meta.mode() & 0o7777 == 0o1777 {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_huge_pages_is_the_mediums_or_the_only_one_asked_for() {
        let pod = |requests: &[&str]| -> Pod {
            let requests: serde_json::Map<String, serde_json::Value> =
                requests.iter().map(|name| ((*name).to_string(), "4Mi".into())).collect();
            holdfast_pods::typed::pod(serde_json::json!({
                "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]},
            }))
            .unwrap()
        };
        let none = "hugePages storage requested, but there is no resource request for huge pages";
        for (medium, requests, expected) in [
            ("HugePages", vec!["hugepages-2Mi"], "pagesize=2Mi".to_string()),
            ("HugePages-2Mi", vec!["hugepages-2Mi", "hugepages-1Gi"], "pagesize=2Mi".to_string()),
            ("HugePages-1Gi", vec!["hugepages-2Mi", "hugepages-1Gi"], "pagesize=1Gi".to_string()),
            ("HugePages", vec!["memory"], format!("medium HugePages: {none}")),
            ("HugePages-1Gi", vec!["hugepages-2Mi"], format!("medium HugePages-1Gi: {none}")),
            (
                "HugePages",
                vec!["hugepages-2Mi", "hugepages-1Gi"],
                "medium: HugePages can't be used if container requests multiple huge page sizes".to_string(),
            ),
            ("HugePages-x", vec![], "\"x\" is no size of huge pages".to_string()),
        ] {
            let said = page_size(medium, &pod(&requests)).unwrap_or_else(|problem| problem);
            assert_eq!(said, expected, "{medium} {requests:?}");
        }
        assert!(is_huge("HugePages") && is_huge("HugePages-2Mi") && !is_huge("HugePagesX") && !is_huge("Memory"));
    }
}
