//! Docker archive (`docker save`): `manifest.json` names a configuration and layer tars by path.
//!
//! Blobs get the digest of their bytes, and an OCI manifest over them is made, so that a content store takes
//! the image as any other. The configuration is kept byte for byte: its digest is the image's id.

use super::{Archive, Descriptor, MAX_IMAGES, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST, Place, oci};
use crate::image_name::normalise_image_name;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub(super) config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Item {
    pub(super) fn names(&self) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for tag in self.repo_tags.iter().flatten() {
            let name = normalise_image_name(tag).map_err(|err| err.to_string())?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

pub(super) fn load(archive: &mut Archive, entries: &BTreeMap<String, Place>) -> Result<(), String> {
    let list = entries.get("manifest.json").ok_or("no manifest.json")?;
    let items: Vec<Item> =
        serde_json::from_slice(&archive.read_entry(list)?).map_err(|err| format!("manifest.json: {err}"))?;
    if items.len() > MAX_IMAGES || items.iter().any(|item| item.layers.len() > MAX_IMAGES) {
        return Err("too many images or layers".into());
    }
    for item in items {
        let names = item.names()?;
        let config = add_blob(archive, entries, &item.config, false)?;
        let mut layers = Vec::new();
        for path in &item.layers {
            layers.push(add_blob(archive, entries, path, true)?);
        }
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
        });
        let bytes = manifest.to_string().into_bytes();
        let digest = format!("sha256:{:x}", Sha256::digest(&bytes));
        let size = bytes.len() as u64;
        archive.blobs.insert(digest.clone(), Place::Memory(Arc::new(bytes)));
        let mut image = oci::read_image(archive, Descriptor { media_type: OCI_MANIFEST.into(), digest, size })?;
        image.names = names;
        archive.images.push(image);
    }
    Ok(())
}

fn add_blob(
    archive: &mut Archive,
    entries: &BTreeMap<String, Place>,
    path: &str,
    layer: bool,
) -> Result<Descriptor, String> {
    let clean = super::index::clean("", path.as_bytes()).ok_or_else(|| format!("path {path:?} leaves the archive"))?;
    let place = entries.get(&clean).ok_or_else(|| format!("{path} is missing"))?;
    let mut hasher = Sha256::new();
    let mut magic = [0; 2];
    let mut buf = vec![0; 64 << 10];
    let mut at = 0;
    while at < place.size() {
        let read = archive.read_at(place, at, &mut buf).map_err(|err| format!("{path}: {err}"))?;
        if at == 0 {
            let head = read.min(2);
            magic[..head].copy_from_slice(&buf[..head]);
        }
        hasher.update(&buf[..read]);
        at += read as u64;
    }
    let digest = format!("sha256:{:x}", hasher.finalize());
    archive.blobs.insert(digest.clone(), place.clone());
    let media_type = match (layer, magic) {
        (false, _) => OCI_CONFIG,
        (true, [0x1f, 0x8b]) => OCI_LAYER_GZIP,
        (true, _) => OCI_LAYER,
    };
    Ok(Descriptor { media_type: media_type.into(), digest, size: place.size() })
}
