//! What a container may not do, tried from inside.

use crate::harness::*;
use holdfast_runtime::*;
use std::path::Path;

/// A program for Linux on x86-64 that makes each call of a list with zeros as arguments and prints the error number of each
/// as a byte. It is written down as instructions, since no tool of an image makes all those calls.
#[cfg(target_arch = "x86_64")]
fn caller(calls: &[u16]) -> Vec<u8> {
    #[rustfmt::skip]
    let code = [
        0x48, 0x81, 0xec, 0, 1, 0, 0,    // sub rsp, 256
        0x45, 0x31, 0xe4,                // xor r12d, r12d
        0x48, 0x8d, 0x1d, 67, 0, 0, 0,   // lea rbx, [rip + 67]: the list
        0x42, 0x0f, 0xb7, 0x04, 0x63,    // movzx eax, word [rbx + r12 * 2]
        0x3d, 0xff, 0xff, 0, 0,          // cmp eax, 0xffff
        0x74, 28,                        // je to the mov eax, write
        0x31, 0xff, 0x31, 0xf6,          // xor edi, edi; xor esi, esi
        0x31, 0xd2, 0x45, 0x31, 0xd2,    // xor edx, edx; xor r10d, r10d
        0x45, 0x31, 0xc0,                // xor r8d, r8d
        0x45, 0x31, 0xc9,                // xor r9d, r9d
        0x0f, 0x05,                      // syscall
        0xf7, 0xd8,                      // neg eax
        0x42, 0x88, 0x04, 0x24,          // mov [rsp + r12], al
        0x41, 0xff, 0xc4,                // inc r12d
        0xeb, 0xd8,                      // jmp to the movzx
        0xb8, 1, 0, 0, 0,                // mov eax, write
        0xbf, 1, 0, 0, 0,                // mov edi, 1
        0x48, 0x89, 0xe6,                // mov rsi, rsp
        0x44, 0x89, 0xe2,                // mov edx, r12d
        0x0f, 0x05,                      // syscall
        0xb8, 60, 0, 0, 0,               // mov eax, exit
        0x31, 0xff,                      // xor edi, edi
        0x0f, 0x05,                      // syscall
    ];
    let list: Vec<u8> = calls.iter().chain([&u16::MAX]).flat_map(|call| call.to_le_bytes()).collect();
    assert!(calls.len() <= 256);
    let size = (120 + code.len() + list.len()) as u64;
    let base = 0x40_0000u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // An executable for x86-64 with one program header after this one, and one segment that is read and run.
    let words = [(2u64, 2), (62, 2), (1, 4), (base + 120, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (1, 2)];
    let rest =
        [(64, 2), (0, 2), (0, 2), (1, 4), (5, 4), (0, 8), (base, 8), (base, 8), (size, 8), (size, 8), (0x1000, 8)];
    for (value, bytes) in words.into_iter().chain(rest) {
        file.extend_from_slice(&value.to_le_bytes()[..bytes]);
    }
    assert_eq!(file.len(), 120);
    file.extend_from_slice(&code);
    file.extend_from_slice(&list);
    file
}

const EPERM: u8 = 1;
const ENOSYS: u8 = 38;

/// Calls (x86-64) that the profile forbids, and nothing else does for root in a container with zeros as arguments.
#[cfg(target_arch = "x86_64")]
const BY_PROFILE: [(&str, u16); 11] = [
    ("unshare", 272),
    ("setns", 308),
    ("add_key", 248),
    ("request_key", 249),
    ("keyctl", 250),
    ("io_uring_setup", 425),
    ("io_uring_enter", 426),
    ("io_uring_register", 427),
    ("clone3", 435),
    ("kcmp", 312),
    ("process_vm_readv", 310),
];

/// Calls that need a capability that a container does not have: both say no.
#[cfg(target_arch = "x86_64")]
const BY_BOTH: [(&str, u16); 10] = [
    ("open_by_handle_at", 304),
    ("acct", 163),
    ("settimeofday", 164),
    ("swapoff", 168),
    ("reboot", 169),
    ("iopl", 172),
    ("init_module", 175),
    ("delete_module", 176),
    ("kexec_load", 246),
    ("bpf", 321),
];

#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_profile_forbids_calls_from_inside() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let calls: Vec<u16> = BY_PROFILE.iter().chain(&BY_BOTH).map(|(_, call)| *call).collect();
    let host = node.path("calls");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("caller"), caller(&calls)).unwrap();
    std::fs::set_permissions(host.join("caller"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut found: Vec<Vec<u8>> = Vec::new();
    for profile in ["Unconfined", "RuntimeDefault"] {
        let mut container = node.container(&format!("/data/caller >/data/{profile}"));
        let container_path = "/data".to_string();
        container.mounts = vec![Mount { host_path: host.display().to_string(), container_path, ..Default::default() }];
        container.security.seccomp = profile.into();
        container.security.allow_privilege_escalation = true;
        node.run(&runtime, &sandbox, &container).await;
        let end = exit(&runtime, &container.id).await;
        assert_eq!(end.0, 0, "{end:?} {:?}", log(&container));
        found.push(std::fs::read(host.join(profile)).unwrap());
    }
    let (free, confined) = (&found[0], &found[1]);
    assert_eq!((free.len(), confined.len()), (calls.len(), calls.len()));
    for (index, (name, _)) in BY_PROFILE.iter().enumerate() {
        let expected = if *name == "clone3" { ENOSYS } else { EPERM };
        assert_eq!(confined[index], expected, "{name} under the profile");
        assert_ne!(free[index], expected, "{name} without it");
    }
    for (index, (name, _)) in BY_BOTH.iter().enumerate() {
        assert_eq!(confined[BY_PROFILE.len() + index], EPERM, "{name} under the profile");
    }
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_of_the_node_are_applied() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    std::fs::create_dir(node.path("seccomp")).unwrap();
    let profile =
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chdir"], "action": "SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(node.path("seccomp").join("stay.json"), profile).unwrap();
    let mut container = node.container("cd /bin && echo moved || echo stayed; cat /proc/self/status");
    container.working_dir = "/".into();
    container.security.seccomp = "Localhost/stay.json".into();
    node.run(&runtime, &sandbox, &container).await;
    exit(&runtime, &container.id).await;
    let said = log(&container);
    assert!(said.iter().any(|line| line == "stayed") && said.iter().any(|line| line == "Seccomp:\t2"), "{said:#?}");

    let mut missing = node.container("true");
    missing.security.seccomp = "Localhost/none.json".into();
    let err = runtime.create_container(&sandbox, &missing).await.unwrap_err();
    let path = node.path("seccomp").join("none.json").display().to_string();
    let words =
        format!("create container: cannot load seccomp profile {path:?}: No such file or directory (os error 2)");
    assert_eq!(err.to_string(), words);
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proc_is_masked_unless_a_pod_asks_for_it() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    // Kernels differ in which of these they have. A masked file is /dev/null.
    let hidden = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"];
    let hidden = hidden.into_iter().find(|path| Path::new(path).exists()).unwrap();
    let script =
        format!("[ -c {hidden} ] && echo masked || echo open; touch /proc/sys/kernel/hostname && echo w || echo r");
    let (closed, mut open) = (node.container(&script), node.container(&script));
    open.linux.unmasked_proc = true;
    for (container, expected) in [(&closed, ["masked", "r"]), (&open, ["open", "w"])] {
        node.run(&runtime, &sandbox, container).await;
        exit(&runtime, &container.id).await;
        let said = log(container);
        assert!(expected.iter().all(|word| said.iter().any(|line| line == word)), "{expected:?}: {said:?}");
    }
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sysctls_are_those_of_the_pod() {
    let node = Node::start();
    let runtime = node.ready().await;
    crate::security::make_netns(&node.path("netns"));
    let sysctl = |name: &str, value: &str| (name.to_string(), value.to_string());
    let sandbox = SandboxSpec {
        netns_path: node.path("netns").display().to_string(),
        sysctls: [sysctl("kernel.shm_rmid_forced", "1"), sysctl("net.ipv4.ip_unprivileged_port_start", "7")].into(),
        ..node.sandbox("pod-0")
    };
    let script = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start";
    let container = node.container(script);
    node.run(&runtime, &sandbox, &container).await;
    exit(&runtime, &container.id).await;
    assert_eq!(log(&container), ["1", "7"]);
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_of_apparmor_that_is_not_loaded_is_refused() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    runtime.run_sandbox(&sandbox).await.unwrap();
    let mut container = node.container("true");
    container.linux.apparmor = "Localhost/holdfast-no-such-profile".into();
    let err = runtime.create_container(&sandbox, &container).await.unwrap_err();
    assert_eq!(err, RuntimeError::Config("apparmor profile not found holdfast-no-such-profile".into()));
    runtime.remove_sandbox("pod-0").await.unwrap();
}
