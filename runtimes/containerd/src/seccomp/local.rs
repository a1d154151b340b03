//! Seccomp profiles that lie on the node (`Localhost`), in the format of the OCI runtime specification or in the one that
//! Docker has made of it: `archMap` instead of `architectures`, and rules that hold for some machines, kernels or
//! capabilities alone (`includes`, `excludes`).

use holdfast_runtime::RuntimeError;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::{Component, Path};

/// Largest profile that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What rules may ask of.
pub(crate) struct Machine<'a> {
    /// As Go names it: `amd64`, `arm64`, `arm`.
    pub(crate) arch: &'a str,
    /// The kernel's version.
    pub(crate) kernel: (u32, u32),
    /// The container's capabilities.
    pub(crate) capabilities: &'a [String],
}

/// The machine that this is, for a container with these capabilities.
pub(crate) fn machine(capabilities: &[String]) -> Machine<'_> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine { arch, kernel: version(&release).unwrap_or_default(), capabilities }
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Reads the profile of this name below `root`. Blocks.
///
/// # Errors
/// With the place, when there is none or it cannot be understood.
pub(crate) fn load(root: &Path, name: &str, machine: &Machine<'_>) -> Result<Value, RuntimeError> {
    let path = root.join(name);
    let failed = |why: String| {
        let reason = format!("cannot load seccomp profile {:?}: {why}", path.display().to_string());
        RuntimeError::Failed { operation: "create container", reason }
    };
    if name.is_empty() || !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(failed("its name must be a path below the profiles' folder".into()));
    }
    let file = std::fs::File::open(&path).map_err(|err| failed(err.to_string()))?;
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|err| failed(err.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(failed(format!("it is longer than {MAX_BYTES} bytes")));
    }
    let document =
        serde_json::from_slice(&text).map_err(|err| failed(format!("decoding seccomp profile failed: {err}")))?;
    profile(&document, machine).map_err(failed)
}

fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn action<'a>(of: &'a Value, key: &str, place: &str) -> Result<&'a str, String> {
    let found = of.get(key).and_then(Value::as_str).filter(|action| action.starts_with("SCMP_ACT_"));
    found.ok_or_else(|| format!("{place}: {key} must be an action (SCMP_ACT_…)"))
}

/// The profile as the OCI runtime specification has it.
fn profile(document: &Value, machine: &Machine<'_>) -> Result<Value, String> {
    let mut out = Map::new();
    out.insert("defaultAction".into(), json!(action(document, "defaultAction", "profile")?));
    for key in ["defaultErrnoRet", "flags"] {
        if let Some(value) = document.get(key).filter(|value| !value.is_null()) {
            out.insert(key.into(), value.clone());
        }
    }
    let mut architectures = texts(document, "architectures");
    if let Some(native) = native(machine.arch).filter(|_| architectures.is_empty()) {
        let map = document.get("archMap").and_then(Value::as_array).into_iter().flatten();
        for entry in map.filter(|entry| entry.get("architecture").and_then(Value::as_str) == Some(native)) {
            architectures.push(native);
            architectures.extend(texts(entry, "subArchitectures"));
        }
    }
    if !architectures.is_empty() {
        out.insert("architectures".into(), json!(architectures));
    }
    let mut rules = Vec::new();
    for (index, rule) in document.get("syscalls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let place = format!("syscalls[{index}]");
        let action = action(rule, "action", &place)?;
        let mut names = texts(rule, "names");
        names.extend(rule.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()));
        if names.is_empty() {
            return Err(format!("{place}: names must not be empty"));
        }
        if !holds(rule, machine) {
            continue;
        }
        let mut kept = json!({"names": names, "action": action});
        for key in ["errnoRet", "args"] {
            if let Some(value) = rule.get(key).filter(|value| !value.is_null()) {
                kept[key] = value.clone();
            }
        }
        rules.push(kept);
    }
    out.insert("syscalls".into(), Value::Array(rules));
    Ok(Value::Object(out))
}

fn native(arch: &str) -> Option<&'static str> {
    Some(match arch {
        "amd64" => "SCMP_ARCH_X86_64",
        "arm64" => "SCMP_ARCH_AARCH64",
        "arm" => "SCMP_ARCH_ARM",
        _ => return None,
    })
}

/// Whether a rule holds here.
fn holds(rule: &Value, machine: &Machine<'_>) -> bool {
    let none = Value::Null;
    let (includes, excludes) = (rule.get("includes").unwrap_or(&none), rule.get("excludes").unwrap_or(&none));
    let has = |capability: &&str| machine.capabilities.iter().any(|have| have == capability);
    let new_enough = |of: &Value| {
        let asked = of.get("minKernel").and_then(Value::as_str).filter(|text| !text.is_empty());
        asked.map(|text| version(text).is_some_and(|asked| machine.kernel >= asked))
    };
    let machines = texts(includes, "arches");
    (machines.is_empty() || machines.contains(&machine.arch))
        && !texts(excludes, "arches").contains(&machine.arch)
        && texts(includes, "caps").iter().all(has)
        && !texts(excludes, "caps").iter().any(has)
        && new_enough(includes) != Some(false)
        && new_enough(excludes) != Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERS: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}, "excludes": {}},
            {"name": "ptrace", "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390"]},
             "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#;

    fn allowed(machine: &Machine<'_>) -> (Vec<String>, Vec<String>) {
        let document = serde_json::from_str(DOCKERS).unwrap();
        let found = profile(&document, machine).unwrap();
        let rules = found["syscalls"].as_array().unwrap().iter().flat_map(|rule| texts(rule, "names"));
        let words = |list: Vec<&str>| list.into_iter().map(String::from).collect();
        (words(texts(&found, "architectures")), words(rules.collect()))
    }

    #[test]
    fn dockers_rules_hold_where_they_say() {
        let plain = Machine { arch: "amd64", kernel: (6, 1), capabilities: &[] };
        let (machines, calls) = allowed(&plain);
        assert_eq!(machines, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        assert_eq!(calls, ["read", "write", "ptrace", "arch_prctl", "clone"]);
        let mighty = ["CAP_SYS_ADMIN".to_string()];
        let old = Machine { arch: "arm64", kernel: (4, 7), capabilities: &mighty };
        assert_eq!(allowed(&old).1, ["read", "write", "mount"]);
    }

    #[test]
    fn profiles_are_read_below_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("team")).unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let machine = Machine { arch: "amd64", kernel: (6, 1), capabilities: &[] };
        let load = |name: &str| load(dir.path(), name, &machine).map_err(|err| err.to_string());
        put("team/a.json", r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_ARM"], "flags": ["X"]}"#);
        let plain = json!({"defaultAction": "SCMP_ACT_LOG", "flags": ["X"], "architectures": ["SCMP_ARCH_ARM"], "syscalls": []});
        assert_eq!(load("team/a.json").unwrap(), plain);
        put("b.json", "{");
        put("c.json", r#"{"defaultAction": "ALLOW"}"#);
        put("d.json", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO"}]}"#);
        for (name, expected) in [
            ("../a", "its name must be a path below the profiles' folder"),
            ("/etc/passwd", "its name must be a path below the profiles' folder"),
            ("none.json", "No such file or directory (os error 2)"),
            ("b.json", "decoding seccomp profile failed: "),
            ("c.json", "profile: defaultAction must be an action (SCMP_ACT_…)"),
            ("d.json", "syscalls[0]: names must not be empty"),
        ] {
            let err = load(name).unwrap_err();
            assert!(
                err.starts_with("create container: cannot load seccomp profile \"") && err.contains(expected),
                "{err}"
            );
        }
    }
}
