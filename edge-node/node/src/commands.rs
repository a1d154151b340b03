//! Local commands (`holdfast-edge pods|logs|exec|status|drill|images`): what the node answers without the hub.
//!
//! The agent serves them over a Unix socket; here stands what they do.

use crate::drill::{self, DrillReport};
use crate::link::LinkHost;
use crate::local_api::LocalRegistry;
use crate::main_loop::Running;
use crate::pods::{PodCalls, PodManager, PodSummary, PullSummary};
use crate::readiness::Reason;
use crate::shutdown::{Shutdown, ShutdownReport};
use crate::store::WrittenFor;
use holdfast_core::{Reason as StatusReason, Status, Timestamp};
use holdfast_link::traffic::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
    /// What carries the link: `quic` or `tcp`; empty while it is down.
    #[serde(default)]
    pub transport: String,
    /// How heartbeats go, while the link is up.
    #[serde(default)]
    pub heartbeat: Option<HeartbeatSummary>,
    /// Bytes of the link since the agent's start, by purpose.
    #[serde(default)]
    pub traffic: BTreeMap<String, Bytes>,
    /// Objects from the hub.
    pub items: usize,
    /// Lineage and revision that the objects stand at.
    pub synced_to: (String, u64),
    /// Bytes written and syncs done since the start.
    pub written: (u64, u64),
    /// Why the disk takes no writes; empty when it does.
    #[serde(default)]
    pub disk_trouble: String,
    /// The same by purpose, and what a day of it comes to.
    #[serde(default)]
    pub written_by_purpose: BTreeMap<String, WrittenFor>,
    /// Facts that the hub has not acknowledged.
    pub backlog: usize,
    /// When the hub was last heard of, by this node's clock; `None` when not since the agent's start.
    pub last_contact: Option<Timestamp>,
    /// Seconds since then.
    pub silent_seconds: Option<u64>,
    /// When the node's certificate ends.
    pub certificate_ends: Option<Timestamp>,
    /// Whether a drill cuts the link now.
    pub drill: bool,
    /// Whether everything here would come back without the hub; `None` before that is known.
    pub offline_ready: Option<bool>,
    /// What is missing for that.
    pub offline_reasons: Vec<String>,
    /// Images that are being pulled.
    #[serde(default)]
    pub pulls: Vec<PullSummary>,
}

/// How heartbeats go, and what their path is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatSummary {
    /// Milliseconds between two of them.
    pub interval_ms: u64,
    /// The longest silence, in milliseconds, that the path is known to survive.
    pub survived_ms: Option<u64>,
    /// The shortest, in milliseconds, that it did not survive.
    pub lost_ms: Option<u64>,
    /// Microseconds from the last one to its answer.
    pub round_trip_micros: Option<u64>,
    /// How many were answered since the agent's start.
    pub answered: u64,
    /// Largest payload of a packet to the hub in bytes, where the transport knows it.
    pub path_mtu: Option<u32>,
}

/// The node's local commands.
#[derive(Clone)]
pub struct Commands {
    pub(crate) node: Arc<Running>,
    pub(crate) pods: Arc<PodManager>,
    pub(crate) calls: Arc<PodCalls>,
    pub(crate) link: Arc<LinkHost>,
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

    /// A registry of what the node holds, for its own API.
    pub fn local_registry(&self) -> Arc<LocalRegistry> {
        let parts = &self.node.parts;
        let (store, events) = (self.node.store.clone(), parts.events.clone());
        LocalRegistry::new(parts.env.clone(), store, events, self.calls.clone(), &parts.config.node_name)
    }

    /// How the node is.
    pub fn status(&self) -> NodeSummary {
        let link = self.link.state().borrow().clone();
        let parts = &self.node.parts;
        let contact = self.link.last_contact();
        let offline = self.node.readiness.node().borrow().clone();
        let backlog = self.node.store.read(|state| state.outbox().backlog());
        let (items, (lineage, revision)) = self.node.store.read(|state| (state.items().len(), state.synced_to()));
        NodeSummary {
            name: self.node.parts.config.node_name.clone(),
            uid: self.node.parts.config.node_uid.clone(),
            connected: link.connected,
            session: link.session,
            transport: link.transport.filter(|_| link.connected).map_or_else(String::new, |on| on.name().into()),
            link_error: if link.connected { String::new() } else { link.last_error },
            items,
            synced_to: (lineage.to_string(), revision.0),
            written: self.node.store.written(),
            disk_trouble: self.node.store.trouble().borrow().clone().map_or_else(String::new, |trouble| trouble.why),
            backlog,
            last_contact: contact.map(|(_, wall)| Timestamp::from_wall(wall.0)),
            silent_seconds: contact.map(|(at, _)| parts.env.monotonic().since(at).as_secs()),
            certificate_ends: parts.identity.certificate_ends(),
            drill: self.link.is_held(),
            offline_ready: offline.as_ref().map(Vec::is_empty),
            offline_reasons: self.offline_reasons(offline.as_deref().unwrap_or_default()),
            written_by_purpose: self.node.store.written_by_purpose(),
            heartbeat: self.heartbeat(),
            pulls: self.pods.common().pulls.list(parts.env.monotonic()),
            traffic: self.link.counted().totals().into_iter().map(|(name, bytes)| (name.into(), bytes)).collect(),
        }
    }

    fn heartbeat(&self) -> Option<HeartbeatSummary> {
        let pace = self.link.pace()?;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Some(HeartbeatSummary {
            interval_ms: millis(pace.interval),
            survived_ms: pace.survived.map(millis),
            lost_ms: pace.lost.map(millis),
            round_trip_micros: pace.round_trip.and_then(|time| u64::try_from(time.as_micros()).ok()),
            answered: pace.answered,
            path_mtu: self.link.path_mtu(),
        })
    }

    /// Reasons of the node, and of its pods in detail.
    fn offline_reasons(&self, node: &[Reason]) -> Vec<String> {
        let own = node.iter().filter(|reason| !matches!(reason, Reason::Pod { .. })).map(ToString::to_string);
        let unready = self.node.readiness.unready().into_iter();
        let pods = unready.map(|(pod, reasons)| format!("pod {pod}: {}", crate::readiness::told(&reasons).1));
        own.chain(pods).collect()
    }

    /// Cuts the link for `offline`, or until `stop` completes, and tells what would not have come back.
    ///
    /// # Errors
    /// 409 when a drill is under way.
    pub async fn drill(&self, offline: Duration, stop: impl Future<Output = ()> + Send) -> Result<DrillReport, Status> {
        let was_connected = self.link.state().borrow().connected;
        let Some(hold) = self.link.hold() else {
            return Err(Status::failure(409, StatusReason::Conflict, "a drill is under way on this node"));
        };
        let env = &self.node.parts.env;
        let started = env.monotonic();
        let observer = drill::watch(env, &self.node.store, &self.pods, offline, stop).await;
        let lasted = env.monotonic().since(started);
        drop(hold);
        let node = self.node.readiness.node().borrow().clone();
        let reasons = self.offline_reasons(node.as_deref().unwrap_or_default());
        let backlog = self.node.store.read(|state| state.outbox().backlog());
        Ok(observer.report(offline, lasted, was_connected, reasons, backlog))
    }

    /// Stops the node's pods before the machine goes down, and returns when that is done; or, with `cancel`, lets them go on.
    pub async fn shutdown(&self, cancel: bool) -> ShutdownReport {
        let shutdown = Shutdown { node: &self.node, pods: &self.pods };
        if cancel {
            shutdown.cancel().await;
            return ShutdownReport::default();
        }
        shutdown.run(|| self.link.state().borrow().connected).await
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
        self.node.readiness.images.notify_one();
        Ok(names)
    }
}
