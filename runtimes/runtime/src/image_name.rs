//! Image references: what a user writes, brought to the one form under which images are kept.
//!
//! `nginx` becomes `docker.io/library/nginx:latest`. The grammar is that of the distribution project; when a
//! reference has both a tag and a digest the digest alone counts, as with every Kubernetes runtime.

use crate::RuntimeError;
use crate::digest::valid_digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// The full form of an image reference: `domain/path:tag` or `domain/path@digest`.
///
/// # Errors
/// [`RuntimeError::InvalidImageName`] with the reason.
pub fn normalise_image_name(reference: &str) -> Result<String, RuntimeError> {
    parse(reference)
        .map_err(|reason| RuntimeError::InvalidImageName { image: reference.to_string(), reason: reason.to_string() })
}

/// Repository part of a normalised reference: without its tag or digest.
pub fn repository(normalised: &str) -> &str {
    let name = normalised.split_once('@').map_or(normalised, |(name, _)| name);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    match name[slash..].find(':') {
        Some(colon) => &name[..slash + colon],
        None => name,
    }
}

fn parse(reference: &str) -> Result<String, &'static str> {
    const FORMAT: &str = "invalid reference format";
    if reference.is_empty() {
        return Err(FORMAT);
    }
    if reference.len() == 64 && reference.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err("invalid repository name, cannot specify 64-byte hexadecimal strings");
    }
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[slash..].find(':') {
        Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
        None => (rest, None),
    };
    let (domain, path) = match name.split_once('/') {
        Some((first, path)) if is_domain(first) => (first, path),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    if !valid_domain(domain) {
        return Err(FORMAT);
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("invalid reference format: repository name must be lowercase");
    }
    if !path.split('/').all(valid_component) {
        return Err(FORMAT);
    }
    let library = if domain == DEFAULT_DOMAIN && !path.contains('/') { "library/" } else { "" };
    let full = format!("{domain}/{library}{path}");
    if full.len() > NAME_MAX {
        return Err("repository name must not be more than 255 characters");
    }
    if tag.is_some_and(|tag| !valid_tag(tag)) {
        return Err(FORMAT);
    }
    match (digest, tag) {
        (Some(digest), _) if valid_digest(digest) => Ok(format!("{full}@{digest}")),
        (Some(_), _) => Err("invalid reference format: unsupported or malformed digest"),
        (None, tag) => Ok(format!("{full}:{}", tag.unwrap_or("latest"))),
    }
}

fn is_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn valid_domain(domain: &str) -> bool {
    let (host, port) = match domain.rfind(':') {
        Some(at) if !domain.ends_with(']') => (&domain[..at], Some(&domain[at + 1..])),
        _ => (domain, None),
    };
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let host_ok = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    port_ok && host_ok
}

/// Lower-case words joined by one `.`, one or two `_`, or any number of `-`.
fn valid_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !bytes.first().is_some_and(word) || !bytes.last().is_some_and(word) {
        return false;
    }
    bytes.split(word).filter(|run| !run.is_empty()).all(|run| match run {
        b"." | b"_" | b"__" => true,
        run => run.iter().all(|b| *b == b'-'),
    })
}

fn valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_defaults() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (given, full) in [
            ("nginx", "docker.io/library/nginx:latest".to_string()),
            ("nginx:1.2", "docker.io/library/nginx:1.2".to_string()),
            ("me/app", "docker.io/me/app:latest".to_string()),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest".to_string()),
            ("localhost/app", "localhost/app:latest".to_string()),
            ("registry.local:5000/a/b_c/d--e:V1", "registry.local:5000/a/b_c/d--e:V1".to_string()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_string()),
            (&format!("a.b/c@{digest}"), format!("a.b/c@{digest}")),
            (&format!("a.b/c:tag@{digest}"), format!("a.b/c@{digest}")),
        ] {
            assert_eq!(normalise_image_name(given), Ok(full));
        }
        assert_eq!(repository("registry.local:5000/a:1"), "registry.local:5000/a");
        assert_eq!(repository(&format!("a.b/c@{digest}")), "a.b/c");
    }

    #[test]
    fn malformed_names_say_why() {
        for bad in ["", "a b", "-a", "a:", "a:.x", "a@sha256:12", "a//b", "a.b:x/c", "a._b", "é"] {
            assert!(normalise_image_name(bad).is_err(), "{bad:?} passed");
        }
        assert_eq!(
            normalise_image_name("Nginx").unwrap_err().to_string(),
            "Failed to apply default image tag \"Nginx\": couldn't parse image name \"Nginx\": invalid reference format: repository name must be lowercase"
        );
        assert!(normalise_image_name(&"a".repeat(64)).is_err());
    }
}
