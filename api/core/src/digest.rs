//! Hashes that hub and node compare: of an item's content, and of sets of items.
//!
//! A set's digest is the sum of its members' hashes, so it does not depend on order and changes with one
//! member in constant time.

use sha2::{Digest, Sha256};

/// Buckets of a set's digest.
pub const DIGEST_BUCKETS: usize = 64;

const _: () = assert!(DIGEST_BUCKETS.is_power_of_two());

/// The first eight bytes of the SHA-256 of an item's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ContentHash(pub u64);

fn sha(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    u64::from_le_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

/// The hash of a body.
pub fn content_hash(body: &[u8]) -> ContentHash {
    ContentHash(sha(&[body]))
}

/// The hash of a member: its key with its content.
pub fn member_hash(key: &str, content: ContentHash) -> u64 {
    sha(&[key.as_bytes(), &content.0.to_le_bytes()])
}

/// The bucket that a key falls into.
pub fn bucket_of(key: &str) -> usize {
    (sha(&[key.as_bytes()]) as usize) & (DIGEST_BUCKETS - 1)
}

/// The digest of a set, by bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDigest {
    buckets: [u64; DIGEST_BUCKETS],
}

impl Default for SetDigest {
    fn default() -> SetDigest {
        SetDigest { buckets: [0; DIGEST_BUCKETS] }
    }
}

impl SetDigest {
    /// Adds a member.
    pub fn add(&mut self, key: &str, content: ContentHash) {
        let bucket = &mut self.buckets[bucket_of(key)];
        *bucket = bucket.wrapping_add(member_hash(key, content));
    }

    /// Removes a member that was added.
    pub fn remove(&mut self, key: &str, content: ContentHash) {
        let bucket = &mut self.buckets[bucket_of(key)];
        *bucket = bucket.wrapping_sub(member_hash(key, content));
    }

    /// The digest of this set and another one that has no member of it.
    #[must_use]
    pub fn merged(&self, other: &SetDigest) -> SetDigest {
        let mut both = self.clone();
        for (bucket, more) in both.buckets.iter_mut().zip(&other.buckets) {
            *bucket = bucket.wrapping_add(*more);
        }
        both
    }

    /// The digest of the whole set.
    pub fn root(&self) -> u64 {
        let bytes: Vec<u8> = self.buckets.iter().flat_map(|bucket| bucket.to_le_bytes()).collect();
        sha(&[&bytes])
    }

    /// The digests of the buckets.
    pub fn buckets(&self) -> &[u64; DIGEST_BUCKETS] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_digest_forgets_order_and_undoes() {
        let (a, b) = (content_hash(b"a"), content_hash(b"b"));
        let mut one = SetDigest::default();
        one.add("x", a);
        one.add("y", b);
        let mut two = SetDigest::default();
        two.add("y", b);
        two.add("z", a);
        two.add("x", a);
        assert_ne!(one.root(), two.root());
        two.remove("z", a);
        assert_eq!(one, two);
        assert_eq!(one.root(), two.root());
        let (mut x, mut y) = (SetDigest::default(), SetDigest::default());
        x.add("x", a);
        y.add("y", b);
        assert_eq!(x.merged(&y), one);
    }
}
