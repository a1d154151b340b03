//! PodSecurity: the Pod Security Standards, by the labels of a namespace
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>, and `k8s.io/pod-security-admission` for the texts).
//!
//! `enforce` refuses pods; `warn` tells whoever makes a pod or something with a template of one, and `audit` the audit log.
//! Whoever makes a namespace stricter is told which of its pods are not as it now asks
//! ([`existing`]).

mod checks;
mod existing;

use super::Admission;
use crate::generic::update::Part;
use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Gvr, Json, Status};
use std::collections::BTreeMap;

const PREFIX: &str = "pod-security.kubernetes.io/";
/// The minor version of Kubernetes that `latest` means.
const LATEST: u32 = 36;

/// A level of the standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Level> {
        Some(match text {
            "privileged" => Level::Privileged,
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// A level as one version of Kubernetes has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    level: Level,
    /// As the label says: `latest` or `v1.N`.
    version: String,
    minor: u32,
}

/// `latest` or `v1.N` as a minor version.
fn minor(version: &str) -> Option<u32> {
    match version {
        "latest" => Some(LATEST),
        _ => {
            let minor = version.strip_prefix("v1.")?;
            let plain = minor == "0" || !minor.starts_with('0');
            minor.parse().ok().filter(|_| plain && minor.bytes().all(|b| b.is_ascii_digit()))
        }
    }
}

impl Policy {
    /// Of a mode. What is malformed counts as the strictest, so that a slip opens nothing.
    fn of(labels: &BTreeMap<String, String>, mode: &str) -> Policy {
        let label = |name: String| labels.get(&format!("{PREFIX}{name}")).map(String::as_str);
        let level =
            label(mode.to_string()).map_or(Level::Privileged, |text| Level::parse(text).unwrap_or(Level::Restricted));
        let version = label(format!("{mode}-version")).filter(|version| minor(version).is_some()).unwrap_or("latest");
        Policy { level, version: version.to_string(), minor: minor(version).unwrap_or(LATEST) }
    }

    /// As texts name it: `baseline:latest`.
    fn shown(&self) -> String {
        format!("{}:{}", self.level.as_str(), self.version)
    }

    /// What of a pod's metadata and spec the policy forbids; empty when nothing.
    fn violations(&self, metadata: Option<&Json>, spec: &Json) -> String {
        let found = checks::run(self.level, self.minor, metadata, spec);
        if found.is_empty() {
            return String::new();
        }
        let texts: Vec<String> = found.into_iter().map(|(reason, detail)| format!("{reason} ({detail})")).collect();
        format!("PodSecurity {:?}: {}", self.shown(), texts.join(", "))
    }
}

/// Where a kind has the template of a pod.
fn template_of(cx: &Admission<'_>) -> Option<&'static [&'static str]> {
    Some(match (cx.kind.group, cx.kind.kind) {
        ("", "Pod") => &[],
        ("", "PodTemplate") => &["template"],
        ("", "ReplicationController")
        | ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("batch", "Job") => &["spec", "template"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template"],
        _ => return None,
    })
}

/// Judges a new object, or a pod that gets further containers.
pub(crate) async fn validate(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    let Some(path) = template_of(cx) else { return Ok(()) };
    let namespace = cx.engine.find(&Gvr::new("", "v1", "namespaces"), "", cx.namespace).await?;
    let Some(namespace) = namespace.filter(|namespace| namespace.meta.labels.keys().any(|key| key.starts_with(PREFIX)))
    else {
        return Ok(());
    };
    let labels = &namespace.meta.labels;
    let Some(template) = at(doc, path) else { return Ok(()) };
    let Some(spec) = template.get("spec") else { return Ok(()) };
    let metadata = template.get("metadata");
    // What is refused is audited too.
    let audited = Policy::of(labels, "audit").violations(metadata, spec);
    if !audited.is_empty() {
        cx.cx.annotate(&format!("{PREFIX}audit-violations"), &format!("would violate {audited}"));
    }
    if path.is_empty() {
        let enforced = Policy::of(labels, "enforce");
        cx.cx.annotate(&format!("{PREFIX}enforce-policy"), &enforced.shown());
        let violations = enforced.violations(metadata, spec);
        if !violations.is_empty() {
            return Err(cx.forbidden(doc, format!("violates {violations}")));
        }
    }
    let warned = Policy::of(labels, "warn").violations(metadata, spec);
    if !warned.is_empty() {
        cx.cx.warn(format!("would violate {warned}"));
    }
    Ok(())
}

/// Judges a changed object: a pod when what runs in it changes, a template always; a namespace when its labels change.
pub(crate) async fn validate_update(cx: &Admission<'_>, part: Part, doc: &Json, old: &Json) -> Result<(), Status> {
    if !matches!(part, Part::Main | Part::EphemeralContainers) {
        return Ok(());
    }
    if cx.is_core("Namespace") {
        return existing::warn(cx, doc, old).await;
    }
    if cx.is_core("Pod") && runs_the_same(doc, old) {
        return Ok(());
    }
    validate(cx, doc).await
}

/// Whether containers, images and the old annotations of seccomp are what they were.
fn runs_the_same(doc: &Json, old: &Json) -> bool {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let images = |doc: &Json| -> Vec<Option<Json>> {
        let containers = lists.iter().flat_map(|list| items_at(doc, &["spec", list]));
        containers.map(|container| container.get("image").cloned()).collect()
    };
    let seccomp = |doc: &Json| -> Vec<(String, Json)> {
        let annotations = at(doc, &["metadata", "annotations"]).and_then(Json::as_object).into_iter().flatten();
        let told = annotations.filter(|(name, _)| name.contains("seccomp.security.alpha.kubernetes.io/"));
        told.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    images(doc) == images(old) && seccomp(doc) == seccomp(old)
}

/// Problems of a namespace's labels.
pub(crate) fn validate_labels(namespace: &Json, errors: &mut FieldErrors) {
    let labels = FieldPath::new("metadata.labels");
    for mode in ["enforce", "audit", "warn"] {
        let label =
            |name: &str| str_at(namespace, &["metadata", "labels", name]).map(|value| (labels.key(name), value));
        if let Some((path, level)) =
            label(&format!("{PREFIX}{mode}")).filter(|(_, level)| Level::parse(level).is_none())
        {
            errors.invalid(&path, level, "must be one of privileged, baseline, restricted");
        }
        let version = label(&format!("{PREFIX}{mode}-version")).filter(|(_, version)| minor(version).is_none());
        if let Some((path, version)) = version {
            errors.invalid(&path, version, "must be \"latest\" or \"v1.x\"");
        }
    }
}
