//! Images from a registry for the host, which takes images as files: layers are gathered in a folder, where an interrupted
//! pull finds them again, and become an archive once they are whole.

use holdfast_runtime::archive::write_layout;
use holdfast_runtime::digest::Hasher;
use holdfast_runtime::{Descriptor, RemoteImage, RuntimeError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::fs;
use tokio::io::AsyncWriteExt;

/// Largest image, in bytes: twice the largest module that the host takes.
const MAX_IMAGE: u64 = 512 << 20;
/// How often a layer is begun anew because what came was wrong.
const ANEW: usize = 3;
/// How long what an interrupted pull brought is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

fn hex(digest: &str) -> &str {
    digest.rsplit(':').next().unwrap_or(digest)
}

fn layer_path(spool: &Path, digest: &str) -> PathBuf {
    spool.join(format!("{}.layer", hex(digest)))
}

fn tar_path(spool: &Path, image: &dyn RemoteImage) -> PathBuf {
    spool.join(format!("{}.tar", hex(&image.manifest().manifest.descriptor.digest)))
}

fn failed(image: &dyn RemoteImage, reason: String) -> RuntimeError {
    RuntimeError::ImagePull { image: image.manifest().name.clone(), reason }
}

/// Brings an image as an archive.
pub(crate) async fn fetch(spool: &Path, image: &dyn RemoteImage) -> Result<PathBuf, RuntimeError> {
    let found = image.manifest();
    let told = |err: io::Error| failed(image, format!("{}: {err}", spool.display()));
    if found.size_bytes() > MAX_IMAGE {
        let reason = format!("a Wasm image of {} bytes is too large (most is {MAX_IMAGE})", found.size_bytes());
        return Err(failed(image, reason));
    }
    fs::create_dir_all(spool).await.map_err(told)?;
    clean(spool).await.map_err(told)?;
    for layer in &found.layers {
        fetch_layer(spool, image, layer).await?;
    }
    let (tar, manifest, folder) = (tar_path(spool, image), found.clone(), spool.to_path_buf());
    let path = tar.clone();
    let written = blocking(move || write_layout(&path, &manifest, |digest| layer_path(&folder, digest))).await;
    written.map_err(told)?;
    Ok(tar)
}

/// Removes what a pull gathered.
pub(crate) async fn forget(spool: &Path, image: &dyn RemoteImage) {
    let layers = image.manifest().layers.iter().map(|layer| layer_path(spool, &layer.digest));
    for path in layers.chain([tar_path(spool, image)]) {
        match fs::remove_file(&path).await {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %err, "Could not remove what a pull gathered");
            }
            _ => {}
        }
    }
}

/// Removes what nobody came back for.
async fn clean(spool: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(spool).await?;
    while let Some(entry) = entries.next_entry().await? {
        let age = entry.metadata().await?.modified().ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            fs::remove_file(entry.path()).await?;
        }
    }
    Ok(())
}

async fn fetch_layer(spool: &Path, image: &dyn RemoteImage, layer: &Descriptor) -> Result<(), RuntimeError> {
    let path = layer_path(spool, &layer.digest);
    let told = |err: io::Error| failed(image, format!("{}: {err}", path.display()));
    let mut reason = String::new();
    for _ in 0..ANEW {
        match append(&path, image, layer).await {
            Ok(()) => {
                // It may be made of pieces of several pulls, and a power cut may have spoilt them.
                let (at, digest) = (path.clone(), layer.digest.clone());
                if blocking(move || is_whole(&at, &digest)).await.map_err(told)? {
                    return Ok(());
                }
                reason = format!("{} does not match its digest", layer.digest);
            }
            Err(RuntimeError::BadImage { reason: why, .. }) => reason = why,
            Err(err) => return Err(err),
        }
        image.progress().take_back(layer.size);
        fs::remove_file(&path).await.map_err(told)?;
    }
    Err(failed(image, reason))
}

/// Fetches what is missing of a layer.
async fn append(path: &Path, image: &dyn RemoteImage, layer: &Descriptor) -> Result<(), RuntimeError> {
    let told = |err: io::Error| failed(image, format!("{}: {err}", path.display()));
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).await.map_err(told)?;
    let mut here = file.metadata().await.map_err(told)?.len();
    if here > layer.size {
        file.set_len(0).await.map_err(told)?;
        here = 0;
    }
    image.progress().add(here);
    let mut source = image.open(layer, here).await?;
    let fetched = loop {
        match source.next().await {
            Ok(Some(bytes)) => file.write_all(&bytes).await.map_err(told)?,
            Ok(None) => break Ok(()),
            Err(err) => break Err(err),
        }
    };
    file.flush().await.map_err(told)?;
    fetched
}

fn is_whole(path: &Path, digest: &str) -> io::Result<bool> {
    let Some(mut hasher) = Hasher::new(digest) else { return Ok(false) };
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish() == digest),
            read => hasher.update(&buffer[..read]),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|err| Err(io::Error::other(err)))
}
