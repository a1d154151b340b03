//! Calls that reach into a node: what the hub asks for on behalf of a client, as the link carries it.
//!
//! These structs are wire records (postcard): they never change; a new need is a new variant or record.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Which container of which pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRef {
    /// UID of the pod.
    pub pod_uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
}

/// `kubectl logs`, after validation (`core/v1 PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCall {
    /// Whose log.
    pub container: ContainerRef,
    /// Stay and send what comes.
    pub follow: bool,
    /// The container before the current one.
    pub previous: bool,
    /// Only lines written at or after this moment, in microseconds since 1970.
    pub since_micros: Option<i64>,
    /// Prefix each line with its time.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// `kubectl exec` and `attach`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCall {
    /// Where.
    pub container: ContainerRef,
    /// The command; empty to attach to the running process.
    pub command: Vec<String>,
    /// Standard input will come.
    pub stdin: bool,
    /// Standard output is wanted.
    pub stdout: bool,
    /// Standard error is wanted.
    pub stderr: bool,
    /// Allocate a terminal.
    pub tty: bool,
}

/// A connection to a TCP port of a pod, for `kubectl port-forward` and the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardCall {
    /// UID of the pod.
    pub pod_uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// The port, never 0.
    pub port: u16,
}

/// A page that the node itself serves (`nodes/proxy`), by its path and query as the client wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCall {
    /// Begins with a slash.
    pub path: String,
    /// Without the question mark; empty for none.
    pub query: String,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Logs of a container.
    Logs(LogCall),
    /// A command in a container, or its own streams.
    Exec(ExecCall),
    /// A connection to a port.
    Forward(ForwardCall),
    /// A page of the node's own.
    Page(PageCall),
}

/// A page as the node made it. It travels in pieces and is no record of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// As in HTTP.
    pub content_type: String,
    /// The whole content.
    pub body: Bytes,
}
