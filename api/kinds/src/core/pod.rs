//! Pod: its columns follow what `kubectl get pods` has to say of a pod in any state.

use super::pod_references::references;
use super::{proxy_of, status_of};
use crate::kind::{CREATE, GET_PATCH_UPDATE};
use crate::show::{AGE, NAME, NONE, age, column, condition, int, name, or, since, text, wide};
use crate::{Kind, Subresource};
use holdfast_core::json::{at, bool_at, items_at, str_at};
use holdfast_core::{Json, Timestamp};

const CONNECT: &[&str] = &["create", "get"];

/// core/v1 Pod.
pub(crate) const POD: Kind = Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    subresources: &[
        Subresource { name: "attach", group: "", version: "v1", kind: "PodAttachOptions", verbs: CONNECT },
        Subresource { name: "binding", group: "", version: "v1", kind: "Binding", verbs: CREATE },
        Subresource { name: "ephemeralcontainers", group: "", version: "v1", kind: "Pod", verbs: GET_PATCH_UPDATE },
        Subresource { name: "eviction", group: "policy", version: "v1", kind: "Eviction", verbs: CREATE },
        Subresource { name: "exec", group: "", version: "v1", kind: "PodExecOptions", verbs: CONNECT },
        Subresource { name: "log", group: "", version: "v1", kind: "Pod", verbs: &["get"] },
        Subresource { name: "portforward", group: "", version: "v1", kind: "PodPortForwardOptions", verbs: CONNECT },
        proxy_of("PodProxyOptions"),
        Subresource { name: "resize", group: "", version: "v1", kind: "Pod", verbs: GET_PATCH_UPDATE },
        status_of("Pod"),
    ],
    schema: "io.k8s.api.core.v1.Pod",
    columns: &[
        NAME,
        column("Ready", "string", "Containers that are ready, of all that should be."),
        column("Status", "string", "Where the pod stands, in one word."),
        column("Restarts", "string", "How often its containers were restarted, and when last."),
        AGE,
        wide("IP", "string", "Its address."),
        wide("Node", "string", "The node that it is bound to."),
        wide("Nominated Node", "string", "The node on which room is being made for it."),
        wide("Readiness Gates", "string", "Further conditions that hold, of all that it asks for."),
    ],
    row,
    field_selectors: &[
        "spec.hostNetwork",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.nominatedNodeName",
        "status.phase",
        "status.podIP",
        "status.podIPs",
    ],
    field,
    references,
    returns_deleted: true,
    ..Kind::BASE
};

fn field(doc: &Json, field: &str) -> String {
    match field {
        "spec.hostNetwork" => bool_at(doc, &["spec", "hostNetwork"]).unwrap_or(false).to_string(),
        "status.podIP" => ip(doc).to_string(),
        "status.podIPs" => {
            let ips = items_at(doc, &["status", "podIPs"]);
            ips.iter().map(|ip| text(ip, &["ip"])).collect::<Vec<_>>().join(",")
        }
        _ => match field.split_once('.') {
            Some((of @ ("spec" | "status"), rest)) => text(doc, &[of, rest]).to_string(),
            _ => String::new(),
        },
    }
}

fn ip(doc: &Json) -> &str {
    let first = items_at(doc, &["status", "podIPs"]).first().map(|ip| text(ip, &["ip"]));
    first.unwrap_or_else(|| text(doc, &["status", "podIP"]))
}

fn row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let summary = Summary::of(doc);
    let restarts = match summary.restarts.last {
        Some(last) if summary.restarts.count != 0 => {
            format!("{} ({} ago)", summary.restarts.count, since(Some(last), now))
        }
        _ => summary.restarts.count.to_string(),
    };
    vec![
        name(doc),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(doc, now),
        or(ip(doc), NONE).into(),
        or(text(doc, &["spec", "nodeName"]), NONE).into(),
        or(text(doc, &["status", "nominatedNodeName"]), NONE).into(),
        readiness_gates(doc).into(),
    ]
}

fn readiness_gates(doc: &Json) -> String {
    let gates = items_at(doc, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return NONE.into();
    }
    let met = gates.iter().filter(|gate| condition(doc, text(gate, &["conditionType"])) == Some("True")).count();
    format!("{met}/{}", gates.len())
}

/// How often containers were restarted and when the last one ended before its restart.
#[derive(Clone, Copy, Default)]
struct Restarts<'a> {
    count: i64,
    last: Option<&'a str>,
}

impl<'a> Restarts<'a> {
    fn add(&mut self, status: &'a Json) {
        self.count += int(status, &["restartCount"]);
        let ended = str_at(status, &["lastState", "terminated", "finishedAt"]);
        // Times of the API are UTC to the second, so their text sorts as they do.
        self.last = self.last.max(ended);
    }
}

/// What READY, STATUS and RESTARTS come to.
struct Summary<'a> {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts<'a>,
}

impl<'a> Summary<'a> {
    fn of(doc: &'a Json) -> Summary<'a> {
        let sidecars = items_at(doc, &["spec", "initContainers"]).iter().filter(|c| is_sidecar(c)).count();
        let total = items_at(doc, &["spec", "containers"]).len() + sidecars;
        let mut summary = Summary { ready: 0, total, reason: phase_or_reason(doc), restarts: Restarts::default() };
        let (initializing, sidecar_restarts) = summary.init_containers(doc);
        if !initializing || condition(doc, "Initialized") == Some("True") {
            summary.restarts = sidecar_restarts;
            summary.containers(doc);
        }
        if at(doc, &["metadata", "deletionTimestamp"]).is_some_and(|at| !at.is_null()) {
            if text(doc, &["status", "reason"]) == "NodeLost" {
                summary.reason = "Unknown".into();
            } else if !matches!(text(doc, &["status", "phase"]), "Succeeded" | "Failed") {
                summary.reason = "Terminating".into();
            }
        }
        summary
    }

    /// Goes through the init containers up to the first that holds the pod up. Returns whether there is one, and
    /// the restarts of sidecars, which alone count once the pod is initialised.
    fn init_containers(&mut self, doc: &'a Json) -> (bool, Restarts<'a>) {
        let specs = items_at(doc, &["spec", "initContainers"]);
        let mut sidecar_restarts = Restarts::default();
        for (index, status) in items_at(doc, &["status", "initContainerStatuses"]).iter().enumerate() {
            let spec = specs.iter().find(|spec| text(spec, &["name"]) == text(status, &["name"]));
            let sidecar = spec.is_some_and(is_sidecar);
            self.restarts.add(status);
            if sidecar {
                sidecar_restarts.add(status);
            }
            let state = State::of(status);
            match state {
                State::Terminated { exit_code: 0, .. } => continue,
                _ if sidecar && bool_at(status, &["started"]) == Some(true) => {
                    self.ready += usize::from(bool_at(status, &["ready"]) == Some(true));
                    continue;
                }
                State::Terminated { .. } => self.reason = format!("Init:{}", state.ended()),
                State::Waiting(reason) if !reason.is_empty() && reason != "PodInitializing" => {
                    self.reason = format!("Init:{reason}");
                }
                _ => self.reason = format!("Init:{index}/{}", specs.len()),
            }
            return (true, sidecar_restarts);
        }
        (false, sidecar_restarts)
    }

    /// Goes through the containers from the last to the first: the first one with something to say wins.
    fn containers(&mut self, doc: &'a Json) {
        let mut running = false;
        for status in items_at(doc, &["status", "containerStatuses"]).iter().rev() {
            self.restarts.add(status);
            match State::of(status) {
                State::Waiting(reason) if !reason.is_empty() => self.reason = reason.to_string(),
                state @ State::Terminated { .. } => self.reason = state.ended(),
                State::Running if bool_at(status, &["ready"]) == Some(true) => {
                    running = true;
                    self.ready += 1;
                }
                _ => {}
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if condition(doc, "Ready") == Some("True") { "Running" } else { "NotReady" }.into();
        }
    }
}

fn phase_or_reason(doc: &Json) -> String {
    let gated = items_at(doc, &["status", "conditions"])
        .iter()
        .any(|c| text(c, &["type"]) == "PodScheduled" && text(c, &["reason"]) == "SchedulingGated");
    if gated {
        return "SchedulingGated".into();
    }
    or(text(doc, &["status", "reason"]), text(doc, &["status", "phase"])).to_string()
}

fn is_sidecar(container: &Json) -> bool {
    text(container, &["restartPolicy"]) == "Always"
}

/// The state of a container.
enum State<'a> {
    Waiting(&'a str),
    Running,
    Terminated { reason: &'a str, exit_code: i64, signal: i64 },
    Unknown,
}

impl<'a> State<'a> {
    fn of(status: &'a Json) -> State<'a> {
        let state = |name: &str| at(status, &["state", name]).filter(|state| state.is_object());
        if let Some(waiting) = state("waiting").filter(|waiting| !text(waiting, &["reason"]).is_empty()) {
            State::Waiting(text(waiting, &["reason"]))
        } else if let Some(ended) = state("terminated") {
            let (exit_code, signal) = (int(ended, &["exitCode"]), int(ended, &["signal"]));
            State::Terminated { reason: text(ended, &["reason"]), exit_code, signal }
        } else if state("running").is_some() {
            State::Running
        } else {
            State::Unknown
        }
    }

    /// How a terminated container ended.
    fn ended(&self) -> String {
        match self {
            State::Terminated { reason, exit_code, signal } => match (*reason, *signal) {
                ("", 0) => format!("ExitCode:{exit_code}"),
                ("", signal) => format!("Signal:{signal}"),
                (reason, _) => reason.to_string(),
            },
            _ => String::new(),
        }
    }
}
