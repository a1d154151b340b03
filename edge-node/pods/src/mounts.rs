//! Volume mounts as a container's status tells them, and whether they are read-only to the last mount below them.

use k8s_openapi::api::core::v1::{Container, VolumeMount, VolumeMountStatus};

/// Whether a mount is to be read-only with all that is mounted below it; `supported` says whether that is possible here.
///
/// # Errors
/// Upstream's text, when the pod asks for what it cannot have.
pub fn recursive_read_only(mount: &VolumeMount, supported: bool) -> Result<bool, String> {
    let mode = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
    let refuse =
        |why: &str| Err(format!("volume {:?} requested recursive read-only mode, but it is {why}", mount.name));
    let propagation = mount.mount_propagation.as_deref().unwrap_or("None");
    match mode {
        "Disabled" => Ok(false),
        _ if mount.read_only != Some(true) => refuse("not read-only"),
        _ if propagation != "None" => refuse(&format!("not compatible with propagation {propagation:?}")),
        "IfPossible" => Ok(supported),
        "Enabled" if supported => Ok(true),
        "Enabled" => refuse("not supported by the runtime"),
        other => Err(format!("unknown recursive read-only mode {other:?}")),
    }
}

/// The mounts of a container, for its status.
pub(crate) fn told(container: &Container, supported: bool) -> Option<Vec<VolumeMountStatus>> {
    let told = container.volume_mounts.as_ref()?.iter().map(|mount| {
        let read_only = mount.read_only.filter(|read_only| *read_only);
        let mode = |recursive| if recursive { "Enabled" } else { "Disabled" }.to_string();
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| mode(recursive_read_only(mount, supported) == Ok(true))),
            ..VolumeMountStatus::default()
        }
    });
    Some(told.collect::<Vec<_>>()).filter(|told| !told.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_only_all_through_is_refused() {
        let mount = |mode: &str, read_only: bool, propagation: Option<&str>| VolumeMount {
            name: "v".into(),
            read_only: Some(read_only),
            recursive_read_only: Some(mode.into()),
            mount_propagation: propagation.map(str::to_string),
            ..VolumeMount::default()
        };
        let begin = "volume \"v\" requested recursive read-only mode, but it is ";
        for (mount, supported, expected) in [
            (VolumeMount::default(), true, Ok(false)),
            (mount("Disabled", true, None), true, Ok(false)),
            (mount("Enabled", true, None), true, Ok(true)),
            (mount("Enabled", true, Some("None")), true, Ok(true)),
            (mount("IfPossible", true, None), false, Ok(false)),
            (mount("Enabled", true, None), false, Err("not supported by the runtime")),
            (mount("IfPossible", false, None), true, Err("not read-only")),
            (
                mount("Enabled", true, Some("HostToContainer")),
                true,
                Err("not compatible with propagation \"HostToContainer\""),
            ),
        ] {
            let expected = expected.map_err(|why| format!("{begin}{why}"));
            assert_eq!(recursive_read_only(&mount, supported), expected);
        }
        let container = Container {
            volume_mounts: Some(vec![mount("IfPossible", true, None), mount("Disabled", false, None)]),
            ..Container::default()
        };
        let modes = |supported| -> Vec<Option<String>> {
            told(&container, supported).unwrap().into_iter().map(|told| told.recursive_read_only).collect()
        };
        assert_eq!(modes(true), [Some("Enabled".into()), None]);
        assert_eq!(modes(false), [Some("Disabled".into()), None]);
        assert_eq!(told(&Container::default(), true), None);
    }
}
