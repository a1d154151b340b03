//! `pod-template-hash`: the same for the same template, whatever the order of its keys.

use holdfast_core::Json;
use sha2::{Digest, Sha256};

/// Letters that make no words and digits that are no letters, as upstream's names have them.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a pod template; `collisions` tells apart what would have the same name.
pub fn pod_template_hash(template: &Json, collisions: Option<i64>) -> String {
    let mut hasher = Sha256::new();
    feed(&mut hasher, template);
    if let Some(collisions) = collisions {
        hasher.update(collisions.to_le_bytes());
    }
    let digest = hasher.finalize();
    let word = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    word.to_string().bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

/// Keys sorted, nulls left out: how the document was written does not matter.
fn feed(hasher: &mut Sha256, value: &Json) {
    match value {
        Json::Object(map) => {
            hasher.update(b"{");
            let mut entries: Vec<_> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, value) in entries {
                hasher.update(Json::from(key.as_str()).to_string());
                feed(hasher, value);
            }
            hasher.update(b"}");
        }
        Json::Array(items) => {
            hasher.update(b"[");
            for item in items {
                feed(hasher, item);
                hasher.update(b",");
            }
            hasher.update(b"]");
        }
        scalar => hasher.update(scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stable_and_safe() {
        let a = pod_template_hash(&json!({"a": 1, "b": {"c": [1, 2], "d": null}}), None);
        let b = pod_template_hash(&json!({"b": {"c": [1, 2]}, "a": 1}), None);
        assert_eq!(a, b);
        assert_ne!(a, pod_template_hash(&json!({"b": {"c": [2, 1]}, "a": 1}), None));
        assert_ne!(a, pod_template_hash(&json!({"a": 1, "b": {"c": [1, 2]}}), Some(1)));
        assert!(a.bytes().all(|byte| ALPHABET.contains(&byte)));
        // Names of ReplicaSets depend on it: a change would roll every Deployment.
        assert_eq!(pod_template_hash(&json!({"spec": {"containers": [{"name": "c"}]}}), None), "5dd6df7555");
    }
}
