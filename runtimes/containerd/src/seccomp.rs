//! The `RuntimeDefault` seccomp profile: all system calls but those that reach past a container.
//!
//! A list of what is refused, so that programs meet new harmless calls of new kernels. Calls that a capability
//! unlocks are refused only without it. `clone3` answers ENOSYS, since its flags lie in memory that a filter
//! cannot read; libraries then fall back to `clone`, whose flags are checked.

pub(crate) mod local;

use serde_json::{Value, json};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}.
const NAMESPACE_FLAGS: u64 = 0x7E02_0080;

/// Refused whatever the capabilities.
const NEVER: &[&str] = &[
    "_sysctl",
    "add_key",
    "afs_syscall",
    "create_module",
    "get_kernel_syms",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "keyctl",
    "nfsservctl",
    "query_module",
    "request_key",
    "security",
    "sysfs",
    "tuxcall",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
    "vserver",
];

/// Refused without the capability.
const NEEDS: &[(&str, &[&str])] = &[
    (
        "CAP_SYS_ADMIN",
        &[
            "bpf",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "pivot_root",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "swapoff",
            "swapon",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    ("CAP_SYS_BOOT", &["kexec_file_load", "kexec_load", "reboot"]),
    ("CAP_SYS_MODULE", &["delete_module", "finit_module", "init_module"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    (
        "CAP_SYS_TIME",
        &["clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday", "stime"],
    ),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
    ("CAP_SYSLOG", &["syslog"]),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "move_pages", "set_mempolicy", "set_mempolicy_home_node"]),
    ("CAP_SYS_PTRACE", &["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"]),
];

/// The profile for a container with these capabilities.
pub(crate) fn default_profile(capabilities: &[String]) -> Value {
    let has = |name: &str| capabilities.iter().any(|have| have == name);
    let mut refused: Vec<&str> = NEVER.to_vec();
    for (capability, calls) in NEEDS {
        if !has(capability) {
            refused.extend(*calls);
        }
    }
    let mut rules = vec![json!({"names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM})];
    if !has("CAP_SYS_ADMIN") {
        for bit in (0..32).map(|bit| 1u64 << bit).filter(|bit| NAMESPACE_FLAGS & bit != 0) {
            rules.push(json!({
                "names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM,
                "args": [{"index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}],
            }));
        }
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
    }
    // AF_VSOCK reaches the hypervisor.
    rules.push(json!({
        "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM,
        "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}],
    }));
    let architectures = match std::env::consts::ARCH {
        "aarch64" => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        "arm" => json!(["SCMP_ARCH_ARM"]),
        _ => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    };
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures, "syscalls": rules})
}
