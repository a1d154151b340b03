//! Names in containerd: identifiers and labels of our records.

use sha2::{Digest, Sha256};

/// Longest identifier that containerd takes.
const MAX_ID: usize = 76;

pub(crate) const KIND: &str = "holdfast.io/kind";
pub(crate) const KIND_SANDBOX: &str = "sandbox";
pub(crate) const KIND_CONTAINER: &str = "container";
pub(crate) const KIND_HOLDER: &str = "holder";
pub(crate) const KIND_IMAGE_VOLUME: &str = "image-volume";
/// The pod that a lease is for.
pub(crate) const POD_UID: &str = "holdfast.io/pod-uid";
/// The agent's own identifier.
pub(crate) const ID: &str = "holdfast.io/id";
/// The agent's identifier of the sandbox.
pub(crate) const SANDBOX: &str = "holdfast.io/sandbox";
pub(crate) const NAME: &str = "holdfast.io/name";
pub(crate) const ATTEMPT: &str = "holdfast.io/attempt";
pub(crate) const IMAGE: &str = "holdfast.io/image";
pub(crate) const IMAGE_ID: &str = "holdfast.io/image-id";
pub(crate) const LOG_PATH: &str = "holdfast.io/log-path";
pub(crate) const TTY: &str = "holdfast.io/tty";
pub(crate) const STDIN: &str = "holdfast.io/stdin";
pub(crate) const STDIN_ONCE: &str = "holdfast.io/stdin-once";
pub(crate) const STOP_SIGNAL: &str = "holdfast.io/stop-signal";
pub(crate) const CGROUP: &str = "holdfast.io/cgroup";
/// Written before the start, so that a container that a power cut took is told from one never started.
pub(crate) const STARTED_AT: &str = "holdfast.io/started-at";
pub(crate) const FINISHED_AT: &str = "holdfast.io/finished-at";
pub(crate) const EXIT_CODE: &str = "holdfast.io/exit-code";
pub(crate) const REASON: &str = "holdfast.io/reason";
pub(crate) const MESSAGE: &str = "holdfast.io/message";

/// containerd's identifier for one of ours: the same where its rules allow, else a hash of it.
pub(crate) fn containerd_id(id: &str) -> String {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    if id.len() <= MAX_ID && id.split(['.', '_', '-']).all(word) {
        return id.to_string();
    }
    let digest = format!("{:x}", Sha256::digest(id));
    format!("h{}", &digest[..48])
}

/// A filter for records with a label.
pub(crate) fn filter(label: &str, value: &str) -> String {
    let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("labels.\"{label}\"==\"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_fit_containerd() {
        assert_eq!(containerd_id("0b6f-web-0"), "0b6f-web-0");
        for odd in ["a--b", "a-", "../x", &"a".repeat(77), ""] {
            let id = containerd_id(odd);
            assert!(id.len() == 49 && id.starts_with('h'), "{id}");
        }
    }
}
