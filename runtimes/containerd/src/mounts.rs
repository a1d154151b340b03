//! Snapshots mounted by ourselves, read only: what containerd describes, as it is before anything writes to it.
//!
//! The kernel takes one page of options, and an image may have more layers than their full paths fit into. So they are named
//! from the folder that they share, by a thread that stands there.

use crate::snapshots::folders;
use containerd_client::types;
use holdfast_runtime::RuntimeError;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::path::{Component, Path, PathBuf};

/// Bytes of options that a mount may have: a page, with its end.
const MAX_OPTIONS: usize = 4095;

fn failed(what: String) -> RuntimeError {
    RuntimeError::Failed { operation: "mount image", reason: what }
}

/// Mounts a snapshot on a folder. Blocks.
pub(crate) fn show(snapshot: &[types::Mount], target: &Path, more: MsFlags) -> Result<(), RuntimeError> {
    let [described] = snapshot else {
        return Err(failed(format!("the snapshot is {} mounts instead of one", snapshot.len())));
    };
    if described.r#type != "overlay" && described.r#type != "bind" {
        return Err(failed(format!("snapshots of type {:?} are not mounted", described.r#type)));
    }
    let layers: Vec<PathBuf> = folders(described).into_iter().map(PathBuf::from).collect();
    let flags = MsFlags::MS_RDONLY | more;
    let step = |what: &str| {
        let text = format!("{what} {}", target.display());
        move |err: nix::Error| failed(format!("{text}: {err}"))
    };
    match layers.as_slice() {
        [] => Err(failed("the snapshot has no folder".into())),
        [one] => {
            mount(Some(one), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(step("mounting"))?;
            let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
            mount(None::<&str>, target, None::<&str>, flags, None::<&str>).map_err(|err| {
                let _ = umount2(target, MntFlags::MNT_DETACH);
                step("making read only")(err)
            })
        }
        many => overlay(many, &described.options, target, flags),
    }
}

/// Takes a mount away. Fine when there is none. Blocks.
pub(crate) fn hide(target: &Path) {
    while umount2(target, MntFlags::MNT_DETACH).is_ok() {}
}

fn overlay(layers: &[PathBuf], options: &[String], target: &Path, flags: MsFlags) -> Result<(), RuntimeError> {
    let home = shared_folder(layers);
    let names: Vec<String> =
        layers.iter().filter_map(|layer| Some(layer.strip_prefix(&home).ok()?.to_str()?.to_string())).collect();
    if names.len() != layers.len() || names.iter().any(|name| name.is_empty() || name.contains([':', ','])) {
        return Err(failed(format!("folders of layers cannot be named: {layers:?}")));
    }
    let kept = |option: &&String| {
        let name = option.split('=').next().unwrap_or_default();
        !["lowerdir", "upperdir", "workdir", "ro", "rw", "rbind", "bind", "volatile"].contains(&name)
    };
    let mut data: Vec<String> = options.iter().filter(kept).cloned().collect();
    data.push(format!("lowerdir={}", names.join(":")));
    let data = data.join(",");
    if data.len() > MAX_OPTIONS {
        return Err(failed(format!("the image has too many layers ({}) for one mount", layers.len())));
    }
    let target = target.to_path_buf();
    let thread = std::thread::Builder::new().name("mount-image".into()).spawn(move || {
        // The folder in which the other threads stand stays as it is.
        unshare(CloneFlags::CLONE_FS).map_err(|err| format!("unshare: {err}"))?;
        nix::unistd::chdir(&home).map_err(|err| format!("entering {}: {err}", home.display()))?;
        mount(Some("overlay"), &target, Some("overlay"), flags, Some(data.as_str()))
            .map_err(|err| format!("mounting {}: {err}", target.display()))
    });
    let thread = thread.map_err(|err| failed(format!("starting a thread: {err}")))?;
    thread.join().map_err(|_| failed("mounting panicked".into()))?.map_err(failed)
}

/// The deepest folder that all of these lie below.
fn shared_folder(paths: &[PathBuf]) -> PathBuf {
    let mut all = paths.iter();
    let first = all.next().and_then(|path| path.parent()).map(Path::to_path_buf).unwrap_or_default();
    all.fold(first, |shared, path| {
        let same = shared.components().zip(path.components()).take_while(|(one, other)| one == other);
        same.map(|(one, _): (Component<'_>, _)| one).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(kind: &str, source: String, options: Vec<String>) -> types::Mount {
        types::Mount { r#type: kind.into(), source, options, ..Default::default() }
    }

    #[test]
    fn layers_are_named_from_the_folder_that_they_share() {
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(shared_folder(&[path("/s/12/fs"), path("/s/3/fs")]), path("/s"));
        assert_eq!(shared_folder(&[path("/s/12/fs"), path("/t/3/fs")]), path("/"));
        assert_eq!(shared_folder(&[path("/s/1/fs"), path("/s/1/fs/x")]), path("/s/1"));
    }

    #[test]
    fn layers_lie_over_each_other_and_nothing_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (layer, text) in [("1", "low"), ("2", "high")] {
            std::fs::create_dir_all(at(layer).join("fs")).unwrap();
            std::fs::write(at(layer).join("fs/same"), text).unwrap();
            std::fs::write(at(layer).join("fs").join(text), text).unwrap();
        }
        std::fs::create_dir(at("seen")).unwrap();
        let text = |name: &str| at(name).join("fs").display().to_string();
        let lower = format!("lowerdir={}:{}", text("2"), text("1"));
        for (kind, source, options, files) in [
            ("overlay", "overlay".to_string(), vec!["index=off".to_string(), lower], vec!["high", "low", "same"]),
            ("bind", text("1"), vec!["ro".to_string(), "rbind".to_string()], vec!["low", "same"]),
        ] {
            show(&[snapshot(kind, source, options)], &at("seen"), MsFlags::MS_NOEXEC).unwrap();
            let mut found: Vec<String> = std::fs::read_dir(at("seen"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_string())
                .collect();
            found.sort();
            let same = std::fs::read_to_string(at("seen/same")).unwrap();
            let written = std::fs::write(at("seen/new"), "x");
            let below = holdfast_runtime::mount_table::mounts_below(&at("seen")).unwrap();
            hide(&at("seen"));
            assert_eq!(found, files, "{kind}");
            assert_eq!(below.len(), 1, "{kind}");
            assert_eq!(same, if kind == "bind" { "low" } else { "high" });
            assert!(written.is_err(), "{kind}");
        }
        assert_eq!(std::fs::read_dir(at("seen")).unwrap().count(), 0);
        assert!(show(&[], &at("seen"), MsFlags::empty()).is_err());
        assert!(show(&[snapshot("zfs", "x".into(), Vec::new())], &at("seen"), MsFlags::empty()).is_err());
    }
}
