//! What registries, and files about them, say: manifests, challenges, `hosts.toml`. What is taken keeps to its bounds.

use anyhow::{Result, ensure};
use holdfast_pull::documents::{self, Read};
use holdfast_pull::url::Url;
use holdfast_pull::{challenge, hosts, limits};
use holdfast_runtime::digest::valid_digest;
use std::path::Path;

pub(crate) const MANIFESTS: &[&str] = &[
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"c","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":2},"layers":[{"mediaType":"l","digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","size":3}]}"#,
    r#"{"manifests":[{"mediaType":"m","digest":"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc","size":9,"platform":{"os":"linux","architecture":"amd64","variant":"v1"}},{"digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","size":9}]}"#,
    r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"sha256:aa"}]}"#,
];
pub(crate) const CHALLENGES: &[&str] = &[
    r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull""#,
    r#"Negotiate, Basic realm="a\"b", Bearer realm=https://t.example/?x=1"#,
];
pub(crate) const HOSTS: &[&str] = &[
    "server = \"https://r.example\"\nca = \"a.pem\"\n[host.\"https://m.example/x\"]\ncapabilities = [\"pull\"]\n\
     client = [[\"c\", \"k\"]]\noverride_path = true\n[host.\"https://m.example/x\".header]\nx-a = [\"1\", \"2\"]\n",
    "[host.\"m.example:80\"]\nskip_verify = true\nclient = \"both.pem\"\n",
];

/// A manifest or an index.
pub(crate) fn manifest(payload: &[u8]) -> Result<()> {
    match documents::read("", payload) {
        Err(_) => {}
        Ok((_, Read::Index(entries))) => {
            ensure!(entries.len() <= limits::ENTRIES);
            ensure!(entries.iter().all(|entry| valid_digest(&entry.descriptor.digest)));
            let chosen = documents::choose(&entries, false);
            ensure!(chosen.is_none_or(|chosen| entries.iter().any(|entry| entry.descriptor == *chosen)));
        }
        Ok((_, Read::Manifest { config, layers })) => {
            ensure!(layers.len() <= limits::ENTRIES);
            let mut all = layers.iter().chain([&config]);
            ensure!(all.all(|blob| valid_digest(&blob.digest) && i64::try_from(blob.size).is_ok()));
        }
    }
    Ok(())
}

/// `WWW-Authenticate`.
pub(crate) fn www_authenticate(payload: &[u8]) -> Result<()> {
    let Ok(text) = std::str::from_utf8(payload) else { return Ok(()) };
    if let Some(challenge::Challenge::Bearer { realm, .. }) = challenge::parse([text].into_iter()) {
        ensure!(!realm.is_empty() && realm.len() <= text.len());
    }
    Ok(())
}

/// `hosts.toml`.
pub(crate) fn hosts_toml(payload: &[u8]) -> Result<()> {
    let Ok(text) = std::str::from_utf8(payload) else { return Ok(()) };
    let Ok(hosts) = hosts::read(text, Path::new("/etc"), "r.example") else { return Ok(()) };
    ensure!(!hosts.is_empty() && hosts.len() <= limits::HOSTS);
    for host in hosts {
        let again = Url::parse(&host.base.to_string());
        ensure!(again.as_ref() == Ok(&host.base), "{host:?} is read as {again:?}");
    }
    Ok(())
}
