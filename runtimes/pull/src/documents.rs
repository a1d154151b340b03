//! Manifests and indexes (OCI image specification 1.1; Docker's image manifest version 2, schema 2).

use crate::limits::ENTRIES;
use holdfast_runtime::Descriptor;
use holdfast_runtime::digest::valid_digest;
use holdfast_runtime::platform::{Platform, rank};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What is accepted, best first.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// A document, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Manifests for several platforms.
    Index(Vec<Entry>),
    /// One image.
    Manifest {
        /// Its configuration.
        config: Descriptor,
        /// Its layers, lowest first.
        layers: Vec<Descriptor>,
    },
}

/// One manifest of an index.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// What it is.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// What for.
    pub platform: Option<Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    manifests: Option<Vec<Entry>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
}

/// Reads a document that came with this `Content-Type`; returns its own media type beside it.
///
/// # Errors
/// What is wrong with it, or that it is of a kind that is not taken.
pub fn read(content_type: &str, bytes: &[u8]) -> Result<(String, Read), String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|err| format!("the manifest: {err}"))?;
    let told = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = if document.media_type.is_empty() { told } else { &document.media_type };
    if document.schema_version == 1 || document.fs_layers.is_some() {
        return Err("the manifest is of Docker's schema 1, which nobody makes any more; push the image again".into());
    }
    // One document must not be read in two ways.
    match (document.manifests, document.config, document.layers) {
        (Some(entries), None, None) if !MANIFESTS.contains(&media_type) => {
            if entries.len() > ENTRIES {
                return Err(format!("the index has {} manifests; the most is {ENTRIES}", entries.len()));
            }
            entries.iter().try_for_each(|entry| check(&entry.descriptor))?;
            Ok((media_type_or(media_type, INDEXES[0]), Read::Index(entries)))
        }
        (None, Some(config), layers) if !INDEXES.contains(&media_type) => {
            let layers = layers.unwrap_or_default();
            if layers.len() > ENTRIES {
                return Err(format!("the manifest has {} layers; the most is {ENTRIES}", layers.len()));
            }
            layers.iter().chain([&config]).try_for_each(check)?;
            Ok((media_type_or(media_type, MANIFESTS[0]), Read::Manifest { config, layers }))
        }
        (None, None, None) => Err(format!("what the registry sent ({told:?}) is no manifest of an image")),
        _ => Err(format!("the manifest is not what its media type {media_type:?} says")),
    }
}

/// Registries that name nothing useful send one of the general types.
fn media_type_or(told: &str, default: &str) -> String {
    if INDEXES.contains(&told) || MANIFESTS.contains(&told) { told.to_string() } else { default.to_string() }
}

fn check(descriptor: &Descriptor) -> Result<(), String> {
    if !valid_digest(&descriptor.digest) {
        return Err(format!("the manifest names content by {:?}, which is no digest that is known", descriptor.digest));
    }
    if i64::try_from(descriptor.size).is_err() {
        return Err(format!("the manifest gives {} a size of {} bytes", descriptor.digest, descriptor.size));
    }
    Ok(())
}

/// The manifest of an index that fits this machine best; of several equal ones the first.
pub fn choose(entries: &[Entry], wasm_first: bool) -> Option<&Descriptor> {
    let mut best: Option<(u8, &Descriptor)> = None;
    for entry in entries {
        let rank = rank(entry.platform.as_ref(), wasm_first);
        if rank > best.map_or(0, |(rank, _)| rank) {
            best = Some((rank, &entry.descriptor));
        }
    }
    best.map(|(_, descriptor)| descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_runtime::platform::host_architecture;
    use serde_json::json;

    fn blob(byte: char, size: i64) -> serde_json::Value {
        json!({"mediaType": "x", "digest": format!("sha256:{}", byte.to_string().repeat(64)), "size": size})
    }

    fn said(media_type: &str, document: serde_json::Value) -> String {
        read(media_type, document.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn manifests_of_both_sorts_are_read() {
        for media_type in MANIFESTS {
            let document = json!({"schemaVersion": 2, "config": blob('a', 2), "layers": [blob('b', 3)]});
            let (kind, Read::Manifest { config, layers }) = read(media_type, document.to_string().as_bytes()).unwrap()
            else {
                panic!("an index")
            };
            assert_eq!((kind.as_str(), config.size, layers.len()), (media_type, 2, 1));
        }
        let document = json!({"mediaType": MANIFESTS[1], "config": blob('a', 2), "layers": []});
        assert_eq!(read("application/json", document.to_string().as_bytes()).unwrap().0, MANIFESTS[1]);
    }

    #[test]
    fn an_index_gives_the_manifest_for_this_machine() {
        let entry = |byte: char, os: &str, architecture: &str| {
            let mut entry = blob(byte, 9);
            entry["platform"] = json!({"os": os, "architecture": architecture});
            entry
        };
        let document = json!({"schemaVersion": 2, "manifests": [
            entry('1', "windows", host_architecture()),
            entry('2', "unknown", "unknown"),
            entry('3', "wasip2", "wasm"),
            entry('4', "linux", host_architecture()),
            entry('5', "linux", host_architecture()),
        ]});
        let (kind, Read::Index(entries)) = read(INDEXES[1], document.to_string().as_bytes()).unwrap() else {
            panic!("a manifest")
        };
        assert_eq!(kind, INDEXES[1]);
        assert!(choose(&entries, false).unwrap().digest.ends_with("44"));
        assert!(choose(&entries, true).unwrap().digest.ends_with("33"));
        assert_eq!(choose(&entries[..2], true), None);
    }

    #[test]
    fn what_is_none_says_why() {
        let both = json!({"manifests": [], "config": blob('a', 2), "layers": []});
        assert!(said(MANIFESTS[0], both).contains("is not what its media type"));
        assert!(said(INDEXES[0], json!({"config": blob('a', 2)})).contains("is not what its media type"));
        assert!(said(MANIFESTS[0], json!({"manifests": []})).contains("is not what its media type"));
        assert!(said("", json!({"schemaVersion": 1, "fsLayers": []})).contains("schema 1"));
        assert!(said("text/html", json!({})).contains("no manifest of an image"));
        let short = json!({"config": {"mediaType": "x", "digest": "sha256:12", "size": 1}});
        assert!(said(MANIFESTS[0], short).contains("no digest that is known"));
        assert!(said(MANIFESTS[0], json!({"config": blob('a', -1)})).starts_with("the manifest: "));
        let many: Vec<_> = (0..=ENTRIES).map(|_| blob('a', 1)).collect();
        assert!(said(MANIFESTS[0], json!({"config": blob('a', 1), "layers": many})).contains("1025 layers"));
    }
}
