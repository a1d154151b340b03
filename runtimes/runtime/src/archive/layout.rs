//! Writes an OCI image layout of one image, for a runtime that takes images as files.

use crate::remote::RemoteManifest;
use serde_json::json;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Writes the image as a tar file. `layer` says where the content of a layer lies; it was checked before. Blocks.
///
/// # Errors
/// When a layer cannot be read or the file not be written.
pub fn write_layout(path: &Path, image: &RemoteManifest, layer: impl Fn(&str) -> PathBuf) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::new(File::create(path)?));
    let place = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
    for document in [&image.config, &image.manifest] {
        bytes(&mut tar, &place(&document.descriptor.digest), &document.bytes)?;
    }
    let mut written = Vec::new();
    for descriptor in &image.layers {
        if !written.contains(&&descriptor.digest) {
            let mut file = File::open(layer(&descriptor.digest))?;
            tar.append_file(place(&descriptor.digest), &mut file)?;
            written.push(&descriptor.digest);
        }
    }
    let mut entry = serde_json::to_value(&image.manifest.descriptor)?;
    entry["annotations"] = json!({ "io.containerd.image.name": image.name });
    bytes(&mut tar, "index.json", json!({"schemaVersion": 2, "manifests": [entry]}).to_string().as_bytes())?;
    bytes(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

fn bytes(tar: &mut tar::Builder<impl io::Write>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, path, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archive, Descriptor, OCI_CONFIG, OCI_MANIFEST, WASM_CONFIG};
    use crate::digest::sha256;
    use crate::remote::Document;

    #[test]
    fn what_is_written_opens_as_an_archive() {
        let dir = tempfile::tempdir().unwrap();
        let document = |media_type: &str, text: String| Document {
            descriptor: Descriptor {
                media_type: media_type.into(),
                digest: sha256(text.as_bytes()),
                size: text.len() as u64,
            },
            bytes: text.into(),
        };
        std::fs::write(dir.path().join("layer"), "module").unwrap();
        let layer = Descriptor { media_type: "application/wasm".into(), digest: sha256(b"module"), size: 6 };
        let config = document(WASM_CONFIG, json!({"os": "wasip2", "architecture": "wasm"}).to_string());
        let text = json!({"schemaVersion": 2, "config": config.descriptor, "layers": [&layer, &layer]}).to_string();
        let manifest = document(OCI_MANIFEST, text);
        let image = RemoteManifest {
            name: "r.example/m:1".into(),
            target: manifest.clone(),
            manifest,
            config,
            layers: vec![layer.clone(), layer],
            is_wasm: true,
        };
        let tar = dir.path().join("image.tar");
        write_layout(&tar, &image, |_| dir.path().join("layer")).unwrap();
        let archive = Archive::open(&tar).unwrap();
        let [found] = archive.images() else { panic!("{:?}", archive.images()) };
        assert_eq!(found.names, ["r.example/m:1"]);
        assert_eq!(found.manifest.digest, image.manifest.descriptor.digest);
        assert!(found.is_wasm);
        assert_eq!(archive.read_blob(&image.layers[0].digest).unwrap(), b"module");
        assert_ne!(found.config.media_type, OCI_CONFIG);
    }
}
