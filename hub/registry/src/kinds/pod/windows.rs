//! What pods for Windows may say, and what pods for Linux may not.

use crate::kinds::rules::text;
use holdfast_core::json::{at, bool_at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

const KIB: usize = 64;
const DOMAIN: usize = 256;
const USER: usize = 104;
const FOR_LINUX: &str = "cannot be set for a windows pod";
/// What of a pod's security context means nothing on Windows; the first fields are the pod's own, where users write them.
const OF_SPEC: &[&str] = &["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"];
const OF_POD: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const OF_CONTAINER: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];
const OPERATING_SYSTEMS: &[&str] = &["linux", "windows"];

/// Containers of a spec with their paths, as upstream visits them.
pub(super) fn containers<'a>(spec: &'a Json, path: &FieldPath) -> Vec<(&'a Json, FieldPath)> {
    let mut all = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let each = items_at(spec, &[list]).iter().enumerate();
        all.extend(each.map(|(index, container)| (container, path.child(list).index(index))));
    }
    all
}

/// Problems of `os`, and of what does not go with it.
pub(super) fn os(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(os) = at(spec, &["os"]) else { return };
    match text(os, "name") {
        "" => errors.required(&path.child("os").child("name"), "cannot be empty"),
        "linux" => for_linux(spec, path, errors),
        "windows" => for_windows(spec, path, errors),
        other => errors.not_supported(&path.child("os"), other, OPERATING_SYSTEMS),
    }
}

fn for_linux(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let whole = std::iter::once((spec, path.clone()));
    for (of, path) in whole.chain(containers(spec, path)) {
        if at(of, &["securityContext", "windowsOptions"]).is_some() {
            let path = path.child("securityContext").child("windowsOptions");
            errors.forbidden(&path, "windows options cannot be set for a linux pod");
        }
    }
}

fn for_windows(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    // Upstream knows no more of these two than whether they are true.
    let is_set = |field: &&&str| match **field {
        "hostPID" | "hostIPC" => bool_at(spec, &[**field]) == Some(true),
        field => spec.get(field).is_some(),
    };
    for field in OF_SPEC.iter().filter(is_set) {
        errors.forbidden(&path.child(field), FOR_LINUX);
    }
    let mut context = |of: &Json, fields: &[&str], path: &FieldPath| {
        for field in fields.iter().filter(|field| at(of, &["securityContext", **field]).is_some()) {
            errors.forbidden(&path.child("securityContext").child(field), FOR_LINUX);
        }
    };
    context(spec, OF_POD, path);
    for (container, path) in containers(spec, path) {
        context(container, OF_CONTAINER, &path);
    }
}

/// Problems of containers that run as processes of the node.
pub(super) fn host_process(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let wanted = |of: &Json| bool_at(of, &["securityContext", "windowsOptions", "hostProcess"]);
    let of_pod = wanted(spec);
    let all = containers(spec, path);
    let mut found = 0;
    for (container, path) in &all {
        let own = wanted(container);
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let path = path.child("securityContext").child("windowsOptions").child("hostProcess");
            errors.invalid(
                &path,
                own,
                format!("pod hostProcess value must be identical if both are specified, was {pod}"),
            );
        }
        found += usize::from(own.or(of_pod) == Some(true));
    }
    if found == 0 {
        return;
    }
    if found != all.len() {
        let text = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path, "", text);
    }
    if bool_at(spec, &["hostNetwork"]) != Some(true) {
        let text = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&path.child("hostNetwork"), false, text);
    }
}

/// Problems of the `windowsOptions` of a security context.
pub(super) fn options(context: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(options) = context.get("windowsOptions") else { return };
    let path = path.child("windowsOptions");
    let given = |field: &str| options.get(field).and_then(Json::as_str);
    if let Some(name) = given("gmsaCredentialSpecName") {
        errors.all_invalid(&path.child("gmsaCredentialSpecName"), name, names::dns_subdomain(name));
    }
    if let Some(spec) = given("gmsaCredentialSpec") {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > KIB << 10 {
            errors.invalid(&path, spec, format!("gmsaCredentialSpec size must be under {KIB} KiB"));
        }
    }
    if let Some(user) = given("runAsUserName") {
        for text in user_problems(user) {
            errors.invalid(&path.child("runAsUserName"), user, text);
        }
    }
}

/// Problems of `DOMAIN\user`.
fn user_problems(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".to_owned()],
    };
    let mut problems = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN) {
        problems.push(format!("runAsUserName's Domain length must be under {DOMAIN} characters"));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns(domain)) {
        problems.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        problems.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER {
        problems.push(format!("runAsUserName's User length must not be longer than {USER} characters"));
    }
    if !user.is_empty() && user.chars().all(|char| matches!(char, '.' | ' ')) {
        problems.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        problems.push(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.to_owned());
    }
    problems
}

fn is_net_bios(name: &str) -> bool {
    let fits = |char: char| !matches!(char, '\\' | '/' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    (1..=15).contains(&name.chars().count()) && !name.starts_with('.') && name.chars().all(fits)
}

fn is_dns(name: &str) -> bool {
    name.split('.').all(|label| {
        let bytes = label.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        label.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    })
}
