//! `token create|list|revoke`: Secrets `bootstrap-token-<id>` in `kube-system`, through the running hub's API.

use crate::remote::Remote;
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_apiserver::auth::bootstrap::SECRET_TYPE;
use holdfast_core::{Json, Timestamp, json};
use serde_json::json as document;
use std::path::Path;
use std::time::{Duration, SystemTime};

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

fn now() -> Timestamp {
    Timestamp::from_wall(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// A random word. Bytes that would favour some letters are drawn again.
fn word(length: usize) -> anyhow::Result<String> {
    let mut word = String::new();
    while word.len() < length {
        let mut byte = [0u8; 1];
        rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty()).context("draw random bytes")?;
        if usize::from(byte[0]) < 256 - 256 % ALPHABET.len() {
            word.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
        }
    }
    Ok(word)
}

/// Makes a token and prints it, and nothing else, on stdout.
pub(crate) async fn create(data_dir: &Path, ttl: Duration, description: &str) -> anyhow::Result<()> {
    let remote = Remote::open(data_dir)?;
    let (id, secret) = (word(6)?, word(16)?);
    let mut data = document!({
        "token-id": id,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": "system:bootstrappers:holdfast:nodes",
    });
    if !ttl.is_zero() {
        data["expiration"] = now().after(ttl).to_string().into();
    }
    if !description.is_empty() {
        data["description"] = description.into();
    }
    let secret_object = document!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "type": SECRET_TYPE,
        "stringData": data,
    });
    remote.call("POST", SECRETS, Some(&secret_object)).await?;
    let hash = holdfast_apiserver::pki::public_key_hash(&remote.ca).context("read the cluster's CA")?;
    println!("{id}.{secret}.{hash}");
    Ok(())
}

fn field(secret: &Json, key: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(json::str_at(secret, &["data", key])?).ok()?).ok()
}

/// Prints the tokens. Secrets stay hidden.
pub(crate) async fn list(data_dir: &Path) -> anyhow::Result<()> {
    let remote = Remote::open(data_dir)?;
    let path = format!("{SECRETS}?fieldSelector=type%3D{}", SECRET_TYPE.replace('/', "%2F"));
    let list = remote.call("GET", &path, None).await?;
    println!("{:<8} {:<22} {:<8} DESCRIPTION", "ID", "EXPIRES", "VALID");
    for secret in json::items_at(&list, &["items"]) {
        let Some(id) = field(secret, "token-id") else { continue };
        let expires = field(secret, "expiration").filter(|text| !text.is_empty());
        let valid = match expires.as_deref().map(Timestamp::parse) {
            None => true,
            Some(end) => end.is_some_and(|end| end > now()),
        };
        let expires = expires.unwrap_or_else(|| "never".into());
        let valid = if valid { "yes" } else { "expired" };
        println!("{id:<8} {expires:<22} {valid:<8} {}", field(secret, "description").unwrap_or_default());
    }
    Ok(())
}

/// Deletes a token.
pub(crate) async fn revoke(data_dir: &Path, token: &str) -> anyhow::Result<()> {
    let id = token.split('.').next().unwrap_or_default();
    if id.len() != 6 || !id.bytes().all(|byte| ALPHABET.contains(&byte)) {
        bail!("{id:?} is no token ID: six characters of a-z and 0-9");
    }
    Remote::open(data_dir)?.call("DELETE", &format!("{SECRETS}/bootstrap-token-{id}"), None).await?;
    eprintln!("Token {id} is revoked.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_of_the_alphabet() {
        let word = word(64).unwrap();
        assert!(word.len() == 64 && word.bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
