//! Images: import from an archive, look-up, unpacking into snapshots, removal.
//!
//! What was pulled is marked so, since it can be pulled again: what was imported is never removed to make room. Only images for Linux are taken: the Wasm runtime imports its own from the same archive.

use crate::client::{BULK, CallError, Client, QUICK, SLOW, call, optional, unique};
use crate::image_config::{self, ImageConfig};
use containerd_client::services::v1::{self as api, snapshots as snap};
use containerd_client::types as ctypes;
use holdfast_runtime::image_name::repository;
use holdfast_runtime::platform::{Platform, rank};
use holdfast_runtime::{Archive, ArchiveImage, Descriptor, ImageInfo, RuntimeError, normalise_image_name, with_causes};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

/// What is needed to run an image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Normalised name under which it was found.
    pub(crate) name: String,
    /// Digest of the image's target in containerd.
    pub(crate) digest: String,
    pub(crate) config: ImageConfig,
    config_digest: String,
    diff_ids: Vec<String>,
    layers: Vec<Descriptor>,
    size: u64,
    pub(crate) is_wasm: bool,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<PlatformManifest>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct PlatformManifest {
    digest: String,
    platform: Option<Platform>,
}

/// Label of a name that a pull gave.
const PULLED: &str = "edge.holdfast.io/pulled";

impl Image {
    /// `repository@digest`, for `imageID`.
    pub(crate) fn reference(&self) -> String {
        format!("{}@{}", repository(&self.name), self.digest)
    }

    fn info(&self) -> ImageInfo {
        let mut names = vec![self.name.clone()];
        if !self.name.contains('@') {
            names.push(self.reference());
        }
        ImageInfo {
            id: self.digest.clone(),
            names,
            size_bytes: self.size,
            is_wasm: self.is_wasm,
            user: self.config.user.clone(),
        }
    }

    /// Snapshot that holds the unpacked image; `None` for an image without layers.
    pub(crate) fn chain_id(&self) -> Option<String> {
        image_config::chain_ids(&self.diff_ids).pop()
    }
}

fn descriptor(blob: &Descriptor) -> ctypes::Descriptor {
    ctypes::Descriptor {
        media_type: blob.media_type.clone(),
        digest: blob.digest.clone(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        annotations: HashMap::new(),
    }
}

fn bad_image(image: &str, reason: impl ToString) -> RuntimeError {
    RuntimeError::BadImage { image: image.to_string(), reason: reason.to_string() }
}

impl Client {
    /// Looks an image up by reference and reads its metadata.
    pub(crate) async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        let name = normalise_image_name(reference)?;
        let request = self.request(api::GetImageRequest { name: name.clone() });
        let found = optional(call("get image", QUICK, self.image_service().get(request)).await)?;
        match found.and_then(|response| response.image).and_then(|image| image.target) {
            Some(target) => self.resolve(name, target).await.map(Some),
            None => Ok(None),
        }
    }

    async fn resolve(&self, name: String, target: ctypes::Descriptor) -> Result<Image, RuntimeError> {
        let parse = |bytes: Vec<u8>| serde_json::from_slice::<Manifest>(&bytes).map_err(|err| bad_image(&name, err));
        let mut manifest = parse(self.read_blob(&target.digest).await?)?;
        if !manifest.manifests.is_empty() {
            // The first of the best, as the pull chose.
            let mut best = None;
            for entry in manifest.manifests {
                let rank = rank(entry.platform.as_ref(), false);
                if rank > best.as_ref().map_or(0, |(rank, _)| *rank) {
                    best = Some((rank, entry.digest));
                }
            }
            let digest = best.map(|(_, digest)| digest);
            let digest = digest.ok_or_else(|| bad_image(&name, "no manifest for this machine's architecture"))?;
            manifest = parse(self.read_blob(&digest).await?)?;
        }
        let config_blob = manifest.config.ok_or_else(|| bad_image(&name, "its manifest names no configuration"))?;
        let config_json: serde_json::Value = serde_json::from_slice(&self.read_blob(&config_blob.digest).await?)
            .map_err(|err| bad_image(&name, format!("configuration: {err}")))?;
        let is_wasm = Archive::is_wasm(&config_blob.media_type, &config_json, &manifest.layers);
        let (config, diff_ids) = image_config::parse(&config_json).map_err(|err| bad_image(&name, err))?;
        let size = manifest.layers.iter().map(|layer| layer.size).sum::<u64>() + config_blob.size;
        Ok(Image {
            digest: target.digest,
            config,
            config_digest: config_blob.digest,
            diff_ids,
            layers: manifest.layers,
            size,
            is_wasm,
            name,
        })
    }

    pub(crate) async fn image_info(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok(self.image(reference).await?.map(|image| image.info()))
    }

    /// All images, one entry a digest. Damaged ones are left out.
    pub(crate) async fn list_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        let mut infos: BTreeMap<String, ImageInfo> = BTreeMap::new();
        for image in self.image_records().await? {
            let Some(target) = image.target else { continue };
            if let Some(known) = infos.get_mut(&target.digest) {
                for name in [image.name.clone(), format!("{}@{}", repository(&image.name), target.digest)] {
                    if !known.names.contains(&name) {
                        known.names.push(name);
                    }
                }
                continue;
            }
            match self.resolve(image.name, target).await {
                Ok(image) => drop(infos.insert(image.digest.clone(), image.info())),
                Err(err @ RuntimeError::Unavailable { .. }) => return Err(err),
                Err(err) => tracing::debug!(%err, "Skipped an image that cannot be read"),
            }
        }
        Ok(infos.into_values().collect())
    }

    /// Takes the Linux images of an archive over and unpacks them; returns their names.
    pub(crate) async fn import(&self, tar: &Path, snapshotter: &str) -> Result<Vec<String>, RuntimeError> {
        let failed = |reason: String| RuntimeError::Failed { operation: "import image", reason };
        let path = tar.to_path_buf();
        let opened = tokio::task::spawn_blocking(move || Archive::open(&path)).await;
        let archive = opened.map_err(|err| failed(err.to_string()))?.map_err(|err| failed(with_causes(&err)))?;
        let archive = Arc::new(archive);
        let lease = self.begin_lease().await?;
        let mut names = Vec::new();
        let mut result = Ok(());
        for image in archive.images().iter().filter(|image| !image.is_wasm) {
            result = self.import_one(&lease, &archive, image, snapshotter).await;
            if result.is_err() {
                break;
            }
            names.extend(image.names.iter().cloned());
        }
        self.end_lease(&lease).await;
        result.map(|()| names)
    }

    async fn import_one(
        &self,
        lease: &str,
        archive: &Arc<Archive>,
        image: &ArchiveImage,
        snapshotter: &str,
    ) -> Result<(), RuntimeError> {
        let mut refs = HashMap::new();
        for (index, layer) in image.layers.iter().enumerate() {
            self.write_blob(lease, archive, layer, HashMap::new()).await?;
            refs.insert(format!("containerd.io/gc.ref.content.l.{index}"), layer.digest.clone());
        }
        self.write_blob(lease, archive, &image.config, HashMap::new()).await?;
        refs.insert("containerd.io/gc.ref.content.config".to_string(), image.config.digest.clone());
        self.write_blob(lease, archive, &image.manifest, refs).await?;
        let fallback = image.names.first().cloned().unwrap_or_else(|| image.manifest.digest.clone());
        let resolved = self.unpacked(lease, fallback, &image.manifest, snapshotter).await?;
        let digest_name = image.names.first().map(|_| resolved.reference());
        for name in image.names.iter().cloned().chain(digest_name) {
            self.name_image(name, &image.manifest, false).await?;
        }
        Ok(())
    }

    /// An image whose content is here, unpacked. Before that it is not named: a name never leads to an image that cannot be
    /// started.
    async fn unpacked(
        &self,
        lease: &str,
        name: String,
        target: &Descriptor,
        snapshotter: &str,
    ) -> Result<Image, RuntimeError> {
        let resolved = self.resolve(name, descriptor(target)).await?;
        self.unpack(lease, &resolved, snapshotter).await?;
        Ok(resolved)
    }

    /// Unpacks and names what a pull brought.
    pub(crate) async fn take_in(
        &self,
        lease: &str,
        name: &str,
        target: &Descriptor,
        snapshotter: &str,
    ) -> Result<ImageInfo, RuntimeError> {
        let image = self.unpacked(lease, name.to_string(), target, snapshotter).await?;
        for name in [image.reference(), name.to_string()] {
            self.name_image(name, target, true).await?;
        }
        Ok(image.info())
    }

    async fn name_image(&self, name: String, target: &Descriptor, pulled: bool) -> Result<(), CallError> {
        let labels = HashMap::from([(PULLED.to_string(), pulled.to_string())]);
        let image = api::Image { name, target: Some(descriptor(target)), labels, ..Default::default() };
        let request = self.request(api::CreateImageRequest { image: Some(image.clone()), source_date_epoch: None });
        match call("create image", QUICK, self.image_service().create(request)).await {
            Err(err) if err.exists() => {}
            other => return other.map(|_| ()),
        }
        let paths = vec!["target".into(), format!("labels.{PULLED}")];
        let update_mask = Some(prost_types::FieldMask { paths });
        let request =
            self.request(api::UpdateImageRequest { image: Some(image), update_mask, source_date_epoch: None });
        call("update image", QUICK, self.image_service().update(request)).await.map(|_| ())
    }

    /// Images that may be removed: each of their names was pulled.
    pub(crate) async fn pulled_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        let mut kept = BTreeSet::new();
        for image in self.image_records().await? {
            if image.labels.get(PULLED).is_none_or(|pulled| pulled != "true") {
                kept.extend(image.target.map(|target| target.digest));
            }
        }
        let mut images = self.list_images().await?;
        images.retain(|image| !kept.contains(&image.id));
        Ok(images)
    }

    /// Removes an image with all its names; its content goes with it, so far as nothing else needs it.
    pub(crate) async fn remove_image(&self, digest: &str) -> Result<(), RuntimeError> {
        for image in self.image_records().await? {
            if image.target.as_ref().is_some_and(|target| target.digest == digest) {
                let request =
                    self.request(api::DeleteImageRequest { name: image.name, sync: true, ..Default::default() });
                optional(call("delete image", SLOW, self.image_service().delete(request)).await)?;
            }
        }
        Ok(())
    }

    async fn image_records(&self) -> Result<Vec<api::Image>, CallError> {
        let request = self.request(api::ListImagesRequest::default());
        Ok(call("list images", QUICK, self.image_service().list(request)).await?.images)
    }

    /// Makes sure that the image's layers are there as snapshots, kept for as long as the image is.
    pub(crate) async fn unpack(&self, lease: &str, image: &Image, snapshotter: &str) -> Result<(), RuntimeError> {
        if image.diff_ids.len() != image.layers.len() {
            let (layers, ids) = (image.layers.len(), image.diff_ids.len());
            return Err(bad_image(&image.name, format!("{layers} layers but {ids} diff ids")));
        }
        let chain = image_config::chain_ids(&image.diff_ids);
        let mut parent = String::new();
        for ((layer, diff_id), name) in image.layers.iter().zip(&image.diff_ids).zip(&chain) {
            self.unpack_layer(lease, image, (layer, diff_id), (&parent, name), snapshotter).await?;
            parent = name.clone();
        }
        if let Some(top) = chain.last() {
            let key = format!("containerd.io/gc.ref.snapshot.{snapshotter}");
            self.label_blob(&image.config_digest, HashMap::from([(key, top.clone())])).await?;
        }
        Ok(())
    }

    async fn unpack_layer(
        &self,
        lease: &str,
        image: &Image,
        (layer, diff_id): (&Descriptor, &str),
        (parent, name): (&str, &str),
        snapshotter: &str,
    ) -> Result<(), RuntimeError> {
        let stat = snap::StatSnapshotRequest { snapshotter: snapshotter.into(), key: name.into() };
        let stat = call("stat snapshot", QUICK, self.snapshots().stat(self.leased(lease, stat))).await;
        if optional(stat)?.is_some() {
            return Ok(());
        }
        let key = unique("holdfast-unpack");
        let prepare = snap::PrepareSnapshotRequest {
            snapshotter: snapshotter.into(),
            key: key.clone(),
            parent: parent.into(),
            ..Default::default()
        };
        let mounts = call("prepare snapshot", QUICK, self.snapshots().prepare(self.leased(lease, prepare))).await?;
        let apply = api::ApplyRequest { diff: Some(descriptor(layer)), mounts: mounts.mounts, ..Default::default() };
        let applied = call("unpack layer", BULK, self.diff().apply(self.leased(lease, apply))).await;
        let checked = match applied {
            Err(err) => Err(match RuntimeError::from(err) {
                RuntimeError::Failed { reason, .. } => bad_image(&image.name, reason),
                other => other,
            }),
            Ok(response) => match response.applied.map(|found| found.digest) {
                Some(found) if found == diff_id => Ok(()),
                found => Err(bad_image(
                    &image.name,
                    format!("layer {} unpacks to {} instead of {diff_id}", layer.digest, found.unwrap_or_default()),
                )),
            },
        };
        if let Err(err) = checked {
            let remove = snap::RemoveSnapshotRequest { snapshotter: snapshotter.into(), key };
            let _ = call("remove snapshot", QUICK, self.snapshots().remove(self.request(remove))).await;
            return Err(err);
        }
        let commit = snap::CommitSnapshotRequest {
            snapshotter: snapshotter.into(),
            name: name.into(),
            key,
            ..Default::default()
        };
        match call("commit snapshot", QUICK, self.snapshots().commit(self.leased(lease, commit))).await {
            // Another import of the same layer was quicker.
            Err(err) if !err.exists() => Err(err.into()),
            _ => Ok(()),
        }
    }
}
