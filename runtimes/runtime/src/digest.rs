//! Digests of content (OCI descriptor): `sha256:…`, `sha512:…`.

use sha2::{Digest, Sha256, Sha512};

/// Whether it is `sha256:` or `sha512:` and as many hexadecimal digits as it takes.
pub fn valid_digest(digest: &str) -> bool {
    let (length, hex) = match digest.split_once(':') {
        Some(("sha256", hex)) => (64, hex),
        Some(("sha512", hex)) => (128, hex),
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Computes the digest of content that comes in pieces.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// `sha256:…`
    Sha256(Box<Sha256>),
    /// `sha512:…`
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A hasher for content with this digest; `None` when it is malformed.
    pub fn new(digest: &str) -> Option<Hasher> {
        match digest {
            digest if !valid_digest(digest) => None,
            digest if digest.starts_with("sha256:") => Some(Hasher::Sha256(Box::default())),
            _ => Some(Hasher::Sha512(Box::default())),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all that was taken.
    pub fn finish(self) -> String {
        match self {
            Hasher::Sha256(hasher) => format!("sha256:{:x}", hasher.finalize()),
            Hasher::Sha512(hasher) => format!("sha512:{:x}", hasher.finalize()),
        }
    }
}

/// The `sha256:…` of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}
