//! Which user and password belong to which registry: `dockerconfigjson` and `dockercfg` secrets, matched with images as the
//! kubelet does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The registry of images without one, as Docker's files name it.
const DEFAULT_REGISTRY: &str = "index.docker.io";

/// Credentials for a pull.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PullAuth {
    /// User.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl PullAuth {
    /// Whether it is an identity token, by which a token server gives tokens: it belongs to no user.
    pub fn is_identity_token(&self) -> bool {
        self.username.is_empty() && !self.password.is_empty()
    }
}

impl std::fmt::Debug for PullAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PullAuth({}, …)", self.username)
    }
}

/// Credentials by registry and path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    /// By host and path without scheme; each in the order of the secrets.
    entries: BTreeMap<String, Vec<PullAuth>>,
}

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
}

impl Entry {
    /// An identity token stands over everything, and `auth`, base64 of `user:password`, over the other two.
    fn read(self) -> Result<PullAuth, String> {
        if !self.identity_token.is_empty() {
            return Ok(PullAuth { username: String::new(), password: self.identity_token });
        }
        if self.auth.is_empty() {
            return Ok(PullAuth { username: self.username, password: self.password });
        }
        let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| "its auth is no base64".to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| "its auth is no text".to_string())?;
        let (username, password) = text.split_once(':').ok_or("its auth is not user:password")?;
        // Docker once filled it up with zero bytes.
        Ok(PullAuth { username: username.into(), password: password.trim_end_matches('\0').into() })
    }
}

impl Keyring {
    /// Adds what a Secret's `.dockerconfigjson` says.
    ///
    /// # Errors
    /// What is wrong with it, without its content. Nothing is added then.
    pub fn add_config_json(&mut self, bytes: &[u8]) -> Result<(), String> {
        let config: ConfigJson = serde_json::from_slice(bytes).map_err(|_| "it is no dockerconfigjson".to_string())?;
        self.add(config.auths)
    }

    /// Adds what a Secret's `.dockercfg` says.
    ///
    /// # Errors
    /// What is wrong with it, without its content. Nothing is added then.
    pub fn add_dockercfg(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.add(serde_json::from_slice(bytes).map_err(|_| "it is no dockercfg".to_string())?)
    }

    fn add(&mut self, auths: BTreeMap<String, Entry>) -> Result<(), String> {
        let mut read = Vec::new();
        for (place, entry) in auths {
            let auth = entry.read().map_err(|why| format!("the entry of {place:?}: {why}"))?;
            read.push((key(&place), auth));
        }
        for (key, auth) in read {
            self.entries.entry(key).or_default().push(auth);
        }
        Ok(())
    }

    /// All credentials, for whatever they are.
    pub fn all(&self) -> impl Iterator<Item = &PullAuth> {
        self.entries.values().flatten()
    }

    /// Adds credentials for a place as Docker's files name it.
    pub fn insert(&mut self, place: &str, auth: PullAuth) {
        self.entries.entry(key(place)).or_default().push(auth);
    }

    /// Adds what another one has, after what is here.
    pub fn extend(&mut self, other: Keyring) {
        for (key, auths) in other.entries {
            self.entries.entry(key).or_default().extend(auths);
        }
    }

    /// Credentials for a repository (`registry/path`, without tag or digest), the most specific first.
    pub fn lookup(&self, repository: &str) -> Vec<PullAuth> {
        let fitting = self.entries.iter().rev().filter(|(key, _)| matches(key, repository));
        let found: Vec<PullAuth> = fitting.flat_map(|(_, auths)| auths.iter().cloned()).collect();
        let registry = repository.split('/').next().unwrap_or_default();
        if found.is_empty() && (registry == "docker.io" || registry == DEFAULT_REGISTRY) {
            return self.entries.get(DEFAULT_REGISTRY).cloned().unwrap_or_default();
        }
        found
    }
}

/// Host and path of what a file names: a URL or a part of one. The API's versions mean the host.
fn key(place: &str) -> String {
    let rest = place.strip_prefix("https://").or(place.strip_prefix("http://")).unwrap_or(place);
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let path = match path {
        "/v1" | "/v2" => path,
        path if path.starts_with("/v1/") || path.starts_with("/v2/") => &path[3..],
        path => path,
    };
    if path.len() <= 1 { host.to_string() } else { format!("{host}{path}") }
}

/// Whether a place as Docker's files and `matchImages` name it, which may have globs in the labels of its host, covers a
/// repository (`registry/path`).
pub fn covers(place: &str, repository: &str) -> bool {
    matches(&key(place), repository)
}

fn matches(key: &str, repository: &str) -> bool {
    let split = |text: &str| -> (String, String, String) {
        let (authority, path) = text.split_once('/').map_or((text, ""), |(authority, path)| (authority, path));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
            _ => (authority, ""),
        };
        (host.to_string(), port.to_string(), path.to_string())
    };
    let ((key_host, key_port, key_path), (host, port, path)) = (split(key), split(repository));
    let (patterns, labels): (Vec<&str>, Vec<&str>) = (key_host.split('.').collect(), host.split('.').collect());
    key_port == port
        && patterns.len() == labels.len()
        && path.starts_with(&key_path)
        && patterns.iter().zip(&labels).all(|(pattern, label)| glob(pattern.as_bytes(), label.as_bytes()))
}

/// `*` is any run, `?` any one byte. Only the last `*` is ever taken back, so that no pattern costs more than its length by
/// the text's.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(found) if *found == b'?' || *found == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(auths: serde_json::Value) -> Keyring {
        let mut ring = Keyring::default();
        ring.add_config_json(serde_json::json!({ "auths": auths }).to_string().as_bytes()).unwrap();
        ring
    }

    fn users(ring: &Keyring, repository: &str) -> Vec<String> {
        ring.lookup(repository).into_iter().map(|auth| auth.username).collect()
    }

    #[test]
    fn registries_are_matched_as_the_kubelet_does() {
        let user = |name: &str| serde_json::json!({"username": name, "password": "p"});
        let ring = ring(serde_json::json!({
            "https://index.docker.io/v1/": user("hub"),
            "registry.example:5000": user("port"),
            "gcr.example/team": user("team"),
            "gcr.example": user("gcr"),
            "*.azure.example": user("glob"),
            "http://plain.example/v2/": user("plain"),
        }));
        for (repository, expected) in [
            ("docker.io/library/nginx", &["hub"][..]),
            ("registry.example:5000/a", &["port"]),
            ("registry.example/a", &[]),
            ("gcr.example/team/app", &["team", "gcr"]),
            ("gcr.example/other", &["gcr"]),
            ("one.azure.example/a", &["glob"]),
            ("two.one.azure.example/a", &[]),
            ("azure.example/a", &[]),
            ("plain.example/a", &["plain"]),
            ("quay.example/a", &[]),
        ] {
            assert_eq!(users(&ring, repository), expected, "{repository}");
        }
    }

    #[test]
    fn globs_cost_little() {
        assert!(glob(b"a*c?e", b"abbcde") && glob(b"*", b"") && glob(b"**b", b"ab"));
        assert!(!glob(b"a*c", b"abcd") && !glob(b"?", b"") && !glob(b"a", b"ab"));
        let stars = "*a".repeat(500);
        assert!(!glob(format!("{stars}b").as_bytes(), "a".repeat(5_000).as_bytes()));
    }

    #[test]
    fn both_files_are_read_and_the_order_of_secrets_stays() {
        let mut ring = Keyring::default();
        let auth = STANDARD.encode("ann:a:b");
        ring.add_dockercfg(format!(r#"{{"r.example": {{"auth": "{auth}", "email": "x"}}}}"#).as_bytes()).unwrap();
        ring.add_config_json(br#"{"auths": {"r.example": {"username": "bob", "password": "c"}}}"#).unwrap();
        let found = ring.lookup("r.example/x");
        assert_eq!(found[0], PullAuth { username: "ann".into(), password: "a:b".into() });
        assert_eq!(found[1].username, "bob");
        assert_eq!(format!("{found:?}"), "[PullAuth(ann, …), PullAuth(bob, …)]");
        let mut ring = Keyring::default();
        let entry = format!(r#"{{"auths": {{"r.example": {{"auth": "{auth}", "identitytoken": "t"}}}}}}"#);
        ring.add_config_json(entry.as_bytes()).unwrap();
        assert!(ring.lookup("r.example/x")[0].is_identity_token() && !found[0].is_identity_token());
    }

    #[test]
    fn what_does_not_read_says_so_without_its_content() {
        let mut ring = Keyring::default();
        let said = ring.add_config_json(b"{\"auths\": {\"r\": {\"auth\": \"c2VjcmV0\"}}}").unwrap_err();
        assert_eq!(said, "the entry of \"r\": its auth is not user:password");
        assert_eq!(ring.add_config_json(b"secret").unwrap_err(), "it is no dockerconfigjson");
        assert_eq!(ring.add_dockercfg(b"[1]").unwrap_err(), "it is no dockercfg");
        assert_eq!(ring, Keyring::default());
    }
}
