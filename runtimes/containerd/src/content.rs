//! containerd's content store: blobs in, metadata out.

use crate::client::{BULK, CallError, Client, QUICK, call, optional, unique};
use containerd_client::services::v1 as api;
use futures_util::stream;
use holdfast_runtime::archive::MAX_METADATA;
use holdfast_runtime::{Archive, Descriptor, RuntimeError};
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bytes of one write.
const CHUNK: usize = 512 << 10;
/// Writes in flight: bounds memory to 2 MiB an import.
const CHUNKS: usize = 3;

type Labels = HashMap<String, String>;

impl Client {
    /// Copies a blob from an archive, unless it is there; either way it has the labels and is kept by the lease.
    pub(crate) async fn write_blob(
        &self,
        lease: &str,
        archive: &Arc<Archive>,
        blob: &Descriptor,
        labels: Labels,
    ) -> Result<(), RuntimeError> {
        let info = self.request(api::InfoRequest { digest: blob.digest.clone() });
        if optional(call("look up blob", QUICK, self.content().info(info)).await)?.is_some() {
            return self.adopt_blob(lease, &blob.digest, labels).await;
        }
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let (reading, descriptor) = (archive.clone(), blob.clone());
        let written_labels = labels.clone();
        let reader = tokio::task::spawn_blocking(move || send_blob(&reading, &descriptor, written_labels, &sender));
        let messages = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        let result = call("write blob", BULK, async {
            let mut responses = self.content().write(self.leased(lease, messages)).await?.into_inner();
            let mut committed = false;
            while let Some(response) = responses.message().await? {
                committed |= response.action == api::WriteAction::Commit as i32;
            }
            Ok(containerd_client::tonic::Response::new(committed))
        })
        .await;
        let read = reader.await.map_err(|err| failed(format!("reading the archive: {err}")))?;
        match result {
            // The reader's own error explains why containerd saw an unfinished stream.
            Ok(_) | Err(_) if read.is_err() => read.map_err(failed),
            Ok(true) => Ok(()),
            Ok(false) => Err(failed(format!("containerd did not commit {}", blob.digest))),
            Err(err) if err.exists() => self.adopt_blob(lease, &blob.digest, labels).await,
            Err(err) => Err(err.into()),
        }
    }

    /// Has a lease keep a blob that is there, and labels it.
    pub(crate) async fn adopt_blob(&self, lease: &str, digest: &str, labels: Labels) -> Result<(), RuntimeError> {
        let resource = api::Resource { id: digest.to_string(), r#type: "content".into() };
        let request = self.request(api::AddResourceRequest { id: lease.to_string(), resource: Some(resource) });
        match call("lease blob", QUICK, self.leases().add_resource(request)).await {
            Err(err) if !err.exists() => return Err(err.into()),
            _ => {}
        }
        Ok(self.label_blob(digest, labels).await?)
    }

    /// Sets labels, leaving the others.
    pub(crate) async fn label_blob(&self, digest: &str, labels: Labels) -> Result<(), CallError> {
        if labels.is_empty() {
            return Ok(());
        }
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = api::Info { digest: digest.to_string(), labels, ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = self.request(api::UpdateRequest { info: Some(info), update_mask });
        call("label blob", QUICK, self.content().update(request)).await.map(|_| ())
    }

    /// A whole blob of metadata.
    pub(crate) async fn read_blob(&self, digest: &str) -> Result<Vec<u8>, RuntimeError> {
        let request = self.request(api::ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 });
        let bytes = call("read blob", QUICK, async {
            let mut chunks = self.content().read(request).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.message().await? {
                if bytes.len() as u64 + chunk.data.len() as u64 > MAX_METADATA {
                    return Err(containerd_client::tonic::Status::out_of_range("blob is too large for metadata"));
                }
                bytes.extend_from_slice(&chunk.data);
            }
            Ok(containerd_client::tonic::Response::new(bytes))
        })
        .await?;
        Ok(bytes)
    }
}

fn failed(reason: String) -> RuntimeError {
    RuntimeError::Failed { operation: "import image", reason }
}

fn send_blob(
    archive: &Archive,
    blob: &Descriptor,
    labels: Labels,
    sender: &mpsc::Sender<api::WriteContentRequest>,
) -> Result<(), String> {
    let mut reader = archive.blob_reader(&blob.digest).map_err(|err| err.to_string())?;
    let total = i64::try_from(reader.size()).map_err(|_| "blob is too large".to_string())?;
    // An interrupted import leaves its upload behind under another name; containerd expires it.
    let base = api::WriteContentRequest {
        r#ref: unique(&format!("holdfast-{}", blob.digest)),
        total,
        expected: blob.digest.clone(),
        ..Default::default()
    };
    let mut offset = 0i64;
    loop {
        let mut data = vec![0; CHUNK];
        let mut filled = 0;
        while filled < CHUNK {
            match reader.read(&mut data[filled..]).map_err(|err| format!("blob {}: {err}", blob.digest))? {
                0 => break,
                read => filled += read,
            }
        }
        data.truncate(filled);
        let end = filled < CHUNK;
        let write = api::WriteAction::Write as i32;
        if filled > 0 || offset == 0 {
            let message = api::WriteContentRequest { action: write, offset, data, ..base.clone() };
            // containerd ended the call: its own error says why.
            if sender.blocking_send(message).is_err() {
                return Ok(());
            }
        }
        offset += i64::try_from(filled).unwrap_or(0);
        if end {
            let action = api::WriteAction::Commit as i32;
            let _ = sender.blocking_send(api::WriteContentRequest { action, offset, labels, ..base });
            return Ok(());
        }
    }
}
