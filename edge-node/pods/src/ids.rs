//! Ids of sandboxes and containers: unique over time, known before the thing exists, valid for containerd.

/// Longest id that containerd takes, in bytes.
const ID_MAX: usize = 76;

/// FNV-1a, 64 bit: stable for all time, which is all that is asked of it here.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The id of a container: `<pod uid>-<name>-<attempt>`; a name that is too long is cut and ends in a hash of it.
pub fn container_id(pod_uid: &str, name: &str, attempt: u32) -> String {
    let plain = format!("{pod_uid}-{name}-{attempt}");
    if plain.len() <= ID_MAX {
        return plain;
    }
    let tail = format!("-{:016x}-{attempt}", fnv(name));
    let room = ID_MAX.saturating_sub(pod_uid.len() + 1 + tail.len());
    let head: String = name.chars().take_while(char::is_ascii).take(room).collect();
    format!("{pod_uid}-{}{tail}", head.trim_end_matches('-'))
}

/// The id of a sandbox: `<pod uid>-<attempt>`.
pub fn sandbox_id(pod_uid: &str, attempt: u32) -> String {
    format!("{pod_uid}-{attempt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_valid_and_distinct() {
        let uid = "0d6d3f0e-6b4f-4f7e-9d5b-3c6e1f2a4b5c";
        assert_eq!(container_id(uid, "web", 3), format!("{uid}-web-3"));
        let long = "a".repeat(62);
        let ids = [
            container_id(uid, &format!("{long}b"), u32::MAX),
            container_id(uid, &format!("{long}c"), u32::MAX),
            container_id(uid, &format!("{long}c"), 0),
        ];
        for id in &ids {
            assert!(id.len() <= ID_MAX, "{id} is {} long", id.len());
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)), "{id}");
        }
        assert_ne!(ids[0], ids[1]);
        assert_ne!(ids[1], ids[2]);
    }
}
