//! Carrying out probes and hooks.

use crate::parts::{HttpAnswer, HttpProbe, Prober};
use bytes::Bytes;
use holdfast_env::World;
use holdfast_pods::{ProbeKind, ProbeOutcome, container_named};
use holdfast_runtime::{ExecRequest, Runtime, RuntimeError, StreamOutput};
use k8s_openapi::api::core::v1::{Container, ExecAction, GRPCAction, HTTPGetAction, Pod, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;
use std::time::Duration;

/// Output of a probe that goes into an event.
const MAX_OUTPUT: usize = 10 << 10;

/// Why a command brought no exit code.
pub(super) enum ExecFailure {
    /// It could not be run, or its end is not known: that says nothing of the container.
    Undecided(String),
    /// It took too long, or the container has no such program.
    Failed(String),
}

impl ExecFailure {
    pub(super) fn text(self) -> String {
        let (ExecFailure::Undecided(text) | ExecFailure::Failed(text)) = self;
        text
    }
}

/// Where a probe goes.
pub(super) struct ProbeTarget {
    pub(super) env: World,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) prober: Arc<dyn Prober>,
    pub(super) pod: Arc<Pod>,
    pub(super) container: String,
    pub(super) container_id: String,
    pub(super) pod_ip: String,
}

impl ProbeTarget {
    /// Runs the probe: what it found, and what it said.
    pub(super) async fn run(&self, kind: ProbeKind) -> (ProbeOutcome, String) {
        let Some(container) = container_named(&self.pod, &self.container) else {
            return (ProbeOutcome::Error, format!("container {:?} is not in the pod", self.container));
        };
        let probe = match kind {
            ProbeKind::Startup => &container.startup_probe,
            ProbeKind::Liveness => &container.liveness_probe,
            ProbeKind::Readiness => &container.readiness_probe,
        };
        let Some(probe) = probe else { return (ProbeOutcome::Success, String::new()) };
        let timeout = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
        self.act(&container, probe, timeout).await
    }

    async fn act(&self, container: &Container, probe: &Probe, timeout: Duration) -> (ProbeOutcome, String) {
        if let Some(exec) = &probe.exec {
            return match self.exec(exec, timeout).await {
                Ok((0, output)) => (ProbeOutcome::Success, output),
                Ok((_, output)) => (ProbeOutcome::Failure, output),
                Err(ExecFailure::Undecided(why)) => (ProbeOutcome::Error, why),
                Err(ExecFailure::Failed(why)) => (ProbeOutcome::Failure, why),
            };
        }
        if let Some(http) = &probe.http_get {
            return match self.http(container, http, timeout).await {
                Ok(HttpAnswer { status: 200..300, .. }) => (ProbeOutcome::Success, String::new()),
                Ok(HttpAnswer { status: 300..400, body }) => {
                    (ProbeOutcome::Warning, format!("Probe terminated redirects, Response body: {body}"))
                }
                Ok(HttpAnswer { status, .. }) => {
                    (ProbeOutcome::Failure, format!("HTTP probe failed with statuscode: {status}"))
                }
                Err(why) => (ProbeOutcome::Failure, why),
            };
        }
        let asked = match (&probe.tcp_socket, &probe.grpc) {
            (Some(tcp), _) => self.tcp(container, tcp, timeout).await,
            (None, Some(grpc)) => self.grpc(grpc, timeout).await,
            (None, None) => return (ProbeOutcome::Error, "missing probe handler".to_string()),
        };
        match asked {
            Ok(()) => (ProbeOutcome::Success, String::new()),
            Err(why) => (ProbeOutcome::Failure, why),
        }
    }

    /// Runs a command in the container: exit code and output.
    pub(super) async fn exec(&self, action: &ExecAction, timeout: Duration) -> Result<(i32, String), ExecFailure> {
        let request = ExecRequest { command: action.command.clone().unwrap_or_default(), tty: false, stdin: false };
        let run = async {
            let mut session = match self.runtime.exec(&self.container_id, request).await {
                Ok(session) => session,
                Err(err @ RuntimeError::Unavailable { .. }) => return Err(ExecFailure::Undecided(err.to_string())),
                Err(err) => return Err(ExecFailure::Failed(err.to_string())),
            };
            let mut output = Vec::new();
            let mut keep = |data: Bytes| {
                let room = MAX_OUTPUT.saturating_sub(output.len());
                output.extend_from_slice(&data[..data.len().min(room)]);
            };
            loop {
                match session.output.recv().await {
                    Some(StreamOutput::Stdout(data) | StreamOutput::Stderr(data)) => keep(data),
                    Some(StreamOutput::Exited(code)) => {
                        return Ok((code, String::from_utf8_lossy(&output).into_owned()));
                    }
                    Some(StreamOutput::Failed(err)) => return Err(ExecFailure::Undecided(err)),
                    None => return Err(ExecFailure::Undecided("the command's session ended early".to_string())),
                }
            }
        };
        let late = || {
            let command = action.command.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
            Err(ExecFailure::Failed(format!("command timed out: {command:?} timed out after {}s", timeout.as_secs())))
        };
        self.env.timeout(timeout, run).await.unwrap_or_else(late)
    }

    /// `host:port` that an HTTP request goes to.
    pub(super) fn authority(&self, container: &Container, action: &HTTPGetAction) -> String {
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&self.pod_ip);
        format!("{host}:{}", port(container, &action.port).unwrap_or_default())
    }

    pub(super) async fn http(
        &self,
        container: &Container,
        action: &HTTPGetAction,
        timeout: Duration,
    ) -> Result<HttpAnswer, String> {
        let path = action.path.clone().unwrap_or_else(|| "/".into());
        let request = HttpProbe {
            scheme: action.scheme.as_deref().unwrap_or("HTTP").to_lowercase(),
            host: action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| self.pod_ip.clone()),
            port: port(container, &action.port)?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers: action.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
        };
        let shown = format!("{}://{}:{}{}", request.scheme, request.host, request.port, request.path);
        self.prober.http(request, timeout).await.map_err(|err| format!("Get \"{shown}\": {err}"))
    }

    async fn tcp(&self, container: &Container, action: &TCPSocketAction, timeout: Duration) -> Result<(), String> {
        let host = action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| self.pod_ip.clone());
        let port = port(container, &action.port)?;
        self.prober.tcp(&host, port, timeout).await
    }

    async fn grpc(&self, action: &GRPCAction, timeout: Duration) -> Result<(), String> {
        let port = u16::try_from(action.port).map_err(|_| format!("invalid port number: {}", action.port))?;
        self.prober.grpc(&self.pod_ip, port, action.service.as_deref().unwrap_or_default(), timeout).await
    }
}

/// A port by number or by the name that the container gives it.
fn port(container: &Container, wanted: &IntOrString) -> Result<u16, String> {
    let number = match wanted {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("couldn't find port: {wanted:?} in container {:?}", container.name))
}
