//! Local commands (`holdfast-edge pods|logs|exec|status|images`): what the node answers without the hub.
//!
//! The agent serves them over a Unix socket; here stands what they do.

use crate::link::LinkState;
use crate::main_loop::Running;
use crate::pods::{PodCalls, PodManager, PodSummary};
use crate::store::WrittenFor;
use holdfast_core::Status;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// How the node is, in a few words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Whether the link is up.
    pub connected: bool,
    /// The last session of the link.
    pub session: u64,
    /// Why the link is down.
    pub link_error: String,
    /// Objects from the hub.
    pub items: usize,
    /// Lineage and revision that the objects stand at.
    pub synced_to: (String, u64),
    /// Bytes written and syncs done since the start.
    pub written: (u64, u64),
    /// The same by purpose, and what a day of it comes to.
    #[serde(default)]
    pub written_by_purpose: BTreeMap<String, WrittenFor>,
}

/// The node's local commands.
#[derive(Clone)]
pub struct Commands {
    pub(crate) node: Arc<Running>,
    pub(crate) pods: Arc<PodManager>,
    pub(crate) calls: Arc<PodCalls>,
    pub(crate) link: watch::Receiver<LinkState>,
}

impl Commands {
    /// The pods of the node.
    pub fn pods(&self) -> Vec<PodSummary> {
        self.pods.list()
    }

    /// Logs and exec.
    pub fn calls(&self) -> &Arc<PodCalls> {
        &self.calls
    }

    /// How the node is.
    pub fn status(&self) -> NodeSummary {
        let link = self.link.borrow().clone();
        let (items, (lineage, revision)) = self.node.store.read(|state| (state.items().len(), state.synced_to()));
        NodeSummary {
            name: self.node.parts.config.node_name.clone(),
            uid: self.node.parts.config.node_uid.clone(),
            connected: link.connected,
            session: link.session,
            link_error: if link.connected { String::new() } else { link.last_error },
            items,
            synced_to: (lineage.to_string(), revision.0),
            written: self.node.store.written(),
            written_by_purpose: self.node.store.written_by_purpose(),
        }
    }

    /// What happened here: the Events of a namespace, or about one pod; the oldest first.
    ///
    /// # Errors
    /// 503 when the index cannot be asked now.
    pub async fn events(&self, namespace: Option<String>, pod: Option<String>) -> Result<Vec<Value>, Status> {
        self.node.parts.events.find(namespace, pod).await.map_err(|err| Status::unavailable(err, 1))
    }

    /// Imports an archive of images: Wasm into the Wasm runtime, everything else into containerd.
    ///
    /// # Errors
    /// 400 when the file is no archive of images, 503 when a runtime does not answer.
    pub async fn import_images(&self, archive: &Path) -> Result<Vec<String>, Status> {
        let path = archive.to_path_buf();
        let opened = self.node.parts.env.blocking(move || holdfast_runtime::archive::Archive::open(&path)).await;
        let opened = opened.ok_or_else(|| Status::unavailable("the node is stopping", 1))?;
        let opened = opened.map_err(|err| Status::bad_request(err.to_string()))?;
        let (mut wasm, mut oci) = (false, false);
        for image in opened.images() {
            if image.is_wasm { wasm = true } else { oci = true }
        }
        let mut names = Vec::new();
        for (wanted, runtime) in [(oci, &self.node.parts.oci), (wasm, &self.node.parts.wasm)] {
            if wanted {
                let imported = runtime.import_image(archive).await;
                names.extend(imported.map_err(|err| Status::unavailable(err.to_string(), 1))?);
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}
