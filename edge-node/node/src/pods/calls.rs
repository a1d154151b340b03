//! Reaching into pods: logs, exec and connections to ports, for the link and for local commands alike.

use super::containers;
use super::manager::PodManager;
use super::work::{place_in_network, runtime_with};
use super::worker::Shown;
use crate::logs::{LogOptions, read};
use crate::pages::Pages;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::calls::{Call, ContainerRef, ExecCall, ForwardCall, LogCall, Page, PageCall};
use holdfast_core::{Gvr, Reason, Status, Timestamp};
use holdfast_env::BiStream;
use holdfast_env::session::{ExecRequest, ExecSession};
use holdfast_link::call::NodeCall;
use holdfast_runtime::RuntimeError;
use holdfast_server::NodeCalls;
use k8s_openapi::api::core::v1::ContainerStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Statuses of containers of any sort.
fn statuses(shown: &Shown) -> impl Iterator<Item = &ContainerStatus> {
    let status = &shown.status;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten()
}

/// Serves calls.
pub struct PodCalls {
    pods: Arc<PodManager>,
    pages: Arc<Pages>,
}

impl PodCalls {
    /// Calls into the pods of a node, and for its pages.
    pub(crate) fn new(pods: Arc<PodManager>, pages: Arc<Pages>) -> Arc<PodCalls> {
        Arc::new(PodCalls { pods, pages })
    }

    /// Serves a call of the hub to its end.
    pub(crate) async fn serve(&self, call: NodeCall) {
        match call.call.clone() {
            Call::Logs(logs) => match self.logs(&logs) {
                Ok(bytes) => call.serve_bytes(bytes).await,
                Err(status) => call.fail(status.code(), status.message()).await,
            },
            Call::Exec(exec) => match self.exec(&exec).await {
                Ok(session) => call.serve_session(session).await,
                Err(status) => call.fail(status.code(), status.message()).await,
            },
            Call::Forward(forward) => match self.forward(&forward).await {
                Ok(connection) => call.serve_connection(connection).await,
                Err(status) => call.fail(status.code(), status.message()).await,
            },
            Call::Page(asked) => match self.pages.page(&asked).await {
                Ok(page) => call.serve_page(page).await,
                Err(status) => call.fail(status.code(), status.message()).await,
            },
        }
    }

    fn find(&self, at: &ContainerRef) -> Result<(Shown, ContainerStatus), Status> {
        let gvr = Gvr::new("", "v1", "pods");
        let shown =
            self.pods.find(&at.namespace, &at.pod, &at.pod_uid).ok_or_else(|| Status::not_found(&gvr, &at.pod))?;
        let status = statuses(&shown).find(|status| status.name == at.container).cloned();
        let status = status.ok_or_else(|| {
            Status::bad_request(format!(
                "container {:?} in pod {:?} is waiting to start: ContainerCreating",
                at.container, at.pod
            ))
        })?;
        Ok((shown, status))
    }

    /// A container's log.
    ///
    /// # Errors
    /// 404 when the pod is not here, 400 when the container has no log, with upstream's texts.
    pub fn logs(&self, call: &LogCall) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status> {
        let at = &call.container;
        let (shown, status) = self.find(at)?;
        let attempt = u32::try_from(status.restart_count).unwrap_or(0);
        let state = status.state.clone().unwrap_or_default();
        let has_current = state.running.is_some() || state.terminated.is_some();
        let attempt = if call.previous {
            let before = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            if before.is_none() {
                return Err(Status::bad_request(format!(
                    "previous terminated container {:?} in pod {:?} not found",
                    at.container, at.pod
                )));
            }
            attempt.saturating_sub(1)
        } else if has_current {
            attempt
        } else if status.last_state.as_ref().is_some_and(|state| state.terminated.is_some()) {
            // Between two attempts kubectl is shown the one that ended.
            attempt
        } else {
            let reason = state.waiting.and_then(|waiting| waiting.reason).unwrap_or_else(|| "ContainerCreating".into());
            return Err(Status::bad_request(format!(
                "container {:?} in pod {:?} is waiting to start: {reason}",
                at.container, at.pod
            )));
        };
        let common = self.pods.common().clone();
        let path = containers::log_path(&common.parts.config, &shown.pod, &at.container, attempt);
        let since = call.since_micros.and_then(|micros| u64::try_from(micros).ok());
        let options = LogOptions {
            follow: call.follow && !call.previous,
            since: since.map(|micros| Timestamp::from_wall(Duration::from_micros(micros))),
            timestamps: call.timestamps,
            tail_lines: call.tail_lines,
            limit_bytes: call.limit_bytes,
        };
        let (manager, at) = (self.pods.clone(), at.clone());
        let ended = move || match manager.find(&at.namespace, &at.pod, &at.pod_uid) {
            None => true,
            Some(shown) => {
                let status = statuses(&shown).find(|status| status.name == at.container);
                status.is_none_or(|status| {
                    let running = status.state.as_ref().is_some_and(|state| state.running.is_some());
                    shown.gone || u32::try_from(status.restart_count).unwrap_or(0) != attempt || !running
                })
            }
        };
        Ok(read(common.parts.env.clone(), path, options, ended))
    }

    /// A command in a container, or its own streams.
    ///
    /// # Errors
    /// 404 when the pod is not here, 400 when the container does not run, 501 where the runtime cannot.
    pub async fn exec(&self, call: &ExecCall) -> Result<ExecSession, Status> {
        let at = &call.container;
        let (shown, status) = self.find(at)?;
        if status.state.as_ref().is_none_or(|state| state.running.is_none()) {
            return Err(Status::bad_request(format!(
                "container {:?} in pod {:?} is not running",
                at.container, at.pod
            )));
        }
        let id = shown.container_id(&status);
        let common = self.pods.common();
        let runtime = runtime_with(common, &id)
            .await
            .ok_or_else(|| Status::unavailable("the container's runtime does not answer", 1))?;
        let session = match call.command.is_empty() {
            true => runtime.attach(&id, call.stdin).await,
            false => {
                let request = ExecRequest { command: call.command.clone(), tty: call.tty, stdin: call.stdin };
                runtime.exec(&id, request).await
            }
        };
        session.map_err(|err| match err {
            RuntimeError::NotImplemented(what) => Status::not_implemented(what),
            RuntimeError::Unavailable { .. } => Status::unavailable(err.to_string(), 1),
            RuntimeError::Config(text) => Status::bad_request(text),
            other => Status::internal(other),
        })
    }

    /// A connection to a port of a pod.
    ///
    /// # Errors
    /// 404 when the pod is not here, 400 when it does not run, 500 with the kernel's words when nothing listens.
    pub async fn forward(&self, call: &ForwardCall) -> Result<BiStream, Status> {
        let gvr = Gvr::new("", "v1", "pods");
        let shown = self
            .pods
            .find(&call.namespace, &call.pod, &call.pod_uid)
            .ok_or_else(|| Status::not_found(&gvr, &call.pod))?;
        let phase = shown.status.phase.as_deref().unwrap_or("Pending");
        if phase != "Running" {
            return Err(Status::bad_request(format!("pod {:?} is not running: its phase is {phase}", call.pod)));
        }
        let common = self.pods.common();
        let place = place_in_network(common, &shown.pod, shown.status.pod_ip.as_deref());
        let connected = common.parts.network.connect(&place, call.port).await;
        connected.map_err(|why| Status::failure(500, Reason::InternalError, why))
    }
}

/// For the local API, whose pods are all here: the node's name does not matter.
#[async_trait]
impl NodeCalls for PodCalls {
    async fn logs(&self, _node: &str, call: LogCall) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status> {
        PodCalls::logs(self, &call)
    }

    async fn exec(&self, _node: &str, call: ExecCall) -> Result<ExecSession, Status> {
        PodCalls::exec(self, &call).await
    }

    async fn forward(&self, _node: &str, call: ForwardCall) -> Result<BiStream, Status> {
        PodCalls::forward(self, &call).await
    }

    async fn page(&self, _node: &str, call: PageCall) -> Result<Page, Status> {
        self.pages.page(&call).await
    }
}
