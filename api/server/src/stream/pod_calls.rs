//! What `log`, `exec`, `attach` and `portforward` ask for: a pod's document and a query become a call into its node.

use holdfast_core::calls::{ContainerRef, ExecCall, ForwardCall, LogCall};
use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Gvk, Json, Status, Timestamp};
use std::time::Duration;

const LISTS: [(&str, &str); 3] = [
    ("containers", "containerStatuses"),
    ("initContainers", "initContainerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
];

/// The decoded parameters of a request, in order.
#[derive(Clone, Copy)]
pub struct Query<'a>(pub &'a [(String, String)]);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// As Go's conversion of query parameters: anything but `false` and `0` is true.
    fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| !matches!(value, "false" | "0"))
    }

    fn number(&self, name: &str, errors: &mut FieldErrors) -> Option<i64> {
        let text = self.get(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            errors.invalid(&FieldPath::new(name), text, "must be an integer");
        }
        number
    }
}

fn names<'a>(pod: &'a Json, list: &'a str) -> impl Iterator<Item = &'a str> {
    items_at(pod, &["spec", list]).iter().filter_map(|container| str_at(container, &["name"]))
}

/// The container that a request means: the named one, the annotated one, or the only one.
fn container(pod: &Json, asked: Option<&str>) -> Result<ContainerRef, Status> {
    let pod_name = str_at(pod, &["metadata", "name"]).unwrap_or_default();
    let name = match asked.filter(|name| !name.is_empty()) {
        Some(name) => {
            if !LISTS.iter().any(|(list, _)| names(pod, list).any(|known| known == name)) {
                return Err(Status::bad_request(format!("container {name} is not valid for pod {pod_name}")));
            }
            name
        }
        None => {
            let regular: Vec<&str> = names(pod, "containers").collect();
            let annotated = str_at(pod, &["metadata", "annotations", "kubectl.kubernetes.io/default-container"]);
            match (annotated.filter(|name| regular.contains(name)), &regular[..]) {
                (Some(name), _) => name,
                (None, [only]) => only,
                _ => return Err(Status::bad_request(ask_for_name(pod, pod_name, &regular))),
            }
        }
    };
    Ok(ContainerRef {
        pod_uid: str_at(pod, &["metadata", "uid"]).unwrap_or_default().to_string(),
        namespace: str_at(pod, &["metadata", "namespace"]).unwrap_or_default().to_string(),
        pod: pod_name.to_string(),
        container: name.to_string(),
    })
}

fn ask_for_name(pod: &Json, pod_name: &str, regular: &[&str]) -> String {
    let mut text =
        format!("a container name must be specified for pod {pod_name}, choose one of: [{}]", regular.join(" "));
    let init: Vec<&str> = names(pod, "initContainers").collect();
    if !init.is_empty() {
        text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    text
}

/// What `log` asks for.
///
/// # Errors
/// 422 for options that make no sense, 400 for a container that the pod does not have.
pub fn log_call(pod: &Json, query: &Query<'_>, now: Timestamp) -> Result<LogCall, Status> {
    let mut errors = FieldErrors::new();
    let tail = query.number("tailLines", &mut errors);
    let limit = query.number("limitBytes", &mut errors);
    let seconds = query.number("sinceSeconds", &mut errors);
    let time = query.get("sinceTime").map(|text| (text, Timestamp::parse(text)));
    let path = FieldPath::new;
    if let Some(tail) = tail.filter(|tail| *tail < 0) {
        errors.invalid(&path("tailLines"), tail, "must be greater than or equal to 0");
    }
    if let Some(limit) = limit.filter(|limit| *limit < 1) {
        errors.invalid(&path("limitBytes"), limit, "must be greater than 0");
    }
    match (seconds, time) {
        (Some(_), Some(_)) => {
            errors.forbidden(&FieldPath::default(), "at most one of `sinceTime` or `sinceSeconds` may be specified")
        }
        (Some(seconds), None) if seconds < 1 => {
            errors.invalid(&path("sinceSeconds"), seconds, "must be greater than 0")
        }
        (None, Some((text, None))) => errors.invalid(&path("sinceTime"), text, "must be an RFC 3339 time"),
        _ => {}
    }
    if !errors.is_empty() {
        let name = str_at(pod, &["metadata", "name"]).unwrap_or_default();
        return Err(Status::invalid(&Gvk::new("v1", "PodLogOptions"), name, &errors));
    }
    let since = match (seconds, time) {
        (Some(seconds), _) => Some(now.since_epoch().saturating_sub(Duration::from_secs(seconds.unsigned_abs()))),
        (None, Some((_, Some(time)))) => Some(time.since_epoch()),
        _ => None,
    };
    Ok(LogCall {
        container: container(pod, query.get("container"))?,
        follow: query.flag("follow", false),
        previous: query.flag("previous", false),
        since_micros: since.and_then(|since| i64::try_from(since.as_micros()).ok()),
        timestamps: query.flag("timestamps", false),
        tail_lines: tail.map(i64::unsigned_abs),
        limit_bytes: limit.map(i64::unsigned_abs),
    })
}

/// What `exec` asks for, or `attach` when not `exec`.
///
/// # Errors
/// 400 with upstream's texts.
pub fn exec_call(pod: &Json, query: &Query<'_>, exec: bool) -> Result<ExecCall, Status> {
    let name = str_at(pod, &["metadata", "name"]).unwrap_or_default();
    let command: Vec<String> =
        query.0.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect();
    let call = ExecCall {
        container: container(pod, query.get("container"))?,
        command: if exec { command } else { Vec::new() },
        stdin: query.flag("stdin", false),
        stdout: query.flag("stdout", !exec),
        stderr: query.flag("stderr", !exec),
        tty: query.flag("tty", false),
    };
    if exec && call.command.is_empty() {
        return Err(Status::bad_request("you must specify at least 1 command for the container"));
    }
    if !call.stdin && !call.stdout && !call.stderr {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let phase = str_at(pod, &["status", "phase"]).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(Status::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}: pod {name}"
        )));
    }
    Ok(call)
}

/// The pod whose ports `portforward` asks for.
///
/// # Errors
/// 400 for a pod that is on no node yet.
pub fn forward_call(pod: &Json) -> Result<ForwardCall, Status> {
    let text = |path: &[&str]| str_at(pod, path).unwrap_or_default().to_string();
    let name = text(&["metadata", "name"]);
    if text(&["spec", "nodeName"]).is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let (pod_uid, namespace) = (text(&["metadata", "uid"]), text(&["metadata", "namespace"]));
    Ok(ForwardCall { pod_uid, namespace, pod: name, port: 0 })
}

/// Whether the container has a log: the kubelet's rules, with its texts.
///
/// # Errors
/// 400 when it has none.
pub fn started(pod: &Json, container: &str, previous: bool) -> Result<(), Status> {
    let pod_name = str_at(pod, &["metadata", "name"]).unwrap_or_default();
    let status = LISTS
        .iter()
        .flat_map(|(_, statuses)| items_at(pod, &["status", statuses]))
        .find(|status| str_at(status, &["name"]) == Some(container));
    // Without a report the node itself knows best.
    let Some(status) = status else { return Ok(()) };
    let has = |path: &[&str]| at(status, path).is_some_and(Json::is_object);
    if previous {
        if !has(&["lastState", "terminated"]) {
            return Err(Status::bad_request(format!(
                "previous terminated container {container:?} in pod {pod_name:?} not found"
            )));
        }
        return Ok(());
    }
    let waiting = at(status, &["state", "waiting"]).filter(|_| !has(&["lastState", "terminated"]));
    let Some(waiting) = waiting else { return Ok(()) };
    let reason = str_at(waiting, &["reason"]).unwrap_or_default();
    let why = match reason {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        other => other,
    };
    Err(Status::bad_request(format!("container {container:?} in pod {pod_name:?} is waiting to start: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Json {
        json!({"metadata": {"name": "web", "namespace": "demo", "uid": "u"},
            "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
            "status": {"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}})
    }

    fn ask(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    /// Texts of kube-apiserver's `podLogOptions` and kubelet's `validateContainerLogStatus`.
    #[test]
    fn requests_for_streams_are_refused_in_upstreams_words() {
        let log = |pairs: &[(&str, &str)]| {
            log_call(&pod(), &Query(&ask(pairs)), Timestamp::from_secs(1000))
                .map_err(|status| status.message().to_string())
        };
        assert_eq!(
            log(&[]).unwrap_err(),
            "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(log(&[("container", "x")]).unwrap_err(), "container x is not valid for pod web");
        assert!(log(&[("container", "a"), ("tailLines", "-1")]).unwrap_err().contains("tailLines: Invalid value: -1"));
        let call = log(&[("container", "a"), ("follow", "true"), ("sinceSeconds", "10")]).unwrap();
        assert!(call.follow && call.since_micros == Some(990_000_000) && call.container.pod_uid == "u");
        assert_eq!(
            started(&pod(), "a", false).unwrap_err().message(),
            "container \"a\" in pod \"web\" is waiting to start: trying and failing to pull image"
        );
        assert_eq!(
            started(&pod(), "a", true).unwrap_err().message(),
            "previous terminated container \"a\" in pod \"web\" not found"
        );
        let exec = exec_call(&pod(), &Query(&ask(&[("container", "a"), ("stdout", "1")])), true);
        assert_eq!(exec.unwrap_err().message(), "you must specify at least 1 command for the container");
    }
}
