//! Images from a registry into containerd's content store.
//!
//! A layer is written in pieces under a reference made of its digest, so what an interrupted pull wrote is found again,
//! by another agent and after a power cut too, and the registry is asked for the rest alone. Whole layers belong to a lease
//! made of the manifest's digest until the image is named. containerd checks every digest before it takes content in, and
//! lets one at a time write under a reference: who comes second waits, and finds it done.

use crate::client::{BULK, CallError, Client, QUICK, call, optional};
use containerd_client::services::v1 as api;
use containerd_client::tonic::{Code, Status};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use holdfast_runtime::{Descriptor, Document, ImageInfo, RemoteImage, RuntimeError};
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes of one write.
const CHUNK: usize = 256 << 10;
/// Writes in flight. Memory of a pull is bounded by `LAYERS` × (`CHUNKS` + 2) × `CHUNK`: 3 MiB.
const CHUNKS: usize = 2;
/// Layers that are fetched at one time.
const LAYERS: usize = 3;
/// How often a layer is begun anew because what came was wrong.
const ANEW: usize = 3;
/// How long is waited before somebody else's write of the same layer is looked at again.
const LOCKED: Duration = Duration::from_secs(1);
/// How long what an interrupted pull brought is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Label that tells containerd when a lease ends.
const EXPIRE: &str = "containerd.io/gc.expire";

/// Why a layer was not written.
enum Unwritten {
    /// What is there is not what it should be.
    Wrong(String),
    /// Somebody else writes it.
    Locked,
    /// Somebody else has written it.
    Exists,
    /// Anything else.
    Failed(RuntimeError),
}

impl From<CallError> for Unwritten {
    fn from(err: CallError) -> Unwritten {
        match err.code {
            Code::FailedPrecondition | Code::OutOfRange => Unwritten::Wrong(err.message),
            Code::Unavailable if err.message.contains("locked") => Unwritten::Locked,
            Code::AlreadyExists => Unwritten::Exists,
            _ => Unwritten::Failed(err.into()),
        }
    }
}

fn failed(image: &dyn RemoteImage, reason: impl Into<String>) -> RuntimeError {
    RuntimeError::ImagePull { image: image.manifest().name.clone(), reason: reason.into() }
}

impl Client {
    /// Takes an image in, unpacks it and gives it its names.
    pub(crate) async fn pull(&self, image: &dyn RemoteImage, snapshotter: &str) -> Result<ImageInfo, RuntimeError> {
        let found = image.manifest();
        if found.is_wasm {
            return Err(failed(image, "it is for WebAssembly, not for Linux"));
        }
        let lease = self.pull_lease(&found.manifest.descriptor.digest).await?;
        // A layer may stand in an image twice.
        let layers: BTreeMap<&str, &Descriptor> =
            found.layers.iter().map(|layer| (layer.digest.as_str(), layer)).collect();
        let mut fetches = Vec::new();
        for layer in layers.into_values() {
            fetches.push(self.fetch_layer(&lease, image, layer));
        }
        stream::iter(fetches).buffer_unordered(LAYERS).try_collect::<()>().await?;
        self.write_document(&lease, &found.config, HashMap::new()).await?;
        let mut refs = HashMap::new();
        for (index, layer) in found.layers.iter().enumerate() {
            refs.insert(format!("containerd.io/gc.ref.content.l.{index}"), layer.digest.clone());
        }
        refs.insert("containerd.io/gc.ref.content.config".to_string(), found.config.descriptor.digest.clone());
        self.write_document(&lease, &found.manifest, refs).await?;
        if found.target != found.manifest {
            let digest = found.manifest.descriptor.digest.clone();
            let refs = HashMap::from([("containerd.io/gc.ref.content.m.0".to_string(), digest)]);
            self.write_document(&lease, &found.target, refs).await?;
        }
        let info = self.take_in(&lease, &found.name, &found.target.descriptor, snapshotter).await?;
        // Kept until here, also when something failed: the next try begins with what is there.
        self.end_lease(&lease).await;
        Ok(info)
    }

    /// The lease of all tries to pull this manifest.
    async fn pull_lease(&self, digest: &str) -> Result<String, RuntimeError> {
        let id = format!("holdfast-pull-{}", digest.rsplit(':').next().unwrap_or(digest));
        let ends = crate::client::now().after(KEPT).to_string();
        let labels = HashMap::from([(EXPIRE.to_string(), ends)]);
        let request = self.request(api::CreateRequest { id: id.clone(), labels });
        match call("create lease", QUICK, self.leases().create(request)).await {
            Err(err) if !err.exists() => Err(err.into()),
            _ => Ok(id),
        }
    }

    async fn write_document(
        &self,
        lease: &str,
        document: &Document,
        labels: HashMap<String, String>,
    ) -> Result<(), RuntimeError> {
        let Descriptor { digest, .. } = &document.descriptor;
        let info = self.request(api::InfoRequest { digest: digest.clone() });
        if optional(call("look up blob", QUICK, self.content().info(info)).await)?.is_some() {
            return self.adopt_blob(lease, digest, labels).await;
        }
        let total = i64::try_from(document.bytes.len()).unwrap_or(i64::MAX);
        let base = api::WriteContentRequest {
            r#ref: crate::client::unique(&format!("holdfast-{digest}")),
            total,
            expected: digest.clone(),
            ..Default::default()
        };
        let write = api::WriteAction::Write as i32;
        let mut messages: Vec<api::WriteContentRequest> = document
            .bytes
            .chunks(CHUNK)
            .scan(0i64, |offset, data| {
                let at = *offset;
                *offset += i64::try_from(data.len()).unwrap_or(0);
                Some(api::WriteContentRequest { action: write, offset: at, data: data.to_vec(), ..base.clone() })
            })
            .collect();
        let commit = api::WriteAction::Commit as i32;
        messages.push(api::WriteContentRequest { action: commit, offset: total, labels: labels.clone(), ..base });
        let written = call("write blob", QUICK, async {
            let mut responses = self.content().write(self.leased(lease, stream::iter(messages))).await?.into_inner();
            while responses.message().await?.is_some() {}
            Ok(containerd_client::tonic::Response::new(()))
        });
        match written.await {
            Err(err) if err.exists() => self.adopt_blob(lease, digest, labels).await,
            other => Ok(other?),
        }
    }

    /// Sees that a layer is there, whoever brings it.
    async fn fetch_layer(&self, lease: &str, image: &dyn RemoteImage, layer: &Descriptor) -> Result<(), RuntimeError> {
        let name = format!("holdfast-pull-{}", layer.digest);
        let mut anew = 0;
        loop {
            let info = self.request(api::InfoRequest { digest: layer.digest.clone() });
            if optional(call("look up blob", QUICK, self.content().info(info)).await)?.is_some() {
                image.progress().add(layer.size);
                return self.adopt_blob(lease, &layer.digest, HashMap::new()).await;
            }
            match self.write_layer(lease, image, layer, &name).await {
                Ok(()) => return Ok(()),
                Err(Unwritten::Exists) => {}
                Err(Unwritten::Failed(err)) => return Err(err),
                Err(Unwritten::Locked) => tokio::time::sleep(LOCKED).await,
                Err(Unwritten::Wrong(reason)) => {
                    // After a power cut the end of what was written may be missing, or be zeros.
                    tracing::warn!(layer = layer.digest, reason, "Begins a layer anew");
                    let request = self.request(api::AbortRequest { r#ref: name.clone() });
                    optional(call("abort write", QUICK, self.content().abort(request)).await)?;
                    anew += 1;
                    if anew == ANEW {
                        return Err(failed(image, format!("layer {}: {reason}", layer.digest)));
                    }
                }
            }
        }
    }

    /// Writes what is missing of a layer.
    async fn write_layer(
        &self,
        lease: &str,
        image: &dyn RemoteImage,
        layer: &Descriptor,
        name: &str,
    ) -> Result<(), Unwritten> {
        let base = api::WriteContentRequest {
            r#ref: name.to_string(),
            total: i64::try_from(layer.size).unwrap_or(i64::MAX),
            expected: layer.digest.clone(),
            ..Default::default()
        };
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let messages = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        // This locks the reference, and tells how much an earlier pull wrote under it.
        let stat = api::WriteContentRequest { action: api::WriteAction::Stat as i32, ..base.clone() };
        let _ = sender.send(stat).await;
        let opened = call("write blob", QUICK, async {
            let mut responses = self.content().write(self.leased(lease, messages)).await?.into_inner();
            let here = responses.message().await?.map_or(0, |response| response.offset);
            Ok(containerd_client::tonic::Response::new((responses, here)))
        });
        let (mut responses, here) = opened.await?;
        let here = u64::try_from(here).unwrap_or(0);
        if here > layer.size {
            return Err(Unwritten::Wrong(format!("{here} bytes of {} were written", layer.size)));
        }
        let counted = image.progress().read().0;
        image.progress().add(here);
        let mut write = pin!(async {
            let mut committed = false;
            while let Some(response) = responses.message().await? {
                committed |= response.action == api::WriteAction::Commit as i32;
            }
            Ok::<bool, Status>(committed)
        });
        let mut read = pin!(send_layer(image, layer, base, here, sender));
        let (read, written) = tokio::select! {
            biased;
            read = &mut read => {
                // What is left is containerd's: to write, and to sync the whole.
                let written = tokio::time::timeout(BULK, write).await;
                (read, written.unwrap_or_else(|_| Err(Status::deadline_exceeded("write blob: no answer"))))
            }
            // It ended the call before it had all: its error says why.
            written = &mut write => (Ok(()), written),
        };
        let outcome = match (read, written) {
            // What the registry sent is not what its digest says.
            (Err(RuntimeError::BadImage { reason, .. }), _) => Err(Unwritten::Wrong(reason)),
            (Err(err), _) => Err(Unwritten::Failed(err)),
            (Ok(()), Err(status)) => Err(CallError::new("write blob", &status).into()),
            (Ok(()), Ok(true)) => Ok(()),
            (Ok(()), Ok(false)) => {
                Err(Unwritten::Failed(failed(image, format!("containerd did not commit {}", layer.digest))))
            }
        };
        if outcome.is_err() {
            // Layers beside this one count too; a pull that is begun again counts anew anyway.
            let now = image.progress().read().0;
            image.progress().take_back(now.saturating_sub(counted).min(layer.size));
        }
        outcome
    }
}

/// Passes a layer on, from `here` on. What came before an interruption is passed on too, for the next try.
async fn send_layer(
    image: &dyn RemoteImage,
    layer: &Descriptor,
    base: api::WriteContentRequest,
    here: u64,
    sender: mpsc::Sender<api::WriteContentRequest>,
) -> Result<(), RuntimeError> {
    let mut source = image.open(layer, here).await?;
    let mut offset = i64::try_from(here).unwrap_or(i64::MAX);
    loop {
        let mut data = Vec::with_capacity(CHUNK);
        let ended = loop {
            match source.next().await {
                Ok(Some(bytes)) => data.extend_from_slice(&bytes),
                Ok(None) => break Some(Ok(())),
                Err(err) => break Some(Err(err)),
            }
            if data.len() >= CHUNK {
                break None;
            }
        };
        if !data.is_empty() {
            let (action, length) = (api::WriteAction::Write as i32, i64::try_from(data.len()).unwrap_or(0));
            // containerd ended the call: its own error says why.
            if sender.send(api::WriteContentRequest { action, offset, data, ..base.clone() }).await.is_err() {
                return Ok(());
            }
            offset += length;
        }
        match ended {
            None => {}
            Some(Err(err)) => return Err(err),
            Some(Ok(())) => {
                let action = api::WriteAction::Commit as i32;
                let _ = sender.send(api::WriteContentRequest { action, offset, ..base }).await;
                return Ok(());
            }
        }
    }
}
