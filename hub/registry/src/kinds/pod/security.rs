//! Security contexts.

use super::volumes::descending_path;
use super::windows;
use crate::kinds::rules::{one_of, text};
use holdfast_core::json::{at, bool_at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

/// How long the name of a sysctl may be.
const LONGEST_SYSCTL: usize = 253;
/// How long the name of an AppArmor profile may be.
const APPARMOR_BYTES: usize = 4095;
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// How sysctls begin that each network namespace, and each IPC namespace, has for itself.
const NET_SYSCTLS: &[&str] = &["net."];
const IPC_SYSCTLS: &[&str] = &["kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."];
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
    id(context.get("runAsUser"), &path.child("runAsUser"), errors);
    id(context.get("runAsGroup"), &path.child("runAsGroup"), errors);
    profiles(context, path, errors);
    windows::options(context, path, errors);
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

/// Tells of a number that is no user's and no group's.
fn id(number: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(number) = number.and_then(Json::as_i64).filter(|number| !(0..=i64::from(i32::MAX)).contains(number)) {
        errors.invalid(path, number, format!("must be between 0 and {}, inclusive", i32::MAX));
    }
}

/// Problems of the `securityContext` of a pod with this spec.
pub(crate) fn pod(context: &Json, spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context.get(field), &path.child(field), errors);
    }
    for (index, group) in items_at(context, &["supplementalGroups"]).iter().enumerate() {
        id(Some(group), &path.child("supplementalGroups").index(index), errors);
    }
    one_of(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], false, path, errors);
    one_of(context, "supplementalGroupsPolicy", &["Merge", "Strict"], false, path, errors);
    one_of(context, "seLinuxChangePolicy", &["MountOption", "Recursive"], false, path, errors);
    profiles(context, path, errors);
    windows::options(context, path, errors);
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
        // What these set would be the node's.
        let dotted = name.replace('/', ".");
        for (field, of) in [("hostNetwork", NET_SYSCTLS), ("hostIPC", IPC_SYSCTLS)] {
            if bool_at(spec, &[field]) == Some(true) && of.iter().any(|start| dotted.starts_with(start)) {
                errors.invalid(&path, name, format!("may not be specified when '{field}' is true"));
            }
        }
    }
}

fn profiles(context: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(profile) = at(context, &["seccompProfile"]) {
        let path = path.child("seccompProfile");
        if text(profile, "type").is_empty() {
            errors.required(&path.child("type"), "type is required when seccompProfile is set");
        }
        one_of(profile, "type", PROFILES, false, &path, errors);
        let at_local = path.child("localhostProfile");
        match (text(profile, "type"), profile.get("localhostProfile").and_then(Json::as_str)) {
            ("Localhost", None) => errors.required(&at_local, "must be set when seccomp type is Localhost"),
            ("Localhost", Some(local)) => descending_path(local, &at_local, errors),
            (_, Some(_)) => {
                errors.invalid(&at_local, profile.clone(), "can only be set when seccomp type is Localhost");
            }
            (_, None) => {}
        }
    }
    if let Some(profile) = at(context, &["appArmorProfile"]) {
        let path = path.child("appArmorProfile");
        if text(profile, "type").is_empty() {
            return errors.required(&path.child("type"), "type is required when appArmorProfile is set");
        }
        one_of(profile, "type", PROFILES, true, &path, errors);
        let at_local = path.child("localhostProfile");
        match (text(profile, "type"), profile.get("localhostProfile").and_then(Json::as_str)) {
            ("Localhost", Some(local)) if local.trim() != local => {
                errors.invalid(&at_local, local, "must not be padded with whitespace");
            }
            ("Localhost", Some(local)) if local.len() > APPARMOR_BYTES => errors.too_long(&at_local, APPARMOR_BYTES),
            ("Localhost", None | Some("")) => {
                errors.required(&at_local, "must be set when AppArmor type is Localhost");
            }
            ("RuntimeDefault" | "Unconfined", Some(local)) => {
                errors.invalid(&at_local, local, "can only be set when AppArmor type is Localhost");
            }
            _ => {}
        }
    }
}
