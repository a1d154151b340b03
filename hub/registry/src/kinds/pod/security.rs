//! Security contexts.

use crate::kinds::rules::{not_negative, one_of, text};
use holdfast_core::json::{at, bool_at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

/// How long the name of a sysctl may be.
const LONGEST_SYSCTL: usize = 253;
/// What names of sysctls look like, as upstream says it.
const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Whether this could be a sysctl: words of [`SYSCTL`] between dots and slashes.
fn is_sysctl(name: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let word = |word: &str| {
        let bytes = word.as_bytes();
        bytes.first().copied().is_some_and(edge)
            && bytes.last().copied().is_some_and(edge)
            && bytes.iter().all(|byte| edge(*byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= LONGEST_SYSCTL && name.split(['.', '/']).all(word)
}

/// Problems of a container's `securityContext`.
pub(crate) fn container(context: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    not_negative(context, "runAsUser", path, errors);
    not_negative(context, "runAsGroup", path, errors);
    profiles(context, path, errors);
    if let Some(mount) = context.get("procMount").and_then(Json::as_str)
        && !["Default", "Unmasked"].contains(&mount)
    {
        errors.not_supported(&path.child("procMount"), mount, &["Default", "Unmasked"]);
    }
    if bool_at(context, &["allowPrivilegeEscalation"]) == Some(false) {
        let added = items_at(context, &["capabilities", "add"]);
        if bool_at(context, &["privileged"]) == Some(true) {
            errors.invalid(
                path,
                context.clone(),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        if added.iter().any(|name| matches!(name.as_str(), Some("CAP_SYS_ADMIN"))) {
            errors.invalid(
                path,
                context.clone(),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
}

/// Problems of a pod's `securityContext`.
pub(crate) fn pod(context: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        not_negative(context, field, path, errors);
    }
    for (index, group) in items_at(context, &["supplementalGroups"]).iter().enumerate() {
        if let Some(group) = group.as_i64().filter(|group| *group < 0) {
            let path = path.child("supplementalGroups").index(index);
            errors.invalid(&path, group, "must be between 0 and 2147483647, inclusive");
        }
    }
    one_of(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], false, path, errors);
    one_of(context, "supplementalGroupsPolicy", &["Merge", "Strict"], false, path, errors);
    profiles(context, path, errors);
    let mut seen = std::collections::BTreeSet::new();
    for (index, sysctl) in items_at(context, &["sysctls"]).iter().enumerate() {
        let path = path.child("sysctls").index(index).child("name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl(name) {
            errors.invalid(
                &path,
                name,
                format!("must have at most {LONGEST_SYSCTL} characters and match regex {SYSCTL}"),
            );
        } else if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

fn profiles(context: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for field in ["seccompProfile", "appArmorProfile"] {
        let Some(profile) = at(context, &[field]) else { continue };
        let path = path.child(field);
        one_of(profile, "type", &["Localhost", "RuntimeDefault", "Unconfined"], true, &path, errors);
        let local = text(profile, "localhostProfile");
        if text(profile, "type") == "Localhost" {
            if local.is_empty() {
                errors.required(&path.child("localhostProfile"), "must be set when seccomp type is Localhost");
            }
        } else if !local.is_empty() {
            errors.invalid(&path.child("localhostProfile"), local, "can only be set when seccomp type is Localhost");
        }
    }
}
