//! Capabilities of a container: the customary default set, and what the pod adds or drops.

use holdfast_runtime::{RuntimeError, SecurityContext};
use std::collections::BTreeSet;

/// What an unprivileged container gets, as with the other Kubernetes runtimes.
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// All of Linux, by number (capabilities(7)).
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The capabilities of a container, sorted. `available` are those of the agent, a bit each: more than it has
/// itself it cannot give, so "all" means all of these.
pub(crate) fn capabilities(security: &SecurityContext, available: u64) -> Result<Vec<String>, RuntimeError> {
    let has = |name: &&str| ALL.iter().position(|known| known == name).is_some_and(|bit| available >> bit & 1 == 1);
    let known: Vec<&'static str> = ALL.into_iter().filter(|name| has(name)).collect();
    let full = |name: &str| {
        let upper = name.to_ascii_uppercase();
        let upper = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        let found = ALL.iter().find(|known| **known == upper).copied();
        found.ok_or_else(|| RuntimeError::Config(format!("unknown capability {name:?}")))
    };
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    if security.privileged {
        return Ok(known.iter().map(|name| name.to_string()).collect());
    }
    let mut set: BTreeSet<&str> = DEFAULT.into_iter().filter(|name| has(name)).collect();
    if security.add_capabilities.iter().any(is_all) {
        set.extend(&known);
    }
    if security.drop_capabilities.iter().any(is_all) {
        set.clear();
    }
    for name in security.add_capabilities.iter().filter(|name| !is_all(name)) {
        let name = full(name)?;
        if !has(&name) {
            return Err(RuntimeError::Config(format!("capability {name} is not available on this node")));
        }
        set.insert(name);
    }
    for name in security.drop_capabilities.iter().filter(|name| !is_all(name)) {
        set.remove(full(name)?);
    }
    Ok(set.into_iter().map(str::to_string).collect())
}

/// What this process could give: its bounding set.
pub(crate) fn available() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The capability to be spared when memory is short (capabilities(7)).
pub(crate) const SYS_RESOURCE: u32 = 24;

/// How far the OOM score of a process may be lowered with these capabilities.
pub(crate) fn lowest_oom_score_adj(available: u64) -> i32 {
    if available >> SYS_RESOURCE & 1 == 1 {
        return -1000;
    }
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    own.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oom_score_is_lowered_by_whoever_may() {
        assert_eq!(lowest_oom_score_adj(1 << SYS_RESOURCE), -1000);
        assert!(lowest_oom_score_adj(0) >= -1000);
    }

    fn with(add: &[&str], drop: &[&str]) -> Result<Vec<String>, RuntimeError> {
        let words = |list: &[&str]| list.iter().map(|word| word.to_string()).collect();
        let security =
            SecurityContext { add_capabilities: words(add), drop_capabilities: words(drop), ..Default::default() };
        capabilities(&security, (1 << 41) - 1)
    }

    #[test]
    fn adds_and_drops_apply_to_the_default_set() {
        assert_eq!(with(&[], &[]).unwrap().len(), DEFAULT.len());
        assert_eq!(with(&["NET_ADMIN", "cap_sys_time"], &["ALL"]).unwrap(), ["CAP_NET_ADMIN", "CAP_SYS_TIME"]);
        assert!(!with(&["ALL"], &["MKNOD"]).unwrap().contains(&"CAP_MKNOD".to_string()));
        assert_eq!(with(&["FLY"], &[]).unwrap_err().to_string(), "unknown capability \"FLY\"");
        let privileged = SecurityContext { privileged: true, ..Default::default() };
        assert_eq!(capabilities(&privileged, (1 << 38) - 1).unwrap().len(), 38);
        assert_eq!(capabilities(&privileged, 0b101).unwrap(), ["CAP_CHOWN", "CAP_DAC_READ_SEARCH"]);
    }
}
