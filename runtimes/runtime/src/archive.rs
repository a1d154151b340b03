//! Reads images out of a tar file: an OCI image layout or a docker archive, plain or gzip.
//!
//! The archive is indexed once; blobs are read from their place in the file and checked against their digest.
//! Nothing is ever unpacked, so names and links inside the tar cannot reach outside of it. A docker archive has
//! no manifest of its own: one is made from its configuration and layers. This module knows nothing of runtimes.

mod docker;
mod index;
mod layout;
mod oci;

pub use layout::write_layout;

use crate::digest::Hasher;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest index, manifest or configuration, in bytes.
pub const MAX_METADATA: u64 = 8 << 20;
/// Largest archive after decompression, in bytes: bounds what a small gzip file can grow to.
pub const MAX_ARCHIVE: u64 = 16 << 30;
/// Most entries in an archive.
pub const MAX_ENTRIES: usize = 100_000;
/// Most images in an archive, and most layers in an image.
pub const MAX_IMAGES: usize = 1024;

/// Media type of an OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of an uncompressed OCI layer.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of a gzip OCI layer.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of the configuration of a Wasm artefact.
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no image archive, or a damaged one.
    #[error("{} is no usable image archive: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A blob is missing, damaged or too large.
    #[error("blob {digest}: {reason}")]
    Blob {
        /// The blob.
        digest: String,
        /// What is wrong.
        reason: String,
    },
}

/// Names content by what it is (OCI descriptor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type.
    #[serde(default)]
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Size in bytes.
    pub size: u64,
}

/// One image of an archive.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchiveImage {
    /// Full names, normalised; empty when the archive names none.
    pub names: Vec<String>,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: Descriptor,
    /// The configuration, parsed.
    pub config_json: serde_json::Value,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Whether it is for a Wasm runtime instead of Linux.
    pub is_wasm: bool,
}

#[derive(Clone, Debug)]
enum Place {
    File { offset: u64, size: u64 },
    Memory(Arc<Vec<u8>>),
}

/// An opened archive. Reading blobs needs no exclusive access.
#[derive(Debug)]
pub struct Archive {
    file: File,
    blobs: BTreeMap<String, Place>,
    images: Vec<ArchiveImage>,
}

impl Archive {
    /// Opens and indexes an archive. Blocks: it reads the file once (twice for a docker archive).
    ///
    /// # Errors
    /// When the file cannot be read, is none of the known forms, names content that it does not have, or
    /// passes a limit of this module.
    pub fn open(path: &Path) -> Result<Archive, ArchiveError> {
        let read = |source| ArchiveError::Read { path: path.to_path_buf(), source };
        let invalid = |reason: String| ArchiveError::Invalid { path: path.to_path_buf(), reason };
        let file = index::open_plain(path).map_err(read)?;
        let entries = index::entries(&file).map_err(|err| invalid(format!("not a tar file: {err}")))?;
        let mut archive = Archive { file, blobs: BTreeMap::new(), images: Vec::new() };
        if entries.contains_key("index.json") {
            oci::load(&mut archive, &entries).map_err(invalid)?;
        } else if entries.contains_key("manifest.json") {
            docker::load(&mut archive, &entries).map_err(invalid)?;
        } else {
            return Err(invalid("neither index.json (OCI layout) nor manifest.json (docker archive) in it".into()));
        }
        if archive.images.is_empty() {
            return Err(invalid("it holds no image for this machine".into()));
        }
        Ok(archive)
    }

    /// The images, each for this machine's architecture or Wasm.
    pub fn images(&self) -> &[ArchiveImage] {
        &self.images
    }

    /// A reader of a blob that fails at the end if the content does not match the digest.
    ///
    /// # Errors
    /// When the archive has no such blob.
    pub fn blob_reader(&self, digest: &str) -> Result<BlobReader<'_>, ArchiveError> {
        let blob = |reason: &str| ArchiveError::Blob { digest: digest.to_string(), reason: reason.to_string() };
        let place = self.blobs.get(digest).ok_or_else(|| blob("not in the archive"))?.clone();
        let hasher = Hasher::new(digest).ok_or_else(|| blob("unsupported digest"))?;
        Ok(BlobReader { archive: self, place, at: 0, hasher: Some(hasher), digest: digest.to_string() })
    }

    /// A whole blob, checked. For metadata and Wasm modules; layers are better read by
    /// [`Archive::blob_reader`].
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read_blob(&self, digest: &str) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let blob = |err: io::Error| ArchiveError::Blob { digest: digest.to_string(), reason: err.to_string() };
        self.blob_reader(digest)?.read_to_end(&mut bytes).map_err(blob)?;
        Ok(bytes)
    }

    fn metadata(&self, digest: &str) -> Result<Vec<u8>, String> {
        match self.blobs.get(digest) {
            Some(place) if place.size() > MAX_METADATA => Err(format!("blob {digest} is too large for metadata")),
            _ => self.read_blob(digest).map_err(|err| err.to_string()),
        }
    }

    fn read_at(&self, place: &Place, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = place.size().saturating_sub(at);
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        match place {
            Place::File { offset, .. } => match self.file.read_at(&mut buf[..want], offset + at)? {
                0 if want > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => Ok(read),
            },
            Place::Memory(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                buf[..want].copy_from_slice(&bytes[start..start + want]);
                Ok(want)
            }
        }
    }

    fn read_entry(&self, place: &Place) -> Result<Vec<u8>, String> {
        if place.size() > MAX_METADATA {
            return Err(format!("metadata of {} bytes is too large", place.size()));
        }
        let mut bytes = vec![0; usize::try_from(place.size()).unwrap_or(0)];
        let mut at = 0;
        while at < bytes.len() {
            at += self.read_at(place, at as u64, &mut bytes[at..]).map_err(|err| err.to_string())?;
        }
        Ok(bytes)
    }

    /// Whether a configuration, given with its media type, and layers are for Wasm.
    pub fn is_wasm(config_type: &str, config: &serde_json::Value, layers: &[Descriptor]) -> bool {
        let word = |key: &str| config.get(key).and_then(serde_json::Value::as_str).unwrap_or("");
        config_type == WASM_CONFIG
            || matches!(word("os"), "wasi" | "wasip1" | "wasip2" | "wasip3")
            || matches!(word("architecture"), "wasm" | "wasm32" | "wasm64")
            || layers.iter().any(|layer| {
                matches!(layer.media_type.as_str(), "application/wasm" | "application/vnd.wasm.content.layer.v1+wasm")
            })
    }
}

impl Place {
    fn size(&self) -> u64 {
        match self {
            Place::File { size, .. } => *size,
            Place::Memory(bytes) => bytes.len() as u64,
        }
    }
}

/// Reads a blob and checks it.
#[derive(Debug)]
pub struct BlobReader<'a> {
    archive: &'a Archive,
    place: Place,
    at: u64,
    hasher: Option<Hasher>,
    digest: String,
}

impl BlobReader<'_> {
    /// Size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.place.size()
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let read = self.archive.read_at(&self.place, self.at, buf)?;
        self.at += read as u64;
        if let Some(hasher) = self.hasher.as_mut() {
            hasher.update(&buf[..read]);
        }
        if self.at == self.place.size() {
            let found = self.hasher.take().map(Hasher::finish);
            if found.as_ref().is_some_and(|found| *found != self.digest) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "content does not match its digest"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
