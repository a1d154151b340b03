//! Wasm images on disk: modules under their digest, and one index of names that is written durably.
//!
//! Importing looks only at the packaging: a module that is no Wasm is kept as it is, and told of when a pod wants
//! to run it. Calls block.

use crate::limits::MAX_MODULE;
use crate::records::replace;
use holdfast_runtime::archive::{Archive, ArchiveError, ArchiveImage};
use holdfast_runtime::image_name::repository;
use holdfast_runtime::{ImageInfo, RuntimeError, normalise_image_name};
use holdfast_wasm_client::wire::FileSystem;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const INDEX_VERSION: u32 = 1;

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of its manifest.
    pub id: String,
    /// Normalised names.
    pub names: Vec<String>,
    /// Digest of its module.
    pub module: String,
    /// Size of the module in bytes.
    pub size_bytes: u64,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub working_dir: String,
    /// User.
    pub user: String,
    /// It came from a registry, so it may be removed and pulled again.
    #[serde(default)]
    pub pulled: bool,
}

impl Image {
    /// As the `Runtime` trait tells it.
    pub fn info(&self) -> ImageInfo {
        let mut names = self.names.clone();
        for name in &self.names {
            let digest = format!("{}@{}", repository(name), self.id);
            if !names.contains(&digest) {
                names.push(digest);
            }
        }
        ImageInfo { id: self.id.clone(), names, size_bytes: self.size_bytes, is_wasm: true, user: self.user.clone() }
    }

    /// For a container's `imageID`.
    pub fn digest_reference(&self) -> String {
        match self.names.first() {
            Some(name) => format!("{}@{}", repository(name), self.id),
            None => self.id.clone(),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    version: u32,
    images: Vec<Image>,
}

/// The images of a node.
#[derive(Debug)]
pub struct ImageStore {
    dir: PathBuf,
    images: Mutex<BTreeMap<String, Arc<Image>>>,
    /// One import at a time: they write the same files.
    importing: Mutex<()>,
}

fn broken(path: &Path, reason: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::BadImage { image: path.display().to_string(), reason: reason.to_string() }
}

fn failed(err: io::Error) -> RuntimeError {
    RuntimeError::Failed { operation: "import image", reason: err.to_string() }
}

impl ImageStore {
    /// Opens the store in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made, or the index is damaged beyond reading.
    pub fn open(dir: &Path) -> io::Result<ImageStore> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join("modules"))?;
        let index = match fs::read(dir.join("index.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => Index { version: INDEX_VERSION, images: Vec::new() },
            Err(err) => return Err(err),
        };
        if index.version != INDEX_VERSION {
            return Err(io::Error::other(format!("image index of unknown version {}", index.version)));
        }
        let images = index.images.into_iter().map(|image| (image.id.clone(), Arc::new(image))).collect();
        Ok(ImageStore { dir: dir.to_path_buf(), images: Mutex::new(images), importing: Mutex::default() })
    }

    /// The image under a name or digest.
    ///
    /// # Errors
    /// When the reference is malformed.
    pub fn find(&self, reference: &str) -> Result<Option<Arc<Image>>, RuntimeError> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = images.get(reference) {
            return Ok(Some(image.clone()));
        }
        let full = normalise_image_name(reference)?;
        let found = match full.split_once('@') {
            Some((_, digest)) => images.get(digest),
            None => images.values().find(|image| image.names.contains(&full)),
        };
        Ok(found.cloned())
    }

    /// All images.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Where a module is.
    pub fn module_path(&self, digest: &str) -> PathBuf {
        self.dir.join("modules").join(format!("{}.wasm", digest.rsplit(':').next().unwrap_or(digest)))
    }

    /// Takes in the Wasm images of an archive; returns the names that they brought (their digest when none).
    ///
    /// # Errors
    /// When the archive is damaged or holds no Wasm, or the disk refuses. Nothing is taken in then.
    pub fn import(&self, path: &Path) -> Result<Vec<String>, RuntimeError> {
        self.bring(path, false)
    }

    /// The same with what a pull has gathered.
    ///
    /// # Errors
    /// As [`ImageStore::import`].
    pub fn take(&self, path: &Path) -> Result<Vec<String>, RuntimeError> {
        self.bring(path, true)
    }

    fn bring(&self, path: &Path, pulled: bool) -> Result<Vec<String>, RuntimeError> {
        let archive = Archive::open(path).map_err(|err| match err {
            ArchiveError::Read { .. } => RuntimeError::Config(chain(&err)),
            other => broken(path, chain(&other)),
        })?;
        let _turn = self.importing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        for found in archive.images() {
            match module_of(&archive, found).map_err(|reason| broken(path, reason))? {
                Some(module) => taken.push(Image { pulled, ..self.store(found, &module).map_err(failed)? }),
                None => tracing::info!(names = ?found.names, "Skipped an image that is no Wasm"),
            }
        }
        if taken.is_empty() {
            return Err(broken(path, "it holds no WebAssembly image"));
        }
        let names = taken
            .iter()
            .flat_map(|image| if image.names.is_empty() { vec![image.id.clone()] } else { image.names.clone() })
            .collect();
        // Readers go on while the index is synced; only imports change it.
        let mut next = self.images.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for image in taken {
            adopt(&mut next, image);
        }
        self.write_index(&next).map_err(failed)?;
        *self.images.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(names)
    }

    fn store(&self, found: &ArchiveImage, module: &[u8]) -> io::Result<Image> {
        let digest = format!("sha256:{:x}", Sha256::digest(module));
        let path = self.module_path(&digest);
        let here = fs::metadata(&path).is_ok_and(|meta| meta.len() == module.len() as u64);
        if !here {
            replace(&path, module, true)?;
        }
        let section = found.config_json.get("config");
        let words = |key: &str| -> Vec<String> {
            let list = section.and_then(|config| config.get(key)).and_then(serde_json::Value::as_array);
            list.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_string)).collect()
        };
        let word = |key: &str| {
            section.and_then(|config| config.get(key)).and_then(serde_json::Value::as_str).unwrap_or("").to_string()
        };
        Ok(Image {
            id: found.manifest.digest.clone(),
            names: found.names.clone(),
            module: digest,
            size_bytes: module.len() as u64,
            entrypoint: words("Entrypoint"),
            cmd: words("Cmd"),
            env: words("Env")
                .iter()
                .filter_map(|pair| pair.split_once('=').map(|(key, value)| (key.to_string(), value.to_string())))
                .collect(),
            working_dir: word("WorkingDir"),
            user: word("User"),
            pulled: false,
        })
    }

    /// Removes an image with all its names; of its module the digest, if no other image has it. Fine when it is gone.
    ///
    /// # Errors
    /// When the disk refuses; then the image is still there.
    pub fn remove(&self, id: &str) -> io::Result<Option<String>> {
        let _turn = self.importing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.images.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(image) = next.remove(id) else { return Ok(None) };
        self.write_index(&next)?;
        let shared = next.values().any(|other| other.module == image.module);
        *self.images.lock().unwrap_or_else(PoisonError::into_inner) = next;
        if shared {
            return Ok(None);
        }
        // After the index: a name never leads to a module that is gone.
        match fs::remove_file(self.module_path(&image.module)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(Some(image.module.clone())),
        }
    }

    /// How full the disk of the images is.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn file_system(&self) -> io::Result<FileSystem> {
        let (fs, meta) = (rustix::fs::statvfs(&self.dir)?, fs::metadata(&self.dir)?);
        Ok(FileSystem {
            capacity_bytes: fs.f_blocks.saturating_mul(fs.f_frsize),
            available_bytes: fs.f_bavail.saturating_mul(fs.f_frsize),
            used_bytes: fs.f_blocks.saturating_sub(fs.f_bfree).saturating_mul(fs.f_frsize),
            inodes: fs.f_files,
            inodes_free: fs.f_favail,
            device: meta.dev(),
        })
    }

    fn write_index(&self, images: &BTreeMap<String, Arc<Image>>) -> io::Result<()> {
        let images = images.values().map(|image| Image::clone(image)).collect();
        let bytes = serde_json::to_vec_pretty(&Index { version: INDEX_VERSION, images })?;
        replace(&self.dir.join("index.json"), &bytes, true)
    }
}

/// A name belongs to the image that brought it last.
fn adopt(images: &mut BTreeMap<String, Arc<Image>>, mut image: Image) {
    for other in images.values_mut() {
        if other.names.iter().any(|name| image.names.contains(name)) {
            let mut less = Image::clone(other);
            less.names.retain(|name| !image.names.contains(name));
            *other = Arc::new(less);
        }
    }
    if let Some(same) = images.get(&image.id) {
        let kept = same.names.iter().filter(|name| !image.names.contains(name)).cloned().collect::<Vec<_>>();
        // What was imported under another name must stay.
        image.pulled &= same.pulled || kept.is_empty();
        image.names.extend(kept);
    }
    images.insert(image.id.clone(), Arc::new(image));
}

fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The module of an image: a layer that is one (artefacts), or a file in layers (`FROM scratch`). `None` when the
/// image is for Linux.
fn module_of(archive: &Archive, image: &ArchiveImage) -> Result<Option<Vec<u8>>, String> {
    let raw = image.layers.iter().find(|layer| {
        matches!(layer.media_type.as_str(), "application/wasm" | "application/vnd.wasm.content.layer.v1+wasm")
    });
    if let Some(layer) = raw {
        if layer.size > MAX_MODULE {
            return Err(format!("a module of {} bytes is too large (most is {MAX_MODULE})", layer.size));
        }
        return archive.read_blob(&layer.digest).map(Some).map_err(|err| chain(&err));
    }
    let entrypoint = image.config_json.pointer("/config/Entrypoint/0").or(image.config_json.pointer("/config/Cmd/0"));
    let wanted = entrypoint.and_then(serde_json::Value::as_str).map(|path| path.trim_start_matches(['.', '/']));
    if !image.is_wasm && !wanted.is_some_and(|path| path.ends_with(".wasm")) {
        return Ok(None);
    }
    let mut only = None;
    for layer in image.layers.iter().rev() {
        let files = wasm_files(archive, &layer.digest, wanted)?;
        for (name, bytes) in files {
            if Some(name.as_str()) == wanted {
                return Ok(Some(bytes));
            }
            only = only.or(Some(bytes));
        }
    }
    match only {
        Some(bytes) => Ok(Some(bytes)),
        None => Err("a Wasm image without a .wasm file in its layers".to_string()),
    }
}

/// The file `wanted`, and the first `*.wasm`, of a layer.
fn wasm_files(archive: &Archive, digest: &str, wanted: Option<&str>) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut magic = [0; 2];
    let mut reader = archive.blob_reader(digest).map_err(|err| chain(&err))?;
    let gzip = reader.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    let plain = archive.blob_reader(digest).map_err(|err| chain(&err))?;
    let layer: Box<dyn Read + '_> =
        if gzip { Box::new(flate2::read::MultiGzDecoder::new(plain)) } else { Box::new(plain) };
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    let mut layer = tar::Archive::new(layer);
    for entry in layer.entries().map_err(|err| format!("layer {digest}: {err}"))? {
        let mut entry = entry.map_err(|err| format!("layer {digest}: {err}"))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches(['.', '/']).to_string();
        let is_wanted = Some(name.as_str()) == wanted;
        let first = name.ends_with(".wasm") && !found.iter().any(|(other, _)| Some(other.as_str()) != wanted);
        if !entry.header().entry_type().is_file() || !(is_wanted || first) {
            continue;
        }
        if entry.size() > MAX_MODULE {
            return Err(format!("{name} of {} bytes is too large (most is {MAX_MODULE})", entry.size()));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|err| format!("{name}: {err}"))?;
        found.push((name, bytes));
    }
    Ok(found)
}
