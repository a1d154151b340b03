//! Names of links and files, derived from who they are for.

use sha2::{Digest, Sha256};

/// The host's end of a veth: at most 15 bytes, the same for the same attachment.
pub(crate) fn host_link(container: &str, interface: &str) -> String {
    let digest = format!("{:x}", Sha256::digest(format!("{container}/{interface}")));
    format!("hf{}", &digest[..12])
}

/// Whether a name may be part of a path: no separators, nothing hidden.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

/// A hardware address that follows from the first address, so that neighbours' tables stay right when a pod
/// comes back with the same one. Locally administered.
pub(crate) fn hardware_address(ip: std::net::Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = ip.octets();
    vec![0x0a, 0x58, a, b, c, d]
}
