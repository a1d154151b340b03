//! Carrying out probes and hooks.

use crate::parts::{HttpProbe, Prober};
use bytes::Bytes;
use holdfast_env::World;
use holdfast_pods::{ProbeKind, container_named};
use holdfast_runtime::{ExecRequest, Runtime, StreamOutput};
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Pod, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;
use std::time::Duration;

/// Output of a probe that goes into an event.
const MAX_OUTPUT: usize = 10 << 10;

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
    /// Runs the probe: whether it succeeded, and what it said.
    pub(super) async fn run(&self, kind: ProbeKind) -> (bool, String) {
        let Some(container) = container_named(&self.pod, &self.container) else {
            return (false, format!("container {:?} is not in the pod", self.container));
        };
        let probe = match kind {
            ProbeKind::Startup => &container.startup_probe,
            ProbeKind::Liveness => &container.liveness_probe,
            ProbeKind::Readiness => &container.readiness_probe,
        };
        let Some(probe) = probe else { return (true, String::new()) };
        let timeout = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
        self.act(&container, probe, timeout).await
    }

    async fn act(&self, container: &Container, probe: &Probe, timeout: Duration) -> (bool, String) {
        if let Some(exec) = &probe.exec {
            return match self.exec(exec, timeout).await {
                Ok((0, output)) => (true, output),
                Ok((_, output)) => (false, output),
                Err(err) => (false, err),
            };
        }
        if let Some(http) = &probe.http_get {
            return match self.http(container, http, timeout).await {
                Ok(code) if (200..400).contains(&code) => (true, String::new()),
                Ok(code) => (false, format!("HTTP probe failed with statuscode: {code}")),
                Err(err) => (false, err),
            };
        }
        if let Some(tcp) = &probe.tcp_socket {
            return match self.tcp(container, tcp, timeout).await {
                Ok(()) => (true, String::new()),
                Err(err) => (false, err),
            };
        }
        (false, "not implemented: grpc probes".to_string())
    }

    /// Runs a command in the container: exit code and output.
    pub(super) async fn exec(&self, action: &ExecAction, timeout: Duration) -> Result<(i32, String), String> {
        let request = ExecRequest { command: action.command.clone().unwrap_or_default(), tty: false, stdin: false };
        let run = async {
            let mut session = self.runtime.exec(&self.container_id, request).await.map_err(|err| err.to_string())?;
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
                    Some(StreamOutput::Failed(err)) => return Err(err),
                    None => return Err("the command's session ended early".to_string()),
                }
            }
        };
        match self.env.timeout(timeout, run).await {
            Some(result) => result,
            None => Err(format!("command timed out: {:?} timed out after {}s", action.command, timeout.as_secs())),
        }
    }

    pub(super) async fn http(
        &self,
        container: &Container,
        action: &HTTPGetAction,
        timeout: Duration,
    ) -> Result<u16, String> {
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
        let dialled = self.prober.tcp(&host, port, timeout).await;
        dialled.map_err(|err| format!("dial tcp {host}:{port}: {err}"))
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
