//! OCI image layout: `index.json`, `blobs/<algorithm>/<hex>`.

use super::{Archive, ArchiveImage, Descriptor, MAX_IMAGES, Place};
use crate::digest::valid_digest;
use crate::image_name::normalise_image_name;
use crate::platform::{Platform, rank};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// Deepest nesting of indexes.
const MAX_DEPTH: usize = 4;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default)]
    manifests: Vec<IndexEntry>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexEntry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    annotations: HashMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    /// Present in an index that hides behind the wrong media type.
    #[serde(default)]
    manifests: Option<serde_json::Value>,
}

fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

/// The name that an entry of the top index carries.
fn name_of(entry: &IndexEntry) -> Result<Option<String>, String> {
    if let Some(name) = entry.annotations.get("io.containerd.image.name") {
        return normalise_image_name(name).map(Some).map_err(|err| err.to_string());
    }
    match entry.annotations.get("org.opencontainers.image.ref.name") {
        // A bare tag ("latest", "1.0") names no repository.
        Some(name) if name.contains('/') => normalise_image_name(name).map(Some).map_err(|err| err.to_string()),
        _ => Ok(None),
    }
}

pub(super) fn load(archive: &mut Archive, entries: &BTreeMap<String, Place>) -> Result<(), String> {
    for (path, place) in entries {
        if let Some((algorithm, hex)) = path.strip_prefix("blobs/").and_then(|rest| rest.split_once('/')) {
            let digest = format!("{algorithm}:{hex}");
            if valid_digest(&digest) {
                archive.blobs.insert(digest, place.clone());
            }
        }
    }
    let top = entries.get("index.json").ok_or("no index.json")?;
    let index: Index = serde_json::from_slice(&archive.read_entry(top)?).map_err(|err| format!("index.json: {err}"))?;
    let tags = docker_tags(archive, entries);
    // Of several entries under one name (one per platform) the best for this machine stays.
    let mut best: Vec<(Option<String>, u8, Descriptor)> = Vec::new();
    for entry in &index.manifests {
        let name = name_of(entry)?;
        let Some((rank, manifest)) = choose(archive, entry, 0)? else { continue };
        let same = best.iter_mut().find(|(known, _, _)| known.is_some() && *known == name);
        match same {
            Some(slot) if slot.1 >= rank => {}
            Some(slot) => *slot = (name, rank, manifest),
            None => best.push((name, rank, manifest)),
        }
        if best.len() > MAX_IMAGES {
            return Err("too many images".into());
        }
    }
    for (name, _, manifest) in best {
        if let Some(known) = archive.images.iter_mut().find(|image| image.manifest.digest == manifest.digest) {
            known.names.extend(name.filter(|name| !known.names.contains(name)));
            continue;
        }
        let mut image = read_image(archive, manifest)?;
        image.names = match name {
            Some(name) => vec![name],
            None => tags.get(&image.config.digest).cloned().unwrap_or_default(),
        };
        archive.images.push(image);
    }
    Ok(())
}

/// RepoTags of a `manifest.json` beside the index (recent `docker save`), by configuration digest.
fn docker_tags(archive: &Archive, entries: &BTreeMap<String, Place>) -> HashMap<String, Vec<String>> {
    let mut tags = HashMap::new();
    let Some(bytes) = entries.get("manifest.json").and_then(|place| archive.read_entry(place).ok()) else {
        return tags;
    };
    for item in serde_json::from_slice::<Vec<super::docker::Item>>(&bytes).unwrap_or_default() {
        let names = item.names().unwrap_or_default();
        if let Some(hex) = item.config.strip_prefix("blobs/sha256/") {
            tags.insert(format!("sha256:{hex}"), names);
        }
    }
    tags
}

/// The manifest that an entry leads to, with its rank.
fn choose(archive: &Archive, entry: &IndexEntry, depth: usize) -> Result<Option<(u8, Descriptor)>, String> {
    if !is_index(&entry.descriptor.media_type) {
        let rank = rank(entry.platform.as_ref(), false);
        return Ok((rank > 0).then(|| (rank, entry.descriptor.clone())));
    }
    if depth >= MAX_DEPTH {
        return Err("indexes are nested too deeply".into());
    }
    let digest = &entry.descriptor.digest;
    let index: Index =
        serde_json::from_slice(&archive.metadata(digest)?).map_err(|err| format!("index {digest}: {err}"))?;
    let mut best: Option<(u8, Descriptor)> = None;
    for inner in &index.manifests {
        // An archive may hold one platform only of an index of many.
        if !archive.blobs.contains_key(&inner.descriptor.digest) {
            continue;
        }
        if let Some(found) = choose(archive, inner, depth + 1)?
            && best.as_ref().is_none_or(|best| found.0 > best.0)
        {
            best = Some(found);
        }
    }
    Ok(best)
}

pub(super) fn read_image(archive: &Archive, mut descriptor: Descriptor) -> Result<ArchiveImage, String> {
    let bytes = archive.metadata(&descriptor.digest)?;
    let digest = descriptor.digest.clone();
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|err| format!("manifest {digest}: {err}"))?;
    if manifest.manifests.is_some() {
        return Err(format!("manifest {digest} claims to be an index too"));
    }
    if manifest.layers.len() > MAX_IMAGES {
        return Err(format!("manifest {digest} has too many layers"));
    }
    descriptor.size = bytes.len() as u64;
    if descriptor.media_type.is_empty() {
        descriptor.media_type = super::OCI_MANIFEST.to_string();
    }
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        match archive.blobs.get(&blob.digest) {
            None => return Err(format!("blob {} of manifest {digest} is missing", blob.digest)),
            Some(place) if place.size() != blob.size => {
                return Err(format!("blob {} has {} bytes instead of {}", blob.digest, place.size(), blob.size));
            }
            Some(_) => {}
        }
    }
    let config = archive.metadata(&manifest.config.digest)?;
    let config_json: serde_json::Value =
        serde_json::from_slice(&config).map_err(|err| format!("configuration {}: {err}", manifest.config.digest))?;
    let is_wasm = Archive::is_wasm(&manifest.config.media_type, &config_json, &manifest.layers);
    Ok(ArchiveImage {
        names: Vec::new(),
        manifest: descriptor,
        config: manifest.config,
        config_json,
        layers: manifest.layers,
        is_wasm,
    })
}
