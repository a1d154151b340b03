//! gVisor: the pod has a kernel of its own, a process of the node that serves the system calls of its containers.
//!
//! It runs under the same shim as other containers. What runsc does otherwise than runc is made good by a script between the two,
//! which says what that is. The sandbox has a holder ([`crate::holder`]) as its root container, in whose cgroup that kernel runs:
//! so limits hold for the pod as a whole, and what a container uses is not told apart. The pod's network is that of its
//! namespace, served by the node's kernel, so that it is reached as that of other pods is.

use holdfast_runtime::{RuntimeError, SandboxSpec};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// RuntimeClass handler of such pods.
const HANDLER: &str = "gvisor";
/// What stands between the shim and runsc.
const SCRIPT: &str = include_str!("gvisor/runsc.sh");

/// Whether the pod has a kernel of its own.
pub(crate) fn has_kernel(sandbox: &SandboxSpec) -> bool {
    sandbox.handler == HANDLER
}

/// What a pod with a kernel of its own cannot have.
pub(crate) fn check(sandbox: &SandboxSpec) -> Result<(), RuntimeError> {
    let cannot = [(sandbox.host_pid, "hostPID"), (sandbox.host_ipc, "hostIPC")];
    match cannot.into_iter().find(|(asked, _)| *asked) {
        Some((_, field)) => {
            Err(RuntimeError::Config(format!("{field} cannot be had with gVisor: the pod has a kernel of its own")))
        }
        None => Ok(()),
    }
}

/// Writes the script into a folder; its path.
pub(crate) fn program(folder: &Path) -> Result<PathBuf, RuntimeError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder.join("runsc").is_file()) {
        let words = "RuntimeClass handler \"gvisor\" needs the program runsc, which this node does not have";
        return Err(RuntimeError::Config(words.into()));
    }
    let program = folder.join("runsc");
    let failed = |err: std::io::Error| RuntimeError::Failed {
        operation: "prepare gVisor",
        reason: format!("{}: {err}", program.display()),
    };
    if std::fs::read(&program).is_ok_and(|bytes| bytes == SCRIPT.as_bytes()) {
        return Ok(program);
    }
    let new = folder.join(".runsc");
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(&new, SCRIPT).map_err(failed)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    std::fs::rename(&new, &program).map_err(failed)?;
    Ok(program)
}
